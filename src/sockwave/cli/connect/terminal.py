"""Talking in a terminal: what is typed, with history and editing, and above it what comes."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import create_input
from prompt_toolkit.patch_stdout import patch_stdout

from sockwave.cli.connect.ending import (
    CLOSED_NORMALLY,
    INTERRUPTED,
    describe_failure,
    report,
    status_of,
)
from sockwave.cli.connect.rendering import describe_close, render, timestamp
from sockwave.cli.connect.settings import Settings, convert
from sockwave.client.errors import HandshakeError
from sockwave.core.session.client_connection import ClientConnection
from sockwave.errors import ConnectionClosed

_HELP = """\
/ping            measure the latency
/hex 00 ff       send a binary message
/json            print JSON with indentation, or as it comes
/close [CODE [REASON]]
/help            this list; a message that begins with / is typed as //
Ctrl-D closes, Ctrl-C clears the line, and closes where there is none; the arrows and Ctrl-R find
what was typed before."""

#: How long Ctrl-D waits for a server that does not answer its ping, in seconds.
_PATIENCE_S = 1.0

_COLOURS = {"<": "ansigreen", ">": "ansiblue", "!": "ansired", "*": "ansiyellow"}


def talk_in_terminal(settings: Settings) -> int:
    """Talk until either end closes; returns the exit status."""
    return asyncio.run(Terminal(settings).run())


def open_history() -> History:
    """Return what was typed before, kept where the XDG Base Directory Specification says."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    folder = Path(base) / "sockwave"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "history"
        path.touch(0o600)
    except OSError:  # a home that cannot be written
        return InMemoryHistory()
    return FileHistory(str(path))


class Terminal:
    """One conversation in a terminal, by one connection or by several after each other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_json = settings.is_json
        self._conn: ClientConnection | None = None
        self._input = create_input()
        # While something is printed, and between two prompts, the terminal would read lines of its
        # own, and take Ctrl-D and Ctrl-C for itself: so it never does.
        self._input.cooked_mode = self._input.raw_mode
        self._prompt = PromptSession(
            history=open_history(),
            input=self._input,
            bottom_toolbar=self._toolbar,
            refresh_interval=1.0,
        )

    async def run(self) -> int:
        """Connect, and talk; returns the exit status."""
        # What is printed goes above what is typed, and not over it.
        with patch_stdout(raw=True), self._input.raw_mode():
            connecting = asyncio.create_task(self._keep_connected())
            typing = asyncio.create_task(self._type())
            try:
                await asyncio.wait({connecting, typing}, return_when=asyncio.FIRST_COMPLETED)
                if typing.done() and not connecting.done():
                    is_interrupted = typing.result()
                    if self._conn is None and is_interrupted:
                        return INTERRUPTED
                    if self._conn is None or not self._conn.is_open:
                        return CLOSED_NORMALLY
                    if not is_interrupted:
                        await self._hear_out(self._conn)
                    await self._conn.close()
                    if not self._settings.reconnects:  # otherwise the next one would be opened
                        await asyncio.wait({connecting}, timeout=self._settings.timeout)
                    return CLOSED_NORMALLY
                error = connecting.exception()
            finally:
                for task in (connecting, typing):
                    task.cancel()
                await asyncio.gather(connecting, typing, return_exceptions=True)
        if error is None:
            return connecting.result()
        if isinstance(error, (ConnectionClosed, HandshakeError, OSError)):
            return report(error, self._settings.prog)
        raise error

    # ---- the connection

    async def _keep_connected(self) -> int:
        """Receive by a connection, and with --reconnect by the next; returns the exit status."""
        if self._settings.reconnects:
            async for conn in self._settings.connector():
                await self._receive(conn)
        async with self._settings.connector() as conn:
            await self._receive(conn)
        return status_of(conn.close_code)

    async def _receive(self, conn: ClientConnection) -> None:
        self._conn = conn
        chosen = f", subprotocol {conn.subprotocol}" if conn.subprotocol else ""
        self._show("*", f"connected to {self._settings.uri}{chosen}")
        if self._settings.is_verbose:
            for name, value in conn.response_headers.items():
                self._show("*", render(f"{name}: {value}", is_json=False, is_terminal=True))
        async for message in conn:
            self._show("<", render(message, is_json=self._is_json, is_terminal=True))
        is_error = status_of(conn.close_code) != CLOSED_NORMALLY
        self._show("!" if is_error else "*", describe_close(conn.close_code, conn.close_reason))

    async def _hear_out(self, conn: ClientConnection) -> None:
        """Wait for the answers to what was typed last.

        The server has dealt with all of it when it answers a ping behind it.
        """
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(min(self._settings.timeout, _PATIENCE_S)):
                await conn.ping()

    # ---- what is typed

    async def _type(self) -> bool:
        """Send what is typed, until Ctrl-D, or Ctrl-C; returns whether it was Ctrl-C."""
        while True:
            try:
                line: str = await self._prompt.prompt_async("> ")
            except EOFError:
                return False
            except KeyboardInterrupt:
                if not self._prompt.default_buffer.text:
                    return True
                continue
            if not line:
                continue
            try:
                await self._act(line)
            except (ValueError, TypeError, TimeoutError, ConnectionClosed) as error:
                self._show("!", describe_failure(error))

    async def _act(self, line: str) -> None:
        """Do what a line says: send it, or what a command says."""
        conn = self._conn
        if line.startswith("/") and not line.startswith("//"):
            word, _, rest = line[1:].partition(" ")
            if word == "help":
                self._show("*", _HELP)
                return
            if word == "json":
                self._is_json = not self._is_json
                return
        if conn is None or not conn.is_open:
            raise ValueError("not connected: the line is not sent")
        if line.startswith("//"):
            await conn.send(convert(line[1:], is_binary=self._settings.is_binary))
        elif not line.startswith("/"):
            await conn.send(convert(line, is_binary=self._settings.is_binary))
        elif word == "ping":
            self._show("*", f"pong after {await conn.ping() * 1e3:.2f} ms")
        elif word == "hex":
            await conn.send(convert(rest, is_binary=True))
        elif word == "close":
            code, _, reason = rest.strip().partition(" ")
            if code and not code.isdecimal():
                raise ValueError(f"expected a close code, got {code!r}")
            await conn.close(int(code or 1000), reason)
        else:
            raise ValueError(f"there is no command /{word}; /help lists them")

    # ---- what is shown

    def _show(self, mark: str, text: str) -> None:
        """Print a line, or several, above what is typed."""
        colour = _COLOURS[mark]
        print_formatted_text(
            FormattedText([("ansibrightblack", f"{timestamp()} "), (colour, f"{mark} {text}")])
        )
        sys.stdout.flush()

    def _toolbar(self) -> str:
        conn = self._conn
        if conn is None or not conn.is_open:
            return f" {self._settings.uri}: not connected"
        latency = conn.latency
        told = "not measured yet" if latency is None else f"{latency * 1e3:.1f} ms"
        return f" {self._settings.uri}   latency {told}   /help"
