"""A check that an argument is a path, and not the number of an open file descriptor."""

import os


def check_path(name: str, path: object, *, takes_bytes: bool = False) -> None:
    """Raise TypeError unless `path` is str or os.PathLike, or bytes with `takes_bytes`.

    `open`, `os.stat` and others take an int for a file descriptor, and `open` would close it at
    the end: it may belong to another part of the program.
    """
    kinds = (str, bytes) if takes_bytes else (str,)
    if not isinstance(os.fspath(path) if isinstance(path, os.PathLike) else path, kinds):
        expected = "str, bytes or os.PathLike" if takes_bytes else "str or os.PathLike"
        raise TypeError(f"{name}: expected a path ({expected}), given {type(path).__name__}")
