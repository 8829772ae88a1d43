"""Search spaces and factorial designs over dotted paths of a trial."""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, model_validator

from rrm.config import StrictConfig
from rrm.errors import UserError

Scalar = bool | int | float | str
Sections = dict[str, Any]

MOST_VALUES_CHECKED = 1000  # values of an integer range that are tried against the config, one by one


class Domain(StrictConfig):
    """Values that a search may give to one field; exactly one kind is set."""

    choice: list[Scalar] | None = Field(None, min_length=1)
    int_: tuple[int, int] | None = Field(None, alias="int")
    log_int: tuple[int, int] | None = None
    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    step: int | None = Field(None, ge=1)  # of `int`

    @model_validator(mode="after")
    def _check(self) -> Self:
        bounds = {name: getattr(self, name) for name in ("int_", "log_int", "uniform", "log_uniform")}
        given = {name: value for name, value in bounds.items() if value is not None}
        if len(given) + (self.choice is not None) != 1:
            raise ValueError("must be exactly one of choice, int, log_int, uniform, log_uniform")
        for name, (low, high) in given.items():
            if low > high or (name.startswith("log") and low <= 0):
                least = "0 < low <= high" if name.startswith("log") else "low <= high"
                raise ValueError(f"{name.rstrip('_')} must be [low, high] with {least}, got {[low, high]}")
        if self.step is not None and self.int_ is None:
            raise ValueError("step has no effect but on int: leave it out")
        if self.step is not None and self.int_ is not None and self.step > self.int_[1] - self.int_[0]:
            raise ValueError(f"step must lead from low to another value, got {self.step} for {list(self.int_)}")
        if self.choice is not None and not all_differ(self.choice):
            raise ValueError(f"choice must be a list of different values, got {self.choice}")
        return self

    def distribution(self) -> BaseDistribution:
        """The same values in Optuna's words."""
        if self.choice is not None:
            return CategoricalDistribution(self.choice)
        if self.int_ is not None:
            low, high = self.int_
            step = self.step or 1
            return IntDistribution(low, low + (high - low) // step * step, step=step)
        if self.log_int is not None:
            return IntDistribution(*self.log_int, log=True)
        if self.uniform is not None:
            return FloatDistribution(*self.uniform)
        assert self.log_uniform is not None
        return FloatDistribution(*self.log_uniform, log=True)

    def values_to_check(self) -> list[Scalar]:
        """All values of a choice or a short integer range, else the ends."""
        if self.choice is not None:
            return self.choice
        distribution = self.distribution()
        if isinstance(distribution, IntDistribution):
            low, high, step = distribution.low, distribution.high, distribution.step or 1
            if (high - low) // step < MOST_VALUES_CHECKED:
                return list(range(low, high + 1, step))
            return [low, high]
        assert isinstance(distribution, FloatDistribution)
        return [distribution.low, distribution.high]

    def is_listed(self, value: Scalar) -> bool:
        """Whether a value is one of a choice or an integer range; a value of a continuous range is as good as never drawn."""
        return not isinstance(self.distribution(), FloatDistribution) and contains(self, value)


def all_differ(values: Sequence[Scalar]) -> bool:
    """Whether no value stands twice; 1 is 1.0, and true is nothing but itself."""
    return len({(isinstance(value, bool), value) for value in values}) == len(values)


def contains(domain: Domain, value: Scalar) -> bool:
    """Whether a value may be drawn from a domain; 1 stands for 1.0, and true for nothing but itself."""
    distribution = domain.distribution()
    if isinstance(distribution, CategoricalDistribution):
        return any(type(choice) is type(value) and choice == value for choice in distribution.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (isinstance(distribution, FloatDistribution) or isinstance(value, int)) and distribution._contains(float(value))


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
                raise UserError(f"{parent} is a value, not a section", path)
        section[last] = value
    return changed


def factorial(vary: dict[str, list[Scalar]]) -> Iterator[dict[str, Scalar]]:
    """Every combination of the values of each path."""
    for combination in itertools.product(*vary.values()):
        yield dict(zip(vary, combination, strict=True))
