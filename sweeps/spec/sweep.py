"""`SweepSpec`: the one YAML file that a user writes, checked as a whole before anything is spent."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from lightning_modules.config import BudgetUnit, TrialConfig, flatten, validate_trial
from lightning_modules.record import step_flops
from lightning_modules.yaml_file import parse_yaml, read_yaml, reject_nulls, write_flow
from rrm.config import ModelConfig, StrictConfig, fields_by_path
from rrm.defaults import FIRST_DEFAULTS, NEWEST_DEFAULTS, describe_defaults, older_defaults, parse_version, with_defaults
from rrm.errors import UserError, from_validation, join_keys, require_sections, suggest_field
from rrm.files import PLAIN_NAME, expand_home, join_location
from rrm.format_version import STORE_FORMAT, check_format
from rrm.tasks.arc_sets import NAMED
from sweeps.design.groups import FILE_PATHS
from sweeps.spec.search import Search
from sweeps.spec.space import Domain, Scalar, Sections, all_differ, factorial, with_values
from sweeps.spec.tied_parameters import Tie, solve_tie

SAME_IN_ALL = {
    "seed": "measure.seeds says how many there are",
    "fit.budget.unit": "trials of one sweep have equal budgets",
    "fit.budget.amount": "trials of one sweep have equal budgets",
}
HEAD_SIZE = ModelConfig.model_fields["head_size"].default
GIGABYTE = 1e9
ROUNDING = 1e-9  # ten tenths are one
RESERVED = {"trials", "mlartifacts", "mlflow.db"}
MLFLOW_DEFAULT = "Default"  # MLflow's experiment for whatever names none
MAX_TRIALS = 100_000  # a larger design is almost certainly a typo
Block = dict[str, list[Scalar]]  # dotted paths and their values: a full factorial


class Measure(StrictConfig):
    """A factorial design times seeds, at a fixed budget: what scaling curves are fitted on."""

    vary: list[Annotated[Block, Field(min_length=1)]] = Field(min_length=1)  # blocks; the design is their union
    seeds: int = Field(3, ge=1)  # n means the seeds 0 .. n - 1
    matching: Literal["steps", "fresh_examples", "train_flops"] = "steps"  # what all trials have equal
    tie: list[Tie] = Field([])  # parameters that are solved for in every cell

    @field_validator("vary", mode="before")
    @classmethod
    def _as_blocks(cls, vary: Any) -> Any:
        """One block may stand without a list around it, and one value too."""
        blocks = vary if isinstance(vary, list) else [vary]
        if not all(isinstance(block, dict) for block in blocks):
            rule = f"must be paths and their values, or a list of such blocks, got {vary!r}"
            raise ValueError(f"{rule}; write vary: {{model.hidden_size: [64, 128]}}")
        nested = [(path, values) for block in blocks for path, values in block.items() if isinstance(values, dict)]
        if nested:
            raise ValueError(f"vary.{nested[0][0]} must be a list of values, got a section: write {_dotted(*nested[0])}")
        return [{path: values if isinstance(values, list) else [values] for path, values in block.items()} for block in blocks]

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


class Resources(StrictConfig):
    """What one trial gets, and how many run at once."""

    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)
    max_concurrent: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"  # auto: as many as the resources allow
    memory_gb: float | None = Field(None, gt=0)  # of one trial: set aside by Ray, and a process that takes more is ended
    trial_timeout_minutes: float | None = Field(None, gt=0)  # an attempt that takes longer ends as failed, one that hangs too
    max_retries: int = Field(2, ge=0)  # times a trial is started again after its process was lost

    @field_validator("cpus", "gpus")
    @classmethod
    def _share_or_whole(cls, count: float) -> float:
        if count > 1 and count % 1:
            raise ValueError(f"must be a share of one or a whole number, got {count:g}")
        return count

    @property
    def asked(self) -> dict[str, float]:
        """What Ray sets aside for a trial, by Ray's names; memory in bytes."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory_gb or 0) * GIGABYTE}
        return {name: amount for name, amount in asked.items() if amount}

    def fit_into(self, there: Mapping[str, float]) -> int:
        """How many trials there is room for at once, in what one node has."""
        return min(int(there.get(name, 0) / amount + ROUNDING) for name, amount in self.asked.items())


