"""`SweepSpec`: the one YAML file that a user writes. `load_spec.py` reads it, `check_trials.py` checks its trials."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from lightning_modules.config import BudgetUnit, TrialConfig, flatten, trial_class, validate_trial
from lightning_modules.record import step_flops, train_flops
from rrm.config import ModelConfig, Plugin, RuleError, StrictConfig
from rrm.defaults import (
    FIRST_DEFAULTS,
    NESTED_SINCE,
    NEWEST_DEFAULTS,
    describe_defaults,
    nest_training_sets,
    older_defaults,
    with_defaults,
)
from rrm.errors import UserError
from rrm.files import PLAIN_NAME, expand_home, join_location
from rrm.registry import Registry, registry_of
from sweeps.design.axes import TRAIN_EXAMPLES
from sweeps.design.groups import FILE_PATHS
from sweeps.spec.measure import Block, Measure
from sweeps.spec.resources import Resources, Tracking
from sweeps.spec.search import Search
from sweeps.spec.space import Domain, Scalar, Sections, factorial, with_values
from sweeps.spec.tied_parameters import Tie, solve_tie

HEAD_SIZE = ModelConfig.model_fields["head_size"].default
RESERVED = {"trials", "mlartifacts", "mlflow.db"}
MLFLOW_DEFAULT = "Default"  # MLflow's experiment for runs without one
MAX_TRIALS = 100_000  # a larger design is almost certainly a typo


@dataclass(frozen=True)
class Origin:
    """The source of a spec; it is part of no file."""

    folder: Path = Path()  # folder of the spec's file, where relative data paths start
    is_begun: bool = False  # whether the version of the defaults is that of a store
    moved_files: Mapping[str, str] | None = None  # for a stored spec, whose files are not read: their present paths by digest


class SweepSpec(StrictConfig):
    """One sweep. `trial` is what every trial shares; `measure` or `search` is what differs."""

    name: str
    """Name of the sweep, of its folder and of its MLflow experiment; the name of its study begins with it."""
    description: str = ""
    """Text for readers; it has no effect."""
    defaults: int = Field(NEWEST_DEFAULTS, ge=FIRST_DEFAULTS, le=NEWEST_DEFAULTS)
    """Version of the defaults of fields that are absent in `trial`; a sweep that was begun keeps the version of its store."""
    plugins: list[Plugin] | None = None
    """Files of your own with tasks, models, samplers, trackers or laws; paths start at the file's folder: `[my_model.py]`
    (docs/extending.md)."""
    trial: dict[str, Any]
    """Fields that every trial shares; an absent field has its default."""
    measure: Measure | None = None
    """A factorial design; exactly one of `measure` and `search` is given."""
    search: Search | None = None
    """A search by a sampler; exactly one of `measure` and `search` is given."""
    resources: Resources = Resources()
    """What one trial may use, and how many run at the same time."""
    tracking: Tracking = Tracking()
    """The tracker, and what it receives beside runs, parameters and metrics."""
    storage: str = Field("runs", min_length=1)
    """Folder of the results, relative to the current one, or a URI such as `s3://bucket/sweeps`. `--storage` overrides it."""
    _origin: Origin = PrivateAttr(Origin())

    def model_post_init(self, context: Origin | None) -> None:
        """Take the origin, which pydantic hands on as the context of the validation."""
        if context is not None:
            self._origin = context

    @model_validator(mode="after")
    def _one_design(self) -> Self:
        if (self.measure is None) == (self.search is None):
            raise RuleError("must have exactly one of the sections measure and search", "measure", "search")
        if self.search is not None and self.name in self.search.warm_start:
            rule = f"search.warm_start must name other sweeps, got {self.name!r}, this one"
            raise RuleError(rule, "search.warm_start", "name")
        return self

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not PLAIN_NAME.fullmatch(name):  # a folder, a study and an MLflow experiment have this name
            raise ValueError(
                f"must be up to 100 letters, digits, dots, dashes and underscores, a letter or digit first, got {name[:120]!r}"
            )
        if name in RESERVED:
            raise ValueError(f"must not be one of {', '.join(sorted(RESERVED))}, which lie beside the sweeps, got {name!r}")
        if name == MLFLOW_DEFAULT:
            raise ValueError(f"must not be {MLFLOW_DEFAULT}, MLflow's experiment for runs of any origin, got {name!r}")
        return name

    @field_validator("storage")
    @classmethod
    def _with_home(cls, storage: str) -> str:
        return expand_home(storage)

    @property
    def location(self) -> str:
        """Where this sweep's store lies: a folder or a URI."""
        return join_location(self.storage, self.name)

    def location_of(self, sweep: str) -> str:
        """Where the store of another sweep lies, which is named by its name in this storage, its folder or its URI."""
        return sweep if "/" in sweep else join_location(self.storage, sweep)

    @property
    def section(self) -> str:
        """The section that states what differs between trials."""
        return "measure" if self.measure else "search"

    @cached_property
    def registry(self) -> Registry:
        """The kinds that trials may have; the plug-ins are imported on first use.

        Raises:
            UserError: a plug-in cannot be imported.
        """
        return registry_of(tuple(self.plugins or ()), is_stored=self._origin.moved_files is not None)

    @property
    def trial_class(self) -> type[TrialConfig]:
        """The class of the trials, with the kinds of the plug-ins."""
        return trial_class(self.registry)

    @property
    def every_plugin(self) -> list[Plugin]:
        """The plug-ins that the spec names, with what each file holds, and the installed packages that its trials use."""
        kinds: list[tuple[str, Any]] = [("task", self.base.task.kind), ("model", self.base.model.kind)]  # type: ignore[attr-defined]
        for block in self.blocks.values():
            kinds += [(section, value) for section in ("task", "model") for value in block.get(f"{section}.kind", [])]
        used = [self.registry.plugins[kind] for kind in kinds if kind in self.registry.plugins]
        named = dict.fromkeys([*(self.plugins or ()), *used])
        return [plugin if plugin.file is None else self._with_families(plugin) for plugin in named]

    def _with_families(self, plugin: Plugin) -> Plugin:
        return plugin.model_copy(update={"holds": self.registry.families_of(plugin) or plugin.holds})

    @cached_property
    def blocks(self) -> dict[str, Block]:
        """Values of all varied paths by the place of their block in the file: all of a design, those to check of a search."""
        if self.search:
            blocks = {"search.space": _values_of(self.search.space)}
            for number, when in enumerate(self.search.when):
                blocks[f"search.when.{number}.space"] = {path: [value] for path, value in when.if_.items()} | _values_of(when.space)
            return blocks
        assert self.measure is not None
        if len(self.measure.vary) == 1:
            return {"measure.vary": self.measure.vary[0]}
        return {f"measure.vary.{number}": block for number, block in enumerate(self.measure.vary)}

    @property
    def varied_paths(self) -> list[str]:
        """Paths of the fields that differ between trials, in the order of the file."""
        return list(dict.fromkeys(path for block in self.blocks.values() for path in block))

    @cached_property
    def base(self) -> TrialConfig:
        """One trial of the sweep, for the settings that all trials share; seed 0."""
        return self.trial_with(first_values(next(iter(self.blocks.values()))), "trial")

    def setter_of(self, path: str) -> str | None:
        """The part of the file that sets this field in every trial, over any value in `trial`; None if there is none."""
        for number, tie in enumerate(self.ties):
            if tie.solve == path:
                return f"{self.section}.tie.{number}"
        always = {"search.space": self.search.space} if self.search else self.blocks
        return next(iter(always)) if all(path in paths for paths in always.values()) else None

    @property
    def budget_unit(self) -> BudgetUnit:
        return self.base.fit.budget.unit

    @property
    def ties(self) -> list[Tie]:
        """The fields that are solved for in every trial."""
        design = self.measure or self.search
        assert design is not None
        return design.tie

    def trial_with(self, values: Mapping[str, Scalar], prefix: str) -> TrialConfig:
        """The trial with fields at dotted paths replaced and ties solved; errors name the field below `prefix`."""
        sections = with_defaults(with_values(self.trial, values), self.defaults, self.registry)
        if self._varies_training_sets and self.defaults >= NESTED_SINCE:
            sections = nest_training_sets(sections, self.registry)
        for number, tie in enumerate(self.ties):
            where = f"{self.section}.tie.{number}"
            grain = int(sections.get("model", {}).get("head_size", HEAD_SIZE)) if tie.solve == "model.hidden_size" else 1

            def build(value: int, tie: Tie = tie, sections: Sections = sections) -> TrialConfig:
                return self._locate(validate_trial(with_values(sections, {tie.solve: value}), prefix, self.registry))

            sections = with_values(sections, {tie.solve: solve_tie(tie, build, grain, where)})
        return self._locate(validate_trial(sections, prefix, self.registry))

    @cached_property
    def _varies_training_sets(self) -> bool:
        return self.measure is not None and TRAIN_EXAMPLES in self.varied_paths

    def _locate(self, trial: TrialConfig) -> TrialConfig:
        files = self._origin.moved_files
        return trial.located(self._origin.folder) if files is None else trial.relocated(files)

    @property
    def files_by_digest(self) -> dict[str, str]:
        """The path of every data file that the spec names, by its digest."""
        files = self.base.files_by_digest
        for block in self.blocks.values():
            for path in block.keys() & FILE_PATHS:
                for value in block[path]:
                    files |= self.trial_with(first_values(block) | {path: value}, "trial").files_by_digest
        return files

    def corners(self) -> Iterator[tuple[str, str, dict[str, Scalar]]]:
        """Every varied value with the first values of the other paths of its block: place of the block, path, all values."""
        for where, block in self.blocks.items():
            for path, values in block.items():
                for value in values:
                    yield where, path, first_values(block) | {path: value}

    @property
    def kept_defaults(self) -> str | None:
        """The line about older defaults that the sweep keeps because it was begun with them; None where they change nothing."""
        stated = {path for path in older_defaults(self.defaults) if self._states(path)}
        keeps_sets = self.defaults < NESTED_SINCE and self._varies_training_sets and not self._states("task.nested")
        if not self._origin.is_begun or (stated == older_defaults(self.defaults).keys() and not keeps_sets):
            return None
        sets = ", and training sets that are not nested," if keeps_sets else ""
        kept = f"{self.location} was begun with {describe_defaults(self.defaults)}{sets} and keeps them"
        return f"{kept}; a sweep of another name (name=NEW) has those of today (defaults: {NEWEST_DEFAULTS})"

    def _states(self, path: str) -> bool:
        """Whether a field has no default in any trial: it is given, varied everywhere or solved for."""
        always = [self.search.space.keys()] if self.search else [block.keys() for block in self.blocks.values()]
        given = path in flatten(self.trial) or path in [tie.solve for tie in self.ties]
        return given or all(path in paths for paths in always)

    @cached_property
    def design(self) -> tuple[TrialConfig, ...]:
        """Trials of a measure sweep, () for a search: seed by seed, expensive cells first, so that the last trials are short.

        Raises:
            UserError: a trial is not valid, or there are more than MAX_TRIALS.
        """
        if self.measure is None:
            return ()
        count = sum(math.prod(map(len, block.values())) for block in self.measure.vary) * self.measure.seeds
        if count > MAX_TRIALS:
            raise UserError("measure.vary", f"must lead to at most {MAX_TRIALS:,} trials, seeds included, got {count:.3g}")
        cells = [self.trial_with(values, "trial") for block in self.measure.vary for values in factorial(block)]
        cells.sort(key=lambda cell: (train_flops(cell), step_flops(cell)), reverse=True)
        trials = [cell.model_copy(update={"seed": seed}) for seed in self.measure.seed_numbers for cell in cells]
        return tuple({trial.fingerprint: trial for trial in trials}.values())

    @property
    def cells(self) -> list[TrialConfig]:
        """The trials of the first seed, one for each cell of a measure sweep."""
        return [trial for trial in self.design if self.measure and trial.seed == self.measure.first_seed]

    @property
    def total(self) -> int:
        """Number of trials that the spec asks for, the confirm stage of a search included."""
        if self.search is None:
            return len(self.design)
        confirm = self.search.confirm
        return self.search.num_trials + (confirm.top * confirm.seeds if confirm else 0)


def _values_of(space: dict[str, Domain]) -> Block:
    """Values of a space that are tried against the config."""
    return {path: domain.values_to_check() for path, domain in space.items()}


def first_values(block: Block) -> dict[str, Scalar]:
    """The first value of every path of a block. `trial` alone need not be a valid config; with these values it is."""
    return {path: values[0] for path, values in block.items()}
