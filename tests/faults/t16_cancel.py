"""T16: every await is cancelled in turn, while it waits, and when it need not any more.

What was being done ends; nothing else does, nothing is left behind, and no reply goes astray.
"""

import asyncio
import contextlib
import os
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeAlias

import sockwave
from faults.client import BINARY, PING, PONG, Client, make_frame
from faults.ledger import Ledger, Stream, Verdict

PATIENCE_S = 10.0
#: Far over what the kernel and asyncio's transports take: then a send has to wait.
LARGE = bytes(100_000)
SENT_COUNT = 80
MESSAGE_COUNT = 6


LONG: dict[str, int] = {}
SHORT: dict[str, int] = {}


class Points:
    """Runs a coroutine and cancels it at the await with a number; 0 for none."""

    def __init__(self, at: int, *, late: bool) -> None:
        self.at = at
        self.late = late
        self.count = 0
        self.task: asyncio.Task[Any] | None = None

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> bool:
        """Run it to its end; False if it was cancelled."""
        self.task = asyncio.ensure_future(self.counted(coroutine))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.wait([self.task])
        except TimeoutError:
            self.task.cancel()
            raise AssertionError("it waits for ever") from None
        if self.task.cancelled():
            return False
        self.task.result()
        return True

    async def counted(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Count the awaits of a coroutine that runs as the present task."""
        return await self._step(coroutine)

    @types.coroutine
    def _step(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        send, argument = coroutine.send, None
        while True:
            try:
                waited = send(argument)  # type: ignore[arg-type]
            except StopIteration as stop:
                return stop.value
            self.reach(waited)
            try:
                send, argument = coroutine.send, (yield waited)
            except BaseException as error:
                send, argument = coroutine.throw, error  # type: ignore[assignment]

    def reach(self, waited: Any) -> None:
        """Note an await, and cancel where it is the one."""
        self.count += 1
        if self.count != self.at:
            return
        task = self.task or asyncio.current_task()
        assert task is not None
        if self.late and waited is not None:
            # Ahead of the wake-up that the task is about to add: what it waited for has come.
            waited.add_done_callback(lambda _: task.cancel())
        else:
            asyncio.get_running_loop().call_soon(task.cancel)


class Rig:
    """A server of one scenario's own, and its clients."""

    def __init__(self, server: sockwave.Server, points: Points, ledger: Ledger) -> None:
        self.server = server
        self.points = points
        self.ledger = ledger
        self.clients: list[Client] = []
        self.errors: list[BaseException] = []
        server.on("error", lambda error, conn: self.errors.append(error))

    @property
    def port(self) -> int:
        """Where the server listens."""
        return int(self.server.addresses[0][1])

    async def open(self, hear: Callable[[int, bytes], Any] = lambda *_: None) -> Client:
        """Send a handshake."""
        client = await Client.open(self.port, "/", hear)
        self.clients.append(client)
        return client

    async def connect(
        self, hear: Callable[[int, bytes], Any] = lambda *_: None
    ) -> tuple[Client, sockwave.Connection]:
        """Connect, and give both ends."""
        accepted = asyncio.get_running_loop().create_future()
        self.server.once("connection", accepted.set_result)
        client = await self.open(hear)
        return client, await accepted

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> bool:
        """Run what is cancelled; False if it was."""
        return await self.points.run(coroutine)


Scenario: TypeAlias = Callable[[Rig], Awaitable[None]]
SCENARIOS: dict[str, tuple[Scenario, dict[str, Any]]] = {}


def scenario(**options: Any) -> Callable[[Scenario], Scenario]:
    """Note a scenario, and the options of its server."""

    def note(function: Scenario) -> Scenario:
        SCENARIOS[function.__name__] = function, options
        return function

    return note


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is true."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"{what} was waited for in vain") from None


async def send_one_by_one(client: Client, stream: Stream) -> None:
    """Send messages, each when the one before has come back."""
    while stream.sent_count < MESSAGE_COUNT:
        client.send(stream.next_message())
        await until(lambda: stream.heard_count == stream.sent_count, "an echo")


async def echo(conn: sockwave.Connection, receive: Callable[[], Awaitable[Any]]) -> None:
    """Send back what is received."""
    while True:
        await conn.send(await receive())


async def converse(
    rig: Rig, make: Callable[[sockwave.Connection], Coroutine[Any, Any, Any]]
) -> None:
    """Let what echoes be cancelled, and another take over: no message is lost or comes twice."""
    stream = Stream(rig.ledger, 7)
    client, conn = await rig.connect(
        lambda opcode, payload: stream.hear(payload) if opcode == BINARY else None
    )
    sending = asyncio.ensure_future(send_one_by_one(client, stream))
    sending.add_done_callback(lambda _: conn.close())
    with contextlib.suppress(sockwave.ConnectionClosed):
        if not await rig.run(make(conn)):
            await make(conn)
    await sending
    stream.settle()
    assert await client.ended == 1000


@scenario()
async def receive(rig: Rig) -> None:
    """`receive`."""
    await converse(rig, lambda conn: echo(conn, conn.receive))


@scenario()
async def receive_in_time(rig: Rig) -> None:
    """`receive(timeout)`."""
    await converse(rig, lambda conn: echo(conn, lambda: conn.receive(timeout=60)))


@scenario()
async def iterate(rig: Rig) -> None:
    """`async for`."""

    async def iterate(conn: sockwave.Connection) -> None:
        async for message in conn:
            await conn.send(message)

    await converse(rig, iterate)


@scenario()
async def two_receivers(rig: Rig) -> None:
    """Two that wait for messages, of whom one is cancelled."""

    async def two(conn: sockwave.Connection) -> None:
        await echo(conn, conn.receive)

    stream = Stream(rig.ledger, 8)
    client, conn = await rig.connect(
        lambda opcode, payload: stream.hear(payload) if opcode == BINARY else None
    )
    other = asyncio.ensure_future(two(conn))
    sending = asyncio.ensure_future(send_one_by_one(client, stream))
    sending.add_done_callback(lambda _: conn.close())
    with contextlib.suppress(sockwave.ConnectionClosed):
        await rig.run(two(conn))
    await sending
    stream.settle()
    await asyncio.gather(other, return_exceptions=True)


@scenario()
async def send(rig: Rig) -> None:
    """`send`, to a peer that reads slowly."""
    loop = asyncio.get_running_loop()
    heard: list[int] = []
    sent: list[int] = []

    def hear(opcode: int, payload: bytes) -> None:
        if opcode == BINARY:
            heard.append(payload[0])
            client.transport.pause_reading()
            loop.call_later(0.002, client.transport.resume_reading)

    client, conn = await rig.connect(hear)

    async def send_all() -> None:
        while len(sent) < SENT_COUNT:
            sent.append(len(sent))
            await conn.send(bytes([sent[-1]]) + LARGE)

    if not await rig.run(send_all()):
        await send_all()
    await until(lambda: len(heard) == len(sent), "what was sent")
    assert heard == sent, f"sent {sent}, heard {heard}"


@scenario()
async def ping(rig: Rig) -> None:
    """`ping`, answered late; each has its own pong."""
    pings: list[bytes] = []
    client, conn = await rig.connect(
        lambda opcode, payload: pings.append(payload) if opcode == PING else None
    )
    client.answers_ping = False
    loop = asyncio.get_running_loop()

    async def ping_all() -> None:
        for i in range(MESSAGE_COUNT):
            loop.call_later(0.005, client.write, make_frame(b"ping %d" % i, PONG))
            await conn.ping(b"ping %d" % i)

    await rig.run(ping_all())
    waiting = asyncio.ensure_future(conn.ping(b"last"))
    await until(lambda: b"last" in pings, "the last ping")
    client.send(b"ping 0", PONG)
    client.send(b"stray", PONG)
    await asyncio.sleep(0.01)
    assert not waiting.done(), "a pong of somebody else's"
    client.send(b"last", PONG)
    await waiting


@scenario()
async def stream(rig: Rig) -> None:
    """`stream`: who leaves it early leaves the rest of that message, and no other."""
    client, conn = await rig.connect()
    messages = [b"0000.", b"1111.", b"2222."]
    taken: list[bytes] = []
    begun: list[int] = []

    async def feed() -> None:
        for message in messages:
            client.write(make_frame(message[:1], fin=False))
            for i in range(1, 4):
                await asyncio.sleep(0.002)
                client.write(make_frame(message[i : i + 1], 0, fin=False))
            client.write(make_frame(message[4:], 0))
        client.send(b"end")

    async def take_all() -> None:
        while len(begun) < len(messages):
            begun.append(len(begun))
            taken.append(b"".join([chunk async for chunk in conn.stream()]))

    feeding = asyncio.ensure_future(feed())
    await rig.run(take_all())
    rest: list[bytes] = []
    while b"end" not in rest:
        rest.append(bytes(await conn.receive(timeout=PATIENCE_S)))
    await feeding
    # Of the message whose stream was left nothing comes again, unless none of it had been taken.
    left = [messages[len(begun) :], messages[len(taken) :]]
    assert rest[:-1] in left, f"taken {taken}, then {rest}"


@scenario()
async def stream_message(rig: Rig) -> None:
    """`stream_message`: cancelled before its first write nothing was sent; else 1011."""
    heard: list[bytes] = []
    client, conn = await rig.connect(
        lambda opcode, payload: heard.append(payload) if opcode == BINARY else None
    )

    async def read_slowly() -> None:
        while not client.ended.done():
            client.transport.pause_reading()
            await asyncio.sleep(0.002)
            client.transport.resume_reading()
            await asyncio.sleep(0.001)

    async def speak() -> None:
        async with conn.stream_message("binary") as out:
            for _ in range(SENT_COUNT):
                await out.write(LARGE)

    reading = asyncio.ensure_future(read_slowly())
    if await rig.run(speak()):
        conn.close()
        assert await client.ended == 1000
        assert [len(message) for message in heard] == [SENT_COUNT * len(LARGE)]
    else:
        assert await client.ended == 1011
        assert not heard
    await reading


@scenario()
async def second_speaker(rig: Rig) -> None:
    """`stream_message`, behind another one: who gives up waiting is in nobody's way."""
    heard: list[bytes] = []
    client, conn = await rig.connect(
        lambda opcode, payload: heard.append(payload) if opcode == BINARY else None
    )
    gate = asyncio.Event()

    async def speak(letter: bytes, first: bool = False) -> None:
        async with conn.stream_message("binary") as out:
            if first:
                await gate.wait()
            await out.write(letter)

    speakers = [asyncio.ensure_future(speak(b"a", True))]
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.01, gate.set)
    was_whole = await rig.run(speak(b"b"))
    speakers.append(asyncio.ensure_future(speak(b"c")))
    await asyncio.gather(*speakers)
    conn.close()
    assert await client.ended == 1000
    assert heard == ([b"a", b"b", b"c"] if was_whole else [b"a", b"c"]), heard


