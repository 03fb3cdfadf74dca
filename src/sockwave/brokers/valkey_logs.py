"""Logs of topics at a server of Valkey: what is asked of it, and how its answers are read.

Of a topic there is a stream, whose ids are the offsets, and a hash with the epoch, the last offset
and the bytes of the stream. Two scripts, each of which the server runs in one step, are all that
reads and writes them.
"""

import functools
import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

from sockwave.brokers.interface import Bounds, Page, Submitted
from sockwave.brokers.valkey_names import ValkeyNames
from sockwave.brokers.valkey_retries import NOT_YET
from sockwave.core.topics.parts import PART_SIZE
from sockwave.core.topics.resp import pack_command

# For so long a message that is sent again is known.
_ID_LIFE_S = 300

# A topic's last position outlives its messages: who has read all of them has missed none.
_EPOCH_LIFE_S = 24 * 3600

# Of one answer; at least one message stands in it.
_PAGE_SIZE = 1 << 20
_PAGE_COUNT = 1000

# Among so many of the newest messages the place of one is looked for that is sent again.
_SEARCH_COUNT = 512

# What a message counts beside its own bytes.
_MESSAGE_COST = 64

# KEYS: hash, stream, the id's place, the publisher's last message, and what hosts have declared.
# ARGV: channel, message, an epoch if there is none, most messages, most bytes, milliseconds that a
# message is kept, whether it has an id, its number with its publisher (0: none), its origin.
# Who is no host says as well which version it knows of what hosts have declared, and is told if
# there is another one. Where it finds nothing there, it says '' for the most messages: what hosts
# have left counts, and where there is nothing, the topic is a plain one. A host says the newest
# position that it knows: a log that ends before that has lost something, and is another one. And it
# says the number of the message of the same publisher that it has sent before, where it has no
# answer to that: if that has no place, this one gets none, either.
_PUBLISH = b"""
if ARGV[10] and ARGV[10] ~= '' then
  local version = redis.call('HGET', KEYS[5], '')
  if version and version ~= ARGV[10] then return {'stale'} end
end
local found = redis.call('HMGET', KEYS[1], 'e', 'n', 's', 'l', 'p', 'o')
if found[5] then return redis.error_reply('ERR the topic is a stream: expected no message') end
local epoch = found[1]
if epoch and epoch == ARGV[11] and tonumber(found[6]) < tonumber(ARGV[12]) then
  epoch = ARGV[3]
  redis.call('HSET', KEYS[1], 'e', epoch)
end
local most_count, most_size, life = ARGV[4], ARGV[5], ARGV[6]
if most_count == '' then
  if not epoch or not found[2] then
    redis.call('PUBLISH', ARGV[1], ARGV[2])
    return {}
  end
  most_count, most_size, life = found[2], found[3], found[4]
elseif most_count ~= found[2] or most_size ~= found[3] or life ~= found[4] then
  redis.call('HSET', KEYS[1], 'n', most_count, 's', most_size, 'l', life)
end
most_count, most_size, life = tonumber(most_count), tonumber(most_size), tonumber(life)
if not epoch then
  epoch = ARGV[3]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'o', 0, 'b', 0)
end
local number, done = tonumber(ARGV[8]), 0
if number > 0 then
  local last = redis.call('GET', KEYS[4])
  if last and string.sub(last, 1, 16) == epoch then done = tonumber(string.sub(last, 18)) end
  if done < tonumber(ARGV[13]) then return redis.error_reply('%s') end
end
if ARGV[7] == '1' then
  local known = redis.call('GET', KEYS[3])
  if known then
    if number > done then redis.call('SET', KEYS[4], epoch .. ' ' .. ARGV[8], 'EX', %d) end
    return {string.sub(known, 1, 16), string.sub(known, 18)}
  end
end
if number > 0 then
  if done >= number then
    local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', %d)
    for _, entry in ipairs(newest) do
      local after = string.sub(entry[2][4] or '', 4, 4 + #ARGV[9])
      if after == ARGV[9] .. ' ' or after == ARGV[9] .. '\\n' then
        return {epoch, string.match(entry[1], '^%%d+')}
      end
    end
    return {epoch, '0'}
  end
end
local place = string.format('%%.0f', redis.call('HINCRBY', KEYS[1], 'o', 1))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('XADD', KEYS[2], place .. '-0', 't', string.format('%%.0f', now), 'm', ARGV[2])
local size = redis.call('HINCRBY', KEYS[1], 'b', #ARGV[2] + %d)
local count = redis.call('XLEN', KEYS[2])
while count > 1 and (count > most_count or size > most_size or life > 0) do
  local entry = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  local age = now - (tonumber(entry[2][2]) or 0)
  if count <= most_count and size <= most_size and age < life then break end
  redis.call('XDEL', KEYS[2], entry[1])
  size = redis.call('HINCRBY', KEYS[1], 'b', -(#(entry[2][4] or '') + %d))
  count = count - 1
end
if life > 0 then
  redis.call('PEXPIRE', KEYS[2], life)
  redis.call('EXPIRE', KEYS[1], %d + math.ceil(life / 1000))
else
  redis.call('PERSIST', KEYS[2])
  redis.call('PERSIST', KEYS[1])
end
if ARGV[7] == '1' then redis.call('SET', KEYS[3], epoch .. ' ' .. place, 'EX', %d) end
if number > 0 then redis.call('SET', KEYS[4], epoch .. ' ' .. ARGV[8], 'EX', %d) end
local message = '1o ' .. epoch .. ' ' .. place .. '\\n'
if #ARGV[2] <= %d then message = message .. ARGV[2] end
redis.call('PUBLISH', ARGV[1], message)
return {epoch, place}
""" % (
    NOT_YET.encode(),
    _ID_LIFE_S,
    _SEARCH_COUNT,
    _MESSAGE_COST,
    _MESSAGE_COST,
    _EPOCH_LIFE_S,
    _ID_LIFE_S,
    _ID_LIFE_S,
    PART_SIZE,
)

