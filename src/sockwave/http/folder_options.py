"""How the files of a folder are served: what the application says of it, checked once."""

import os
from dataclasses import dataclass, field

from sockwave.errors import FRAMING_HEADERS, SockwaveError
from sockwave.fields import HeaderPairs, check_headers
from sockwave.http.folder import IS_SUPPORTED, opened_root
from sockwave.paths import check_path


@dataclass(frozen=True, slots=True)
class FolderOptions:
    """The options of `Server.static`; raises TypeError or ValueError."""

    max_age: int | None = None
    index: str | None = "index.html"
    hidden: bool = False
    fallback: str | None = None
    headers: HeaderPairs = ()
    #: The last three, as they are used.
    index_name: bytes | None = field(init=False, default=None)
    fallback_names: list[bytes] | None = field(init=False, default=None)
    fields: list[tuple[str, str]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.max_age is not None:
            _check_age(self.max_age)
        if not isinstance(self.hidden, bool):
            raise TypeError(f"hidden: expected bool, given {type(self.hidden).__name__}")
        if self.index is not None:
            object.__setattr__(self, "index_name", _split("index", self.index, most=1)[0])
        if self.fallback is not None:
            object.__setattr__(self, "fallback_names", _split("fallback", self.fallback))
        object.__setattr__(self, "fields", _check_fields(self.headers))


def check_directory(directory: str | os.PathLike[str]) -> str:
    """Return the path of a folder from the root of the system; raises TypeError or OSError."""
    check_path("directory", directory)
    if not IS_SUPPORTED:
        raise SockwaveError("server.static: expected a system with openat, such as Linux or macOS")
    # Not `abspath`: that would take out "..", which behind a symbolic link leads elsewhere.
    path = os.path.join(os.getcwd(), os.fspath(directory))
    with opened_root(path):
        return path


def _check_age(age: object) -> None:
    if not isinstance(age, int) or isinstance(age, bool):
        raise TypeError(f"max_age: expected int seconds or None, given {type(age).__name__}")
    if age < 0:
        raise ValueError(f"max_age: expected 0 or more seconds, given {age}")


def _split(option: str, path: object, *, most: int | None = None) -> list[bytes]:
    """Return the names of a path below the folder; at most so many."""
    if not isinstance(path, str):
        raise TypeError(f"{option}: expected str or None, given {type(path).__name__}")
    names = os.fsencode(path).split(b"/")
    if any(name in (b"", b".", b"..") or b"\0" in name for name in names) or (
        most is not None and len(names) > most
    ):
        raise ValueError(f"{option}: expected a file's name such as 'index.html', given {path!r}")
    return names


def _check_fields(headers: HeaderPairs) -> list[tuple[str, str]]:
    """Return the fields that each answer has."""
    pairs = list(check_headers(headers))
    for name, _ in pairs:
        if name.lower() in FRAMING_HEADERS:
            raise ValueError(f"headers: expected none that frames the response, given {name}")
    # What a user has uploaded is not to become a page because it looks like one.
    if all(name.lower() != "x-content-type-options" for name, _ in pairs):
        pairs.append(("X-Content-Type-Options", "nosniff"))
    return pairs