@scenario()
async def close_server(rig: Rig) -> None:
    """`close` of the server: who gives up waiting for it does not stop it."""
    client, _ = await rig.connect()
    closed = asyncio.get_running_loop().create_future()
    rig.server.once("close", lambda: closed.set_result(None))

    async def close() -> None:
        await rig.server.close()

    await rig.run(close())
    async with asyncio.timeout(PATIENCE_S):
        await closed
        await rig.server.close()
    assert await client.ended == 1001


@scenario()
async def serve_forever(rig: Rig) -> None:
    """`serve_forever`: cancelled, it closes the server."""
    client, _ = await rig.connect()
    asyncio.get_running_loop().call_later(0.02, rig.server.close)
    await rig.run(rig.server.serve_forever())
    assert await client.ended == 1001


async def authorize(handshake: Any) -> bool:
    """Take some time."""
    return await authorize.decide()  # type: ignore[attr-defined,no-any-return]


@scenario(authorize=authorize)
async def authorize_late(rig: Rig) -> None:
    """`authorize`: a handshake whose task is cancelled is answered, or hung up on."""

    async def decide() -> bool:
        await asyncio.sleep(0)
        await asyncio.sleep(0.003)
        return True

    def begin() -> Awaitable[bool]:
        rig.points.task = asyncio.current_task()
        return rig.points.counted(decide())

    authorize.decide = begin  # type: ignore[attr-defined]
    try:
        client = await rig.open()
        async with asyncio.timeout(PATIENCE_S):
            status = await client.opened
    finally:
        del authorize.decide  # type: ignore[attr-defined]
    was_cancelled = 0 < rig.points.at <= rig.points.count
    assert status == 101 if not was_cancelled else status != 101, status


