"""Topics as subjects of NATS: a token for each level, written as in a URL where it has to be."""

from urllib.parse import quote, unquote

from sockwave.brokers.interface import Wanted


def subject_of(name: Wanted) -> bytes:
    """Return the subject of a topic, or the wildcards of a pattern: they are the same as ours."""
    text = name.decode() if isinstance(name, bytes) else name
    is_pattern = isinstance(name, str)
    return ".".join(_token_of(level, is_pattern) for level in text.split("/")).encode()


def _token_of(level: str, is_pattern: bool) -> str:
    if is_pattern and level in ("*", "**"):
        return "*" if level == "*" else ">"
    return quote(level, safe="").replace(".", "%2E").replace("~", "%7E") or "%"


def name_of(subject: bytes) -> bytes:
    """Return the topic of a subject."""
    levels = (b"" if token == b"%" else token for token in subject.split(b"."))
    return b"/".join(
        unquote(level.decode("latin-1"), "latin-1").encode("latin-1") for level in levels
    )
