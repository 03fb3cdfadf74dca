"""Every message goes to everybody with sockwave, by `server.broadcast`."""

import argparse

from serving import parse_arguments, run

import sockwave


def create_chat(arguments: argparse.Namespace) -> sockwave.Server:
    server = sockwave.create_server(engine=arguments.engine, ping_interval=None)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.on("message", server.broadcast)

    server.listen(arguments.port, "127.0.0.1")
    return server


async def main(arguments: argparse.Namespace) -> None:
    await create_chat(arguments).serve_forever()


if __name__ == "__main__":
    arguments = parse_arguments("run")
    if arguments.loop == "run":
        create_chat(arguments).run()
    else:
        run(main(arguments), arguments.loop)
