"""What is logged about peers: one escaped line each, and not too many alike."""

import logging
from collections.abc import Iterator

import pytest
from together import together

from sockwave import log
from sockwave.log import LINE_COUNT, PERIOD_S, TEXT_SIZE, Detail, PeerLog, escape, log_access, quote


class Lines(logging.Handler):
    """The lines that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Peer:
    """Somebody at an address."""

    def __init__(self, host: str = "192.0.2.1", port: int = 80) -> None:
        self.remote_address = (host, port)


@pytest.fixture
def logged() -> Iterator[tuple[PeerLog, logging.Logger, list[str]]]:
    """A log of peers, the logger behind it, and its lines."""
    logger = logging.Logger("peers")
    handler = Lines()
    logger.addHandler(handler)
    yield PeerLog(logger), logger, handler.lines
    logger.removeHandler(handler)


@together
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


@pytest.mark.parametrize("text", ["a" * TEXT_SIZE, "\x1b" * TEXT_SIZE, "'\"" * (TEXT_SIZE // 2)])
def test_a_long_text_is_cut(text: str) -> None:
    assert escape(text + "b") == escape(text) + "..."
    assert quote(text + "b") == quote(text) + "..."
    assert "b" not in quote(text + "b").replace("\\x1b", "")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "''"),
        ("http://a", "'http://a'"),
        ("a'b", '"a\'b"'),
        ("a'\"b", r"""'a\'"b'"""),
        ("\r\n\x1b\x7f\x85\u202e\udc80\\", r"'\r\n\x1b\x7f\x85\u202e\udc80\\'"),
    ],
)
def test_a_quoted_text_cannot_end_its_quotes(text: str, quoted: str) -> None:
    assert quote(text) == quoted


class Told(Detail):
    """A detail that is counted when it is written."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.count = 0

    def __str__(self) -> str:
        self.count += 1
        return self.text


def test_a_detail_is_written_for_lines_that_are_logged_alone(
    logged: tuple[PeerLog, logging.Logger, list[str]],
) -> None:
    peers, _, lines = logged
    detail = Told(r"said 'a\n'")
    for _ in range(LINE_COUNT + 5):
        peers.info("%s %s", Peer(), detail)
    assert lines == [r"192.0.2.1:80 said 'a\n'"] * LINE_COUNT
    assert detail.count == LINE_COUNT
    # One that is wrong cannot break the line either.
    peers.info("%s: %s", Peer(), Told("a\nb\x1b"))
    assert lines[-1] == r"192.0.2.1:80: a\nb\x1b"
    quiet = PeerLog(logging.Logger("peers", logging.WARNING))
    assert peers.is_on(logging.INFO)
    assert not quiet.is_on(logging.INFO)
    quiet.info("%s, %s", Peer(), detail)
    assert detail.count == LINE_COUNT


def test_each_argument_is_escaped(logged: tuple[PeerLog, logging.Logger, list[str]]) -> None:
    peers, _, lines = logged
    peers.warning("%s said %s, %d times: %s", Peer("a\nb"), "\x1b[2J", 3, ValueError("c\nd"))
    assert lines == [r"a\nb:80 said \x1b[2J, 3 times: c\nd"]


def test_flood_of_lines_is_cut_and_counted(
    logged: tuple[PeerLog, logging.Logger, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers, _, lines = logged
    now = 1000.0
    monkeypatch.setattr(log.time, "monotonic", lambda: now)
    for i in range(LINE_COUNT):
        peers.warning("%s is bad", Peer(port=i))
    assert lines == [f"192.0.2.1:{i} is bad" for i in range(LINE_COUNT)]
    for i in range(100):
        peers.warning("%s is bad", Peer(port=i))
    assert len(lines) == LINE_COUNT
    peers.warning("%s is worse", Peer())
    assert lines.pop() == "192.0.2.1:80 is worse"
    now += PERIOD_S
    peers.warning("%s is bad", Peer(port=7))
    peers.warning("%s is bad", Peer(port=8))
    assert lines[LINE_COUNT:] == [
        "192.0.2.1:7 is bad (and 100 more such lines)",
        "192.0.2.1:8 is bad",
    ]


def test_line_that_is_left_out_asks_for_no_address(
    logged: tuple[PeerLog, logging.Logger, list[str]],
) -> None:
    peers, _, lines = logged
    for _ in range(LINE_COUNT):
        peers.warning("%s is bad", Peer())
    stranger = Peer()
    del stranger.remote_address
    peers.warning("%s is bad", stranger)
    assert len(lines) == LINE_COUNT


def test_level_that_is_off_is_not_counted(
    logged: tuple[PeerLog, logging.Logger, list[str]],
) -> None:
    peers, logger, lines = logged
    logger.setLevel(logging.WARNING)
    for _ in range(100):
        peers.debug("no more of %s", Peer())
    assert lines == []
    peers.warning("no more of %s", Peer())
    assert lines == ["no more of 192.0.2.1:80"]


def test_line_tells_where_it_comes_from(caplog: pytest.LogCaptureFixture) -> None:
    PeerLog(logging.getLogger("peers")).warning("%s is bad", Peer())
    assert [record.funcName for record in caplog.records] == [
        test_line_tells_where_it_comes_from.__name__
    ]


def test_line_of_the_access_log_is_that_of_uvicorn(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sockwave.access")
    log_access(("192.0.2.1", 4711), "GET", "/a?b=\x1b", "1.1", 200)
    (record,) = caplog.records
    assert record.getMessage() == r'192.0.2.1:4711 - "GET /a?b=\x1b HTTP/1.1" 200'
    assert isinstance(record.args, tuple)
    assert record.args[4] == 200
