"""Every message goes to everybody with sockwave, by a topic, over any number of workers."""

import argparse

import sockwave


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=0, help="0: this process alone")
    parser.add_argument("--history", action="store_true", help="all by the sequencer")
    arguments = parser.parse_args()
    server = sockwave.create_server(engine="epoll", ping_interval=None)
    if arguments.history:
        server.topic("everybody", history=sockwave.History(), envelope=None)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.subscribe("everybody")

        @conn.on("message")
        def message(message: str | bytes) -> None:
            server.publish("everybody", message)

    server.listen(arguments.port, "127.0.0.1")
    server.run(workers=arguments.workers or None)


if __name__ == "__main__":
    main()