class Tracking(StrictConfig):
    """What MLflow is told beyond runs, params and metrics."""

    models: int = Field(1, ge=0)  # how many of the best trials have their model logged; the best is registered
    system_metrics: bool = False  # load and memory of the trial's machine, at every validation


class SweepSpec(StrictConfig):
    """One sweep. `trial` is what every trial shares; `measure` or `search` says what differs."""

    name: str
    description: str = ""
    defaults: int = Field(NEWEST_DEFAULTS, ge=FIRST_DEFAULTS, le=NEWEST_DEFAULTS)  # version of the defaults of absent fields
    trial: dict[str, Any]
    measure: Measure | None = None
    search: Search | None = None
    resources: Resources = Resources()
    tracking: Tracking = Tracking()
    storage: str = Field("runs", min_length=1)  # where results go: a folder, or a URI such as s3://bucket/sweeps
    _folder: Path = PrivateAttr(Path())  # of the spec's file: data paths start there
    _is_begun: bool = PrivateAttr(False)  # whether the version of the defaults is that of a store
    _moved_files: Mapping[str, str] | None = PrivateAttr(None)  # of a stored spec, whose data files are not read: path by digest

    @model_validator(mode="after")
    def _one_design(self) -> Self:
        if (self.measure is None) == (self.search is None):
            raise ValueError("must have exactly one of the sections measure and search")
        if self.search is not None and self.name in self.search.warm_start:
            raise ValueError(f"search.warm_start must name other sweeps, got {self.name!r}, this one")
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

    @cached_property
    def _blocks(self) -> dict[str, Block]:
        """Values of everything that is varied by where it stands in the file: all of a design, those to check of a search."""
        if self.search:
            blocks = {"search.space": _values(self.search.space)}
            for number, when in enumerate(self.search.when):
                blocks[f"search.when.{number}.space"] = {path: [value] for path, value in when.if_.items()} | _values(when.space)
            return blocks
        assert self.measure is not None
        if len(self.measure.vary) == 1:
            return {"measure.vary": self.measure.vary[0]}
        return {f"measure.vary.{number}": block for number, block in enumerate(self.measure.vary)}

    @property
    def varied_paths(self) -> list[str]:
        """What differs between trials, in the order of the file."""
        return list(dict.fromkeys(path for block in self._blocks.values() for path in block))

    @cached_property
    def base(self) -> TrialConfig:
        """One trial of the sweep, for what all of them share; seed 0."""
        return self.trial_with(_anchor(next(iter(self._blocks.values()))), "trial")

    def setter_of(self, path: str) -> str | None:
        """The part of the file that sets this field in every trial, whatever `trial` holds; None where there is none."""
        section = "measure" if self.measure else "search"
        for number, tie in enumerate(self.ties):
            if tie.solve == path:
                return f"{section}.tie.{number}"
        always = {"search.space": self.search.space} if self.search else self._blocks
        return next(iter(always)) if all(path in paths for paths in always.values()) else None

    @property
    def budget_unit(self) -> BudgetUnit:
        return self.base.fit.budget.unit

    @property
    def ties(self) -> list[Tie]:
        """What is solved for in every trial."""
        design = self.measure or self.search
        assert design is not None
        return design.tie

    def trial_with(self, values: Mapping[str, Scalar], prefix: str) -> TrialConfig:
        """The trial with fields at dotted paths replaced, and what is tied solved for; errors name the field below `prefix`."""
        sections = with_defaults(with_values(self.trial, values), self.defaults)
        for number, tie in enumerate(self.ties):
            where = f"{'measure' if self.measure else 'search'}.tie.{number}"
            grain = int(sections.get("model", {}).get("head_size", HEAD_SIZE)) if tie.solve == "model.hidden_size" else 1

            def build(value: int, tie: Tie = tie, sections: Sections = sections) -> TrialConfig:
                return self._locate(validate_trial(with_values(sections, {tie.solve: value}), prefix))

            sections = with_values(sections, {tie.solve: solve_tie(tie, build, grain, where)})
        return self._locate(validate_trial(sections, prefix))

    def _locate(self, trial: TrialConfig) -> TrialConfig:
        return trial.located(self._folder) if self._moved_files is None else trial.relocated(self._moved_files)

    @property
    def files_by_digest(self) -> dict[str, str]:
        """Where every data file that the spec names lies, by its digest."""
        files = self.base.files_by_digest
        for block in self._blocks.values():
            for path in block.keys() & FILE_PATHS:
                for value in block[path]:
                    files |= self.trial_with(_anchor(block) | {path: value}, "trial").files_by_digest
        return files

    def corners(self) -> Iterator[tuple[str, str, dict[str, Scalar]]]:
        """Every value that is varied, the other paths of its block at their first values: the block, the path, all values."""
        for where, block in self._blocks.items():
            for path, values in block.items():
                for value in values:
                    yield where, path, _anchor(block) | {path: value}

    @property
    def kept_defaults(self) -> str | None:
        """The line about older defaults that the sweep keeps because it was begun with them; None where they change nothing."""
        stated = {path for path in older_defaults(self.defaults) if self._states(path)}
        if not self._is_begun or stated == older_defaults(self.defaults).keys():
            return None
        kept = f"{self.location} was begun with {describe_defaults(self.defaults)} and keeps them"
        return f"{kept}; a sweep of another name (name=NEW) has those of today (defaults: {NEWEST_DEFAULTS})"

    def _states(self, path: str) -> bool:
        """Whether a field has no default in any trial: it is given, varied everywhere or solved for."""
        always = [self.search.space.keys()] if self.search else [block.keys() for block in self._blocks.values()]
        given = path in flatten(self.trial) or path in [tie.solve for tie in self.ties]
        return given or all(path in paths for paths in always)

    @cached_property
    def design(self) -> tuple[TrialConfig, ...]:
        """Trials of a measure sweep, () for a search: seed by seed, a seed's most expensive cells first so that the tail is short.

        Raises:
            UserError: a trial is not valid, or there are more than MAX_TRIALS.
        """
        if self.measure is None:
            return ()
        count = sum(math.prod(map(len, block.values())) for block in self.measure.vary) * self.measure.seeds
        if count > MAX_TRIALS:
            raise UserError("measure.vary", f"must lead to at most {MAX_TRIALS:,} trials, seeds included, got {count:.3g}")
        cells = [self.trial_with(values, "trial") for block in self.measure.vary for values in factorial(block)]
        cells.sort(key=step_flops, reverse=True)
        trials = [cell.model_copy(update={"seed": seed}) for seed in range(self.measure.seeds) for cell in cells]
        return tuple({trial.fingerprint: trial for trial in trials}.values())

    @property
    def total(self) -> int:
        """Number of trials that the spec asks for, the confirm stage of a search included."""
        if self.search is None:
            return len(self.design)
        confirm = self.search.confirm
        return self.search.num_trials + (confirm.top * confirm.seeds if confirm else 0)

    def validate_trials(self) -> None:
        """Build every trial that can be known now.

        Raises:
            UserError: one of them is not valid; the error names the field in the spec.
        """
        self._check_paths()
        if "seed" in self.trial:
            raise UserError("trial.seed", "is set by the sweep: leave it out (measure.seeds says how many)")
        for where, path, values in self.corners():
            self._check_value(values, path, where)
        if self.measure is not None:
            if self.measure.matching != self.budget_unit:
                raise UserError(
                    "measure.matching",
                    f"must equal trial.fit.budget.unit, got {self.measure.matching!r} and {self.budget_unit!r}",
                )
            _ = self.design  # builds every trial
        if self.search is not None:
            self._check_search()

    def _check_value(self, values: dict[str, Scalar], path: str, where: str) -> None:
        """One value of one path, all other paths of its block at their first value."""
        try:
            self.trial_with(values, "trial")
        except UserError as error:
            if error.where.startswith("search.tie"):
                return  # a corner of the space where nothing can be solved for; the sampler is told so
            field = error.where.removeprefix("trial").removeprefix(".")
            # A rule of a section names the fields that break it; the first value of another path may be the one that is wrong.
            named = re.findall(r"\w+", error.problem)
            suspects = [name for name in (path, *values) if name.startswith(field) and name.split(".")[-1] in named]
            guilty = field if field in values else next(iter(suspects), None)
            if guilty is None:
                raise  # a field that the sweep does not vary, or a data file
            raise UserError(f"{where}.{guilty}", f"the value {values[guilty]!r} is not valid: {error}") from None

    def _check_paths(self) -> None:
        """Every varied path is a field of a trial, other than the seed."""
        known = [path for path in _paths(TrialConfig) if path not in SAME_IN_ALL]
        for where, block in self._blocks.items():
            for path in block:
                if path in SAME_IN_ALL:
                    raise UserError(f"{where}.{path}", f"cannot be varied: {SAME_IN_ALL[path]}")
                if path not in known:
                    raise UserError(join_keys(where, path), f"is not a field of a trial; {suggest_field(path, known)}")
        section = "measure" if self.measure else "search"
        for number, tie in enumerate(self.ties):
            where = f"{section}.tie.{number}.solve"
            if tie.solve not in known:
                raise UserError(where, f"is not a field of a trial that can be solved for; {suggest_field(tie.solve, known)}")
            if not _is_whole(tie.solve):
                raise UserError(where, f"must be a field of whole numbers, got {tie.solve}")
            if tie.solve in self.varied_paths or tie.solve in [other.solve for other in self.ties[:number]]:
                raise UserError(where, f"{tie.solve} is varied or solved for already")

    def _check_search(self) -> None:
        """What a search section says of the trial: its clock and its first points."""
        assert self.search is not None
        unit = self.budget_unit  # also finds out whether what is tied can be solved for at all
        time = self.search.scheduler.time
        if time is not None and time != unit:
            raise UserError("search.scheduler.time", f"must equal trial.fit.budget.unit, got {time!r} and {unit!r}")
        grace, validations = self.search.scheduler.grace, self.base.eval.validations
        if grace is not None and grace > 1 - 1 / validations:
            raise UserError(
                "search.scheduler",
                f"has no effect with eval.validations {validations}: no validation lies between grace ({grace:g}) and the end",
            )
        for number, point in enumerate(self.search.points):
            for path, value in point.items():
                if not any(domain.contains(value) for domain in self.search.domains(path)):
                    raise UserError(f"search.points.{number}.{path}", f"must lie in the space, got {value!r}")
            try:
                self.trial_with(_anchor(self._blocks["search.space"]) | point, "trial")
            except UserError as error:
                raise UserError(f"search.points.{number}", f"is not a valid trial: {error}") from None


