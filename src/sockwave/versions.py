"""The names of the protocol's versions: RFC 6455, and the drafts before it."""

from collections.abc import Iterable

from sockwave.names import collect_names

#: The canonical names, the oldest first.
VERSIONS = ("draft75", "draft76", "hybi-07", "hybi-08", "rfc6455")

# hybi-09 to -12 kept the version number 8, hybi-13 to -17 the number 13 that the RFC has.
_VERSION_NAMES = {
    **{name: name for name in VERSIONS},
    "hybi-00": "draft76",
    **{f"hybi-{number:02}": "hybi-08" for number in range(9, 13)},
    **{f"hybi-{number}": "rfc6455" for number in range(13, 18)},
}


def normalize_version(version: str | Iterable[str]) -> frozenset[str]:
    """Return the canonical names that `version` stands for; "auto" stands for all of them."""
    accepted: set[str] = set()
    for name in collect_names("version", version):
        if name == "auto":
            accepted.update(VERSIONS)
        elif name in _VERSION_NAMES:
            accepted.add(_VERSION_NAMES[name])
        else:
            raise ValueError(
                f"version: expected 'auto' or one of {', '.join(_VERSION_NAMES)}, given {name!r}"
            )
    return frozenset(accepted)
