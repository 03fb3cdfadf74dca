"""Streams at a server of Valkey: what is asked of it, and how its answers are read.

A stream of deltas stands in the same keys as the log of a topic with a history (`valkey_logs`), and
nothing of it is trimmed. Its hash has besides: the host that produces it (`p`), and which worker of
that does (`q`), the kind of its deltas (`k`), how it has ended (`x`), when it was last said how
long it is kept (`r`), and the number of the last delta of each worker (`w` and its incarnation).
A worker that has another sequencer takes its streams with it, as it appends: by a delta that is
taken, as that sequencer does not learn from a refusal whose stream it is.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from sockwave.brokers.interface import ABORTED_MESSAGE, Appended, Key
from sockwave.brokers.valkey_logs import (
    READ_PAGE,
    draw_epoch,
    name_script,
    read_page,
    read_position,
)
from sockwave.brokers.valkey_names import ValkeyNames
from sockwave.brokers.valkey_retries import NOT_YET, Numbered, Retries, is_moving
from sockwave.core.topics.bridge import Bridge
from sockwave.core.topics.parts import PART_SIZE
from sockwave.core.topics.resp import RespError, pack_command

# For so long a stream that has ended can be read.
_KEPT_S = 60

# For so long one that has not, and to which nothing is appended; that is said again once an hour.
_LIFE_S = 24 * 3600
_RENEWAL_S = 3600

# For so long an id is known.
_ID_LIFE_S = 300

# Among so many of the newest deltas the place of one is looked for that is sent again.
_SEARCH_COUNT = 512

# Topics of one command that asks whether they are streams, and streams that one script aborts.
_LOOK_COUNT = 500
_ABORT_COUNT = 200

# KEYS: hash, stream, the mark that the topic is one, the id's place, the streams of the host.
# ARGV: channel, message, an epoch, whether another one will do, whether to begin, the highest
# offset that is known, whether it has an id, the incarnation of its worker, its number there (0:
# none), the kind, its size, most bytes, how it ends the stream, the host, the topic, and an epoch
# that there is not: by that hosts hear of a stream that is lost, and look; and the number of the
# delta that its worker has sent before, where that is not answered: without a place of that, this
# one gets none. An empty message has its place already, and only asks whose the stream is.
_APPEND = b"""
local found = redis.call(
  'HMGET', KEYS[1], 'e', 'p', 'o', 'b', 'k', 'x', 'r', 'w' .. ARGV[8], 'q'
)
local epoch = found[1]
if epoch and not found[2] then return {'', 'messages'} end
local number, done = tonumber(ARGV[9]), tonumber(found[8] or '0')
if done < tonumber(ARGV[17]) then return redis.error_reply('%s') end
if epoch and epoch == ARGV[3] and tonumber(found[3]) < tonumber(ARGV[6]) then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  redis.call('PUBLISH', ARGV[1], '1s ' .. ARGV[16] .. ' 2\\n')
  return {'', 'lost'}
end
local time = redis.call('TIME')
if not epoch then
  if ARGV[5] ~= '1' then
    redis.call('PUBLISH', ARGV[1], '1s ' .. ARGV[16] .. ' 2\\n')
    return {'', 'lost'}
  end
  if tonumber(ARGV[11]) > tonumber(ARGV[12]) then return {'', 'size'} end
  epoch = ARGV[3]
  found = {epoch, ARGV[14], '0', '0', false, false, '0', false, ARGV[8]}
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'p', ARGV[14], 'q', ARGV[8], 'o', 0, 'b', 0)
  redis.call('SADD', KEYS[5], ARGV[15])
elseif epoch ~= ARGV[3] and ARGV[4] ~= '1' then
  return {'', 'lost'}
end
local owner = found[9] == ARGV[8] and '1' or '0'
local function take_over()
  if owner == '1' and found[2] ~= ARGV[14] then
    redis.call('HSET', KEYS[1], 'p', ARGV[14])
    redis.call('SADD', KEYS[5], ARGV[15])
    redis.call('EXPIRE', KEYS[5], %d)
  end
