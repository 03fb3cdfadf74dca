"""What an application needs of the HTTP side beyond the public methods of Request and Response.

Everything else of this room uses what is public. So the HTTP side has to offer this, and no more.
"""

from typing import Protocol, cast

from sockwave.core.io.transport import Transport
from sockwave.http import Response

Pairs = list[tuple[str, str]]


class Watcher(Protocol):
    """What is told of an exchange: a call of an application."""

    def body_arrived(self) -> None:
        """Take note that there is more of the body to take, or that it is complete."""

    def detached(self) -> None:
        """Take note that the response can reach the client no longer.

        The client has gone, or the server has answered in place of the application.
        """


class Exchange(Protocol):
    """One request and its response on the HTTP side; `response._sink` until the response ends."""

    #: What carries the connection: its local address, and its TLS session.
    transport: Transport

    @property
    def is_received(self) -> bool:
        """Whether the body has arrived, or there is none."""

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher`, until the response ends; nothing but `take_body` reads the body then."""

    def take_body(self) -> bytes:
        """Return what has arrived of the body since the last call."""

    def body_wanted(self) -> None:
        """Send 100 (Continue) if the client waits for it: the application waits for the body."""

    def leave_body(self) -> None:
        """Let the rest of the body be dropped as it arrives: it is not read any more."""

    def inform(self, status: int, pairs: Pairs) -> None:
        """Send an interim response (1xx) before the head of the response."""


def exchange_of(response: Response) -> Exchange:
    """Return the HTTP side of a response to which nothing has been written yet."""
    return cast(Exchange, response._sink)


def set_head(response: Response, status: int, pairs: Pairs) -> None:
    """Set the head as `write_head` does, where the pairs have been checked; obs-text may pass."""
    response._set_head(status, pairs, None)
    response._head_given = True


def add_trailers(response: Response, pairs: Pairs) -> None:
    """Have these fields sent behind the last chunk; a body without chunks drops them."""
    response._add_trailers(pairs)


def fail(response: Response, error: BaseException) -> None:
    """Answer with 500, or as a `Refused` says; drop the connection if the head has been sent."""
    response._fail(error)


def give_up(response: Response, reason: str) -> None:
    """Do the same where no error was raised, and report that there is no answer."""
    response._give_up(reason)