def _values(space: dict[str, Domain]) -> Block:
    """Values of a space that are tried against the config."""
    return {path: domain.values_to_check() for path, domain in space.items()}


def _anchor(block: Block) -> dict[str, Scalar]:
    """The first value of everything that a block varies: `trial` alone need not be a valid config."""
    return {path: values[0] for path, values in block.items()}


def _paths(model: type, prefix: str = "") -> list[str]:
    """Dotted paths of all fields of a config class."""
    return list(fields_by_path(model, prefix))


def _known_paths() -> list[str]:
    """Dotted paths of all fields of a spec, those of its trial included."""
    return [*_paths(SweepSpec), *(f"trial.{path}" for path in _paths(TrialConfig))]


def _is_whole(path: str) -> bool:
    """Whether a field of a trial holds a whole number, and nothing else but its absence."""
    return all(annotation in (int, int | None) for annotation in fields_by_path(TrialConfig)[path])


def load_spec(
    path: Path, overrides: list[str] | None = None, begun_with: Callable[[str], int | None] = lambda location: None
) -> SweepSpec:
    """The sweep in a YAML file, with `dotted.path=value` overrides, checked down to every trial and data file.

    Args:
        begun_with: version of the defaults of the sweep at a location, None where there is no sweep; it holds where the file
            names no version.

    Raises:
        UserError: anything that the user can mend, in one line.
    """
    path = Path(expand_home(path))
    sections = read_yaml(path)
    check_format(sections.pop("format", None), STORE_FORMAT, str(path))  # the spec of a store may be run too
    if not {"trial", "measure", "search"} & sections.keys() and {"task", "model"} & sections.keys():
        raise UserError(str(path), f"is a trial, not a sweep: use rrm-trial {path}")
    for override in overrides or []:
        sections = _override(sections, override)
    if "defaults" in sections:
        parse_version(sections["defaults"], "defaults")
    spec = _parse(sections)
    version = begun_with(spec.location)
    if version is not None and "defaults" not in sections:
        spec = _parse(sections | {"defaults": version})
        spec._is_begun = True
    spec._folder = path.parent.resolve()
    for override in overrides or []:
        _check_effect(spec, override)
    spec.validate_trials()
    return spec


