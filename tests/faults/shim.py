"""The preloaded shim, compiled, and the page on which it is told what is to fail."""

import ctypes
import mmap
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CALLS = ("accept4", "recv", "send", "epoll_wait", "epoll_ctl")
#: In place of an errno: a call that reads or writes, or finds, less than it could.
PARTIAL = -1


class Call(ctypes.Structure):
    """What befalls one system call."""

    _fields_ = (
        ("fault", ctypes.c_int32),
        ("permille", ctypes.c_uint32),
        ("count", ctypes.c_uint64),
        ("fault_count", ctypes.c_uint64),
    )


class Control(ctypes.Structure):
    """The page: `struct control` of shim.c."""

    _fields_ = (
        ("is_closed", ctypes.c_uint64),
        ("until_failure", ctypes.c_int64),
        ("failing_count", ctypes.c_int64),
        ("allocation_count", ctypes.c_uint64),
        ("failure_count", ctypes.c_uint64),
        ("living_count", ctypes.c_int64),
        ("random", ctypes.c_uint64),
        ("calls", Call * len(CALLS)),
    )


class Shim:
    """One server's shim: the environment to start it in, and the faults."""

    def __init__(self, seed: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sockwave-faults-"))
        library = self.directory / "shim.so"
        compiler = os.environ.get("CC", "cc")
        source = Path(__file__).with_name("shim.c")
        subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True
        )
        page = self.directory / "control"
        page.write_bytes(bytes(ctypes.sizeof(Control)))
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), ctypes.sizeof(Control))
        self.control = Control.from_buffer(self._page)
        self.control.random = seed * 2654435761 % 2**64 or 1
        # Each object from malloc, so that each allocation can be made to fail, and is counted.
        self.environment = {
            "LD_PRELOAD": str(library),
            "SOCKWAVE_FAULTS": str(page),
            "PYTHONMALLOC": "malloc",
        }

    def close(self) -> None:
        """Remove the files; the server has been stopped before."""
        del self.control
        self._page.close()
        shutil.rmtree(self.directory)

    def fail_allocation(self, number: int, count: int = 1) -> None:
        """Let the `number`-th allocation from now on fail, and `count` in all."""
        self.control.allocation_count = self.control.failure_count = 0
        self.control.failing_count = count
        self.control.until_failure = number

    def allow_allocations(self) -> int:
        """Let all allocations be, and give how many have failed."""
        self.control.until_failure = 0
        return int(self.control.failure_count)

    def befall(self, name: str, fault: int, permille: int = 1000) -> None:
        """Let a system call fail with an errno, or be PARTIAL, so many times in a thousand."""
        call = self.control.calls[CALLS.index(name)]
        call.permille = permille
        call.fault = fault

    def let_be(self) -> None:
        """Let all system calls be."""
        for call in self.control.calls:
            call.fault = 0

    @property
    def fault_count(self) -> int:
        """How many system calls have been made to fail, in all."""
        return sum(call.fault_count for call in self.control.calls)
