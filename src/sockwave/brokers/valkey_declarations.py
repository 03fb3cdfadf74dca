"""What hosts have declared of their topics, at a server of Valkey: for those who are no hosts.

A program that publishes knows of no settings. So each host writes its own into one hash: the topic
or pattern, with what is kept of it, and when that was last said. The field without a name has a
version, which is another one when anything has changed.
"""

import hashlib
import time
from collections.abc import Iterable

from sockwave.brokers.interface import Bounds
from sockwave.brokers.valkey_logs import draw_epoch, write_bounds
from sockwave.core.topics.resp import pack_command
from sockwave.core.topics.wildcards import Patterns, check_pattern

# What no host has said for so long counts no more: hosts say it again once an hour.
_LIFE_S = 24 * 3600

# KEYS: the hash. ARGV: a new version, seconds that something counts, and pairs of a pattern and
# what is kept of it.
_DECLARE = b"""
local now = tonumber(redis.call('TIME')[1])
local old = redis.call('HGETALL', KEYS[1])
local known, is_new = {}, false
for i = 1, #old, 2 do
  local said, at = string.match(old[i + 1], '^(.*)@(%d+)$')
  if said and now - tonumber(at) > tonumber(ARGV[2]) then
    redis.call('HDEL', KEYS[1], old[i])
    is_new = true
  elseif said then
    known[old[i]] = said
  end
end
for i = 3, #ARGV, 2 do
  if known[ARGV[i]] ~= ARGV[i + 1] then is_new = true end
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. '@' .. string.format('%.0f', now))
end
if is_new then redis.call('HSET', KEYS[1], '', ARGV[1]) end
redis.call('EXPIRE', KEYS[1], 2 * ARGV[2])
return 'OK'
"""

_NAME = hashlib.sha1(_DECLARE, usedforsecurity=False).hexdigest().encode()

# Patterns of one command.
_BATCH_COUNT = 500

#: What stands for a version where there is none.
NO_VERSION = b"-"


def ask_declared(prefix: bytes) -> bytes:
    """Return the command that asks what hosts have declared."""
    return pack_command(b"HGETALL", prefix + b":d")


def load_declare() -> bytes:
    """Return the command by which the server learns the script."""
    return pack_command(b"SCRIPT", b"LOAD", _DECLARE)


def declare(prefix: bytes, declared: Iterable[tuple[str, Bounds | None]]) -> list[bytes]:
    """Return the commands that say what is kept of topics; None: they are plain ones."""
    words: list[bytes] = []
    for pattern, bounds in declared:
        words += (pattern.encode(), b"" if bounds is None else b" ".join(write_bounds(bounds)))
    return [
        pack_command(
            b"EVALSHA", _NAME, b"1", prefix + b":d", draw_epoch(), b"%d" % _LIFE_S,
            *words[place : place + 2 * _BATCH_COUNT],
        )
        for place in range(0, len(words), 2 * _BATCH_COUNT)
    ]  # fmt: skip


class Declared:
    """What hosts have declared, as it was read last."""

    def __init__(self) -> None:
        self.version = NO_VERSION
        self._patterns: Patterns = Patterns()

    def learn(self, fields: list[bytes]) -> None:
        """Take what the server has, as field and value in turn.

        Where there is nothing, all that is known still counts: the server may have lost it.
        """
        if not fields:
            return
        now = time.time()
        self._patterns = Patterns()
        for pattern, said in zip(fields[::2], fields[1::2], strict=True):
            if not pattern:
                self.version = said
                continue
            bounds, _, at = said.rpartition(b"@")
            if at.isdigit() and len(at) < 12 and now - int(at) <= _LIFE_S:
                self._add(pattern, bounds)

    def _add(self, pattern: bytes, bounds: bytes) -> None:
        words = tuple(bounds.split())
        if words and (len(words) != 3 or not all(one.isdigit() for one in words)):
            return  # said by none of ours
        try:
            self._patterns.add(check_pattern(pattern.decode()), words)
        except ValueError:
            return

    def find(self, name: bytes) -> tuple[bytes, bytes, bytes] | None:
        """Return what is kept of a topic, as it is written.

        None: it is a plain one, or nobody has said anything.
        """
        found: tuple[bytes, bytes, bytes] | None = self._patterns.best(name.decode())
        return found or None
