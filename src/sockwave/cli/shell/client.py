"""What commands that connect to a server ask for alike: headers, an origin, whom they trust."""

import argparse
import ssl

from sockwave.cli.shell.values import header


def add_headers(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options of what an opening request says besides; `what` names the request."""
    parser.add_argument(
        "-H",
        "--header",
        metavar="'NAME: VALUE'",
        type=header,
        action="append",
        default=[],
        dest="headers",
        help=f"a header field of {what}; can be given several times",
    )
    parser.add_argument(
        "--origin", metavar="ORIGIN", help="the origin to send, such as https://example.com"
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the options that say whose certificate is believed."""
    parser.add_argument(
        "--ca",
        metavar="FILE",
        help="trust the certificates in this PEM file, in place of the system's",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="trust any certificate: for tests, and nothing else"
    )


def make_context(chosen: argparse.Namespace) -> ssl.SSLContext | None:
    """Make the context for wss://; None: the usual one.

    Raises OSError where the file of `--ca` cannot be read, or has no certificates.
    """
    if not chosen.uri.lower().startswith("wss:"):
        return None
    if chosen.insecure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif chosen.ca is not None:
        context = ssl.create_default_context(cafile=chosen.ca)
    else:
        return None
    context.set_alpn_protocols(["http/1.1"])
    return context
