"""What lies below one folder, and nothing else: no link, no dot and no race leads out of it.

A path is a list of names, which `split_path` has from a request. Each is opened below the folder
before it, and never by a path that the kernel would resolve anew: what changes meanwhile can make a
name lead to another file of the folder, or to none.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from sockwave.core.http.beneath import open_beneath

#: Whether the system can open a name below an open folder; Windows cannot.
IS_SUPPORTED = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")

#: How a folder is opened: where the system can, only to look up names in it.
_FOLDER_FLAGS = (
    getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
# What was a regular file a moment ago may be a FIFO now, or a terminal.
_FILE_FLAGS = (
    os.O_RDONLY
    | _NOFOLLOW
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)

# What openat2 fails with where there is no such call: the kernel is older, or a sandbox forbids it.
_NOT_THERE = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG, errno.EAGAIN})

#: What opening a name fails with where it names nothing that may be sent. Links are ELOOP, ENOTDIR,
#: EMLINK (FreeBSD) or EXDEV; sockets are ENXIO; EILSEQ and EINVAL are names that a file system
#: cannot have.
MISSING = frozenset(
    getattr(errno, name)
    for name in (
        "ENOENT",
        "ENOTDIR",
        "ELOOP",
        "EMLINK",
        "EXDEV",
        "ENXIO",
        "ENODEV",
        "ENAMETOOLONG",
        "EILSEQ",
        "EINVAL",
    )
    if hasattr(errno, name)
)


def split_path(path: str) -> list[bytes] | None:
    """Return the names in the path of a request, each decoded once; None if one cannot be a name.

    The last is b"" where the path ends with a slash.
    """
    first, *names = map(unquote_to_bytes, path.encode("latin-1").split(b"/"))
    if first or not names:
        return None  # "*"
    *folders, last = names
    if not all(map(_is_name, folders)):
        return None
    return names if not last or _is_name(last) else None


def _is_name(name: bytes) -> bool:
    """Tell whether this may be the name of something in a folder."""
    # A backslash separates names for some programs, and few files have one in their name.
    return name not in (b"", b".", b"..") and not any(byte in name for byte in b"/\\\0")


@contextmanager
def opened_root(path: str | os.PathLike[str]) -> Iterator[int]:
    """Open the folder of a path, which may lead over symbolic links; raises OSError."""
    descriptor = os.open(path, _FOLDER_FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_folder(root: int, names: Sequence[bytes]) -> Iterator[int]:
    """Open the folder that is called so below `root`; raises OSError, of `MISSING` if none is."""
    descriptor = open_folder(root, names) if names else root
    try:
        yield descriptor
    finally:
        if descriptor != root:
            os.close(descriptor)


def open_folder(root: int, names: Sequence[bytes]) -> int:
    """Return a descriptor of the folder that is called so below `root`; raises OSError."""
    try:
        return open_beneath(root, b"/".join(names))
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
    return open_in_steps(root, names)


def open_in_steps(root: int, names: Sequence[bytes]) -> int:
    """Do what `open_folder` does by one call for each name, for systems without openat2."""
    current = root
    try:
        for name in names:
            below = os.open(name, _FOLDER_FLAGS | _NOFOLLOW, dir_fd=current)
            current, before = below, current
            if before != root:
                os.close(before)
    except BaseException:
        if current != root:
            os.close(current)
        raise
    return current


def kind_of(folder: int, name: bytes) -> int:
    """Return the type of what has this name in a folder, as `stat.S_IFMT` gives it; 0: nothing."""
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError as error:
        if error.errno in MISSING:
            return 0
        raise


def open_regular(folder: int, name: bytes) -> BinaryIO | None:
    """Open the regular file with this name in a folder; None if there is none.

    Nothing else is opened: that alone would wake the writer of a FIFO, or start a device.
    """
    if kind_of(folder, name) != stat.S_IFREG:
        return None
    try:
        descriptor = os.open(name, _FILE_FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno in MISSING:
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")
