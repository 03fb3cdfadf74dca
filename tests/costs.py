"""Two costs compared on a machine that does other things too."""

import math
import statistics

# So often both are measured, in turns, and on and on to the last while their ratio is too large.
LEAST_COUNT, MOST_COUNT = 3, 30


class Costs:
    """The least of several measurements of two costs; more of them as long as that is in doubt.

        costs = Costs(factor=2.5)
        while costs.are_in_doubt:
            costs.take(measure(small), measure(large))
        assert costs.ratio < 2.5

    Noise does not last for thirty measurements, and what costs too much does so each time. Where
    the machine ran twice as fast during one of them as ever after, least costs do not compare: then
    what counts is the median of the ratios of each two that were measured one behind the other.
    """

    def __init__(self, factor: float, *, floor_s: float = 0.0) -> None:
        """`floor_s`: the grain of the clock, below which there are no proportions."""
        self.factor = factor
        self.floor_s = floor_s
        self.count = 0
        self.small = self.large = math.inf
        self._ratios: list[float] = []

    def take(self, small: float, large: float) -> None:
        """Take another measurement of each."""
        self.count += 1
        small = max(small, self.floor_s)
        self._ratios.append(large / small)
        self.small = min(self.small, small)
        self.large = min(self.large, large)

    @property
    def ratio(self) -> float:
        return min(self.large / self.small, statistics.median(self._ratios))

    @property
    def are_in_doubt(self) -> bool:
        """Whether to measure once more."""
        return self.count < LEAST_COUNT or (self.count < MOST_COUNT and self.ratio >= self.factor)
