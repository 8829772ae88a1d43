"""`TrialConfig`: everything that one trial depends on. The same config is the same trial in every sweep."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, create_model, model_validator

from lightning_modules.atomic_write import write_atomically
from lightning_modules.trial_folder import TRIAL
from lightning_modules.yaml_file import read_yaml, write_yaml
from rrm.config import (
    SAME_SCORES,
    SCORING,
    LossConfig,
    OptimConfig,
    Plugin,
    RecursiveConfig,
    RuleError,
    StrictConfig,
    drop_fields,
    has_mark,
    is_neutral,
    marked_paths,
)
from rrm.defaults import NEWEST_DEFAULTS, parse_version, with_defaults
from rrm.errors import UserError, from_validation, require_sections
from rrm.files import FilePath, checked_sha256, expand_home, locate
from rrm.kinds import union_by_kind
from rrm.models import TaggedModelConfig, tagged_union
from rrm.models.trm import TRMConfig
from rrm.plugins import files_of, parse_plugins, read_plugins
from rrm.registry import BUILT_IN, Registry, registry_of
from rrm.tasks import DEFAULT_KIND, PuzzleShape, TaskConfig
from rrm.tasks.sudoku import SudokuConfig

BudgetUnit = Literal["steps", "fresh_examples", "train_flops", "seconds"]

MAX_SEED = 2**32 - 1  # the largest seed that numpy takes


class Budget(StrictConfig):
    """When training ends: at the first step at which `amount` of `unit` is used up."""

    unit: BudgetUnit = "steps"
    """Optimizer steps, examples that entered a slot, FLOPs of training, or seconds of training (searches only)."""
    amount: float = Field(1000, ge=0)
    """Length of training in `unit`. With 0 the weights of `fit.start_from`, or the initial weights, are scored without training."""


class CurriculumStage(StrictConfig):
    """Fewer cycles early in training (CGAR, 2511.08653); behind the last stage the model has its own."""

    until: float = Field(gt=0, lt=1)
    """Share of the budget at which the stage ends."""
    h_cycles: int = Field(ge=1)
    """T in this stage: cycles of a supervision step."""
    l_cycles: int = Field(ge=1)
    """n in this stage: latent updates of a cycle."""


class FitConfig(StrictConfig):
    """How a model is trained."""

    batch_size: int = Field(128, ge=1)
    """Slots of a batch: examples that are trained at the same time."""
    budget: Budget = Budget()
    """When training ends."""
    gradient_clip: float = Field(0.0, ge=0)
    """Largest gradient norm; 0 turns clipping off, as in the papers."""
    curriculum: list[CurriculumStage] | None = Field(None, min_length=1)
    """Stages early in training with other T and n; after the last stage the model has the T and n of its own section."""
    start_from: FilePath | None = None
    """File of weights to begin with, in the format of rrm-sweeps or of the official code (`.safetensors` or torch)."""
    start_from_sha256: str | None = None
    """SHA-256 of the file in `start_from`. It is checked where it is given, and filled in when a trial is loaded."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        marks = [stage.until for stage in self.curriculum or []]
        if marks != sorted(set(marks)):
            raise RuleError(f"curriculum must have rising values of until, got {marks}", "curriculum")
        if self.start_from_sha256 is not None and self.start_from is None:
            raise RuleError("start_from_sha256 has no effect without start_from: leave it out", "start_from_sha256", "start_from")
        return self


