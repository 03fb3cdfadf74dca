"""Talking without a terminal: messages from arguments, or from the lines of a pipe."""

import asyncio
import contextlib
import sys
from typing import Any

from sockwave.cli.connect.ending import (
    CLOSED_NORMALLY,
    INTERRUPTED,
    NO_ANSWER,
    WRONG_INPUT,
    report,
    status_of,
)
from sockwave.cli.connect.printer import Printer
from sockwave.cli.connect.rendering import describe_close, escape, render, timestamp
from sockwave.cli.connect.settings import Settings, convert
from sockwave.cli.connect.source import Lines
from sockwave.client.errors import HandshakeError
from sockwave.core.session.client_connection import ClientConnection
from sockwave.errors import ConnectionClosed


def talk(settings: Settings) -> int:
    """Talk until one end is done; returns the exit status."""

    async def run() -> int:
        return await Talk(settings).run()

    return asyncio.run(run())


class WrongInput(ValueError):  # noqa: N818  (says what is wrong)
    """A line of the input that is no message."""


class Talk:
    """One conversation, by one connection or by several, one after the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_terminal = sys.stdout.isatty()
        self._printer = Printer()
        self._lines: Lines | None = None
        self._line_count = 0
        self._received_count = 0
        self._was_open = False

    async def run(self) -> int:
        """Connect, and talk; returns the exit status."""
        try:
            status = await self._converse()
            await self._printer.finish()
            return status
        except asyncio.CancelledError:  # Ctrl-C
            return CLOSED_NORMALLY if self._was_open and not self._lacks_some else INTERRUPTED
        except BrokenPipeError:  # nobody reads what is printed, as behind `| head`
            return CLOSED_NORMALLY
        except (ConnectionClosed, HandshakeError, OSError) as error:
            return report(error, self._settings.prog)

    async def _converse(self) -> int:
        """Connect, and talk, until either end is done; returns the exit status."""
        settings = self._settings
        if settings.reconnects:
            async for conn in settings.connector():
                try:
                    status = await self._hold(conn)
                except OSError:  # of the output: no other connection helps
                    await conn.close()
                    raise
                if status is not None:
                    await conn.close()
                    return status
                self._end(conn)
        async with settings.connector() as conn:
            status = await self._hold(conn)
        return self._end(conn) if status is None else status

    @property
    def _lacks_some(self) -> bool:
        """Whether messages are still to come that were asked for."""
        return self._settings.count is not None and self._received_count < self._settings.count

    async def _hold(self, conn: ClientConnection) -> int | None:
        """Send and receive by one connection.

        Returns the exit status, or None where the server has ended it.
        """
        self._was_open = True
        self._tell_opening(conn)
        receiving = asyncio.create_task(self._receive(conn))
        sending = asyncio.create_task(self._send(conn))
        try:
            ends: set[asyncio.Future[Any]] = {receiving, sending, self._printer.failure}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._printer.failure.done():
                self._printer.failure.result()
            if not receiving.done():
                sending.result()
                await self._finish(conn, receiving)
                if not receiving.done():
                    self._say(f"no answer within {self._settings.timeout:g} s")
                    return NO_ANSWER
                status = receiving.result()
                return self._end(conn) if status is None else status
            return receiving.result()
        except WrongInput as error:
            self._say(str(error))
            return WRONG_INPUT
        except ConnectionClosed:
            return await receiving  # which has what came before the end
        finally:
            receiving.cancel()
            sending.cancel()
            await asyncio.gather(receiving, sending, return_exceptions=True)

    async def _send(self, conn: ClientConnection) -> None:
        """Send what there is to send."""
        settings = self._settings
        if settings.messages:
            for message in settings.messages:
                await conn.send(convert(message, is_binary=settings.is_binary))
        elif settings.listens:
            await conn.wait_closed()
        else:
            await self._send_lines(conn)

    async def _send_lines(self, conn: ClientConnection) -> None:
        if sys.stdin is None:  # closed, as `<&-` does
            return
        if self._lines is None:
            self._lines = Lines(sys.stdin.fileno())
        while (line := await self._lines.next()) is not None:
            try:
                message = convert(line.decode(), is_binary=self._settings.is_binary)
            except ValueError as error:
                what = "expected UTF-8" if isinstance(error, UnicodeError) else str(error)
                raise WrongInput(f"line {self._line_count + 1}: {what}") from None
            await conn.send(message)
            self._lines.done()
            self._line_count += 1

    async def _finish(self, conn: ClientConnection, receiving: "asyncio.Task[int | None]") -> None:
        """Wait for what is still to come, once all is sent."""
        settings = self._settings
        if self._lacks_some:
            await asyncio.wait({receiving}, timeout=settings.timeout)
            return
        # The server has dealt with all of it when it answers a ping behind it.
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(settings.timeout):
                await conn.ping()
        await conn.close()
        await asyncio.wait({receiving})

    async def _receive(self, conn: ClientConnection) -> int | None:
        """Print what comes; returns the exit status once enough has come, None at the end."""
        async for message in conn:
            if self._settings.count == 0:
                continue  # nobody has asked for any
            await self._print(message)
            self._received_count += 1
            if self._settings.count == self._received_count:
                return CLOSED_NORMALLY
        return None

    # ---- what is told

    async def _print(self, message: str | bytes) -> None:
        settings = self._settings
        text = render(message, is_json=settings.is_json, is_terminal=self._is_terminal)
        if settings.has_timestamps:
            text = f"{timestamp()} {text}"
        await self._printer.print(text)

    def _say(self, text: str) -> None:
        print(f"{self._settings.prog}: {text}", file=sys.stderr)

    def _tell_opening(self, conn: ClientConnection) -> None:
        if not self._settings.is_verbose:
            return
        chosen = f", subprotocol {conn.subprotocol}" if conn.subprotocol else ""
        self._say(f"connected to {self._settings.uri}{chosen}")
        for name, value in conn.response_headers.items():
            self._say(f"{name}: {escape(value)}")

    def _end(self, conn: ClientConnection) -> int:
        """Tell how the connection has ended; returns the exit status."""
        status = status_of(conn.close_code)
        if status == CLOSED_NORMALLY and self._lacks_some:
            status = NO_ANSWER
        if status != CLOSED_NORMALLY or self._settings.is_verbose:
            latency = conn.latency
            told = f"; latency {latency * 1e3:.1f} ms" if latency is not None else ""
            self._say(describe_close(conn.close_code, conn.close_reason) + told)
        return status