# The end of a script that reads: of the stream KEYS[2] a page behind `since`, and the answer, with
# `epoch` and `top` before it.
READ_PAGE = b"""
local time = redis.call('TIME')
local entries, size = {}, 0
while size < %d and #entries < %d do
  local found = redis.call(
    'XRANGE', KEYS[2], string.format('%%.0f-1', since), '+', 'COUNT', 1 + math.min(#entries, 63)
  )
  if #found == 0 then break end
  for _, entry in ipairs(found) do
    local place, message = string.match(entry[1], '^%%d+'), entry[2][4] or ''
    since = tonumber(place)
    size = size + #message
    local at = string.format('%%.0f', tonumber(entry[2][2]) or 0)
    entries[#entries + 1] = {place, at, message}
    if size >= %d then break end
  end
end
local now = string.format('%%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return {epoch, string.format('%%.0f', top), now, entries}
""" % (_PAGE_SIZE, _PAGE_COUNT, _PAGE_SIZE)

# KEYS: hash, stream.
# ARGV: the epoch that is known, the offset behind which to begin, an epoch if there is none, or if
# the log ends before that offset: then a part of it is lost; and what is kept, as above.
_READ = (
    b"""
local found = redis.call('HMGET', KEYS[1], 'e', 'o', 'n', 's', 'l')
local epoch, top = found[1], tonumber(found[2] or '0')
local since = tonumber(ARGV[2])
if not epoch then
  epoch = ARGV[3]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'o', 0, 'b', 0)
  redis.call('EXPIRE', KEYS[1], %d)
elseif epoch == ARGV[1] and since > top then
  epoch = ARGV[3]
  redis.call('HSET', KEYS[1], 'e', epoch)
end
if found[3] ~= ARGV[4] or found[4] ~= ARGV[5] or found[5] ~= ARGV[6] then
  redis.call('HSET', KEYS[1], 'n', ARGV[4], 's', ARGV[5], 'l', ARGV[6])
end
if epoch ~= ARGV[1] then since = 0 end
"""
    % _EPOCH_LIFE_S
    + READ_PAGE
)


