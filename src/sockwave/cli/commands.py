"""The command line: its options, how it runs a server, and how it reports failures."""

import argparse
import errno
import os
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Any

import sockwave
from sockwave.cli.bench.command import add_bench
from sockwave.cli.connect.command import add_connect
from sockwave.cli.doctor.command import add_doctor
from sockwave.cli.publish import add_publish
from sockwave.cli.serve import add_serve
from sockwave.cli.shell.output import drop_output, prepare_output
from sockwave.cli.shell.parser import CommandParser, VersionAction
from sockwave.cli.shell.values import path_name, port_number, positive

#: That of a command which Ctrl-C has ended before it was done: 128 and the number of SIGINT.
_INTERRUPTED = 130
#: That of one whose output nobody reads: 128 and the number of SIGPIPE.
_UNREAD = 141
_FAILURE = 1

_STATUSES = (
    "Exit status: 0 when a signal has ended it, 1 when it cannot listen, 2 for wrong arguments."
)
_CHAT = f"Serve a chat and its page. {_STATUSES}"
_ECHO = f"Send every message back, text as text and binary as binary. {_STATUSES}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, of `sys.argv` by default, and return its exit status; 1 is a failure.

    A server that Ctrl-C ends has done what it was asked for: 0. What any other command was asked
    for has not been done then: 130.
    """
    prepare_output()
    try:
        try:
            return run(outline().parse_args(arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads any more, as behind `| head`
        drop_output()
        return _UNREAD


def run(chosen: argparse.Namespace) -> int:
    """Run the command that was chosen, and return its exit status."""
    command: Callable[[argparse.Namespace], int] = chosen.command
    try:
        status = command(chosen)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        raise
    except OSError as error:
        if chosen.serves:  # what the application does is told where it did it
            raise
        print(f"{chosen.parser.prog}: {error.strerror or error}", file=sys.stderr)
        drop_output()
        return _FAILURE
    except KeyboardInterrupt:  # of a server: before or after it handles SIGINT, which closes it
        return 0 if chosen.serves else _INTERRUPTED


def outline() -> CommandParser:
    """Build the parser of all commands."""
    parser = CommandParser(prog="sockwave", description="WebSocket servers, ready to run.")
    parser.example = "$ sockwave serve main:app"
    parser.add_argument("--version", action=VersionAction)
    parser.set_defaults(serves=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve_parser = commands.add_parser(
        "serve",
        help="serve an application: module:app, or module:server",
        description="Serve an ASGI application, or a sockwave.Server. "
        "Each flag can be given as a variable of the environment, such as SOCKWAVE_LOG_LEVEL. "
        "Exit status: 0 when a signal or the application has ended it, 1 when it cannot listen, "
        "2 for wrong arguments, 3 when the application cannot be imported or started.",
    )
    add_serve(serve_parser)

    add_publish(commands.add_parser("publish", help="publish a message on a topic of a service"))

    add_connect(commands.add_parser("connect", help="talk to a WebSocket server"))
    add_bench(commands.add_parser("bench", help="load a WebSocket server, and tell how late it is"))
    add_doctor(commands.add_parser("doctor", help="tell what a service needs, and what is missing"))

    chat = commands.add_parser("chat", help="serve a chat and its page", description=_CHAT)
    chat.example = "$ sockwave chat --port 8000"
    add_address(chat, port=8000)
    chat.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        help="processes that serve it, under a supervisor (default: this one alone)",
    )
    add_tls(chat)
    chat.set_defaults(command=run_chat, parser=chat, serves=True)

    echo = commands.add_parser("echo", help="send every message back", description=_ECHO)
    echo.example = "$ sockwave echo --port 9001"
    add_address(echo, port=9001)
    echo.add_argument(
        "--unix", metavar="PATH", type=path_name, help="listen on a Unix socket instead of a port"
    )
    echo.add_argument(
        "--engine", choices=("auto", "epoll", "asyncio"), default="auto", help="default: auto"
    )
    echo.add_argument(
        "--version",
        metavar="V",
        default="auto",
        help="protocol versions accepted, with commas between them: draft75, draft76, hybi-07, "
        "hybi-08, rfc6455 (default: auto, which is all)",
    )
    echo.add_argument(
        "--max-size",
        metavar="N",
        type=positive,
        help="largest message accepted, in bytes (default: 1048576)",
    )
    echo.add_argument(
        "--compression", action="store_true", help="compress every message (permessage-deflate)"
    )
    add_tls(echo)
    echo.set_defaults(command=run_echo, parser=echo, serves=True)
    return parser


def add_address(parser: argparse.ArgumentParser, port: int) -> None:
    """Add the options that say where to listen, with `port` as the default port."""
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument(
        "--port", type=port_number, default=port, help=f"default: {port}; 0 picks a free one"
    )


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a server speak TLS."""
    parser.add_argument(
        "--tls-cert",
        metavar="FILE",
        help="speak TLS, with the certificates in this PEM file; read again on SIGHUP",
    )
    parser.add_argument(
        "--tls-key",
        metavar="FILE",
        help="the certificate's key (default: in the file of --tls-cert)",
    )