class EvalConfig(StrictConfig):
    """How a model is scored; always with the averaged weights."""

    validations: int = Field(10, ge=1, json_schema_extra=SAME_SCORES)
    """Number of times that the validation split is scored during training, evenly over the budget."""
    max_depth: int = Field(16, ge=1, json_schema_extra=SCORING | SAME_SCORES)
    """Largest inference depth D of the depth curve at the end: it runs over 1 .. max_depth supervision steps. At least N_sup."""
    halting: Literal["fixed", "q", "convergence"] = Field("fixed", json_schema_extra=SCORING)
    """When a row stops at inference: after D steps, once its halting value is above 0, or once its answer stays the same.

    A row that stopped keeps its answer.
    """
    rollouts: int = Field(1, ge=1, json_schema_extra=SCORING)
    """Number of runs with different noise; they give `depth/rollout_mode`, `depth/rollout_best_q` and `depth/rollout_oracle`."""
    batch_size: int = Field(256, ge=1, json_schema_extra=SCORING | SAME_SCORES)
    """Rows that are scored at the same time."""


class TrialConfig(StrictConfig):
    """One trial, seed included."""

    registry: ClassVar[Registry] = BUILT_IN

    plugins: list[Plugin] | None = None
    """Files with a task or a model of your own, by paths that start at its folder: `[my_model.py]` (docs/extending.md)."""
    task: TaskConfig = SudokuConfig()
    """Puzzles to learn; `task.kind` selects the fields."""
    model: TaggedModelConfig = TRMConfig()
    """Model; `model.kind` selects the fields."""
    loss: LossConfig = LossConfig()
    """How answers and halting values are scored."""
    optim: OptimConfig = OptimConfig()
    """How weights are updated."""
    fit: FitConfig = FitConfig()
    """How the model is trained."""
    eval: EvalConfig = EvalConfig()
    """How the model is scored."""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """Seed of the initial weights, the order of batches, augmentation and exploration. In a sweep `measure.seeds` sets it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        model, depth = self.model, self.model.trained_depth
        if self.eval.max_depth < depth:
            problem = f"eval.max_depth must be at least model.{model.depth_field}, got {self.eval.max_depth} and {depth}"
            raise RuleError(problem, "eval.max_depth", f"model.{model.depth_field}")
        if self.eval.rollouts > 1 and not model.answers_at_random:
            raise RuleError(
                "eval.rollouts has no effect where runs do not differ: "
                "choose model.state_init random or model.state_noise_in_evaluation true",
                "eval.rollouts",
                "model.state_init",
                "model.state_noise_in_evaluation",
            )
        if self.eval.halting not in model.halting_rules:
            rules = ", ".join(model.halting_rules)
            problem = f"eval.halting must be one of {rules} for the kind {model.kind!r}, got {self.eval.halting!r}"
            raise RuleError(problem, "eval.halting", "model.kind")
        if self.fit.curriculum and not isinstance(model, RecursiveConfig):
            kinds = ", ".join(kind for kind, config in self.registry.models.items() if issubclass(config, RecursiveConfig))
            problem = f"fit.curriculum has no effect on the kind {model.kind!r}: it is understood by {kinds}"
            raise RuleError(problem, "fit.curriculum", "model.kind")
        return self

    @model_validator(mode="after")
    def _check_optim(self) -> Self:
        for name, (where, cause) in self._idle.items():
            if name in self.optim.model_fields_set:
                raise RuleError(f"optim.{name} has no effect {where}: leave it out", f"optim.{name}", cause)
        return self

    @property
    def _idle(self) -> dict[str, tuple[str, str]]:
        """Fields of `optim` without effect, each with the condition and the field that sets it; `resolved` leaves them out."""
        idle: dict[str, tuple[str, str]] = {}
        if not self.model.has_puzzle_embedding:
            cause = ("without puzzle embeddings (model.prefix_length 0)", "model.prefix_length")
            idle |= dict.fromkeys(("puzzle_lr", "puzzle_weight_decay"), cause)
        if not self.optim.ema_decay:
            idle["ema_warmup"] = ("where weights are not averaged (optim.ema_decay 0)", "optim.ema_decay")
        return idle

    def identity(self) -> dict[str, Any]:
        """What makes the trial this trial: the resolved config without neutral fields, digests in the place of paths of data files.

        Where a plug-in defines the kind of its task or model, `code` has the digest of the file, or the package and its version.
        A field that is new must declare a neutral value (`rrm.config.is_neutral`), else every finished trial gets another identity.
        Settings of how a trial runs (threads, device, memory) are in `resources` of a sweep, and never in a trial.
        """
        whole = self.resolved() | {"task": self.task.identity()}
        whole["fit"].pop("start_from", None)
        whole.pop("plugins", None)
        kept = drop_fields(self, whole, is_neutral)
        sources = {"task": self.task.from_plugin, "model": self.model.from_plugin}
        code = {section: plugin.code for section, plugin in sources.items() if plugin is not None}
        return kept | ({"code": code} if code else {})

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the identity."""
        return _hash(self.identity())

    @property
    def training_fingerprint(self) -> str:
        """16 hex digits over what training depends on: trials that share it differ in how their weights are scored alone.

        Training includes its validation scores, which choose `best.pt`. A model that answers at random draws its numbers batch by
        batch, so that the size of a batch changes them.
        """
        trained = drop_fields(self, self.identity(), lambda field, value: has_mark(field, SCORING))
        return _hash(trained | ({"scored_rows": self.eval.batch_size} if self.model.answers_at_random else {}))

    def flat(self) -> dict[str, Any]:
        """Every resolved parameter by dotted path, the seed and the plug-ins aside."""
        sections = self.resolved()
        del sections["seed"]
        sections.pop("plugins", None)
        return flatten(sections)

    def located(self, folder: Path) -> Self:
        """The same trial with data paths made absolute, relative ones starting at `folder`.

        Raises:
            UserError: a data file cannot be read, or a task of a plug-in has no shape.
        """
        located = self.model_copy(update={"task": self.task.located(folder)})
        if self.task.from_plugin is not None and not isinstance(shape := located.task.shape, PuzzleShape):
            raise UserError(f"task {self.task.kind}", f"shape must be a PuzzleShape, got {shape!r}")
        if self.fit.start_from is None:
            return located
        path = locate(folder, self.fit.start_from)
        digest = checked_sha256(path, self.fit.start_from_sha256)
        fit = self.fit.model_copy(update={"start_from": path, "start_from_sha256": digest})
        return located.model_copy(update={"fit": fit})

    @property
    def files_by_digest(self) -> dict[str, str]:
        """Where the data files of a located trial lie, by their digests."""
        weights = {self.fit.start_from_sha256: str(self.fit.start_from)} if self.fit.start_from_sha256 is not None else {}
        return self.task.files_by_digest | weights

    def relocated(self, files: Mapping[str, str]) -> Self:
        """The same trial with the paths that `files` has for their digests; no file is read."""
        weights = files.get(self.fit.start_from_sha256 or "")
        fit = self.fit.model_copy(update={"start_from": Path(weights)} if weights else {})
        return self.model_copy(update={"task": self.task.relocated(files), "fit": fit})

    def resolved(self) -> dict[str, Any]:
        """What `trial.yaml` holds: every field, those without effect left out."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"optim": set(self._idle)}, serialize_as_any=True)


@cache
def trial_class(registry: Registry) -> type[TrialConfig]:
    """The class of trials that have the kinds of a registry."""
    if registry is BUILT_IN:
        return TrialConfig
    annotations = {"task": union_by_kind(registry.tasks, DEFAULT_KIND), "model": tagged_union(registry.models)}
    known = TrialConfig.model_fields
    fields = {name: (kinds, Field(known[name].default, description=known[name].description)) for name, kinds in annotations.items()}
    made: type[TrialConfig] = create_model("TrialConfig", __base__=TrialConfig, **fields)  # type: ignore[call-overload]
    made.registry = registry
    return made


CURVE_SETTINGS = tuple(marked_paths(TrialConfig, SAME_SCORES))  # they change curves, and neither the model nor its scores


def _hash(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def flatten(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted paths."""
    flat: dict[str, Any] = {}
    for key, value in section.items():
        path = f"{prefix}.{key}" if prefix else key
        flat |= flatten(value, path) if isinstance(value, dict) else {path: value}
    return flat


