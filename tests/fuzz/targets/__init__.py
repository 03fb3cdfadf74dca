"""The targets: modules with a `run(data)` that raises where something is not as it must be.

The first bytes of `data` choose how the server is set up and how the rest arrives.
"""

import importlib
from collections.abc import Callable

#: Every target, in the order in which they run.
NAMES = (
    "frames",
    "drafts",
    "lifecycle",
    "handshake",
    "http",
    "extensions",
    "inflate",
    "proxy",
    "forwarded",
)

#: The longest input of each, in bytes: what lies behind is more of the same.
LENGTHS = {
    "frames": 4096,
    "drafts": 2048,
    "lifecycle": 1024,
    "handshake": 2048,
    "http": 4096,
    "extensions": 512,
    "inflate": 2048,
    "proxy": 600,
    "forwarded": 512,
}


def load(name: str) -> Callable[[bytes], None]:
    """Give a target's function."""
    run: Callable[[bytes], None] = importlib.import_module(f"fuzz.targets.{name}").run
    return run
