"""The environment in which the sanitized build runs, and the proof that its sanitizers look."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from prepared import EXECUTED

ASAN = {
    # Python ends without freeing what its modules own, so all of that would be reported as leaks.
    # That nothing grows from run to run is shown by tests/test_fuzz.py.
    "detect_leaks": "0",
    # No input is worth more than this: an allocation beyond it is a finding.
    "max_allocation_size_mb": "512",
    "allocator_may_return_null": "0",
    # What is freed is kept for so long that thousands of inputs pass before it is used again.
    "quarantine_size_mb": "64",
}
UBSAN = {"halt_on_error": "1", "print_stacktrace": "1"}


def runtime() -> Path:
    """Give the library that brings the sanitizers and libFuzzer into an ordinary Python."""
    spec = importlib.util.find_spec("atheris")
    if spec is None or spec.origin is None:
        sys.exit("fuzz: atheris is not installed here: expected `make fuzz` to do that")
    return Path(spec.origin).parents[1] / "asan_with_fuzzer.so"


def environment() -> dict[str, str]:
    """Give the environment of a process that uses the sanitized build."""
    return os.environ | {
        "LD_PRELOAD": str(runtime()),
        "ASAN_OPTIONS": ":".join(f"{name}={value}" for name, value in ASAN.items()),
        "UBSAN_OPTIONS": ":".join(f"{name}={value}" for name, value in UBSAN.items()),
        # AddressSanitizer sees what is wrong inside Python's objects only where malloc made them.
        "PYTHONMALLOC": "malloc",
        **EXECUTED,  # they see what a fresh process does
    }


def check_sanitizers() -> None:
    """Exit unless both sanitizers end a process that does what they are there for."""
    for call, report in (
        ("step_behind_the_end(8)", "AddressSanitizer: heap-buffer-overflow"),
        ("overflow(2**31 - 1)", "runtime error: signed integer overflow"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", f"import exact_transport; exact_transport.{call}"],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 or report not in done.stderr:
            sys.exit(f"fuzz: the sanitizers do not notice {call}:\n{done.stderr[-2000:]}")