def parse_stored_spec(text: str, where: str, files: Mapping[str, str]) -> SweepSpec:
    """The sweep in a store, whose data files may have been moved or removed since: none of them is read.

    Args:
        files: where data files lie now, by their digests.

    Raises:
        UserError: the text is not a valid sweep; `where` names it.
    """
    sections = parse_yaml(text, where)
    spec = _parse({"defaults": stored_defaults(sections, where)} | sections)
    spec._moved_files = files
    return spec


def stored_defaults(sections: Any, where: str) -> int:
    """The version of the defaults in a stored spec, which named none at first.

    Raises:
        UserError: it is a later version than there is here, or no spec at all; `where` names the spec.
    """
    if not isinstance(sections, dict):
        raise UserError(where, "is damaged (no sections of key: value lines): restore it")
    return parse_version(sections.get("defaults", FIRST_DEFAULTS), f"{where}: defaults")


def _parse(sections: dict[str, Any]) -> SweepSpec:
    require_sections(sections, SweepSpec)
    if not isinstance(trial := sections.get("trial", {}), dict):
        raise UserError("trial", f"must be a section of key: value lines, got {trial!r}; write trial: {{task: {{kind: sudoku}}}}")
    if isinstance(sections.get("trial"), dict):
        require_sections(sections["trial"], TrialConfig, "trial")
    try:
        return SweepSpec.model_validate_json(json.dumps(sections))
    except ValidationError as error:
        raise _as_written(from_validation(error, SweepSpec, known=_known_paths()), sections) from None


