"""`sockwave publish TOPIC MESSAGE --to unix:PATH`, or `--broker URL`: one message, from a shell."""

import argparse
import os
import sys

from sockwave.cli.shell.parser import CommandParser
from sockwave.cli.shell.values import seconds
from sockwave.errors import SockwaveError
from sockwave.topics.publisher import Publisher

_FAILURE = 1

_DESCRIPTION = """\
Publish one message on a topic: of a service of the same host, which runs with
`sockwave serve --sequencer PATH`, or of all hosts that share a broker. Exit
status: 0 when it has been taken, 1 when it has been refused or was not
acknowledged in time, 2 for wrong arguments, 130 when Ctrl-C came before that.
"""


def add_publish(parser: CommandParser) -> None:
    """Add the arguments of `sockwave publish`."""
    parser.example = '$ sockwave publish news "It is live" --to unix:/run/chat/topics'
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.add_argument("topic", metavar="TOPIC", help="on which topic")
    parser.add_argument(
        "message", metavar="MESSAGE", help="a text; - reads it from standard input, to its end"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--to", metavar="unix:PATH", help="where the service's sequencer listens")
    place.add_argument(
        "--broker",
        metavar="URL",
        help="the broker that its hosts share (or SOCKWAVE_BROKER in the environment, where no "
        "list of processes shows its password)",
    )
    parser.add_argument(
        "--binary", action="store_true", help="publish the bytes of standard input as they are"
    )
    parser.add_argument(
        "--id",
        metavar="ID",
        help="of a topic with a history: publish nothing if a message with this id was lately "
        "published",
    )
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=seconds,
        default=30.0,
        help="seconds to wait until it has been taken (default: 30)",
    )
    parser.set_defaults(command=run_publish, parser=parser)


def find_address(chosen: argparse.Namespace) -> str:
    """Return where to publish: an empty option, as of a variable that is not set, is a mistake."""
    for flag, address in ("--to", chosen.to), ("--broker", chosen.broker):
        if address == "":
            chosen.parser.error(f"{flag}: expected an address, got nothing")
        if address is not None:
            return str(address)
    address = os.environ.get("SOCKWAVE_BROKER", "")
    if not address:
        chosen.parser.error("expected --to unix:PATH, or --broker URL")
    return address


def run_publish(chosen: argparse.Namespace) -> int:
    """Publish one message, and print its position, if the topic has any."""
    if chosen.binary and chosen.message != "-":
        chosen.parser.error("--binary: expected - as MESSAGE, for standard input")
    address = find_address(chosen)
    try:
        message: str | bytes = chosen.message
        if message == "-":
            # None: it is closed, as `<&-` does.
            message = sys.stdin.buffer.read() if sys.stdin is not None else b""
            if not chosen.binary:
                message = message.decode()
        with Publisher(address, timeout=chosen.timeout) as publisher:
            published = publisher.publish(chosen.topic, message, id=chosen.id)
    except (ValueError, ImportError) as error:
        chosen.parser.error(str(error))
    except SockwaveError as error:
        print(f"{chosen.parser.prog}: {error}", file=sys.stderr)
        return _FAILURE
    if published.position is not None:
        print(published.position)
    return 0
