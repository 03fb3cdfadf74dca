"""The limits on how long a connection lasts and is waited for, each kept and gone past."""

import asyncio

import pytest
from conftest import StartServer
from reference import PING, PONG
from stories import Stories, Story, Telling
from wire import connect_both, wait_until

import sockwave

STORIES = Stories()

#: In seconds, and how many pings at the first are more than the second.
SOON, LATER, MANY = 0.1, 0.4, 8

#: More than the kernel takes for a peer that does not read, on both ends together.
MUCH = 16 << 20


@pytest.mark.parametrize("story", STORIES, ids=str)
@pytest.mark.slow
async def test_limit_holds_at_its_value_and_bites_one_past_it(
    story: Story, start_server: StartServer
) -> None:
    await story.play(start_server)


@STORIES.about("ping_timeout", ping_timeout=LATER, ping_interval=SOON)
async def answers_and_then_none(server: sockwave.Server) -> Telling:
    wire, _ = await connect_both(server)
    for _ in range(MANY):
        wire.write_frame(PONG, await wire.receive_ping())
    yield None
    await wire.receive_ping()
    yield (await wire.receive_close())[0]


@STORIES.about("idle_timeout", idle_timeout=LATER, ping_interval=None)
async def words_and_then_none(server: sockwave.Server) -> Telling:
    wire, _ = await connect_both(server)
    for _ in range(MANY):
        wire.write_frame(PING)
        await wire.receive_pong()
        await wire.receive_nothing(SOON)
    yield None
    yield (await wire.receive_close())[0]


@STORIES.about("max_lifetime", max_lifetime=LATER, lifetime_jitter=0, ping_interval=None)
async def life(server: sockwave.Server) -> Telling:
    wire, _ = await connect_both(server)
    await wire.receive_nothing(LATER / 2)
    yield None
    yield (await wire.receive_close())[0]


@STORIES.about("write_timeout", write_timeout=LATER, max_backlog=None, besides=("high_water",))
async def sips_and_then_none(server: sockwave.Server) -> Telling:
    wire, conn = await connect_both(server, receive_buffer_size=1 << 14)
    ended: list[int] = []
    conn.on("close", lambda code, reason: ended.append(code))
    conn.send(bytes(MUCH))
    for _ in range(MANY):
        await wire.receive(1 << 17)
        wire.pause_reading()
        await asyncio.sleep(SOON)  # nothing is to happen meanwhile
        wire.resume_reading()
    assert not ended
    yield None
    wire.pause_reading()
    await wait_until(lambda: ended)
    assert ended == [1006]
    yield None