@scenario()
async def listener(rig: Rig) -> None:
    """An asynchronous listener: a message of its own each, and the others are served."""
    stream = Stream(rig.ledger, 9)
    client, conn = await rig.connect(
        lambda opcode, payload: stream.hear(payload) if opcode == BINARY else None
    )

    async def answer(message: bytes) -> None:
        await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        await conn.send(message)

    @conn.on("message")
    async def heard(message: bytes) -> None:
        if rig.points.task is None:
            rig.points.task = asyncio.current_task()
            await rig.points.counted(answer(message))
        else:
            await answer(message)

    client.send(stream.next_message())
    await until(lambda: rig.points.task is not None and rig.points.task.done(), "the first")
    if rig.points.task is not None and rig.points.task.cancelled():
        stream.heard_count += 1  # it was for the one that was cancelled
        stream.ledger.published -= 1
        stream.start += 1
    await send_one_by_one(client, stream)
    stream.settle()
    conn.close()
    assert await client.ended == 1000


@scenario()
async def handler(rig: Rig) -> None:
    """The handler of `serve`: when it is cancelled its connection is closed."""

    async def handle(conn: sockwave.Connection) -> None:
        rig.points.task = asyncio.current_task()

        async def talk() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0.003)
            await conn.send("done")

        await rig.points.counted(talk())

    rig.server.handle_with(handle)
    client = await rig.open()
    async with asyncio.timeout(PATIENCE_S):
        code = await client.ended
    was_cancelled = 0 < rig.points.at <= rig.points.count
    assert code == (1011 if was_cancelled else 1000), code


