"""How long to wait before the next attempt to reach somebody who has gone."""

import random


class FullJitter:
    """Waits that grow, each at random between nothing and its limit.

    So of many that have lost the same peer, no two come back together.
    """

    def __init__(self, first_s: float, most_s: float, factor: float = 2.0) -> None:
        """Set the limit to `first_s`, growing by `factor` with each wait up to `most_s`."""
        self._first_s = first_s
        self._most_s = most_s
        self._factor = factor
        #: The limit of the next wait, in seconds.
        self.limit_s = first_s

    @property
    def is_longest(self) -> bool:
        """Whether attempts have failed so often that the waits grow no more."""
        return self.limit_s >= self._most_s

    def take(self) -> float:
        """Return how many seconds to wait now."""
        wait = random.uniform(0, self.limit_s)  # noqa: S311 - no secret
        self.limit_s = min(self.limit_s * self._factor, self._most_s)
        return wait

    def reset(self) -> None:
        """Begin anew: an attempt has succeeded."""
        self.limit_s = self._first_s
