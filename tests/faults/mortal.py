"""A server that kills itself with SIGKILL, again and again, and is there again each time.

Says its port on stdout, and a line for each death. A process that has imported everything forks one
that serves, waits for its end, and forks the next one. A server dies of the message "die", or, at
random, at a client that has just connected, or amid a message that it sends. SIGTERM ends all.
"""

import argparse
import contextlib
import ctypes
import json
import os
import random
import signal
import sys
from typing import Any

import sockwave

PR_SET_PDEATHSIG = 1
#: Of so many servers, one does not come to answer a handshake, and one dies amid what it sends.
ODDS = 8
LARGE_SIZE = 1_000_000


def die() -> None:
    """End as a process does that is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def serve(port: int, engine: str, chance: random.Random, parent: int) -> None:
    """Serve until death, that of the parent too."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it was asked for
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    fate = chance.randrange(ODDS)
    server = sockwave.create_server(engine=engine, subprotocol="sockwave.1", max_backlog=None)
    server.topic("lines", history=sockwave.History())
    server.on("subscribe", lambda conn, topic: True)
    server.on("publish", lambda conn, topic: True)
    if fate == 0:
        server.on("stream", die)

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        @conn.on("message")
        def message(message: str | bytes) -> None:
            if message != "die":
                conn.send(message)
                return
            if fate == 1:
                for _ in range(4):
                    conn.send(bytes(LARGE_SIZE))
            die()

    server.listen(port, "127.0.0.1")
    server.run()


def main() -> None:
    """Fork a server whenever there is none."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", default="epoll")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    child, parent = 0, os.getpid()

    def end(*_: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    print(json.dumps({"port": arguments.port}), flush=True)
    seeds = random.Random(arguments.seed)
    while True:
        seed = seeds.random()
        child = os.fork()
        if child == 0:
            serve(arguments.port, arguments.engine, random.Random(seed), parent)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(f"a server has ended by itself, with {status}")
        print(json.dumps({"killed": child}), flush=True)


if __name__ == "__main__":
    main()
