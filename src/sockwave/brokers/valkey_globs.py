"""Patterns of topics as globs of PSUBSCRIBE."""

import re

# What means something in a glob, and stands for itself in a pattern.
_SPECIAL = re.compile(rb"([\\?\[\]^])")


def escape(text: bytes) -> bytes:
    """Return a text as it stands in a glob; a star stays one."""
    return _SPECIAL.sub(rb"\\\1", text)


def glob_of(pattern: str) -> bytes:
    """Return the glob that matches what a pattern of topics does.

    It matches more, where a star is to be one level: what comes is matched again.
    """
    return escape(pattern.encode().replace(b"**", b"*"))


def compile_glob(glob: bytes) -> re.Pattern[bytes]:
    """Return what matches as the server matches one of our globs."""
    parts = re.findall(rb"\\.|[^\\]", glob, re.DOTALL)
    found = [b".*" if one == b"*" else re.escape(one[-1:]) for one in parts]
    return re.compile(b"".join(found), re.DOTALL)
