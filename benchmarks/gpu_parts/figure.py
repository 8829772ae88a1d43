"""What a part is given and what it returns."""

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float | str  # a text where there is no number
    unit: str = ""
    remark: str = ""
    failed: bool = False  # the figure contradicts what it should show

    @property
    def text(self) -> str:
        """The value as the table shows it."""
        if isinstance(self.value, str):
            return self.value
        return f"{self.value:,.0f}" if self.value >= 1000 else f"{self.value:.4g}"


@dataclass(frozen=True)
class Setting:
    """How a part is run."""

    device: str  # cuda or cpu
    deadline: float  # time.time() at which the part is stopped
    official: Path | None = None  # a checkout of the official TRM code

    @property
    def tiny(self) -> bool:
        """Whether sizes are tiny: on a CPU the command is tested, not the machine."""
        return self.device == "cpu"

    def has_seconds(self, seconds: float) -> bool:
        """Whether so much time is left."""
        return time.time() + seconds < self.deadline
