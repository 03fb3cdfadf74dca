"""Clients that were there before the attack and want to notice nothing of it."""

import asyncio
from typing import Self

from tls_wire import TlsWire
from wire import Wire

from attacks.process import Victim
from attacks.victim import BYSTANDER

# Where bystanders come from, and a server's own page: the Host of `Wire.connect`.
OWN_PAGE = {"Origin": "http://example.com"}


class Bystanders:
    """A few clients that send messages and hold the server to sending them back."""

    def __init__(self, clients: list[Wire | TlsWire]) -> None:
        self.clients = clients
        self.wires = [client.wire if isinstance(client, TlsWire) else client for client in clients]
        self.rounds = [0] * len(clients)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def gather(cls, victim: Victim, count: int) -> Self:
        """Connect so many, half of them by TLS where it is spoken; each has one message back."""
        clients: list[Wire | TlsWire] = []
        for number in range(count):
            if victim.tls_address and number % 2:
                clients.append(await TlsWire.connect(victim.tls_address, target=BYSTANDER))
            else:
                clients.append(await victim.connect(target=BYSTANDER, headers=OWN_PAGE))
        made = cls(clients)
        for number in range(count):
            await made.echo(number)
        return made

    async def echo(self, number: int) -> None:
        """Send one message, and see it come back, next and whole."""
        message = f"bystander {number}, round {self.rounds[number]}"
        self.clients[number].send(message)
        answer = await self.clients[number].receive_message()
        assert answer == message, f"{message!r} expected, got {answer!r}"
        self.rounds[number] += 1

    async def _echo_on(self, number: int) -> None:
        while True:
            await self.echo(number)
            await asyncio.sleep(0.02)  # they are to be in the middle of things, not a load

    async def __aenter__(self) -> Self:
        """Begin to echo."""
        self._tasks = [
            asyncio.create_task(self._echo_on(number)) for number in range(len(self.clients))
        ]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop; raises what disturbed one of them."""
        before = list(self.rounds)
        # One round more for everybody: all are served yet.
        while kind is None and any(  # noqa: ASYNC110 - tasks have no event for a round
            rounds == start and not task.done()
            for rounds, start, task in zip(self.rounds, before, self._tasks, strict=True)
        ):
            await asyncio.sleep(0.005)
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError):
                raise outcome

    async def close(self) -> None:
        for wire in self.wires:
            await wire.close()
