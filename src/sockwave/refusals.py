"""The refusals of requests that are malformed, or over a limit of the options."""

from sockwave.errors import Refused
from sockwave.limits import Limits, OverLimit


def malformed(what: str, expected: str) -> Refused:
    """Return the refusal of what is malformed: where `expected` should have come."""
    return Refused(400, f"malformed {what}: expected {expected}\n")


def refuse_line(limits: Limits) -> OverLimit:
    """Return the refusal of a request line that is too long."""
    size = limits.request_line_size
    return OverLimit("request_line_size", 414, f"a request line of more than {size} bytes\n")


def refuse_block(limits: Limits) -> OverLimit:
    """Return the refusal of a header block that is too long."""
    size = limits.header_block_size
    return OverLimit("header_block_size", 431, f"header fields of more than {size} bytes\n")


def refuse_body(limits: Limits) -> OverLimit:
    """Return the refusal of a body that is too long."""
    size = limits.body_size
    return OverLimit("body_size", 413, f"a body of more than {size} bytes\n")
