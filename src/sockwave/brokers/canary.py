"""The canary: what a host publishes to itself, which shows that it hears what it should.

Silence of a subscription says nothing: perhaps nobody speaks. So about once a second there is
something that has to come back.
"""

import time

from sockwave.brokers.interface import Session

# Ticks without any answer, after which the broker counts as gone; and ticks without the canary of a
# subscription that is not silent, but behind.
_UNANSWERED_COUNT = 3
_BEHIND_COUNT = 12


class Canary:
    """The canary of one session, on its way or back."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget it: another session begins."""
        #: Whether it can be heard.
        self.is_ready = False
        #: Whether it is on its way.
        self.is_probing = False
        #: Whether it has ever come back.
        self.has_heard = False
        #: Whether the broker has taken it.
        self.is_answered = False
        self._missed_count = 0
        self._counted = (0, 0)
        self._sent_s = 0.0
        self._heard_before = 0

    @property
    def is_free(self) -> bool:
        """Whether the next one may be sent."""
        return self.is_ready and not self.is_probing

    def send(self, session: Session) -> None:
        """Let it go."""
        self.is_probing = True
        self.is_answered = False
        self._missed_count = 0
        self._sent_s = time.monotonic()
        self._heard_before = session.heard_count
        session.probe()

    def came(self) -> None:
        """Note that it has come round."""
        self.is_probing = False
        self.has_heard = True

    def find_fault(self, session: Session, tick_s: float) -> Exception | None:
        """Tell, at a tick, what its absence shows: nothing, or nothing yet, is None.

        A ConnectionError says that the broker is there, and we do not hear it; a TimeoutError that
        it does not answer.
        """
        counted, self._counted = self._counted, (session.heard_count, session.answer_count)
        is_silent, is_unanswered = (
            before == now for before, now in zip(counted, self._counted, strict=True)
        )
        if self.is_free:
            return None
        self._missed_count += 1
        if self.is_answered and self._has_waited(session, tick_s):
            return ConnectionError("it takes what we publish, and sends us nothing")
        if self._missed_count >= _BEHIND_COUNT:
            return ConnectionError("what we publish does not come back")
        if is_unanswered and is_silent and self._missed_count >= _UNANSWERED_COUNT:
            return TimeoutError("it does not answer")
        return None

    def _has_waited(self, session: Session, tick_s: float) -> bool:
        """Tell whether nothing has come for about a tick since it was sent."""
        waited_s = time.monotonic() - self._sent_s
        return session.heard_count == self._heard_before and waited_s >= 0.9 * tick_s
