"""`sockwave connect`: its arguments."""

import argparse
import sys

from sockwave.cli.shell.client import add_headers, add_trust, make_context
from sockwave.cli.shell.extra import missing_extra
from sockwave.cli.shell.parser import CommandParser
from sockwave.cli.shell.values import byte_count, seconds, seconds_or_none, uri

_FAILURE = 1

_DESCRIPTION = """\
Talk to a WebSocket server. In a terminal, with history and editing. Where the
input is no terminal, each of its lines is a message, and each message that
comes is printed: at the end of the input the connection is closed once the
server has answered a ping, so that what it has answered until then is there.

Exit status: 0 when the connection has been closed normally (1000, 1001, or
without a code), 1 when there was none: nobody answers, or the server refuses,
and its answer is on stderr; 2 for wrong arguments; 3 when it was closed with
another code, or lost; 4 when no answer came within --timeout; 130 when Ctrl-C
came before the connection was open, or before all of the answers to -c.
"""


def add_connect(parser: CommandParser) -> None:
    """Add the arguments of `sockwave connect`."""
    parser.example = "$ sockwave connect wss://example.com/chat -c hello"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    add = parser.add_argument
    add("uri", metavar="URI", type=uri, help="ws://HOST or wss://HOST; HOST alone is ws://HOST")
    add(
        "-c",
        "--message",
        metavar="MESSAGE",
        action="append",
        default=[],
        dest="messages",
        help="send this, print one answer, and close; can be given several times",
    )
    add(
        "-n",
        "--count",
        metavar="N",
        type=int,
        help="close after so many messages have come (with -c: as many as are sent)",
    )
    add("--listen", action="store_true", help="read no input, and print what comes")
    add("--json", action="store_true", help="print messages that are JSON with indentation")
    add(
        "--binary",
        action="store_true",
        help="what is sent is given in hexadecimal, and sent as binary messages; "
        "binary messages that come are always printed so",
    )
    add("-t", "--timestamps", action="store_true", help="print when each message has come")
    add("-v", "--verbose", action="store_true", help="tell on stderr what happens, and headers")
    add_headers(parser, "the request")
    add(
        "--subprotocol",
        metavar="NAME",
        action="append",
        help="a subprotocol to offer; can be given several times",
    )
    add("--compression", action="store_true", help="offer compression (permessage-deflate)")
    add("--unix", metavar="PATH", help="connect to this Unix socket in place of the URI's host")
    add_trust(parser)
    add(
        "--max-size",
        metavar="N",
        type=byte_count,
        default=64 << 20,
        help="largest message accepted (default: 64MiB)",
    )
    add("--reconnect", action="store_true", help="connect again whenever the connection is lost")
    add(
        "--ping",
        metavar="S",
        type=seconds_or_none,
        default=20.0,
        help="seconds between pings; 0 for none (default: 20)",
    )
    add(
        "--timeout",
        metavar="S",
        type=seconds,
        default=10.0,
        help="seconds to connect, and for an answer to -c (default: 10)",
    )
    parser.set_defaults(command=run_connect, parser=parser)


def run_connect(chosen: argparse.Namespace) -> int:
    """Connect, talk, and return the exit status."""
    if (lacking := missing_extra("prompt_toolkit", "rich")) is not None:
        print(f"{chosen.parser.prog}: {lacking}", file=sys.stderr)
        return _FAILURE
    if chosen.count is not None and chosen.count < 0:
        chosen.parser.error(f"--count: expected 0 or more, got {chosen.count}")
    if chosen.messages and (chosen.listen or chosen.reconnect):
        chosen.parser.error("-c: expected neither --listen nor --reconnect")
    from sockwave.cli.connect.settings import Settings, convert
    from sockwave.cli.connect.talk import talk

    try:
        settings = Settings(chosen, make_context(chosen))
        for message in settings.messages:
            convert(message, is_binary=settings.is_binary)
        settings.connector()  # which checks what it is given
    except OSError as error:
        print(f"{chosen.parser.prog}: no certificates in {chosen.ca}: {error}", file=sys.stderr)
        return _FAILURE
    except (TypeError, ValueError) as error:
        chosen.parser.error(str(error))
    is_scripted = settings.messages or settings.listens or settings.count is not None
    if not is_scripted and all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        from sockwave.cli.connect.terminal import talk_in_terminal

        return talk_in_terminal(settings)
    return talk(settings)
