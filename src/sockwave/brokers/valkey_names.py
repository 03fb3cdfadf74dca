"""What the names of channels and keys begin with, at one server of Valkey and in a cluster.

A cluster has the keys and channels of one slot on one shard. So that all of a topic is in one, its
names have a tag, `sockwave:{93}:t:room/7`, by which the cluster finds the slot: that of the bucket
of the topic, of which there are 256. They are fewer than topics, as whoever hears a pattern has to
hear all of them; and more than shards, so that each of these has its share.
"""

import binascii
from collections.abc import Iterable
from typing import ClassVar

BUCKET_COUNT = 256

#: How many bytes the tag of a bucket has.
TAG_SIZE = 2

# What a script of ours does in a cluster in place of PUBLISH. Sharded channels have no patterns: so
# each message goes to the channel of all topics of its bucket, too.
_SAY = b"""
local function say(channel, message)
  redis.call('SPUBLISH', channel, message)
  local begin, name = string.match(channel, '^(.-}):t:(.*)$')
  redis.call('SPUBLISH', begin .. ':a', name .. '\\n' .. message)
end
"""


def bucket_of(name: bytes) -> int:
    """Return the bucket of a topic. That of the empty name has what all hosts hear."""
    return binascii.crc_hqx(name, 0) % BUCKET_COUNT


def slot_of(bucket: int) -> int:
    """Return the slot of a cluster in which everything of a bucket is."""
    return binascii.crc_hqx(b"%02x" % bucket, 0) % 16384


def pack_publish(command: bytes, channel: bytes, message: bytes) -> bytes:
    """Return a command that publishes a message: as `pack_command`, in one step, as each does."""
    return b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
        len(command),
        command,
        len(channel),
        channel,
        len(message),
        message,
    )


class ValkeyNames:
    """Names at one server, which has all of them."""

    #: Errors of a server that will take the message later, or of another one that will.
    passing_errors: ClassVar[tuple[str, ...]] = (
        "NOSCRIPT", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
    )  # fmt: skip

    #: What a server of a cluster says that has not, or not yet, what it is asked for.
    elsewhere_errors: ClassVar[tuple[str, ...]] = ()

    #: What a server says to a user who may not run scripts, and where names are on several servers.
    no_scripts: ClassVar[tuple[str, ...]] = ("NOPERM", "CROSSSLOT", "MOVED")

    def __init__(self, prefix: bytes) -> None:
        #: What the names of all begin with.
        self.prefix = prefix
        #: What those begin with that are of no topic.
        self.home = prefix
        #: What names begin with, for each place in which there are some.
        self.begins: tuple[bytes, ...] = (prefix,)

    def of(self, name: bytes) -> bytes:
        """Return what the names of a topic begin with."""
        return self.prefix

    #: How many commands publish a message.
    publish_count: ClassVar[int] = 1

    def publish(self, name: bytes, message: bytes) -> bytes:
        """Return the commands that publish a message on a plain topic.

        Where there are two, the second answer is of no use. The empty name is that of broadcasts.
        """
        channel = self.of(name) + (b":t:" + name if name else b":b")
        return pack_publish(b"PUBLISH", channel, message)

    def sort(self, names: Iterable[bytes]) -> dict[bytes, list[bytes]]:
        """Sort topics by what their names begin with: one command has those of one place."""
        found: dict[bytes, list[bytes]] = {}
        for name in names:
            found.setdefault(self.of(name), []).append(name)
        return found

    def adapt(self, script: bytes) -> bytes:
        """Return a script as the server is to run it."""
        return script


class ShardNames(ValkeyNames):
    """Names at one shard of a cluster, which has some of the buckets."""

    passing_errors = (*ValkeyNames.passing_errors, "MOVED", "ASK")
    elsewhere_errors = tuple(one for one in passing_errors if one != "NOSCRIPT")
    no_scripts = ("NOPERM",)

    def __init__(self, prefix: bytes, buckets: Iterable[int]) -> None:
        super().__init__(prefix)
        self._all = [prefix + b":{%02x}" % bucket for bucket in range(BUCKET_COUNT)]
        self.begins = tuple(self._all[bucket] for bucket in sorted(buckets))
        self.home = self.begins[0]

    def of(self, name: bytes) -> bytes:
        """Return what the names of a topic begin with."""
        return self._all[bucket_of(name)]

    publish_count = 2

    def publish(self, name: bytes, message: bytes) -> bytes:
        """Return the commands that publish a message on a plain topic.

        The second one is for those who want patterns. A broadcast is one command.
        """
        begin = self.of(name)
        if not name:
            return pack_publish(b"SPUBLISH", begin + b":b", message)
        by_name = pack_publish(b"SPUBLISH", begin + b":t:" + name, message)
        return by_name + pack_publish(b"SPUBLISH", begin + b":a", name + b"\n" + message)

    def adapt(self, script: bytes) -> bytes:
        """Return a script as a shard is to run it."""
        return _SAY + script.replace(b"redis.call('PUBLISH', ", b"say(")
