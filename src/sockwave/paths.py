"""What is a path: a name, and never the number of a descriptor, which is somebody else's."""

import os


def check_path(name: str, path: object, *, takes_bytes: bool = False) -> None:
    """Raise TypeError for what is no path: str or os.PathLike, and bytes where they are taken.

    To `open`, `os.stat` and others a number is a descriptor, which `open` takes over and closes.
    """
    kinds = (str, bytes) if takes_bytes else (str,)
    if not isinstance(os.fspath(path) if isinstance(path, os.PathLike) else path, kinds):
        expected = "str, bytes or os.PathLike" if takes_bytes else "str or os.PathLike"
        raise TypeError(f"{name}: expected a path ({expected}), given {type(path).__name__}")
