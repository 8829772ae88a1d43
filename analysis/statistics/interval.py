"""An estimate with its two-sided 95 % CI."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided 95 % CI."""

    estimate: float
    low: float
    high: float
    p: float = math.nan  # two-sided p value against a difference of zero

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    @property
    def is_bounded(self) -> bool:
        return all(map(math.isfinite, self.numbers))

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Estimate, low and high."""
        return self.estimate, self.low, self.high

    def map(self, function: Callable[[float], float]) -> "Interval":
        """The interval of a rising or falling function of the value, without p."""
        estimate, *ends = (float(function(number)) for number in self.numbers)
        return Interval(estimate, min(ends), max(ends))
