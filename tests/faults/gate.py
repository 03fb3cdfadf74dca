"""Says when the shim may strike: while the core runs, and not while asyncio does.

Of asyncio's transports a failed allocation is the end in more than one place: a socket accepted
that no object has, a descriptor that is half forgotten and soon another one's. What that costs is
Python's affair, and says nothing about the core.
"""

import mmap
import os
from collections.abc import Callable
from typing import Any

from sockwave.core.io.asyncio.transport import TransportProtocol

# What the shim reads.
OPEN, CLOSED = 0, 1


class Gate:
    """A byte of the shim's page. Nothing may be allocated to move it: it would stay as it is."""

    page: Any = bytearray(1)
    offset = 0

    @classmethod
    def install(cls, offset: int) -> None:
        """Open the gate for what a transport calls, and for nothing else."""
        with open(os.environ["SOCKWAVE_FAULTS"], "r+b") as file:
            cls.page = mmap.mmap(file.fileno(), 0)
        cls.offset = offset
        cls.page[offset] = CLOSED
        for name in ("buffer_updated", "eof_received", "resume_writing"):
            setattr(TransportProtocol, name, cls.opened(getattr(TransportProtocol, name)))
        made = cls.opened(TransportProtocol.connection_made)
        protocol: Any = TransportProtocol
        protocol.connection_made = lambda self, transport: made(self, Shielded(transport))

    @classmethod
    def opened(cls, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give the function with the gate open while it runs."""

        def call(*arguments: Any) -> Any:
            page, offset = cls.page, cls.offset
            page[offset] = OPEN
            try:
                return function(*arguments)
            finally:
                page[offset] = CLOSED

        return call


class Shielded:
    """A transport that works with the gate closed, whoever calls it."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


def shield(name: str) -> None:
    """Add a method of transports to those that are shielded."""

    def without(self: Shielded) -> Any:
        page, offset = Gate.page, Gate.offset
        before = page[offset]
        page[offset] = CLOSED
        try:
            return getattr(self.transport, name)()
        finally:
            page[offset] = before

    def with_one(self: Shielded, argument: Any) -> Any:
        page, offset = Gate.page, Gate.offset
        before = page[offset]
        page[offset] = CLOSED
        try:
            return getattr(self.transport, name)(argument)
        finally:
            page[offset] = before

    takes_one = name in ("write", "set_write_buffer_limits")
    setattr(Shielded, name, with_one if takes_one else without)


for method in (
    "abort",
    "can_write_eof",
    "close",
    "is_closing",
    "pause_reading",
    "resume_reading",
    "set_write_buffer_limits",
    "write",
    "write_eof",
):
    shield(method)
