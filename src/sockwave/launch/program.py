"""The program of a worker of `sockwave serve`: a fresh interpreter, which imports TARGET.

It is started as `python -m sockwave.launch.program DESCRIPTOR TARGET`, with its end of the control
channel.
"""

import contextlib
import socket
import sys
from typing import Any

from sockwave.launch.settings import Settings
from sockwave.server.server import Server
from sockwave.server.working import run_worker
from sockwave.workers.control import ControlChannel, Kind
from sockwave.workers.link import Link
from sockwave.workers.processes import Place, ignore_signals


def main(arguments: list[str]) -> int:
    """Run a worker to its end, and return the exit status."""
    ignore_signals()
    with contextlib.closing(ControlChannel(socket.socket(fileno=int(arguments[0])))) as channel:
        return serve(channel)


def serve(channel: ControlChannel) -> int:
    """Serve what the supervisor says, and return the exit status."""
    messages = channel.wait()
    if not messages or messages[0].kind is not Kind.BEGIN:
        return 0  # the supervisor has gone
    fields = messages[0].fields
    place = Place(fields["number"], fields["total"], fields["serial"], fields["sequencer"])
    link = Link(channel, place, messages[1:])
    return run_worker(link, lambda link: work(link, fields))


def work(link: Link, fields: dict[str, Any]) -> None:
    """Import TARGET, and serve it."""
    from sockwave.launch.application import draw_max_requests
    from sockwave.launch.logs import configure_logging
    from sockwave.launch.service import adopt, prepare

    details = fields["settings"]
    sys.path[:] = details["path"]
    settings = Settings.from_json(details["settings"])
    configure_logging(settings)
    server: Server = prepare(details["target"], settings)
    adopt(server, [socket.socket(fileno=one) for one in fields["descriptors"]], settings)
    server._run_as_worker(link, max_requests=draw_max_requests(settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
