"""Values on the command line."""

import argparse
from collections.abc import Callable

import pytest

from sockwave.cli.shell import values


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (values.byte_count, "0", 0),
        (values.byte_count, "16KiB", 16 << 10),
        (values.byte_count, "1 mib", 1 << 20),
        (values.seconds, "0.5", 0.5),
        (values.seconds_or_none, "0", 0.0),
        (values.header, "X-One:  a: b ", ("X-One", "a: b")),
        (values.uri, "localhost:1", "ws://localhost:1"),
        (values.uri, "wss://a", "wss://a"),
        (values.positive, "1", 1),
        (values.port_number, "65535", 65535),
        (values.seconds, "1e6", 1e6),
        (values.seconds_or_none, "1e6", 1e6),
        (values.up_to(10), "10", 10),
        (values.up_to(10), "1", 1),
    ],
)
def test_value_is_converted(convert: Callable[[str], object], text: str, value: object) -> None:
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "text"),
    [
        (values.byte_count, "16 parsecs"),
        (values.byte_count, "-1"),
        (values.byte_count, "٣"),
        (values.seconds, "0"),
        (values.seconds, "nan"),
        (values.seconds, "soon"),
        (values.seconds_or_none, "-0.1"),
        (values.seconds_or_none, "inf"),
        (values.header, ": value"),
        (values.header, "name"),
        (values.positive, "0"),
        (values.port_number, "65536"),
        (values.seconds, "1000001"),
        (values.seconds_or_none, "1e10"),
        (values.up_to(10), "11"),
        (values.up_to(10), "0"),
        (values.up_to(10), "-1"),
        (values.up_to(10), "9" * 5000),
    ],
)
def test_wrong_value_is_named(convert: Callable[[str], object], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected .+, got "):
        convert(text)
