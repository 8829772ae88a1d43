"""The section `measure`: a factorial design times seeds."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lightning_modules.config import MAX_SEED
from rrm.config import RuleError, StrictConfig
from rrm.errors import join_keys
from sweeps.spec.space import Scalar, all_differ
from sweeps.spec.tied_parameters import Tie

Block = dict[str, list[Scalar]]  # dotted paths and their values: a full factorial


class Measure(StrictConfig):
    """A factorial design times seeds: the data of scaling laws."""

    vary: list[Annotated[Block, Field(min_length=1)]] = Field(min_length=1)
    """Dotted paths and their values; every combination is a cell. A list of such blocks is the union of their cells."""
    seeds: int = Field(3, ge=1)
    """Number n of seeds: every cell is trained with n seeds, from `first_seed` on."""
    first_seed: int = Field(0, ge=0, le=MAX_SEED)
    """The lowest seed. Another one, with another name of the sweep, repeats a sweep with independent trials."""
    matching: Literal["steps", "fresh_examples", "train_flops"] = "steps"
    """Unit of the budgets, by which trials are equal unless `fit.budget.amount` is varied; it must be `trial.fit.budget.unit`."""
    tie: list[Tie] = Field([])
    """Fields that are solved for in every cell."""
    reuse: list[str] = Field([])
    """Other measure sweeps, by name in this storage, folder or URI. Completed trials of equal fingerprint are copied, not run."""

    @property
    def seed_numbers(self) -> range:
        """The seeds of every cell."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @field_validator("vary", mode="before")
    @classmethod
    def _as_blocks(cls, vary: Any) -> Any:
        """A single block needs no list around it, and neither does a single value."""
        blocks = vary if isinstance(vary, list) else [vary]
        if not all(isinstance(block, dict) for block in blocks):
            rule = f"must be paths and their values, or a list of such blocks, got {vary!r}"
            raise ValueError(f"{rule}; write vary: {{model.hidden_size: [64, 128]}}")
        nested = [(path, values) for block in blocks for path, values in block.items() if isinstance(values, dict)]
        if nested:
            raise ValueError(f"vary.{nested[0][0]} must be a list of values, got a section: write {_dotted(*nested[0])}")
        return [{path: values if isinstance(values, list) else [values] for path, values in block.items()} for block in blocks]

    @model_validator(mode="after")
    def _seeds_are_small(self) -> Self:
        last = self.first_seed + self.seeds - 1
        if last > MAX_SEED:
            raise RuleError(
                f"first_seed must leave room for {self.seeds} seeds up to {MAX_SEED}, got {self.first_seed}", "first_seed"
            )
        return self

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        for block in self.vary:
            for path, values in block.items():
                if not values or not all_differ(values):
                    raise ValueError(f"vary.{path} must be a list of different values, got {values}")
        return self


def _dotted(path: str, section: dict[str, Any]) -> str:
    """A section below a path as the lines of a design: `model.l_cycles: [1, 2]`."""
    return ", ".join(f"{join_keys(path, key)}: {value}" for key, value in section.items()) or f"{path}: [...]"