def parse_trial(sections: dict[str, Any], folder: Path, prefix: str = "") -> TrialConfig:
    """The trial that YAML sections describe; relative paths of data and of plug-ins start at `folder`.

    Raises:
        UserError: a key, a value, a plug-in or a data file is wrong; the path of the field starts with `prefix`.
    """
    registry = None
    if isinstance(sections, dict):
        sections = dict(sections)
        registry = registry_of(read_plugins(sections.pop("plugins", None), folder))
    return validate_trial(sections, prefix, registry).located(folder)


def dump_plugins(plugins: Iterable[Plugin]) -> list[dict[str, Any]]:
    """Plug-ins as a stored spec or trial names them."""
    return [plugin.model_dump(exclude_none=True) for plugin in plugins]


def validate_trial(sections: dict[str, Any], prefix: str = "", registry: Registry | None = None) -> TrialConfig:
    """The trial that YAML sections describe, without a look at the data files that it names.

    Args:
        registry: the kinds that the trial may have; where absent, those of the plug-ins that a stored trial names.

    Raises:
        UserError: a key or a value is wrong; the path of the field starts with `prefix`.
    """
    if not isinstance(sections, dict):
        raise UserError(prefix or "trial", f"must be sections with fields, got {sections!r}")
    if registry is None:
        sections = dict(sections)
        registry = registry_of(parse_plugins(sections.pop("plugins", None)), is_stored=True)
    registry.require_sound(sections)
    config_class = trial_class(registry)
    require_sections(sections, config_class, prefix)
    try:
        # Through JSON, where a list may stand for a tuple and 1 for 1.0, but nothing else is converted.
        config = config_class.model_validate_json(json.dumps(sections))
    except ValidationError as error:
        raise from_validation(error, config_class, prefix) from None
    kinds = (("task", config.task.kind), ("model", config.model.kind))  # type: ignore[attr-defined]
    plugins = list(dict.fromkeys(registry.plugins[kind] for kind in kinds if kind in registry.plugins))
    return config.model_copy(update={"plugins": plugins}) if plugins else config


