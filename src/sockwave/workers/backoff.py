"""When a worker that has died is replaced: at once, and later and later if that does not help."""

#: A worker that has lived so long has not died of its start: the next one comes at once.
LONG_LIFE_S = 30.0

_FIRST_S = 0.5
_LONGEST_S = 30.0


class Backoff:
    """When the next process of one place may start; times are those of a monotonic clock."""

    def __init__(self, long_life_s: float = LONG_LIFE_S) -> None:
        self._long_life_s = long_life_s
        self._early_count = 0
        self.due = 0.0

    def note_death(self, now: float, lifetime: float, *, was_ready: bool) -> float:
        """Note that a process has died; return for how many seconds none is started.

        The first one that dies early is replaced at once, provided that it had been ready.
        """
        if was_ready and lifetime >= self._long_life_s:
            self._early_count = 0
        delay = 0.0
        if self._early_count or not was_ready:
            delay = min(_FIRST_S * 2.0 ** max(self._early_count - 1, 0), _LONGEST_S)
        self._early_count = min(self._early_count + 1, 16)  # beyond, the delay no longer grows
        self.due = now + delay
        return delay

    def forget(self) -> None:
        """Start the next process at once: the code has changed."""
        self._early_count = 0
        self.due = 0.0
