"""Search spaces and factorial designs over dotted paths of a trial."""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from rrm.config import RuleError, StrictConfig
from rrm.errors import UserError

Scalar = bool | int | float | str
Sections = dict[str, Any]

MAX_VALUES_CHECKED = 1000  # integer ranges with at most so many values are checked value by value, longer ones at their ends


class Domain(StrictConfig):
    """Values that a search may give to one field; exactly one of `choice`, `int`, `log_int`, `uniform`, `log_uniform` is given."""

    choice: list[Scalar] | None = Field(None, min_length=1)
    """A list of values."""
    int_: tuple[int, int] | None = Field(None, alias="int")
    """Whole numbers [low, high], both included."""
    log_int: tuple[int, int] | None = None
    """Whole numbers [low, high], both included, whose logarithm is drawn evenly."""
    uniform: tuple[float, float] | None = None
    """Numbers between [low, high]."""
    log_uniform: tuple[float, float] | None = None
    """Numbers between [low, high] whose logarithm is drawn evenly."""
    step: int | None = Field(None, ge=1)
    """Distance of two neighbouring values of `int`. Default: 1."""

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        bounds = {name: getattr(self, name) for name in ("int_", "log_int", "uniform", "log_uniform")}
        given = {name.rstrip("_"): value for name, value in bounds.items() if value is not None}
        if len(given) + (self.choice is not None) != 1:
            raise ValueError("must be exactly one of choice, int, log_int, uniform, log_uniform")
        for name, (low, high) in given.items():
            if low > high or (name.startswith("log") and low <= 0):
                order = "0 < low <= high" if name.startswith("log") else "low <= high"
                raise RuleError(f"{name} must be [low, high] with {order}, got {[low, high]}", name)
        return self

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if self.step is not None and self.int_ is None:
            raise RuleError("step has an effect on int only: leave it out", "step")
        if self.step is not None and self.int_ is not None and self.step > self.int_[1] - self.int_[0]:
            raise RuleError(f"step must lead from low to another value, got {self.step} for {list(self.int_)}", "step", "int")
        if self.choice is not None and not all_differ(self.choice):
            raise RuleError(f"choice must be a list of different values, got {self.choice}", "choice")
        return self

    @property
    def is_continuous(self) -> bool:
        """Whether any number between the bounds may be drawn."""
        return self.uniform is not None or self.log_uniform is not None

    @property
    def is_logarithmic(self) -> bool:
        """Whether the logarithm is drawn evenly."""
        return self.log_int is not None or self.log_uniform is not None

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value of a range, which `step` reaches; undefined for a choice."""
        low, high = next(bounds for bounds in (self.int_, self.log_int, self.uniform, self.log_uniform) if bounds is not None)
        return (low, low + (high - low) // self.step * self.step) if self.step is not None else (low, high)

    def list_values(self, limit: int) -> list[Scalar] | None:
        """All values of a choice or an integer range; None where there are more than `limit`."""
        if self.choice is not None:
            return self.choice if len(self.choice) <= limit else None
        if self.is_continuous:
            return list(set(self.bounds)) if self.bounds[0] == self.bounds[1] else None
        low, high = map(int, self.bounds)
        values = range(low, high + 1, self.step or 1)
        return list(values) if len(values) <= limit else None

    def values_to_check(self) -> list[Scalar]:
        """All values of a choice or a short integer range, else the ends."""
        return self.choice or self.list_values(MAX_VALUES_CHECKED) or list(self.bounds)

    def member(self, value: object) -> Scalar | None:
        """The value of this domain that equals `value`, else None. 1 equals 1.0; true equals nothing but true."""
        if self.choice is not None:
            equal = (choice for choice in self.choice if isinstance(choice, bool) == isinstance(value, bool) and choice == value)
            return next(equal, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        low, high = self.bounds
        if not low <= value <= high:
            return None
        if self.is_continuous:
            return value
        return int(value) if value % 1 == 0 and (value - low) % (self.step or 1) == 0 else None

    def contains(self, value: object) -> bool:
        """Whether a value may be drawn."""
        return self.member(value) is not None

    def is_listed(self, value: Scalar) -> bool:
        """Whether a value is one of a choice or an integer range; a value of a continuous range is practically never drawn."""
        return not self.is_continuous and self.contains(value)

    def is_compatible_with(self, other: Self) -> bool:
        """Whether one parameter of a study may have this and the other domain: equal choices, or ranges of one kind (Optuna)."""
        if self.choice is not None or other.choice is not None:
            return self.choice == other.choice
        return (self.is_continuous, self.is_logarithmic) == (other.is_continuous, other.is_logarithmic)


def all_differ(values: Sequence[Scalar]) -> bool:
    """Whether all values differ. 1 equals 1.0; true equals nothing but true."""
    return len({(isinstance(value, bool), value) for value in values}) == len(values)


def with_values(sections: Sections, values: Mapping[str, Any]) -> Sections:
    """A copy of nested sections with the fields at dotted paths replaced; sections that are absent are made.

    Raises:
        UserError: a path leads through a value that is not a section.
    """
    changed = copy.deepcopy(sections)
    for path, value in values.items():
        *parents, last = path.split(".")
        section = changed
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise UserError(path, f"{parent} is a value, not a section")
        section[last] = value
    return changed


def factorial(vary: dict[str, list[Scalar]]) -> Iterator[dict[str, Scalar]]:
    """Every combination of the values of each path."""
    for combination in itertools.product(*vary.values()):
        yield dict(zip(vary, combination, strict=True))
