"""The server under attack: a process that serves, and tells by a socket what befell it.

Run by `process.Victim` with one argument, a JSON object: `application` ("module:function"),
`options`, `tls` (the paths of a certificate and its key, or null), `control` (a descriptor).
Each line on the control socket is a question, each answered with one line of JSON. VICTIM_CODEC
in the environment names the module that compresses.
"""

import asyncio
import contextlib
import ctypes
import gc
import importlib
import json
import logging
import os
import socket
import ssl
import sys
from typing import Any

import sockwave
from sockwave import deflate

# Clients that were there before: what becomes of them is their own observation.
BYSTANDER = "/bystander"


class Log(logging.Handler):
    """What was logged as a warning or worse, as text with its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {self.format(record)}")

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


class Witness:
    """What the server saw since it was last asked."""

    def __init__(self, server: sockwave.Server, control: socket.socket) -> None:
        self.server = server
        self.control = control
        self.log = Log()
        self.closes: list[tuple[int, str]] = []
        self.opened = 0
        self.hits_before: dict[str, int] = {}
        self.turn_count = 0
        logging.getLogger().addHandler(self.log)
        server.on("connection", self.connected)
        server.once("listening", self.begin)

    def connected(self, conn: sockwave.Connection) -> None:
        if conn.request.target == BYSTANDER:
            return
        self.opened += 1
        conn.on("close", lambda code, reason: self.closes.append((code, reason)))

    def begin(self) -> None:
        """Tell where the server listens, and answer questions from now on."""
        # To collect garbage is asked for often: it need not look at what stays.
        gc.collect()
        gc.freeze()
        self.say({"addresses": self.server.addresses})
        loop: Any = asyncio.get_running_loop()
        loop.add_reader(self.control, self.answer)
        turn = loop._run_once

        def counted_turn() -> None:
            self.turn_count += 1
            turn()

        loop._run_once = counted_turn

    def say(self, answer: object) -> None:
        self.control.sendall(json.dumps(answer).encode() + b"\n")

    def answer(self) -> None:
        question = self.control.recv(100).decode().strip()
        if not question:  # the tests are over, in whatever way
            asyncio.get_running_loop().remove_reader(self.control)
            self.server.close(drain=0)
        elif question == "turn":  # and forget nothing
            self.say(self.report())
        elif question == "settle":
            settle()
            self.say(self.report())
        else:
            self.say(self.report())
            self.closes, self.opened = [], 0
            self.hits_before = dict(self.server.limit_hits)

    def report(self) -> dict[str, Any]:
        return {
            "closes": self.closes,
            "opened": self.opened,
            "connections": len(self.server.connections),
            "tasks": len(asyncio.all_tasks()),
            "turn_count": self.turn_count,
            "limit_hits": {
                name: count - self.hits_before.get(name, 0)
                for name, count in self.server.limit_hits.items()
                if count > self.hits_before.get(name, 0)
            },
            "log": self.log.take(),
        }


def settle() -> None:
    """Give back the memory that nobody holds, so that what is left is held by somebody."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)


def load(name: str) -> Any:
    """Import "module:function"."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def main() -> None:
    wanted = json.loads(sys.argv[1])
    options = wanted["options"]
    if "VICTIM_CODEC" in os.environ:
        deflate.library = importlib.import_module(os.environ["VICTIM_CODEC"])
    if isinstance(options.get("compression"), dict):
        options["compression"] = sockwave.Deflate(**options["compression"])
    server: sockwave.Server = load(wanted["application"])(**options)
    Witness(server, socket.socket(fileno=wanted["control"]))
    server.listen(0, "127.0.0.1")
    if wanted["tls"]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*wanted["tls"])
        server.listen(0, "127.0.0.1", ssl=context)
    server.run()


if __name__ == "__main__":
    main()