def read_trial(path: Path) -> TrialConfig:
    """The trial in a `trial.yaml` that a program wrote; its plug-ins lie in the folder, and no data file is looked at.

    Raises:
        UserError: the file is damaged, or a plug-in is absent or damaged.
    """
    sections = read_yaml(path)
    read_plugins(sections.get("plugins"), path.parent)
    return validate_trial(sections)


def write_plugins(folder: Path, plugins: Iterable[Plugin]) -> None:
    """Write the files of plug-ins into a folder, where `read_plugins` finds them."""
    for name, content in files_of(plugins).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)


def write_trial(folder: Path, config: TrialConfig) -> None:
    """Write `trial.yaml` and the files of its plug-ins into a folder, for `read_trial`."""
    write_plugins(folder, config.plugins or ())
    write_atomically(folder / TRIAL, write_yaml(config.resolved()))


def load_trial(path: Path, defaults: int = NEWEST_DEFAULTS) -> TrialConfig:
    """The trial in a YAML file.

    Args:
        defaults: version of the defaults where the file names none (rrm/defaults.py).

    Raises:
        UserError: the file is not a valid trial; a sweep is refused with the command to use.
    """
    path = Path(expand_home(path))
    sections = read_yaml(path)
    if "trial" in sections or "measure" in sections or "search" in sections:
        raise UserError(str(path), f"is a sweep, not a trial: use rrm-sweep run {path}")
    version = parse_version(sections.pop("defaults", defaults), "defaults")
    registry = registry_of(read_plugins(sections.pop("plugins", None), path.parent))
    return validate_trial(with_defaults(sections, version, registry), registry=registry).located(path.parent)
