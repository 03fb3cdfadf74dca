"""A host of sockwave: its clients hear one topic, or take turns on several, by a broker.

A client that says a number has so many messages published here, each when it says it again.
"""

import argparse
import itertools

import sockwave


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--broker")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--topics", type=int)
    arguments = parser.parse_args()
    server = sockwave.create_server(
        engine="epoll", ping_interval=None, broker=arguments.broker, max_connections=None
    )
    message = "x" * arguments.size
    topics = itertools.cycle(
        ["everybody"]
        if arguments.topics is None
        else [f"room/{number}" for number in range(arguments.topics)]
    )

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        conn.subscribe(next(topics))

        @conn.on("message")
        def publish(_: str | bytes) -> None:
            server.publish("everybody", message)

    server.listen(arguments.port, "127.0.0.1")
    server.run()


if __name__ == "__main__":
    main()
