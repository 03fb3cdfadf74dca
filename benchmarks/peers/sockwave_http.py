"""HTTP with sockwave: listeners of `request`, which are its own interface, or ASGI applications.

``--own`` takes the listener where an application has been asked for that there is a listener like.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from applications import APPLICATIONS, GREETING, LARGE, READ_FIELDS
from serving import UNABLE, create_context, parse_arguments, run

import sockwave

FIELDS = {"Content-Type": "text/plain"}
READ_NAMES = tuple(name.decode() for name in READ_FIELDS)


def hello(request: Any, response: Any) -> None:
    response.write_head(200, FIELDS)
    response.end(GREETING)


def reading(request: Any, response: Any) -> None:
    """Read method, path and five fields before answering."""
    fields = request.headers
    if request.method != "GET" or request.path != "/" or not all(map(fields.get, READ_NAMES)):
        raise ValueError(f"expected a browser's request, got {request.target}")
    hello(request, response)


async def posted(request: Any, response: Any) -> None:
    """Read a body of JSON before answering."""
    json.loads(await request.body())
    hello(request, response)


def large(request: Any, response: Any) -> None:
    response.write_head(200, FIELDS)
    response.end(LARGE)


LISTENERS: dict[str, Callable[..., Any]] = {
    "hello": hello,
    "reading": reading,
    "posted": posted,
    "large": large,
}


def create_server(arguments: Any) -> sockwave.Server:
    options: dict[str, Any] = {"engine": arguments.engine, "ping_interval": None}
    if not arguments.own:
        options["asgi"] = APPLICATIONS[arguments.app]()
    try:
        server = sockwave.create_server(**options)
    except TypeError as error:
        if "option 'asgi'" not in str(error):
            raise
        print(f"this sockwave runs no ASGI applications: {error}", file=sys.stderr)
        sys.exit(UNABLE)
    if arguments.own:
        server.on("request", LISTENERS[arguments.app])
    server.listen(arguments.port, "127.0.0.1", ssl=create_context(arguments))
    return server


async def main(arguments: Any) -> None:
    await create_server(arguments).serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments("run")
    if arguments.loop == "run":
        create_server(arguments).run()
    else:
        run(main(arguments), arguments.loop)
