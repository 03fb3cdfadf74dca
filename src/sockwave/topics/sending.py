"""How a message is sent, as other workers are told of it."""

from collections.abc import Hashable
from typing import Any

from sockwave.messages import MAX_SHARED_KEY_SIZE


def describe_sending(
    compress: bool | None,
    slow: str | None,
    key: Hashable,
) -> dict[str, Any]:
    """Return what other workers are to know of how a message is sent."""
    meta: dict[str, Any] = {}
    if compress is not None:
        meta["compress"] = compress
    if slow is not None:
        meta["slow"] = slow
    if key is not None:
        meta["key"] = key if isinstance(key, (str, int, float, bool)) else repr(key)
        text = str(meta["key"])
        # A character is four bytes at most: few are so many that their bytes have to be counted.
        if 4 * len(text) > MAX_SHARED_KEY_SIZE:
            size = len(text.encode(errors="replace"))
            if size > MAX_SHARED_KEY_SIZE:
                raise ValueError(
                    f"key: expected at most {MAX_SHARED_KEY_SIZE} B for other workers, given {size}"
                )
    return meta
