"""`Draft`: the design of a sweep while it is extended, block by block, and its text as a spec."""

import copy
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import pandas as pd

from lightning_modules.config import EvalConfig, TrialConfig
from lightning_modules.yaml_file import write_yaml
from rrm.config import IterativeConfig
from rrm.defaults import nest_training_sets
from rrm.errors import UserError
from sweeps.design.axes import CAPACITY_AXES, CYCLES, LATENT_UPDATES, LAYERS, SUPERVISION_STEPS, WIDTH
from sweeps.spec.check_trials import check_trials
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.measure import Block
from sweeps.spec.space import Scalar, factorial, with_values
from sweeps.spec.sweep import SweepSpec

MAX_DEPTH = "eval.max_depth"
MAX_NAME_LETTERS = 80  # length of the part of a sweep's name that a new name keeps
SCALES = 4  # values of an axis that are enough for every law
MIN_DEPTH = 8  # supervision steps over which a curve by inference depth shows its shape

Cell = tuple[dict[str, Scalar], TrialConfig]  # what a block varies, and the whole trial; seed 0


class Parent:
    """A measure sweep that suggestions start from, with its cells and the fingerprints of their seeds, block by block."""

    def __init__(self, spec: SweepSpec, *, is_ours: bool) -> None:
        """`is_ours` is false for a sketch of a table that this project did not write: it has no finished trials."""
        assert spec.measure is not None
        self.spec, self.measure, self.is_ours = spec, spec.measure, is_ours
        self.blocks = [[(values, spec.trial_with(values, "trial")) for values in factorial(block)] for block in self.measure.vary]
        self.known_steps = {getattr(cell.model, "supervision_steps", None) for block in self.blocks for _, cell in block if is_ours}
        seeds = self.measure.seed_numbers
        self.fingerprints = [
            [{cell.model_copy(update={"seed": seed}).fingerprint for seed in seeds} for _, cell in block] for block in self.blocks
        ]
        self.trials = set[str]().union(*(names for block in self.fingerprints for names in block))


