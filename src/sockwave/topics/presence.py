"""Who is there: the members of all topics, told to the sequencer, to clients and to listeners."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

from sockwave.core.topics.subscribers import Subscribers
from sockwave.core.topics.table import TopicTable
from sockwave.json_codec import encode_json
from sockwave.topics.answers import settle, wait_for
from sockwave.topics.interface import Host
from sockwave.topics.listeners import Listeners
from sockwave.topics.members import Members, OwnMember, Snapshot
from sockwave.topics.reach import Reach
from sockwave.topics.settings import check_presence, check_single

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection


class Presence:
    """The members of all topics, as this worker knows them and tells of them."""

    def __init__(self, host: Host, table: TopicTable, reach: Reach, listeners: Listeners) -> None:
        self._host = host
        self._table = table
        self._reach = reach
        self._listeners = listeners
        self._members: dict[str, Members] = {}

    async def members(self, name: str) -> dict[str, Any]:
        """Return the members of a topic, on all workers."""
        topic = self._table.find(check_single(name))
        check_presence(name, topic.settings)
        answer: asyncio.Future[dict[str, Any]] = self._host.loop.create_future()
        self._reach.link.watch(topic, Snapshot(*settle(answer)), is_snapshot=True)
        return await wait_for(answer)

    def _of(self, topic: Subscribers) -> Members:
        return self._members.setdefault(topic.name, Members())

    def join(self, connection: "Connection", topic: Subscribers, key: str, data: bytes) -> None:
        """Make a connection a member of a topic, or give its member other data."""
        mine = self._table.subscriptions_of(connection)
        before = (mine.members or {}).get(topic.name)
        if before is not None and before != key:
            self.leave(connection, topic)
            before = None
        members = self._of(topic)
        own = members.own.get(key)
        if own is None:
            own = members.own[key] = OwnMember(b"")
        if before is None:
            own.count += 1
            mine.members = {**(mine.members or {}), topic.name: key}
        if own.data != data:
            own.data = data
            self._reach.link.join(topic, key.encode(), data)

    def leave(self, connection: "Connection", topic: Subscribers) -> None:
        """Make a connection no member of a topic any more."""
        mine = self._table.subscriptions_of(connection)
        if not mine.members or topic.name not in mine.members:
            return
        key = mine.members.pop(topic.name)
        members = self._of(topic)
        own = members.own[key]
        own.count -= 1
        if not own.count:
            del members.own[key]
            self._reach.link.leave(topic, key.encode())
        if not members.own and not len(topic):
            self.deserted(topic)

    def tell(self, connection: "Connection", topic: Subscribers) -> None:
        """Tell a connection that speaks `sockwave.1` who is there, and of each difference."""
        members = self._of(topic)
        if members.known is not None:
            self._tell_members(connection, topic.name, members.known)
        else:
            members.waiting.append(connection)
        self._watch(topic, members)

    def _watch(self, topic: Subscribers, members: Members) -> None:
        """Have differences told, unless they are."""
        if members.is_watched or not self._reach.link.output.is_open:
            return
        members.is_watched = True

        def known(found: dict[str, Any]) -> None:
            was_known = members.known is not None
            joined, left = members.learn(found)
            waiting, members.waiting = members.waiting, []
            if was_known:
                self._tell_difference(topic, joined, left)
            self._emit_difference(topic, joined, left)
            for connection in waiting:
                self._tell_members(connection, topic.name, found)

        def failed() -> None:
            members.is_watched = False

        self._reach.link.watch(topic, Snapshot(known, failed))

    def differ(self, topic: Subscribers, difference: bytes) -> None:
        """Members have come and gone."""
        members = self._members.get(topic.name)
        if members is None or members.known is None:
            return
        found = json.loads(difference)
        joined, left = found.get("join", {}), found.get("leave", {})
        members.change(joined, left)
        self._tell_difference(topic, joined, left)
        self._emit_difference(topic, joined, left)

    def ask_again(self, topic: Subscribers) -> None:
        """Differences have been dropped: ask who is there."""
        members = self._members.get(topic.name)
        if members is not None and members.is_watched:
            members.is_watched = False
            self._watch(topic, members)

    def _tell_difference(
        self, topic: Subscribers, joined: dict[str, Any], left: dict[str, Any]
    ) -> None:
        """Tell the clients that speak `sockwave.1` who has come and gone."""
        if not joined and not left:
            return
        frame = encode_json({"topic": topic.name, "join": joined, "leave": left})
        self._table.send_commands(topic, frame)

    def _emit_difference(
        self, topic: Subscribers, joined: dict[str, Any], left: dict[str, Any]
    ) -> None:
        """Tell the listeners of the application."""
        for key, data in joined.items():
            self._listeners.emit(topic.name, "join", key, data, topic.name)
        for key, data in left.items():
            self._listeners.emit(topic.name, "leave", key, data, topic.name)

    def _tell_members(self, connection: "Connection", name: str, members: dict[str, Any]) -> None:
        if not connection._has_left():
            connection.send(encode_json({"topic": name, "members": members}))

    def deserted(self, topic: Subscribers) -> None:
        """Stop watching a topic that nobody hears here any more."""
        members = self._members.get(topic.name)
        if members is not None and not members.own:
            del self._members[topic.name]
            if members.is_watched:
                self._reach.link.unwatch(topic)

    def look_after(self, topic: Subscribers) -> None:
        """Watch a topic with presence, where somebody listens to its events."""
        if (
            topic.settings.has_presence
            and not topic.is_pattern
            and self._listeners.hears_members(topic.name)
        ):
            self._watch(topic, self._of(topic))

    def is_known(self, name: str) -> bool:
        """Return whether a topic has members here, or somebody who hears of them."""
        return name in self._members

    def link_opened(self) -> None:
        """Tell a new sequencer who is here."""
        for name, members in self._members.items():
            topic = self._table.topics.get(name)
            if topic is None:
                continue
            for key, own in members.own.items():
                self._reach.link.join(topic, key.encode(), own.data)
            if members.is_watched or members.waiting:
                members.is_watched = False
                self._watch(topic, members)
