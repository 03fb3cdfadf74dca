"""Keeps one host connected to its broker, and finds out when it does not hear what it should."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sockwave.brokers.canary import Canary
from sockwave.brokers.interface import Loop, Session, StreamKeeper, Timer, Wanted
from sockwave.brokers.outgoing import Outgoing
from sockwave.brokers.sockets import make_waits
from sockwave.brokers.subscriptions import Subscriptions
from sockwave.brokers.urls import Opener, hide_password, make_opener
from sockwave.core.topics.bridge import Bridge

if TYPE_CHECKING:
    from sockwave.brokers.shards import ShardBridge

logger = logging.getLogger("sockwave")

# Deafness is found at the second tick behind the last canary that was heard: within two seconds.
_TICK_S = 0.8

# A topic that nobody wants here any more is left so much later: a page that is reloaded does not
# have the host leave its topics, and subscribe to them anew.
_LEAVE_S = 5.0

# So often it is said again what the application has declared.
_DECLARE_S = 3600.0

# Refusals, and what waits, are logged so often at most.
_REFUSED_LOG_S = 60.0


# What is behind a client: the bridge, or that of a shard.
Way = TypeVar("Way", Bridge, "ShardBridge")


class ServerClient(Generic[Way]):
    """The client of one server: of the broker, or of a shard where that is a cluster."""

    def __init__(
        self,
        name: object,
        bridge: Way,
        opener: Opener,
        loop: Loop,
        *,
        came: Callable[[], object],
        keeps: bool,
    ) -> None:
        """Note what there is; `start` connects."""
        self.bridge: Way = bridge
        self._whole = bridge if isinstance(bridge, Bridge) else bridge.whole
        self._name = name
        self._opener = opener
        self._loop = loop
        self._came = came
        self._keeps = keeps
        self._session: Session | None = None
        self._is_closed = False
        self._waits = make_waits()
        self._timer: Timer | None = None
        self._ticking: Timer | None = None
        self._canary = Canary()
        self._subscriptions = Subscriptions()
        self._outgoing = Outgoing(bridge, self._canary)
        self._state = "connecting"
        self._told: dict[str, Any] = {}
        self._deaf_count = 0
        self._lost_count = 0
        self._refused_count = 0
        self._dropped_count = 0
        self._unknown_count = 0
        #: When a warning was logged last, of those that are logged rarely.
        self._logged_s: dict[str, float] = {}
        self._declared_s = time.monotonic()

    def start(self) -> None:
        """Connect, and go on until `close`."""
        self._tell()
        self._connect()
        self._ticking = self._loop.call_later(_TICK_S, self._tick)

    def close(self) -> None:
        """Leave the broker for good; what waits is sent as far as that is possible at once."""
        self.flush()
        if self._session is not None and self.bridge.presence.is_used:
            self._session.tell_hosts([self.bridge.presence.farewell()])
        self._is_closed = True
        for timer in (self._timer, self._ticking):
            if timer is not None:
                timer.cancel()
        session, self._session = self._session, None
        if session is not None:
            session.close()
        self.bridge.lose()

    def abandon(self) -> None:
        """In a forked child, let go of what is the parent's."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            session.abandon()

    @property
    def state(self) -> str:
        """`connecting`, `up`, `down` or `deaf`."""
        return self._state

    # ---- coming and going

    def _connect(self) -> None:
        """Have a thread connect, as names are looked up, and TLS and passwords take turns."""
        self._timer = None
        threading.Thread(target=self._reach, name="sockwave-broker", daemon=True).start()

    def _reach(self) -> None:
        """In the thread: connect, and hand over what came of it."""
        outcome: object
        try:
            outcome = self._opener.connect()
        except Exception as error:  # of whatever kind the broker's client raises
            outcome = error
        try:
            self._loop.call_soon_threadsafe(self._reached, outcome)
        except RuntimeError:  # the loop has ended
            if not isinstance(outcome, Exception):
                self._opener.discard(outcome)

    def _reached(self, outcome: object) -> None:
        if self._is_closed:
            if not isinstance(outcome, Exception):
                self._opener.discard(outcome)
            return
        if isinstance(outcome, Exception):
            self._note_down(outcome)
            return
        session = self._opener.open(outcome, self._loop, self._whole)
        self._session = session
        self._canary.reset()
        self._outgoing.open_window()
        session.begin(self)
        self.bridge.expect()
        self.bridge.take_changes()
        session.subscribe(self._subscriptions.begin(self.bridge.wanted()))
        self.flush()

    def _note_down(self, error: Exception) -> None:
        """Note that the broker is not reached, and try again."""
        if self._state in ("up", "connecting"):
            logger.warning("the broker %s is away: %s", self._name, error)
        if self._state != "deaf":
            self._set_state("down")
        self.bridge.lose()
        if not self._keeps:
            self._dropped_count += len(self._outgoing.take())
            self.bridge.drop_waiting()
        self._came()
        self._timer = self._loop.call_later(self._waits.take(), self._connect)

    def lost(self, error: Exception) -> None:
        """Begin another session: this one is over."""
        session, self._session = self._session, None
        if session is None or self._is_closed:
            return
        session.close()
        if self._outgoing.has_parts:
            self._outgoing.drop_parts()
            self._unknown_count += 1
        self._lost_count += 1
        self._unknown_count += session.unanswered_count
        self._note_down(error)

    def _set_state(self, state: str) -> None:
        if state == "up":
            if self._state != "connecting":
                logger.info("the broker %s is back, and heard", self._name)
            self._waits.reset()
        self._state = state
        self._tell()

    # ---- the canary

    def ready(self) -> None:
        """Note that the canary can be heard from now on."""
        self._canary.is_ready = True
        self.bridge.presence.connected()
        self._loop.call_soon(self.flush)
        if self._session is not None and not self._canary.is_probing:
            self._canary.send(self._session)

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(_TICK_S, self._tick)
        if self._session is not None:
            self._leave()
            self._declare_again()
            if self._canary.is_ready and self.bridge.presence.is_used:
                if self._canary.is_probing:  # the broker is late, or away, and not the hosts
                    self.bridge.presence.excuse()
                self._session.tell_hosts([self.bridge.presence.beat()])
                self._came()
            self._check(self._session)
        self._tell()

    def _declare_again(self) -> None:
        """Say once an hour what the application has declared: so others know that it still does."""
        now = time.monotonic()
        if now - self._declared_s >= _DECLARE_S:
            self._declared_s = now
            self.bridge.declare_again()

    def _check(self, session: Session) -> None:
        """See whether the canary has come back, and send the next one."""
        fault = self._canary.find_fault(session, _TICK_S)
        if isinstance(fault, TimeoutError):
            self.lost(fault)
        elif fault is not None:
            self._be_deaf(str(fault))
        elif not self._canary.is_free:
            pass  # it may come yet
        elif self._subscriptions.are_stuck():
            count = self._subscriptions.unconfirmed_count
            self._be_deaf(f"{count} subscriptions are not confirmed")
        else:
            self._canary.send(session)

    def probe_heard(self) -> None:
        """Note that the canary has come round."""
        self._canary.came()
        self._outgoing.open_window()
        if self._outgoing.has_parts:
            self._loop.call_soon(self.flush)
        self._come_up()

    def declared(self) -> None:
        """Note that the broker has, or will not have, all that was to be declared."""
        if self._canary.has_heard:
            self._come_up()

    def _come_up(self) -> None:
        """Be up, unless something is missing yet: who publishes from then on finds all there."""
        session = self._session
        if session is not None and session.is_declaring:
            return
        if self._state != "up" and not self._subscriptions.unconfirmed_count:
            self._set_state("up")

    def probe_answered(self, receiver_count: int) -> None:
        """Note that the broker has taken the canary, and passed it on to so many."""
        self._canary.is_answered = True
        if not receiver_count and self._state == "up":
            self._be_deaf("it knows nothing of our subscriptions")

    def unheard(self) -> None:
        """Note that a message of a topic that comes to us was passed on to nobody."""
        self._be_deaf("it passes on to nobody what we subscribe to")

    def _be_deaf(self, reason: str) -> None:
        """We hear nothing, although the broker is there: subscribe anew, by other connections."""
        if self._session is None:
            return
        self._deaf_count += 1
        if self._state != "deaf":
            logger.warning("the broker %s is not heard: %s", self._name, reason)
        self._set_state("deaf")
        self._loop.call_soon(self.lost, ConnectionError(reason))

    def refused(self, error: str) -> None:
        """Note that the broker has refused a message, or a subscription."""
        self._refused_count += 1
        self._warn_rarely("the broker %s refuses what it is asked for: %s", error)

    def postponed(self, error: str) -> None:
        """Note that something waits, which the broker cannot do now, and is asked for again."""
        self._warn_rarely(
            "the broker %s cannot do now what it is asked for, and is asked again: %s", error
        )

    def _warn_rarely(self, text: str, error: str) -> None:
        """Log a warning, unless the same was logged a moment ago."""
        now = time.monotonic()
        if now - self._logged_s.get(text, -_REFUSED_LOG_S) >= _REFUSED_LOG_S:
            self._logged_s[text] = now
            logger.warning(text, self._name, error)

    # ---- which topics come

    def confirmed(self, name: Wanted) -> None:
        """Note that messages of a topic, or of a pattern, come from here on."""
        self._subscriptions.confirm(name)
        self.bridge.confirm(name)
        self._came()

    def _take_changes(self, session: Session) -> None:
        """Subscribe to what is wanted now; what is wanted no more is left later."""
        if added := self._subscriptions.change(self.bridge.take_changes(), _LEAVE_S):
            session.subscribe(added)

    def _leave(self) -> None:
        """Leave the topics that nobody has wanted for a while."""
        assert self._session is not None
        left = self._subscriptions.take_left()
        for name in left:
            self.bridge.unconfirm(name)
        self._session.unsubscribe(left)

    # ---- messages

    def _schedule(self) -> None:
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand over what is new: topics first, so that none of their messages is missed."""
        session = self._session
        if session is None:
            if not self._is_closed:
                self.bridge.take_changes()  # all that is wanted is asked for when we connect
            if self._state == "down" and not self._keeps:
                self.bridge.drop_waiting()
            self._tell_full()
            return
        self._take_changes(session)
        if told := self.bridge.presence.take_messages():
            session.tell_hosts(told)
        if declared := self.bridge.take_declarations():
            session.declare(declared)
        self._flush_streams(session, session.streams)
        for read in self.bridge.logs.take_reads():
            session.read_log(*read)
        if not session.is_full and (submissions := self.bridge.placements.take_submissions()):
            session.submit(submissions)
        self._outgoing.flush(session)
        self._tell_full()

    def _flush_streams(self, session: Session, keeper: StreamKeeper) -> None:
        """Hand over what is new of streams."""
        streams = self.bridge.streams
        if told := streams.take_messages():
            session.tell_hosts(told)
        if names := streams.take_looks():
            keeper.look(names)
        for read in self.bridge.logs.take_stream_reads():
            keeper.read(*read)
        for host in streams.take_gone_hosts():
            keeper.abort(host)
        if not session.is_full and (deltas := streams.take_deltas()):
            keeper.append(deltas)

    def drained(self) -> None:
        """Note that there is room for more to be published."""
        self.flush()

    def messages_came(self) -> None:
        """Note that messages have come, and are with the bridge."""
        self._came()

    def take_waiting(self) -> list[tuple[bytes, bytes]]:
        """Return the messages that have not left: they are the caller's from then on."""
        return self._outgoing.take()

    # ---- health

    @property
    def told(self) -> Mapping[str, Any]:
        """What was told last of how the server is; empty: nothing yet."""
        return self._told

    def _describe(self) -> dict[str, Any]:
        bridge = self.bridge
        return {
            "state": self._state,
            "is_full": self._is_full(),
            "deaf_count": self._deaf_count,
            "lost_count": self._lost_count,
            "bad_count": bridge.bad_count
            + bridge.logs.bad_count
            + bridge.presence.bad_count
            + bridge.streams.bad_count,
            "dropped_count": bridge.dropped_count + self._refused_count + self._dropped_count,
            "unknown_count": self._unknown_count,
        }

    def _tell(self) -> None:
        """Tell the workers how the broker is, unless they know."""
        found = self._describe()
        if found != self._told:
            self._told = found
            self.bridge.tell(json.dumps(found).encode())
            self._came()

    def _tell_full(self) -> None:
        """Tell the workers at once where publishing has to raise, or may go on."""
        if self._told.get("is_full", False) != self._is_full():
            self._tell()

    def _is_full(self) -> bool:
        """Tell whether nothing more should be published; others may follow a large message."""
        large_size = 0 if self._session is None else self.bridge.placements.large_size
        return self.bridge.queued_size - large_size >= _QUEUE_SIZE


class BrokerClient(ServerClient[Bridge]):
    """The one client of the broker that a host has."""

    def __init__(
        self,
        url: str,
        loop: Loop,
        *,
        came: Callable[[], object] = lambda: None,
        keeps: bool = True,
    ) -> None:
        """Note what there is; `start` connects.

        `came` is called when messages have come, and are with the sequencer's links. Without
        `keeps`, what is published while the broker is away stays on this host. What the sequencer
        is to be attached to is the `bridge`.
        """
        bridge = Bridge(self._schedule)
        opener = make_opener(url, bridge.host)
        super().__init__(hide_password(url), bridge, opener, loop, came=came, keeps=keeps)


# From here on workers are told that what they publish is dropped: a little below where it is.
_QUEUE_SIZE = 7 << 20
