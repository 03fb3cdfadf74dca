"""The commands in a terminal: typed lines, history, commands, bars and colours."""

from pathlib import Path

import pytest
from commands import port_of, serving
from terminals import in_terminal


@pytest.fixture(scope="module")
def echo() -> object:
    with serving("echo", "--port", "0") as (_, url):
        yield url


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path), "NO_COLOR": ""}


@pytest.mark.slow
def test_what_is_typed_is_sent_and_what_comes_is_shown(echo: str, home: dict[str, str]) -> None:
    with in_terminal("connect", echo, environment=home) as terminal:
        terminal.wait_for("connected to ws://")
        terminal.type("hello there\r")
        terminal.wait_for("< hello there")
        assert "\x1b[0;32m< hello there" in terminal.written.decode()
        terminal.type("\x04")  # Ctrl-D
        assert terminal.wait() == 0


@pytest.mark.slow
def test_answers_are_shown_though_the_end_is_typed_with_the_lines(
    echo: str, home: dict[str, str]
) -> None:
    with in_terminal("connect", echo, environment=home) as terminal:
        terminal.wait_for("connected to ws://")
        terminal.type("first\rsecond\r\x04")
        assert terminal.wait() == 0
        assert "< first" in terminal.text
        assert "< second" in terminal.text


@pytest.mark.slow
def test_line_can_be_edited_and_earlier_ones_come_back(echo: str, home: dict[str, str]) -> None:
    with in_terminal("connect", echo, environment=home) as terminal:
        terminal.wait_for("connected to")
        terminal.type("helo\x1b[D\x1b[Dl-\r")  # two to the left
        terminal.wait_for("< hel-lo")
        terminal.type("\x04")
        assert terminal.wait() == 0
    with in_terminal("connect", echo, environment=home) as terminal:
        terminal.wait_for("connected to")
        terminal.type("\x1b[A")  # up
        terminal.wait_for("> hel-lo")
        terminal.type("!\r")
        terminal.wait_for("< hel-lo!")


@pytest.mark.slow
def test_commands_measure_the_latency_send_bytes_and_close(echo: str, home: dict[str, str]) -> None:
    with in_terminal("connect", echo, environment=home) as terminal:
        terminal.wait_for("connected to")
        terminal.wait_for("latency not measured yet")
        terminal.type("/ping\r")
        terminal.wait_for("* pong after ")
        terminal.type("/hex 00 ff 41\r")
        terminal.wait_for("00000000  00 ff 41")
        terminal.type("//ping\r")
        terminal.wait_for("< /ping")
        terminal.type("/jump\r")
        terminal.wait_for("! there is no command /jump")
        terminal.type("/hex zz\r")
        terminal.wait_for("! expected hexadecimal digits, got 'zz'")
        terminal.type("/help\r")
        terminal.wait_for("measure the latency")
        terminal.type("/json\r")
        terminal.type('{"a": 1}\r')
        terminal.wait_for('  "a": 1')
        terminal.type("/close 4001 enough\r")
        assert terminal.wait() == 3  # with another code than that of a normal end
        assert "! closed with 4001" in terminal.text


@pytest.mark.slow
def test_ctrl_c_clears_the_line_and_closes_where_there_is_none(
    echo: str, home: dict[str, str]
) -> None:
    with in_terminal("connect", echo, environment=home) as terminal:
        terminal.wait_for("connected to")
        terminal.type("never sent")
        terminal.wait_for("> never sent")
        terminal.type("\x03")
        terminal.type("sent\r")
        terminal.wait_for("< sent")
        terminal.type("\x03")
        assert terminal.wait() == 0


def test_message_cannot_command_the_terminal(echo: str, home: dict[str, str]) -> None:
    with in_terminal("connect", echo, "-c", "a\x1b[2Jb\x07", environment=home) as terminal:
        assert terminal.wait() == 0
        assert "a\\x1b[2Jb\\x07" in terminal.text


def test_no_color_is_honoured(echo: str, home: dict[str, str]) -> None:
    with in_terminal("connect", echo, environment=home | {"NO_COLOR": "1"}) as terminal:
        terminal.wait_for("connected to")
        terminal.type("plain\r")
        terminal.wait_for("< plain")
        assert "[0;32m" not in terminal.written.decode()


@pytest.mark.slow
def test_server_that_nobody_runs_is_said_with_status_1(home: dict[str, str]) -> None:
    with in_terminal("connect", "127.0.0.1:1", environment=home) as terminal:
        assert terminal.wait() == 1
        assert "cannot connect to 127.0.0.1:1" in terminal.text


@pytest.mark.slow
def test_client_comes_back_where_it_is_told_to(home: dict[str, str]) -> None:
    with (
        serving("echo", "--port", "0") as (process, url),
        in_terminal("connect", url, "--reconnect", environment=home) as terminal,
    ):
        terminal.wait_for("* connected to")
        process.terminate()
        terminal.wait_for("closed with 1001")
        with serving("echo", "--port", str(port_of(url))):
            terminal.wait_for("* connected to", times=2)
            terminal.type("again\r")
            terminal.wait_for("< again")
            terminal.type("\x04")
            assert terminal.wait() == 0


@pytest.mark.slow
def test_colours_of_the_doctor_are_those_of_a_terminal(home: dict[str, str]) -> None:
    with in_terminal("doctor", environment=home) as terminal:
        assert terminal.wait() in (0, 1)
        assert "\x1b[32mok" in terminal.written.decode()
    with in_terminal("doctor", environment=home | {"NO_COLOR": "1"}) as terminal:
        assert terminal.wait() in (0, 1)
        assert "\x1b[" not in terminal.written.decode()


@pytest.mark.slow
def test_load_shows_how_it_goes(echo: str, home: dict[str, str]) -> None:
    words = ("bench", echo, "--connections", "2", "--duration", "1", "--rate", "500")
    with in_terminal(*words, environment=home) as terminal:
        terminal.wait_for("/s  p99 ")
        assert terminal.wait() == 0
        assert " replies in " in terminal.text
        assert "p99.99" in terminal.text


@pytest.mark.slow
def test_load_has_neither_a_bar_nor_bold_where_colours_are_not_wanted(
    echo: str, home: dict[str, str]
) -> None:
    words = ("bench", echo, "--connections", "1", "--warmup", "0", "--duration", "0.3")
    with in_terminal(*words, environment=home | {"NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 0
        assert " replies in " in terminal.text
        assert "\x1b" not in terminal.written.decode()


@pytest.mark.slow
def test_client_without_a_connection_says_so_and_can_be_left(home: dict[str, str]) -> None:
    words = ("connect", "127.0.0.1:1", "--reconnect")
    nowhere = home | {"XDG_STATE_HOME": "/dev/null"}  # where no history can be kept
    with in_terminal(*words, environment=nowhere) as terminal:
        terminal.wait_for("127.0.0.1:1: not connected")
        terminal.type("\r")
        terminal.type("lost\r")
        terminal.wait_for("! not connected: the line is not sent")
        terminal.type("\x04")
        assert terminal.wait() == 0


@pytest.mark.slow
def test_fields_of_the_answer_are_shown_where_asked_for(echo: str, home: dict[str, str]) -> None:
    with in_terminal("connect", echo, "--verbose", environment=home) as terminal:
        terminal.wait_for("* Sec-WebSocket-Accept: ")
        terminal.type("/close never\r")
        terminal.wait_for("! expected a close code, got 'never'")
        terminal.type("/close\r")
        assert terminal.wait() == 0
        assert "* closed with 1000" in terminal.text
