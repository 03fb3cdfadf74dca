"""The client of the server whose instructions are counted, and that server as a process."""

import base64
import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from harness import BenchmarkError, UnableError
from harness.processes import UNABLE

HERE = Path(__file__).resolve().parent
START_S, ANSWER_S = 120.0, 60.0
"""Under valgrind, on a machine that is busy with something else."""
MASK = b"\x37\xfa\x21\x3d"
"""The same for all messages, and with ASCII no byte of the text that it makes is special."""
TEXT, FIN, MASKED, RSV1 = 0x1, 0x80, 0x80, 0x40
KEY = base64.b64encode(bytes(range(16))).decode()


def mask(payload: bytes) -> bytes:
    repeated = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(payload), "big")


def frame_of(payload: bytes, first_byte: int = FIN | TEXT) -> bytes:
    """Give the frame of a client's."""
    size = len(payload)
    length = bytes((MASKED | size,)) if size < 126 else struct.pack(">BH", MASKED | 126, size)
    return bytes((first_byte,)) + length + MASK + mask(payload)


class Wire:
    """A connection of the client's, in blocking mode."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def upgrade(self, offer: str | None = None) -> str:
        """Complete the opening handshake; gives the head of the answer."""
        lines = ["GET / HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]
        if offer is not None:
            lines.append(f"Sec-WebSocket-Extensions: {offer}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        head = self.read_head()
        if not head.startswith("HTTP/1.1 101 "):
            raise BenchmarkError(f"expected an upgrade, got {head.splitlines()[0]}")
        return head

    def read_head(self) -> str:
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        return head.decode()

    def read(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        whole = bytearray()
        while len(whole) < size:
            more = self.socket.recv(size - len(whole))
            if not more:
                raise BenchmarkError("the server closed the connection")
            whole += more
        return bytes(whole)

    def read_frame(self) -> tuple[int, bytes]:
        """Give the first byte of a frame of the server's, and its payload."""
        first_byte, size = self.read(2)
        if size == 126:
            size = int.from_bytes(self.read(2), "big")
        return first_byte, self.read(size)

    def expect(self, text: bytes) -> None:
        first_byte, payload = self.read_frame()
        if (first_byte, payload) != (FIN | TEXT, text):
            raise BenchmarkError(f"expected {text!r}, got {payload[:80]!r}")


class Counted:
    """The server under valgrind, and the connection that commands it."""

    def __init__(self, python: str, port: int, directory: Path, arguments: Sequence[str]) -> None:
        self.port = port
        self.dumps = directory / "dump"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.dumps}"]
        command += ["--dump-line=no", "--quiet", python, str(HERE / "counted.py")]
        command += ["--port", str(port), *arguments]
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        # What is on the path of the one would be imported by the other.
        environment.pop("PYTHONPATH", None)
        self.log = directory / "counted.log"
        with self.log.open("w") as errors:
            self.popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment
            )
        self.dump_count = 0

    def __enter__(self) -> Self:
        end = time.monotonic() + START_S
        while True:
            if self.popen.poll() is not None or time.monotonic() > end:
                self.__exit__()
                said = self.log.read_text(errors="replace").strip()
                if self.popen.returncode == UNABLE:
                    raise UnableError(said.splitlines()[-1])
                raise BenchmarkError(f"no server: {said}")
            with contextlib.suppress(OSError):
                self.wire = Wire(self.port)
                break
            time.sleep(0.1)
        self.wire.upgrade()
        return self

    def __exit__(self, *exception: object) -> None:
        self.popen.kill()
        self.popen.wait()

    def wait_until_idle(self) -> None:
        """Wait until it sleeps: there is but one thread, which sleeps in its wait for events."""
        stat = Path(f"/proc/{self.popen.pid}/stat")
        end = time.monotonic() + ANSWER_S
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            if time.monotonic() > end:
                raise BenchmarkError("the server does not come to rest")
            os.sched_yield()

    def order(self, *words: str) -> None:
        """Have it obey; it is idle afterwards."""
        for word in words:
            self.wait_until_idle()
            self.wire.socket.sendall(frame_of(word.encode()))
            self.wire.expect(word.encode())
        self.wait_until_idle()

    def connect(self, *, upgrade: bool = True, offer: str | None = None) -> Wire:
        """Open a connection; accepting it is one wake-up, its request another."""
        self.wait_until_idle()
        wire = Wire(self.port)
        self.wait_until_idle()
        if upgrade:
            wire.upgrade(offer)
            self.wait_until_idle()
        return wire

    def disconnect(self, wires: Sequence[Wire]) -> None:
        """Close connections, and wait until the server knows it."""
        for wire in wires:
            wire.socket.close()
            self.wait_until_idle()
        self.order("collect")

    @contextlib.contextmanager
    def counting(self, found: list[int]) -> Iterator[None]:
        """Add to `found` what is executed in the block."""
        self.order("collect", "zero")
        yield
        self.wait_until_idle()
        self.order("dump")
        self.dump_count += 1
        path = self.dumps.with_name(f"{self.dumps.name}.{self.dump_count}")
        lines = path.read_text(errors="replace").splitlines()
        found += [int(line.split()[1]) for line in lines if line.startswith("totals: ")]
        path.unlink()
