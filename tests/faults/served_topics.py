"""The service under test: workers, their sequencer, and topics for clients that speak `sockwave.1`.

Says on stdout, a line each, where it listens and what its supervisor and its workers log.
"""

import argparse
import json
import logging
import os
from typing import Any

import sockwave
from sockwave import History, Member
from sockwave.workers.backoff import Backoff


class Telling(logging.Handler):
    """Tells the test what is logged, by one write of each process for each line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a line."""
        tell({"level": record.levelname, "log": record.getMessage()})


def tell(record: dict[str, Any]) -> None:
    """Tell the test something."""
    os.write(1, json.dumps(record).encode() + b"\n")


def may_subscribe(conn: sockwave.Connection, topic: str) -> object:
    """Let everybody in; in a topic with presence, each worker is a member."""
    return Member(f"pid-{os.getpid()}", conn.id) if topic.startswith("people/") else True


def connected(conn: sockwave.Connection) -> None:
    """Tell a client which worker it has."""

    @conn.on("message")
    def message(message: str | bytes) -> None:
        conn.send(json.dumps({"pid": os.getpid()}))


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--options", type=json.loads, default={})
    arguments = parser.parse_args()
    logging.getLogger().addHandler(Telling())
    logging.getLogger().setLevel(logging.INFO)
    # A worker that dies early is replaced later and later: here all of them do, and a second is
    # long enough to show that it does not die of its start.
    Backoff.__init__.__defaults__ = (1.0,)
    server = sockwave.create_server(
        engine=arguments.engine, subprotocol="sockwave.1", **arguments.options
    )
    server.topic("room/*", history=History(count=1_000_000, size=None, ttl=None))
    server.topic("people/*", presence=True)
    server.on("subscribe", may_subscribe)
    server.on("publish", lambda conn, topic: True)
    server.on("connection", connected)
    server.listen(0, "127.0.0.1")
    tell({"port": server.addresses[0][1]})
    server.run(workers=arguments.workers)


if __name__ == "__main__":
    main()
