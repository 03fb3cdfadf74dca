"""The paths of routes, as the application writes them: exact names, and `{name}` segments."""

from dataclasses import dataclass

# What a path is written with that is not a name: it would never be found in one, as a target is cut
# at these, and names are written decoded.
_FOREIGN = "?#%"


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path of names, and of segments that any one name can take."""

    path: str
    #: None stands for a `{name}` segment.
    segments: tuple[str | None, ...]
    #: The names of those segments, in their order.
    names: tuple[str, ...]


def parse_pattern(path: object) -> PathPattern:
    """Return what a path says; raise TypeError or ValueError, with what was expected."""
    if not isinstance(path, str):
        raise TypeError(f"path: expected str, such as '/chat/{{room}}', given {_describe(path)}")
    if not path.startswith("/"):
        raise ValueError(f"path: expected a path such as '/chat/{{room}}', given {path!r}")
    parts = path[1:].split("/")
    names = [part[1:-1] for part in parts if "{" in part or "}" in part]
    if "" in parts[:-1]:
        raise ValueError(f"path: expected no empty segment but the last, given {path!r}")
    for part in parts:
        _check_segment(path, part)
    if len(set(names)) < len(names):
        raise ValueError(f"path: expected each name once, given {path!r}")
    segments = tuple(None if part.startswith("{") else part for part in parts)
    return PathPattern(path, segments, tuple(names))


def _describe(path: object) -> str:
    """Return what was given in place of a path: a function, where `@route` lacks its path."""
    return repr(path) if callable(path) else type(path).__name__


def _check_segment(path: str, part: str) -> None:
    """Raise ValueError unless a segment is a name, or `{name}`."""
    if part in (".", ".."):
        # RFC 3986, 5.2.4: clients take them away.
        raise ValueError(f"path: expected no dot segment, given {path!r}")
    for character in _FOREIGN:
        if character in part:
            raise ValueError(
                f"path: expected names as they are, decoded and without a query, given {path!r}"
            )
    if not part.isprintable():
        raise ValueError(f"path: expected no control characters, given {path!r}")
    is_name = part.startswith("{") and part.endswith("}") and part[1:-1].isidentifier()
    if ("{" in part or "}" in part) and not is_name:
        raise ValueError(
            f"path: expected whole segments with the name of a variable in braces, such as "
            f"'/chat/{{room}}', given {path!r}"
        )