def run_chat(chosen: argparse.Namespace) -> int:
    """Serve the chat until a signal ends it."""
    from sockwave.cli.chat import create_chat

    scheme = "http" if chosen.tls_cert is None else "https"
    return serve(create_chat(), chosen, f"Chat on {scheme}://{{}}/")


def run_echo(chosen: argparse.Namespace) -> int:
    """Serve the echo until a signal ends it."""
    from sockwave.cli.echo import create_echo

    options: dict[str, Any] = {"engine": chosen.engine}
    if chosen.compression:
        options["compression"] = sockwave.Deflate(threshold=0)
    names = [name.strip() for name in chosen.version.split(",")]
    options["version"] = names if len(names) > 1 else names[0]
    if chosen.max_size is not None:
        options["max_size"] = chosen.max_size
    try:
        server = create_echo(**options)
    except (TypeError, ValueError) as error:
        chosen.parser.error(str(error))
    scheme = "ws" if chosen.tls_cert is None else "wss"
    return serve(server, chosen, f"Echo on {scheme}://{{}}/")


def serve(server: sockwave.Server, chosen: argparse.Namespace, line: str) -> int:
    """Listen where the options say, print each address in `line`, and run until SIGINT or SIGTERM.

    Returns the exit status: 1, with one line about it on stderr, if the server cannot listen or the
    certificate cannot be loaded.
    """
    if chosen.tls_key is not None and chosen.tls_cert is None:
        chosen.parser.error("--tls-key: expected --tls-cert as well")
    context = None
    if chosen.tls_cert is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    path: str | None = getattr(chosen, "unix", None)
    workers: int | None = getattr(chosen, "workers", None)

    def tell_addresses() -> None:
        for address in server.addresses:
            where = f"Echo on unix:{path}"
            print(line.format(format_address(*address)) if path is None else where, flush=True)

    server.on("listening", tell_addresses if workers is None else in_first_process(tell_addresses))

    try:
        server.listen(chosen.port, chosen.host, path=path, ssl=context)
    except (OSError, UnicodeError) as error:
        print(f"{chosen.parser.prog}: {explain(error, chosen)}", file=sys.stderr)
        return 1
    if context is not None:
        try:
            server.reload_tls(chosen.tls_cert, chosen.tls_key)
        except OSError as error:
            server.close()
            where = error.filename or chosen.tls_cert
            reason = error.strerror or str(error)
            print(f"{chosen.parser.prog}: no certificate in {where}: {reason}", file=sys.stderr)
            return 1
    try:
        server.run(workers=workers)
    except sockwave.SockwaveError as error:
        print(f"{chosen.parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def in_first_process(call: Callable[[], None]) -> Callable[[], None]:
    """Return what calls something once, in the first of the processes forked from this one."""
    reading, writing = os.pipe()
    os.write(writing, b"!")
    os.close(writing)

    def first() -> None:
        if os.read(reading, 1):  # the others find the end of the pipe
            call()

    return first


def format_address(host: str, port: int) -> str:
    """Write an address as a URL does: an IPv6 host stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def explain(error: OSError | UnicodeError, chosen: argparse.Namespace) -> str:
    """Return why listening failed, and which option chooses another address."""
    if isinstance(error, UnicodeError):
        return f"cannot listen on {chosen.host}: it is no host name"
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        option = "--port" if getattr(chosen, "unix", None) is None else "--unix"
        return f"{reason}; choose another with {option}"
    return reason
