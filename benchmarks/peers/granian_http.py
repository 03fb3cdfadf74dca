"""ASGI applications with granian: one worker, as its command starts it."""

import os
from pathlib import Path

from applications import APPLICATIONS, Application
from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from serving import parse_arguments


def create() -> Application:
    """Create, in the worker, the application that the command line has named."""
    return APPLICATIONS[os.environ["APPLICATION"]]()


if __name__ == "__main__":
    arguments = parse_arguments()
    os.environ["APPLICATION"] = arguments.app
    Granian(
        "granian_http:create",
        "127.0.0.1",
        arguments.port,
        interface=Interfaces.ASGI,
        factory=True,
        working_dir=Path(__file__).parent,
        loop=Loops(arguments.loop),
        workers=1,
        backlog=4096,
        backpressure=20_000,  # connections that may be open at once
        log_level=LogLevels.warning,
        ssl_cert=Path(arguments.tls_cert) if arguments.tls_cert else None,
        ssl_key=Path(arguments.tls_key) if arguments.tls_key else None,
    ).serve()
