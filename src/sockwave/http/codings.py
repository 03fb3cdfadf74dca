"""Which content codings a client takes: RFC 9110, sections 8.4.1 and 12.5.3."""

import re

from sockwave.core.http.headers import Headers

#: The codings in which a file may lie beside itself, the smallest first, and how its name ends.
SUFFIXES = {"br": b".br", "zstd": b".zst", "gzip": b".gz"}

# RFC 9110, 12.4.2: a weight has three digits behind the point at most.
_WEIGHT = re.compile(r"[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")

# RFC 9110, 8.4.1.3: "A recipient SHOULD consider "x-gzip" to be equivalent to "gzip"".
_ALIASES = {"x-gzip": "gzip"}


def accepted_codings(headers: Headers) -> list[str]:
    """Return those of `SUFFIXES` that the client takes rather than the file as it is, best first.

    A coding with a malformed weight is none that is taken. Without the field there are none: such a
    client may not know any.
    """
    if "accept-encoding" not in headers:
        return []
    weights = _read_weights(headers.get_tokens("accept-encoding"))
    other = weights.get("*", 0.0)
    # Where the client does not name it, the file as it is comes last.
    least = weights.get("identity", 0.0)
    found = [(weights.get(coding, other), coding) for coding in SUFFIXES]
    taken = [(weight, coding) for weight, coding in found if weight > 0 and weight >= least]
    # The sort is stable: of codings with the same weight, the smallest stays first.
    return [coding for _, coding in sorted(taken, key=lambda pair: -pair[0])]


def _read_weights(elements: list[str]) -> dict[str, float]:
    """Return the weight of each coding that the elements name."""
    weights: dict[str, float] = {}
    for element in elements:
        coding, separator, _ = element.partition(";")
        name = coding.rstrip(" \t")
        weight = 1.0
        if separator:
            found = _WEIGHT.fullmatch(element, len(name))
            weight = float(found[1]) if found else 0.0
        weights.setdefault(_ALIASES.get(name, name), weight)
    return weights