@contextlib.asynccontextmanager
async def served(engine: str, **options: Any) -> AsyncIterator[sockwave.Server]:
    """Start a server, and close it."""
    server = sockwave.create_server(engine=engine, **options)
    server.listen(0, "127.0.0.1")
    await server.start()
    try:
        yield server
    finally:
        async with asyncio.timeout(PATIENCE_S):
            await server.close(drain=1)


def count_held() -> tuple[int, int]:
    """Count descriptors and tasks."""
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


class Campaign:
    """All scenarios on one engine."""

    def __init__(self, engine: str, verdict: Verdict) -> None:
        self.engine = engine
        self.verdict = verdict
        self.point_count = 0
        self.leaked = [0, 0]

    async def try_point(self, name: str, points: Points) -> None:
        """Have one scenario, with one await cancelled."""
        function, options = SCENARIOS[name]
        held = count_held()
        try:
            async with served(self.engine, **options) as server:
                rig = Rig(server, points, self.verdict.ledger)
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await function(rig)
                finally:
                    for client in rig.clients:
                        client.reset()
        except (AssertionError, TimeoutError, asyncio.CancelledError) as error:
            moment = "late" if points.late else "at once"
            sentence = f"{name}, await {points.at} {moment}: {error!r}"
            self.verdict.require(False, sentence)
        for _ in range(100):
            if count_held() <= held:
                break
            await asyncio.sleep(0.01)
        grown = [max(0, after - before) for before, after in zip(held, count_held(), strict=True)]
        self.leaked = [old + new for old, new in zip(self.leaked, grown, strict=True)]
        self.verdict.require(not any(grown), f"{name}, await {points.at}: {grown} fd, tasks left")

    async def walk(self, names: list[str]) -> None:
        """Cancel every await of these scenarios, in both ways."""
        for name in names:
            whole = Points(0, late=False)
            await self.try_point(name, whole)
            self.verdict.require(whole.count, f"{name}: nothing is awaited")
            for at in range(1, whole.count + 1):
                for late in (False, True):
                    await self.try_point(name, Points(at, late=late))
                    self.point_count += 1


async def run(engine: str, seed: int) -> Verdict:
    """Cancel every await of every scenario."""
    verdict = Verdict("T16", engine, seed)
    campaign = Campaign(engine, verdict)
    await campaign.walk(list(SCENARIOS))
    ledger = verdict.ledger
    crossed = ledger.duplicated + ledger.reordered + ledger.corrupted
    return verdict.close(
        f"{campaign.point_count} await points of {len(SCENARIOS)} kinds, "
        f"{campaign.leaked[0]} leaked fd, {campaign.leaked[1]} leaked tasks, "
        f"{crossed} crossed replies"
    )
