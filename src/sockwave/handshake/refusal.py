"""The log line of a refused handshake: the reason, both origins, scheme, host and version."""

import re

from sockwave.core.http.request_head import RequestHead
from sockwave.errors import Refused
from sockwave.handshake.origin import OriginPolicy, find_origins, own_origin
from sockwave.limits import OverLimit
from sockwave.log import TEXT_SIZE, Detail, escape, quote

# So many elements of an option, or of a repeated field, are logged: the first ones say enough.
_SHOWN_COUNT = 3


class Refusal(Detail):
    """One refusal, whose text is made only if its line is logged.

    `host` is the host that the client has asked for, if a proxy tells one other than the request's
    Host; `version` is None where it is unknown; `hook` is the application's function that refused.
    """

    __slots__ = ("_head", "_hook", "_host", "_origin_policy", "_refused", "_secure", "_version")

    def __init__(
        self,
        refused: Refused,
        head: RequestHead,
        origin_policy: OriginPolicy,
        *,
        version: str | None,
        secure: bool,
        host: str | None,
        hook: object = None,
    ) -> None:
        self._refused = refused
        self._head = head
        self._origin_policy = origin_policy
        self._version = version
        self._secure = secure
        self._host = host
        self._hook = hook

    def __str__(self) -> str:
        headers = self._head.headers
        host = self._host or headers.get("host") or ""
        scheme = "https" if self._secure else "http"
        version = self._version or _name_all(headers.get_all("sec-websocket-version"))
        return (
            f"{describe_reason(self._refused, self._hook)}; "
            f"origin {_name_all(find_origins(self._head, self._version))}, "
            f"expected {describe_expected(self._origin_policy, self._secure, host)}; "
            f"scheme {scheme}, host {quote(host)}, version {version}"
        )


def describe_reason(refused: Refused, hook: object = None) -> str:
    """Return the reason on one line: the limit or the function, and the body of the answer."""
    # UTF-8 has at most four bytes per character; `escape` would cut off the rest anyway.
    sentence = escape(refused.body[: 4 * TEXT_SIZE + 4].decode(errors="replace").strip())
    if isinstance(refused, OverLimit):
        return f"{refused.limit}: {sentence}"
    if hook is None:
        return sentence
    return f"by {_name_function(hook)}" + (f": {sentence}" if sentence else "")


def describe_expected(policy: OriginPolicy, secure: bool, host: str) -> str:
    """Return which origins may connect, as the option `origin` says."""
    if policy == "same-origin":
        return f"{quote(own_origin(secure, host))} (same-origin)"
    if isinstance(policy, str):
        return "any"
    if isinstance(policy, re.Pattern):
        return f"a match of {quote(policy.pattern)}"
    if isinstance(policy, frozenset):
        return _name_all([*sorted(filter(None, policy)), *(None,) * (None in policy)], " or ")
    return f"what {_name_function(policy)} accepts"


def _name_all(texts: "list[str] | list[str | None]", link: str = " and ") -> str:
    """Return the first few texts, quoted; None and an empty list become "none"."""
    names = ["none" if text is None else quote(text) for text in texts[:_SHOWN_COUNT]] or ["none"]
    if len(texts) > _SHOWN_COUNT:
        names.append(f"{len(texts) - _SHOWN_COUNT} more")
    return link.join(names)


def _name_function(function: object) -> str:
    """Return the name of an application's function."""
    return escape(getattr(function, "__qualname__", type(function).__name__))
