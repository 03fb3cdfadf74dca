"""The common assertion: after an attack the server is what and where it was before."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from certificates import LOCALHOST, write_pem
from wire import PATIENCE_S, Wire

from attacks import applications
from attacks.bystanders import OWN_PAGE, Bystanders
from attacks.process import Application, Victim

Attack = Callable[..., AbstractAsyncContextManager[Victim]]

# Processes kept from one attack to the next, which has to find them unharmed: as many as the ways
# in which one file sets them up, which take turns from test to test. To start one takes longer than
# most attacks.
KEPT = 24

# Warm-up: connections made, used and closed before anything is measured.
VISITS = 30

MIB = 2**20


def pytest_itemcollected(item: pytest.Item) -> None:
    """Each attack is on a process of its own, which takes its time to come up."""
    item.add_marker(pytest.mark.slow)


class Victims:
    """The servers of one run of the tests, one for each way to set one up."""

    def __init__(self, certificate: tuple[str, str]) -> None:
        self.certificate = certificate
        self.kept: dict[str, Victim] = {}

    async def take(
        self,
        engine: str,
        application: Application,
        options: dict[str, Any],
        *,
        tls: bool,
        environment: dict[str, str],
    ) -> Victim:
        """Give the server that is set up like this, warm; it is the taker's to give back."""
        key = json.dumps(
            [engine, application.__module__, application.__qualname__, options, tls, environment]
        )
        victim = self.kept.pop(key, None)
        if victim is None:
            certificate = self.certificate if tls else None
            victim = await asyncio.to_thread(
                Victim, engine, application, options, certificate, environment
            )
            victim.key = key
            victim.idle_descriptors = victim.descriptor_count()
            try:
                victim.idle_tasks = (await victim.report()).tasks
                await warm_up(victim, options.get("max_size", MIB))
            except BaseException:
                victim.kill()
                raise
        return victim

    def give_back(self, victim: Victim) -> None:
        """Keep a server for the next attack; the one that waits longest goes."""
        self.kept[victim.key] = victim
        if len(self.kept) > KEPT:
            assert self.kept.pop(next(iter(self.kept))).stop() == 0

    def stop(self) -> list[int]:
        """End them all, and give their exit statuses."""
        return [victim.stop() for victim in self.kept.values()]


async def warm_up(victim: Victim, max_size: int | None) -> None:
    """Let a new server do once what it will do often, as the first time takes memory for good."""
    for number in range(VISITS):
        wire = await victim.connect(headers=OWN_PAGE)
        for size in (1, 1000, 100_000):
            wire.send("bystander".ljust(size if max_size is None else min(size, max_size)))
            await wire.receive_message()
        if number % 2:
            await wire.shake_close()
        else:
            wire.reset()
        await wire.close()


@pytest.fixture(scope="session")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    """The servers of this run; all have to end in order."""
    certificate = write_pem(LOCALHOST, tmp_path_factory.mktemp("tls"), "victim")
    victims = Victims(certificate)
    yield victims
    assert not any(victims.stop())


@pytest.fixture
async def attack(engine: str, victims: Victims) -> AsyncIterator[Attack]:
    """`async with attack(**options) as victim:` - a server that nothing in the block may harm.

    The server, an echo unless `application` is given, has a process of its own for each engine,
    and serves from one attack to the next. `tls=True` gives it a second port that speaks TLS.
    While the block runs, `bystanders` other clients echo: whatever the application does, it sends
    text that begins with "bystander" back. When the block ends, the server has to be

    - the same process, which has logged no error and written nothing to stderr;
    - undisturbed in the eyes of the bystanders, each of whom has had every message back;
    - within 5 % of the memory that it held before, and back at its descriptors and its tasks.

    What the attackers left open is closed first.
    """
    if sys.platform != "linux":
        pytest.skip("reads /proc")

    @contextlib.asynccontextmanager
    async def attack(
        *,
        application: Application = applications.echo,
        tls: bool = False,
        bystanders: int = 4,
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> AsyncIterator[Victim]:
        victim = await victims.take(
            engine, application, options, tls=tls, environment=environment or {}
        )
        try:
            async with unharmed(victim, bystanders):
                yield victim
        except BaseException:
            victim.kill()
            raise
        victims.give_back(victim)

    yield attack
    await hang_up(list(Wire.opened))


async def hang_up(wires: list[Wire]) -> None:
    """Drop connections, whatever still waits to be sent."""
    for wire in wires:
        if wire.writer.transport.get_write_buffer_size():
            wire.writer.transport.abort()
        await wire.close()


@contextlib.asynccontextmanager
async def unharmed(victim: Victim, bystander_count: int) -> AsyncIterator[None]:
    """Check that a server comes out of the block as it went in."""
    bystanders = await Bystanders.gather(victim, bystander_count)
    honest = set(Wire.opened)
    await settle(victim, bystander_count)
    await victim.report()  # forgets what was before
    own = victim.own_size()
    victim.forget_peak()
    async with bystanders:
        yield
    await hang_up([wire for wire in Wire.opened if wire not in honest])
    await settle(victim, bystander_count)
    for number in range(bystander_count):
        await bystanders.echo(number)
    assert victim.is_alive
    assert not victim.errors
    assert not [line for line in victim.take_log() if not line.startswith("WARNING")]
    before = victim.size_before
    grown = await measure_growth(victim, own, before * 0.05)
    assert grown <= before * 0.05, f"{grown / MIB:.2f} MiB more than {before / MIB:.1f} MiB"
    await bystanders.close()
    await settle(victim, 0)


async def measure_growth(victim: Victim, own_size: int, allowed: float) -> int:
    """Give how much more memory there is, in bytes, once what is kept for a moment may be gone."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S / 2
    while (grown := victim.own_size() - own_size) > allowed and loop.time() < end:
        await asyncio.sleep(0.05)
        await victim.ask("settle")
    return grown


async def settle(victim: Victim, connections: int) -> None:
    """Wait until only so many are connected, with one descriptor each, and free the memory."""
    present = (-1, -1, -1)
    wanted = (connections, connections, 0)
    try:
        async with asyncio.timeout(PATIENCE_S * 2):
            while present != wanted:
                report = await victim.ask("settle")
                descriptors = victim.descriptor_count() - victim.idle_descriptors
                # Whether a connection that is there has tasks is the application's to say.
                tasks = 0 if connections else report.tasks - victim.idle_tasks
                present = (report.connections, descriptors, tasks)
                await asyncio.sleep(0 if present == wanted else 0.02)
    except TimeoutError:
        raise AssertionError(
            f"connections, descriptors and tasks: {wanted} expected, {present} left"
        ) from None