class Draft:
    """A copy of a parent's design that changes in place.

    Blocks keep their order, and new values follow the present ones: the first trial of the first block, which stands
    for all that trials share, stays the same.
    """

    def __init__(self, parent: Parent, trials: pd.DataFrame, taken: Collection[str]) -> None:
        """`trials` are those of a group that was refused; `taken` are names that no new sweep may have."""
        self.parent, self.trials, self.taken = parent, trials, taken
        self.sections: dict[str, Any] = parent.spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True, by_alias=True)
        self.sections["defaults"] = parent.spec.defaults  # a later version of this project may have other defaults
        self.sections["measure"] |= {"seeds": parent.measure.seeds, "matching": parent.measure.matching}
        self.blocks: list[Block] = copy.deepcopy(parent.measure.vary)
        names = set(trials["fingerprint"])
        self.cells: dict[int, list[Cell]] = {}  # by number of the block, the cells that the group has trials of
        for number, (cells, fingerprints) in enumerate(zip(parent.blocks, parent.fingerprints, strict=True)):
            known = [cell for cell, seeds in zip(cells, fingerprints, strict=True) if not parent.is_ours or seeds & names]
            if known:
                self.cells[number] = known

    # -- levels of axes -------------------------------------------------------------------------------------------

    def levels(self, path: str) -> list[int]:
        """Values of an axis that the group has completed trials of, rising; none where its model does not have the axis."""
        values = self.trials[path].dropna() if path in self.trials else self._known(path)
        return sorted({int(value) for value in values if value >= 1})

    def size_axis(self) -> str:
        """The axis of size that the group varies most."""
        return max((WIDTH, LAYERS), key=lambda path: len(self.levels(path)))

    def recursion_axis(self) -> str | None:
        """The axis of recursion that the group varies most; None for a model without recursion."""
        if not any(isinstance(cell.model, IterativeConfig) for cells in self.cells.values() for _, cell in cells):
            return None
        counts = {path: len(self.levels(path)) for path in (SUPERVISION_STEPS, LATENT_UPDATES, CYCLES)}
        return max(counts, key=lambda path: counts[path])

    def add_supervision_steps(self) -> bool:
        """One more N_sup, which curves by inference depth reach beyond; False for a model without supervision steps."""
        steps = self.levels(SUPERVISION_STEPS)
        if steps:
            self.cross(SUPERVISION_STEPS, [*steps, MIN_DEPTH if steps[-1] < MIN_DEPTH else 2 * steps[-1]])
        return bool(steps)

    def grow(self, path: str, count: int) -> list[int]:
        """The levels of an axis, and doublings of the largest one in the design, `count` levels together."""
        levels = self.levels(path)
        largest = max([*levels, *map(int, self._known(path))], default=0)
        while levels and len(levels) < count:
            largest *= 2
            levels.append(largest)
        return levels

    def _known(self, path: str) -> set[Any]:
        return {value for number in self.cells for value in self.values(number, path)}

    def cross(self, path: str, levels: Sequence[int]) -> None:
        """Give every block of the group these levels; a new size only to the blocks that have the largest one.

        Blocks may differ in what follows from the width, such as a learning rate: a new width gets that of the largest.
        """
        present = {number: self.values(number, path) for number in self.cells}
        largest = max(max(values) for values in present.values())
        for number, values in present.items():
            if path not in CAPACITY_AXES:
                new = [level for level in levels if level not in values]
            else:
                new = [level for level in levels if level > largest] if largest in values else []
            if new:
                self.blocks[number][path] = [*values, *new]

    def append(self, block: Block) -> None:
        """Add a block, unless another one has all of its cells."""
        if not any(_covers(other, block) for other in self.blocks):
            self.blocks.append(block)

    def values(self, number: int, path: str) -> list[Any]:
        """Values of a path in a block, in the order of the block; of a path that it does not vary those of its trials."""
        if path in self.blocks[number]:
            return list(self.blocks[number][path])
        return list(dict.fromkeys(value for _, cell in self.cells[number] if (value := cell.flat().get(path)) is not None))

    # -- what all trials share ------------------------------------------------------------------------------------

    def rename(self, word: str) -> None:
        """Another name, as what all trials share changes; cells outside the group are left out."""
        name = f"{self.parent.spec.name[:MAX_NAME_LETTERS]}_{word}"
        names = [name, *(f"{name}_{number}" for number in range(2, len(self.taken) + 2))]
        self.sections["name"] = next(other for other in names if other not in self.taken)
        self.sections.pop("description", None)
        self.blocks = [self._restrict(number) for number in self.cells]
        self.cells = dict(enumerate(self.cells.values()))

    def _restrict(self, number: int) -> Block:
        """A block with the values alone that occur in the group."""
        cells = [varied for varied, _ in self.cells[number]]
        return {
            path: [value for value in values if any(cell.get(path, value) == value for cell in cells)]
            for path, values in self.blocks[number].items()
        }

    def share(self, path: str, value: Any) -> None:
        """Give all trials a value, such as `trial.fit.budget.amount`."""
        self.sections = with_values(self.sections, {path: value})

    def keep_training_sets(self) -> None:
        """Have a first design over training puzzles draw them as the finished trials did, which are not nested."""
        task = self.sections["trial"].get("task", {})
        if nest_training_sets(self.sections["trial"])["task"].get("nested") and "nested" not in task:
            self.share("trial.task.nested", False)

    def drop_ties(self) -> None:
        """Vary what was solved for, over the values that came out."""
        for tie in self.parent.spec.ties:
            for number, cells in self.cells.items():
                self.blocks[number][tie.solve] = sorted({cell.flat()[tie.solve] for _, cell in cells})
        self.sections["measure"].pop("tie", None)

    # -- the text -------------------------------------------------------------------------------------------------

    def write(self) -> str:
        """The draft as YAML."""
        self._deepen()
        self.sections["measure"]["vary"] = self.blocks if len(self.blocks) > 1 else self.blocks[0]
        return write_yaml(self.sections, brief=True)

    def _deepen(self) -> None:
        """Have depth curves reach twice as deep as new trials are supervised.

        Finished trials keep their depth: trials that need a larger one are a separate block.
        """
        shared = self.sections["trial"].get("eval", {}).get("max_depth", EvalConfig().max_depth)
        if not self.parent.is_ours:
            steps = [int(step) for block in self.blocks for step in block.get(SUPERVISION_STEPS, [])]
            self.share(f"trial.{MAX_DEPTH}", max([shared, *(2 * step for step in steps)]))
            return
        for block in list(self.blocks):
            limit = min(map(int, block.get(MAX_DEPTH, [shared])))
            steps = [int(step) for step in block.get(SUPERVISION_STEPS, [])]
            deep = [step for step in steps if step > limit or (2 * step > limit and step not in self.parent.known_steps)]
            if not deep:
                continue
            deeper: Block = {**block, SUPERVISION_STEPS: [*deep], MAX_DEPTH: [2 * max(deep)]}
            shallow: list[Scalar] = [step for step in steps if step not in deep]
            if shallow:
                block[SUPERVISION_STEPS] = shallow
                self.blocks.append(deeper)
            else:
                block |= deeper


def _covers(outer: Block, inner: Block) -> bool:
    """Whether a block has all values of another one."""
    return outer.keys() == inner.keys() and all(set(inner[path]) <= set(outer[path]) for path in inner)


@cache
def is_valid(text: str) -> bool:
    """Whether a spec leads to valid trials alone; data files are not looked for."""
    try:
        check_trials(parse_stored_spec(text, "a suggested spec", {}))
    except UserError:
        return False
    return True


def round_amount(amount: float) -> float:
    """An amount with three digits, without a point where it is whole."""
    rounded = float(f"{amount:.3g}")
    return int(rounded) if rounded.is_integer() and rounded < 1e9 else rounded
