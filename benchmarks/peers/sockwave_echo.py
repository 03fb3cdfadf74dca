"""Echo with sockwave, a Python listener in the path.

``--loop run`` is `server.run()`, with the loop that it chooses.
"""

import ssl

from serving import create_context, parse_arguments, run

import sockwave


def create_echo(port: int, engine: str, context: ssl.SSLContext | None) -> sockwave.Server:
    server = sockwave.create_server(engine=engine)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str | bytes) -> None:
            conn.send(message)

    server.listen(port, "127.0.0.1", ssl=context)
    return server


async def main(port: int, engine: str, context: ssl.SSLContext | None) -> None:
    await create_echo(port, engine, context).serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments("run")
    context = create_context(arguments)
    if arguments.loop == "run":
        create_echo(arguments.port, arguments.engine, context).run()
    else:
        run(main(arguments.port, arguments.engine, context), arguments.loop)
