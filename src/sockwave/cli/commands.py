"""The command line: its options, how it runs a server, and how it reports failures."""

import argparse
import errno
import ssl
import sys
from collections.abc import Callable, Sequence

import sockwave
from sockwave.cli.serve import add_serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, of `sys.argv` by default, and return its exit status; 1 is a failure."""
    parser = outline()
    chosen = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = chosen.command
    try:
        return command(chosen)
    except KeyboardInterrupt:  # before or after the server handles SIGINT, which closes it
        return 0


def outline() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="sockwave", description="WebSocket servers, ready to run."
    )
    version = f"sockwave {sockwave.__version__}"
    parser.add_argument("--version", action="version", version=version, help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve_parser = commands.add_parser(
        "serve",
        help="serve an application: module:app, or module:server",
        description="Serve an ASGI application, or a sockwave.Server. "
        "Each flag can be given as a variable of the environment, such as SOCKWAVE_LOG_LEVEL.",
    )
    add_serve(serve_parser)

    chat = commands.add_parser("chat", help="serve a chat room and its page")
    add_address(chat, port=8000)
    add_tls(chat)
    chat.set_defaults(command=run_chat, parser=chat)

    echo = commands.add_parser("echo", help="send every message back")
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
    echo.set_defaults(command=run_echo, parser=echo)
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


def port_number(text: str) -> int:
    """Convert a port from the command line, 0 to 65535."""
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")


def path_name(text: str) -> str:
    """Check a path from the command line; an empty one would make a socket without a name."""
    if text:
        return text
    raise argparse.ArgumentTypeError("expected a path, got nothing")


def positive(text: str) -> int:
    """Convert a count from the command line, 1 or more."""
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")


def run_chat(chosen: argparse.Namespace) -> int:
    """Serve the chat room until a signal ends it."""
    from sockwave.cli.chat import create_chat

    scheme = "http" if chosen.tls_cert is None else "https"
    return serve(create_chat(), chosen, f"Chat on {scheme}://{{}}/")


def run_echo(chosen: argparse.Namespace) -> int:
    """Serve the echo until a signal ends it."""
    from sockwave.cli.echo import create_echo

    options: dict[str, object] = {"engine": chosen.engine}
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

    @server.on("listening")
    def listening() -> None:
        for address in server.addresses:
            where = f"Echo on unix:{path}"
            print(line.format(format_address(*address)) if path is None else where, flush=True)

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
    server.run()
    return 0


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
