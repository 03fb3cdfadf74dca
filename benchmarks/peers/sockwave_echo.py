"""Echo with sockwave, a Python listener in the path.

``--loop run`` is `server.run()`, with the loop that it chooses. By default compression is by
zlib-ng where that is installed; ``--zlib zlib`` does without.
"""

import argparse
import ssl
import zlib

from serving import create_context, parse_arguments, run

import sockwave
import sockwave.deflate


def create_echo(arguments: argparse.Namespace, context: ssl.SSLContext | None) -> sockwave.Server:
    if arguments.zlib == "zlib":
        sockwave.deflate.library = zlib
    server = sockwave.create_server(engine=arguments.engine, compression=arguments.compression)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str | bytes) -> None:
            conn.send(message)

    server.listen(arguments.port, "127.0.0.1", ssl=context)
    return server


async def main(arguments: argparse.Namespace, context: ssl.SSLContext | None) -> None:
    await create_echo(arguments, context).serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments("run")
    context = create_context(arguments)
    if arguments.loop == "run":
        create_echo(arguments, context).run()
    else:
        run(main(arguments, context), arguments.loop)