end
if ARGV[7] == '1' then
  local known = redis.call('GET', KEYS[4])
  if known then
    take_over()
    if number > done then redis.call('HSET', KEYS[1], 'w' .. ARGV[8], ARGV[9]) end
    return {string.sub(known, 1, 16), string.sub(known, 18), owner}
  end
end
if number > 0 and done >= number then
  take_over()
  local origin = ARGV[8] .. '.' .. ARGV[9]
  local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', %d)
  for _, entry in ipairs(newest) do
    local after = string.sub(entry[2][4] or '', 4, 4 + #origin)
    if after == origin .. ' ' or after == origin .. '\\n' then
      return {epoch, string.match(entry[1], '^%%d+'), owner}
    end
  end
  return {epoch, '0', owner}
end
if ARGV[2] == '' then return {'', 'lost'} end
if found[6] then return {'', 'ended'} end
if ARGV[10] ~= '' and found[5] and found[5] ~= ARGV[10] then return {'', 'kind'} end
if tonumber(ARGV[11]) > tonumber(ARGV[12]) - tonumber(found[4]) then return {'', 'size'} end
take_over()
local place = string.format('%%.0f', redis.call('HINCRBY', KEYS[1], 'o', 1))
local now = string.format('%%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('XADD', KEYS[2], place .. '-0', 't', now, 'm', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'b', ARGV[11])
if ARGV[10] ~= '' and not found[5] then redis.call('HSET', KEYS[1], 'k', ARGV[10]) end
if number > 0 then redis.call('HSET', KEYS[1], 'w' .. ARGV[8], ARGV[9]) end
if ARGV[7] == '1' then redis.call('SET', KEYS[4], epoch .. ' ' .. place, 'EX', %d) end
local life = nil
if ARGV[13] ~= '' then
  life = %d
  redis.call('HSET', KEYS[1], 'x', ARGV[13])
  redis.call('SREM', KEYS[5], ARGV[15])
elseif tonumber(time[1]) - tonumber(found[7] or '0') > %d then
  life = %d
  redis.call('HSET', KEYS[1], 'r', time[1])
  redis.call('EXPIRE', KEYS[5], 2 * life)
end
if life then
  redis.call('EXPIRE', KEYS[1], life)
  redis.call('EXPIRE', KEYS[2], life)
  redis.call('SET', KEYS[3], epoch, 'EX', life)
end
local message = '1s ' .. epoch .. ' ' .. place .. '\\n'
if #ARGV[2] <= %d then message = message .. ARGV[2] end
redis.call('PUBLISH', ARGV[1], message)
return {epoch, place, owner}
""" % (
    NOT_YET.encode(),
    2 * _LIFE_S,
    _SEARCH_COUNT,
    _ID_LIFE_S,
    _KEPT_S,
    _RENEWAL_S,
    _LIFE_S,
    PART_SIZE,
)

# KEYS: hash, stream, mark. ARGV: the epoch that is known, the offset behind which to begin, the
# channel, and an epoch that there is not. Of a stream that has less than that, a part is lost, and
# so is all of it.
_READ = (
    b"""
local found = redis.call('HMGET', KEYS[1], 'e', 'o', 'p')
local epoch, top, since = found[1], tonumber(found[2] or '0'), tonumber(ARGV[2])
if not epoch or not found[3] then return {} end
if epoch == ARGV[1] and since > top then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  redis.call('PUBLISH', ARGV[3], '1s ' .. ARGV[4] .. ' 2\\n')
  return {}
end
if epoch ~= ARGV[1] then since = 0 end
"""
    + READ_PAGE
)

# KEYS: the streams of a host. ARGV: what stands before each key, the host, the last message. Where
# a slot is on its way to another server, EXISTS fails before anything is done that would be half.
_ABORT = b"""
local names = redis.call('SRANDMEMBER', KEYS[1], %d)
local time = redis.call('TIME')
for _, name in ipairs(names) do
  local hash = ARGV[1] .. ':m:' .. name
  redis.call('EXISTS', hash, ARGV[1] .. ':s:' .. name, ARGV[1] .. ':x:' .. name)
  local found = redis.call('HMGET', hash, 'e', 'p', 'x')
  if found[1] and found[2] == ARGV[2] and not found[3] then
    local place = string.format('%%.0f', redis.call('HINCRBY', hash, 'o', 1))
    local now = string.format('%%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
    redis.call('XADD', ARGV[1] .. ':s:' .. name, place .. '-0', 't', now, 'm', ARGV[3])
    redis.call('HSET', hash, 'x', 'a')
    for _, kind in ipairs({':m:', ':s:', ':x:'}) do
      redis.call('EXPIRE', ARGV[1] .. kind .. name, %d)
    end
    local message = '1s ' .. found[1] .. ' ' .. place .. '\\n' .. ARGV[3]
    redis.call('PUBLISH', ARGV[1] .. ':t:' .. name, message)
  end
  redis.call('SREM', KEYS[1], name)
end
return #names
""" % (_ABORT_COUNT, _KEPT_S)

_SCRIPTS = (_APPEND, _READ, _ABORT)


class Asking(Protocol):
    """What a session has for those who ask its server something."""

    @property
    def retries(self) -> Retries:
        """What is asked again while its keys are on their way to another server."""

    def ask(self, command: bytes, expected: Callable[[Any], None]) -> None:
        """Send a command, and have something take the answer."""

    def watch_keys(self) -> None:
        """See from now on whether keys that we need have been deleted."""

    def check(self, reply: Any) -> None:
        """Raise SockwaveError where the session cannot go on with an answer."""

    def note_refused(self, reply: RespError) -> None:
        """Note that the server has refused something."""

    def note_came(self) -> None:
        """Note that something has come, and is with the bridge."""


class ValkeyStreams:
    """What a session with a server does for streams."""

    def __init__(self, session: Asking, bridge: Bridge, names: ValkeyNames) -> None:
        self._session = session
        self._bridge = bridge
        self._streams = bridge.streams
        self._names = names
        self._scripts = [names.adapt(one) for one in _SCRIPTS]
        self._append_name, self._read_name, self._abort_name = map(name_script, self._scripts)
        self._host = bridge.host.encode()
        self._has_scripts = False
        #: Hosts whose streams are being aborted → what keys begin with where that is not done yet.
        self._aborting: dict[bytes, set[bytes]] = {}
        #: Whether the server tells us which topics are streams, as far as we know.
        self._may_look = True

    def append(self, deltas: Iterable[Appended]) -> None:
        """Append deltas: the bridge is told of their places."""
        self._load_scripts()
        for delta in deltas:
            (incarnation, sequence), name, *_ = delta
            self._session.retries.place(
                self._names.of(name),
                partial(self._write_delta, delta),
                partial(self._take_place, delta[0]),
                Numbered((name, incarnation), sequence if incarnation else 0),
            )

    def read(self, name: bytes, number: int, epoch: int, offset: int) -> None:
        """Read a stream behind a position: the bridge gets a page, as that of this number."""
        self._load_scripts()
        command = pack_command(
            b"EVALSHA", self._read_name, b"3", *self._keys_of(name), b"%016x" % epoch,
            b"%d" % offset, self._names.of(name) + b":t:" + name, draw_epoch(),
        )  # fmt: skip
        self._session.retries.read(
            self._names.of(name), command, partial(self._take_page, name, number)
        )

    def look(self, names: Sequence[bytes]) -> None:
        """Ask which topics are streams: the bridge is told."""
        for begin, some in self._names.sort(names).items():
            self._look(begin, some)

    def _look(self, begin: bytes, names: Sequence[bytes]) -> None:
        for place in range(0, len(names), _LOOK_COUNT):
            if not self._may_look:
                self._streams.seen(list(names), [False] * len(names))
                self._session.note_came()
                return
            some = list(names[place : place + _LOOK_COUNT])
            command = pack_command(b"MGET", *(begin + b":x:" + name for name in some))
            self._session.ask(command, partial(self._take_looks, begin, command, some))

    def abort(self, host: bytes) -> None:
        """Abort the streams of a host that has gone, unless another host has done it."""
        self._load_scripts()
        for begin in self._names.begins:
            self._abort(host, begin)

    def close(self) -> None:
        """End with the session: what has not been aborted then is by the next one."""
        aborting, self._aborting = self._aborting, {}
        for host in aborting:
            self._streams.host_gone(host)

    def _abort(self, host: bytes, begin: bytes) -> None:
        self._aborting.setdefault(host, set()).add(begin)
        command = pack_command(
            b"EVALSHA", self._abort_name, b"1", begin + b":f:" + host, begin, host, ABORTED_MESSAGE
        )
        self._session.retries.change(begin, command, partial(self._take_aborted, host, begin))

    def _load_scripts(self) -> None:
        if not self._has_scripts:
            self._has_scripts = True
            for script in self._scripts:
                self._session.ask(pack_command(b"SCRIPT", b"LOAD", script), self._take_loaded)
            self._session.watch_keys()

    def _keys_of(self, name: bytes) -> tuple[bytes, bytes, bytes]:
        begin = self._names.of(name)
        return begin + b":m:" + name, begin + b":s:" + name, begin + b":x:" + name

    def _write_delta(self, delta: Appended, before: int) -> bytes:
        key, name, parcel, id, epoch, placed, joins, begins, kind, size, end = delta
        incarnation, sequence = key
        names_begin = self._names.of(name)
        return pack_command(
            b"EVALSHA", self._append_name, b"5", *self._keys_of(name),
            names_begin + b":i:" + name + b"\n" + id,
            names_begin + b":f:" + self._host,
            names_begin + b":t:" + name,
            parcel, b"%016x" % epoch if epoch else draw_epoch(), b"1" if joins else b"0",
            b"1" if begins else b"0", b"%d" % placed, b"1" if id else b"0",
            b"%016x" % incarnation, b"%d" % (sequence if incarnation else 0), kind, b"%d" % size,
            b"%d" % self._streams.append_size, end, self._host, name, draw_epoch(),
            b"%d" % before,
        )  # fmt: skip

    # ---- answers

    def _take_loaded(self, reply: Any) -> None:
        if isinstance(reply, RespError) and not str(reply).startswith(self._names.no_scripts):
            self._session.check(reply)

    def _take_place(self, key: Key, reply: Any) -> None:
        if isinstance(reply, RespError) and not str(reply).startswith(self._names.passing_errors):
            self._session.note_refused(reply)
            self._streams.refused(key, str(reply).encode())
        else:
            self._session.check(reply)
            if reply[0]:
                position = read_position(reply[:2])
                self._streams.answered(key, *position, is_producer=reply[2] == b"1")
            else:
                self._streams.refused(key, bytes(reply[1]))
        self._session.note_came()

    def _take_page(self, name: bytes, number: int, reply: Any) -> None:
        if isinstance(reply, RespError) and not str(reply).startswith(self._names.passing_errors):
            self._session.note_refused(reply)
            self._bridge.logs.unread(name, number)
        else:
            self._session.check(reply)
            if reply:
                self._bridge.logs.read(name, number, *read_page(reply))
            else:
                self._bridge.logs.gone(name, number)
        self._session.note_came()

    def _take_looks(self, begin: bytes, command: bytes, names: list[bytes], reply: Any) -> None:
        """Note which topics are streams; where the server does not tell us, none is.

        Where keys are on their way to another server, nobody waits for them, and it is asked again.
        """
        if is_moving(reply):
            self._streams.seen(names, [None] * len(names))
            again = partial(self._take_looks, begin, command, names)
            self._session.retries.read_later(begin, command, again)
            self._session.note_came()
            return
        if isinstance(reply, RespError) and str(reply).startswith(self._names.no_scripts):
            self._may_look = False  # once is enough for the server's log of what was refused
            reply = [None] * len(names)
        self._session.check(reply)
        self._streams.seen(names, [one is not None for one in reply])
        self._session.note_came()

    def _take_aborted(self, host: bytes, begin: bytes, reply: Any) -> None:
        if not (isinstance(reply, RespError) and str(reply).startswith(self._names.no_scripts)):
            self._session.check(reply)
        if reply == _ABORT_COUNT:
            self._abort(host, begin)
            return
        self._aborting[host].discard(begin)
        if not self._aborting[host]:
            del self._aborting[host]
