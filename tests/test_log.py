"""What is logged about peers: one escaped line each, and not too many alike."""

import logging
from collections.abc import Iterator

import pytest

from sockwave import log
from sockwave.log import LINE_COUNT, PERIOD_S, PeerFilter, escape


class Lines(logging.Handler):
    """The lines that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def peers() -> Iterator[tuple[logging.Logger, list[str]]]:
    """A logger of its own, filtered as that of the peers is, and its lines."""
    logger = logging.Logger("peers")
    logger.addFilter(PeerFilter())
    handler = Lines()
    logger.addHandler(handler)
    yield logger, handler.lines
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("192.0.2.1:80", "192.0.2.1:80"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred\x7f\x00", r"\x1b[31mred\x7f\x00"),
        ("\udc80 and \ud800", r"\udc80 and \ud800"),
        ("\x85\u2028\u202e", r"\x85\u2028\u202e"),
        ("back\\slash", r"back\\slash"),
        (ValueError("a\nb"), r"a\nb"),
    ],
)
def test_nothing_of_a_peer_leaves_the_line_or_steers_a_terminal(text: object, escaped: str) -> None:
    assert escape(text) == escaped
    assert escape(text).isprintable()
    assert escape(text).isascii()


def test_each_argument_is_escaped(peers: tuple[logging.Logger, list[str]]) -> None:
    logger, lines = peers
    logger.warning("%s said %s, %d times", "a\nb", "\x1b[2J", 3)
    assert lines == [r"a\nb said \x1b[2J, 3 times"]


def test_flood_of_lines_is_cut_and_counted(
    peers: tuple[logging.Logger, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, lines = peers
    now = 1000.0
    monkeypatch.setattr(log.time, "monotonic", lambda: now)
    for i in range(LINE_COUNT):
        logger.warning("peer %d is bad", i)
    assert lines == [f"peer {i} is bad" for i in range(LINE_COUNT)]
    for i in range(100):
        logger.warning("peer %d is bad", i)
    assert len(lines) == LINE_COUNT
    logger.warning("another kind of line")
    assert lines.pop() == "another kind of line"
    now += PERIOD_S
    logger.warning("peer %d is bad", 7)
    logger.warning("peer %d is bad", 8)
    assert lines[LINE_COUNT:] == ["peer 7 is bad (and 100 more such lines)", "peer 8 is bad"]


def test_level_that_is_off_is_not_counted(peers: tuple[logging.Logger, list[str]]) -> None:
    logger, lines = peers
    logger.setLevel(logging.WARNING)
    for _ in range(100):
        logger.debug("peer %s", "x")
    assert lines == []
    logger.warning("peer %s", "x")
    assert lines == ["peer x"]