def _as_written(error: UserError, sections: dict[str, Any]) -> UserError:
    """The error with the path that the user knows: a block that stands alone has no number."""
    measure = sections.get("measure")
    if isinstance(measure, dict) and isinstance(measure.get("vary"), list):
        return error
    return UserError(re.sub(r"^measure\.vary\.0", "measure.vary", error.where), error.problem, error.fields)


def _here(path: Any) -> Any:
    """A data path of the command line as an absolute one; the name of a public set stays what it is."""
    return str(Path(expand_home(path)).resolve()) if isinstance(path, str) and path not in NAMED else path


def _check_effect(spec: SweepSpec, override: str) -> None:
    """Refuse an override below `trial` of a field that the sweep sets in every trial.

    Raises:
        UserError: with the override that has an effect.
    """
    dotted, _, text = override.partition("=")
    given = flatten(with_values({}, {dotted: parse_yaml(text, dotted)}))
    below_trial = {path.removeprefix("trial."): value for path, value in given.items() if path.startswith("trial.")}
    for path, value in below_trial.items():
        setter = spec.setter_of(path)
        if setter is None:
            continue
        shown = write_flow([value])
        if ".tie." in setter:
            problem = f"has no effect, {setter} solves for it in every trial: leave it out"
        elif setter == "search.space":
            problem = f"has no effect, {setter} sets it; override {setter}.{path}={{choice: {shown}}}"
        elif setter == "measure.vary":
            problem = f"has no effect, {setter} sets it; override {setter}.{path}={shown}"
        else:
            problem = "has no effect, every block of measure.vary sets it: change it there"
        raise UserError(f"trial.{path}", problem)


def _override(sections: dict[str, Any], override: str) -> dict[str, Any]:
    """Apply one `dotted.path=value`; the value is YAML. Data paths given here start at the current folder."""
    dotted, separator, text = override.partition("=")
    if not separator or not all(dotted.split(".")):
        raise UserError("override", f"must be dotted.path=value, got {override!r}")
    value = parse_yaml(text, dotted)
    reject_nulls(value, dotted)
    if dotted in {f"trial.{path}" for path in FILE_PATHS}:
        value = [_here(path) for path in value] if isinstance(value, list) else _here(value)
    # Paths inside `vary` and `space` are keys with dots in them.
    for mapping in ("measure.vary", "search.space"):
        if dotted.startswith(f"{mapping}."):
            section, name = mapping.split(".")
            outer = sections.get(section, {})
            before = outer.get(name, {}) if isinstance(outer, dict) else None
            if isinstance(before, list) and len(before) == 1:
                before = before[0]  # a list of one block is that block
            if not isinstance(before, dict):
                raise UserError(dotted, f"cannot be overridden: {mapping} is not a section of paths")
            inner = before | {dotted.removeprefix(f"{mapping}."): value}
            return with_values(sections, {mapping: inner})
    return with_values(sections, {dotted: value})