class ValkeyLogs:
    """What is asked of a server for the logs of topics."""

    def __init__(self, names: ValkeyNames) -> None:
        self._names = names
        self._scripts = (names.adapt(_PUBLISH), names.adapt(_READ))
        self._publish_name, self._read_name = map(name_script, self._scripts)

    def load(self) -> bytes:
        """Return the commands by which the server learns the scripts: two answers come."""
        return b"".join(pack_command(b"SCRIPT", b"LOAD", one) for one in self._scripts)

    def ask_generation(self) -> bytes:
        """Return the commands that ask whether these are still the same keys.

        Two answers come; the second one is another one when the keys have been deleted.
        """
        key = self._names.home + b":g"
        return pack_command(b"SET", key, draw_epoch(), b"NX") + pack_command(b"GET", key)

    def publish(self, submitted: Submitted, epoch: int, offset: int, before: int) -> bytes:
        """Return the command that gives a message its place, behind a position that is known.

        `before` is the number of the message of its worker that has to have one first; 0: none.
        """
        (incarnation, sequence), name, parcel, id, bounds = submitted
        origin = b"%016x" % incarnation
        begin = self._names.of(name)
        return pack_command(
            b"EVALSHA", self._publish_name, b"4",
            begin + b":m:" + name,
            begin + b":s:" + name,
            begin + b":i:" + name + b"\n" + id,
            begin + b":p:" + name + b"\n" + origin,
            begin + b":t:" + name,
            parcel, draw_epoch(), *write_bounds(bounds), b"1" if id else b"0",
            b"%d" % (sequence if incarnation else 0), origin + b".%d" % sequence, b"",
            b"%016x" % epoch, b"%d" % offset, b"%d" % before,
        )  # fmt: skip

    def publish_from_outside(
        self, name: bytes, parcel: bytes, id: bytes, kept: Sequence[bytes] | None, version: bytes
    ) -> bytes:
        """Return the command that publishes for a program that is no host.

        It says what is kept of the topic, as hosts have declared it, None if they have not, and
        which version of what they have declared that is. The answer is empty where the topic is a
        plain one, and STALE where there is another version.
        """
        begin = self._names.of(name)
        return pack_command(
            b"EVALSHA", self._publish_name, b"5",
            begin + b":m:" + name,
            begin + b":s:" + name,
            begin + b":i:" + name + b"\n" + id,
            begin + b":p:" + name,
            begin + b":d",
            begin + b":t:" + name,
            parcel, draw_epoch(), *(kept or (b"", b"", b"")), b"1" if id else b"0", b"0", b"",
            version,
        )  # fmt: skip

    def ask_whether_kept(self, name: bytes) -> bytes:
        """Return the command that asks how many messages are kept of a topic, and who produces it.

        That is one host where it is a stream, on which the script publishes nothing.
        """
        return pack_command(b"HMGET", self._names.of(name) + b":m:" + name, b"n", b"p")

    def read(self, name: bytes, epoch: int, offset: int, bounds: Bounds) -> bytes:
        """Return the command that reads a page of a log, behind a position."""
        begin = self._names.of(name)
        return pack_command(
            b"EVALSHA", self._read_name, b"2", begin + b":m:" + name,
            begin + b":s:" + name, b"%016x" % epoch, b"%d" % offset, draw_epoch(),
            *write_bounds(bounds),
        )  # fmt: skip


@functools.cache
def name_script(script: bytes) -> bytes:
    """Return the name by which the server knows a script (SCRIPT LOAD)."""
    return hashlib.sha1(script, usedforsecurity=False).hexdigest().encode()


#: The answer to who does not know what hosts have declared.
STALE = [b"stale"]


def write_bounds(bounds: Bounds) -> tuple[bytes, bytes, bytes]:
    """Write what is kept: messages, bytes, milliseconds (0: for ever)."""
    count, size, ttl_s = bounds
    life_ms = max(1, int(ttl_s * 1000)) if ttl_s else 0
    return b"%d" % count, b"%d" % min(size, 1 << 52), b"%d" % life_ms


def draw_epoch() -> bytes:
    """Return 64 random bits, in hex, not all of them 0."""
    return b"%016x" % (secrets.randbits(64) or 1)


def read_position(reply: Any) -> tuple[int, int]:
    """Return epoch and offset of an answer. Raises ValueError or TypeError for what is none."""
    epoch, offset = reply
    return _read_epoch(epoch), _read_number(offset)


def read_page(reply: Any) -> Page:
    """Return epoch, last offset, time and messages of a page.

    Raises ValueError or TypeError for what is none.
    """
    epoch, top, now, entries = reply
    messages = [(_read_number(one), float(_read_number(at)), bytes(it)) for one, at, it in entries]
    return _read_epoch(epoch), _read_number(top), float(_read_number(now)), messages


def _read_epoch(word: bytes) -> int:
    if len(word) != 16 or not int(word, 16):
        raise ValueError("expected an epoch")
    return int(word, 16)


def _read_number(word: bytes) -> int:
    if not word.isdigit() or len(word) > 18:
        raise ValueError("expected a number")
    return int(word)
