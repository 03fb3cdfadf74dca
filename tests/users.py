"""Another user, who may not read everything as root may."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Who owns nothing, on most systems.
NOBODY = 65534


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user who may read only what is everybody's, or one's own."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def everybodys_folder() -> Iterator[Path]:
    """Make a folder that every user can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)
