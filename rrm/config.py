"""Settings without torch: the strict base of every config, what models share, the loss and the optimizer."""

import json
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

Decay = Annotated[float, Field(ge=0, lt=1)]
# Marks in a field's json_schema_extra.
SCORING: dict[str, Any] = {"scoring": True}  # the field changes the scores of trained weights, and nothing in training
SAME_SCORES: dict[str, Any] = {"same_scores": True}  # neither weights nor scores at the trained depth depend on the field


class StrictConfig(BaseModel):
    """Frozen, without unknown keys, without silent conversions, without infinities."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,  # docs/formats.md and the JSON Schema show the docstring under each field
    )


class RuleError(ValueError):
    """A rule between several fields is broken.

    Args:
        problem: the rule, the values and what to do.
        fields: the fields that the rule is about, as dotted paths below the section whose validator raises this.
    """

    def __init__(self, problem: str, *fields: str) -> None:
        self.fields = fields
        super().__init__(problem)


def drop_fields(section: BaseModel, sections: dict[str, Any], unwanted: Callable[[FieldInfo, Any], bool]) -> dict[str, Any]:
    """The dump of a section without its unwanted fields, also those of the sections below; a section that has none left goes too.

    Args:
        sections: the dump; keys that are no fields stay.
        unwanted: decides by the field and its dumped value.
    """
    kept: dict[str, Any] = {}
    for name, value in sections.items():
        field, inner = type(section).model_fields.get(name), getattr(section, name, None)
        if field is not None and unwanted(field, value):
            continue
        if isinstance(inner, BaseModel) and value:
            value = drop_fields(inner, value, unwanted)
            if not value:
                continue
        elif isinstance(inner, list) and inner and isinstance(inner[0], BaseModel):
            value = [drop_fields(*pair, unwanted) for pair in zip(inner, value, strict=True)]
        kept[name] = value
    return kept


def is_neutral(field: FieldInfo, value: Any) -> bool:
    """Whether a field has the value at which a trial is what it was before the field existed.

    A new field declares it: `Field(0.0, json_schema_extra={"neutral": 0.0})`. At this value it is no part of a fingerprint.
    """
    extra = field.json_schema_extra
    return isinstance(extra, dict) and "neutral" in extra and json.dumps(extra["neutral"]) == json.dumps(value)


def has_mark(field: FieldInfo, mark: dict[str, Any]) -> bool:
    """Whether a field has a mark: `json_schema_extra=SCORING`."""
    return isinstance(field.json_schema_extra, dict) and mark.items() <= field.json_schema_extra.items()


def marked_paths(section: type[BaseModel], mark: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted paths of the fields with a mark, those of all kinds of a section included."""
    paths = []
    for name, field in section.model_fields.items():
        paths += [prefix + name] if has_mark(field, mark) else []
        for inner in sections_in(field.annotation, of_lists=False):
            paths += marked_paths(inner, mark, f"{prefix}{name}.")
    return list(dict.fromkeys(paths))


def sections_in(annotation: Any, of_lists: bool = True) -> list[type[BaseModel]]:
    """The config classes that a field of this annotation may hold: several for a union, also those of a list's items if asked."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is list and not of_lists:
        return []
    return [section for part in get_args(annotation) for section in sections_in(part, of_lists)]


def fields_by_key(section: Any) -> dict[str, FieldInfo]:
    """The fields of a config class by the keys that a user writes."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def fields_by_path(section: type, prefix: str = "") -> dict[str, list[Any]]:
    """The annotations of all fields by dotted path; several where kinds of tasks share a name."""
    found: dict[str, list[Any]] = {}
    for name, field in section.model_fields.items():  # type: ignore[attr-defined]
        path = f"{prefix}.{name}" if prefix else name
        sections = sections_in(field.annotation, of_lists=False)
        nested = [inner for inner_section in sections for inner in fields_by_path(inner_section, path).items()]
        for inner, annotations in nested or [(path, [field.annotation])]:
            found.setdefault(inner, []).extend(annotations)
    return found


class Plugin(StrictConfig):
    """What defines kinds beside the built-in ones: a file, or an installed package. Two are equal if their code is the same."""

    file: str | None = None
    """Name of a file with a task, a model, a sampler, a tracker or laws."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the file. It is checked where it is given, and filled in when a sweep or a trial is loaded."""
    package: str | None = None
    """Name of an installed package with a task or a model."""
    version: str | None = None
    """Version of the package, which must be the installed one."""
    holds: list[str] | None = None
    """What the file defines: `task`, `model`, `sampler`, `tracker`, `law`. A store states it; a reader imports what it needs."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = {name for name, value in self if value is not None and name != "holds"}
        if given not in ({"file", "sha256"}, {"package", "version"}):
            rule = f"must have file and sha256, or package and version, got {', '.join(sorted(given)) or 'none of them'}"
            raise RuleError(rule, *sorted(given))
        return self

    @property
    def name(self) -> str:
        """The file or the package, for messages."""
        return self.file or self.package or ""

    @property
    def code(self) -> str:
        """What identifies the code: the digest of the file, or name and version of the package."""
        return self.sha256 or f"{self.package} {self.version}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plugin) and (self.file, self.code) == (other.file, other.code)

    def __hash__(self) -> int:
        return hash((self.file, self.code))


class KindConfig(StrictConfig):
    """Settings that have a `kind`, which selects a task or a model."""

    built_class: ClassVar[Any] = None
    """The class of the task or the model. It is set when the kind is found (`rrm.tasks.find_tasks`, `rrm.models.find_models`)."""
    from_plugin: ClassVar[Plugin | None] = None
    """The plug-in that defines the kind; None for a built-in one."""

    def __hash__(self) -> int:
        """Of any settings, lists too: data and counts are kept by config."""
        return hash((type(self), self.model_dump_json()))


class Cycles(NamedTuple):
    """The T and n of a recursive model, which a curriculum changes during training."""

    h_cycles: int
    l_cycles: int


class BaseModelConfig(KindConfig):
    """What a trial reads of the settings of any model, before it builds the model. A subclass adds `kind` and further fields.

    The properties are those of a model that answers in one pass. They hold for the model too (`rrm.trial_model.TrialModel`).
    """

    closed_forms: ClassVar[bool] = False
    """Whether the forms of rrm/compute.py hold for the model. A class that does not state it has its model counted."""
    depth_field: ClassVar[str] = "supervision_steps"
    """The field with the trained depth, which names what a depth counts."""

    kind: str
    """Which model."""

    @property
    def depth_name(self) -> str:
        """What a depth counts, for messages: `supervision steps`."""
        return self.depth_field.replace("_", " ")

    @property
    def trained_depth(self) -> int:
        """The depth that training aims at: N_sup of a recursive model."""
        return 1

    @property
    def halting_rules(self) -> tuple[str, ...]:
        """Rules by which an answer may halt before the last depth, as in `eval.halting`; `fixed` never halts."""
        return ("fixed",)

    @property
    def has_puzzle_embedding(self) -> bool:
        """Whether an answer depends on the identifier of the puzzle."""
        return False

    @property
    def answers_at_random(self) -> bool:
        """Whether the model draws random numbers when it answers."""
        return False

    @property
    def passes_nothing(self) -> bool:
        """Whether a supervision step receives nothing from the step before: neither a state nor an answer."""
        return False


class ModelConfig(BaseModelConfig):
    """What models of blocks have (rrm/layers.py): width, layers and input (papers: HRM 2506.21734, TRM 2510.04871).

    A field that has no effect beside the values of other fields is None, and refused when it is given.
    """

    hidden_size: int = Field(128, ge=1)
    """Width D."""
    head_size: int = Field(16, ge=2, multiple_of=2)
    """Width of an attention head; heads follow from it, so that width is one number."""
    num_layers: int = Field(2, ge=1)
    """Layers of a network."""
    mixer: Literal["attention", "mlp"] = "attention"
    """What mixes the positions of a grid."""
    expansion: float = Field(4.0, gt=0)
    """SwiGLU's inner width is 2/3 expansion hidden_size, rounded up to a multiple of mlp_multiple."""
    mlp_multiple: int = Field(8, ge=1)
    """SwiGLU's inner width is a multiple of it (256 in the papers)."""
    positions: Literal["rotary", "learned", "none"] | None = None
    """What gives a token its position: learned where absent, with the mlp mixer none (rotary in the papers)."""
    prefix_length: int = Field(0, ge=0)
    """Positions for the puzzle embedding before the grid (16 in TRM's recipes)."""
    puzzle_embedding_size: int | None = Field(None, ge=1)
    """Width of the vector that fills the prefix; hidden_size where absent."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of activations; auto: bfloat16 on a GPU that has it."""

    @model_validator(mode="before")
    @classmethod
    def _fill_absent(cls, given: Any) -> Any:
        return cls.fill({name: value for name, value in given.items() if value is not None}) if isinstance(given, dict) else given

    @classmethod
    def fill(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The given fields, not validated yet, with those whose default depends on others."""
        filled = {"positions": "learned" if cls.value_of("mixer", given) == "attention" else "none"} | given
        if filled.get("prefix_length"):
            filled = {"puzzle_embedding_size": cls.value_of("hidden_size", given)} | filled
        return filled

    @classmethod
    def value_of(cls, name: str, given: dict[str, Any]) -> Any:
        """A field's value in given fields, or its default."""
        return given.get(name, cls.model_fields[name].default)

    @model_validator(mode="after")
    def _check_width(self) -> Self:
        if self.hidden_size % self.head_size:
            sizes = f"hidden_size {self.hidden_size} and head_size {self.head_size}"
            shared = math.gcd(self.hidden_size, self.head_size)  # also fits every width that head_size fits
            remedy = "choose" if shared % 2 else f"choose model.head_size: {shared}, or"
            wider = math.ceil(self.hidden_size / self.head_size) * self.head_size
            problem = f"hidden_size must be a multiple of head_size, got {sizes}: {remedy} model.hidden_size: {wider}"
            raise RuleError(problem, "hidden_size", "head_size")
        if self.mixer == "mlp" and self.positions == "rotary":
            raise RuleError("positions rotary has no effect with the mixer mlp: choose learned or none", "positions", "mixer")
        return self

    @model_validator(mode="after")
    def _check_prefix(self) -> Self:
        size = self.puzzle_embedding_size
        if not self.prefix_length and size is not None:
            problem = "puzzle_embedding_size has no effect without a prefix (prefix_length 0): leave it out"
            raise RuleError(problem, "puzzle_embedding_size", "prefix_length")
        if size is not None and size > self.prefix_length * self.hidden_size:
            places = self.prefix_length * self.hidden_size
            problem = f"puzzle_embedding_size must fit the prefix, prefix_length * hidden_size = {places}, got {size}"
            raise RuleError(problem, "puzzle_embedding_size", "prefix_length", "hidden_size")
        return self

    @property
    def single_state(self) -> bool:
        """Whether one state is the answer and the latent at once."""
        return True

    @property
    def has_puzzle_embedding(self) -> bool:
        return self.puzzle_embedding_size is not None

    @property
    def cycles(self) -> Cycles:
        """T and n; 1 for what a model does not have."""
        return Cycles(1, 1)

    @property
    def num_heads(self) -> int:
        return self.hidden_size // self.head_size

    def inner_size(self, size: int) -> int:
        """Inner width of a SwiGLU over `size` (official: `_find_multiple(round(expansion * size * 2 / 3), 256)`)."""
        return math.ceil(round(self.expansion * size * 2 / 3) / self.mlp_multiple) * self.mlp_multiple

    def call_layers(self, cycles: Cycles | None = None) -> list[int]:
        """Layers of every network call of one supervision step, in order; a curriculum may set other T and n."""
        return [self.num_layers]

    def graded_calls(self, cycles: Cycles | None = None) -> int:
        """How many of these calls, the last ones, are differentiated."""
        return len(self.call_layers(cycles))

    @property
    def network_layers(self) -> tuple[int, ...]:
        """Layers of each network: the latent's (or the only one), then the answer's where it has one for itself."""
        return (self.call_layers()[0],)

    @property
    def layers_per_step(self) -> int:
        """Layers executed in one supervision step: T (n + 1) layers for TRM (TRM paper, Table 1 "depth")."""
        return sum(self.call_layers())

    @property
    def recursion(self) -> float:
        """How often a recursed parameter is applied to an example that lives N_sup supervision steps, on average.

        T (n + 1) N_sup for TRM, (n T L_layers + T H_layers) / (L_layers + H_layers) N_sup with two networks.
        """
        return self.layers_per_step / sum(self.network_layers) * self.trained_depth


class OnePassConfig(ModelConfig):
    """A model that answers in one pass: it has no settings of supervision and state, and these values in their place."""

    halting: ClassVar[None] = None
    halt_exploration: ClassVar[None] = None
    state_reset: ClassVar[None] = None
    state_init: ClassVar[None] = None
    state_noise: ClassVar[None] = None
    state_noise_at: ClassVar[None] = None
    state_noise_in_evaluation: ClassVar[None] = None
    damping: ClassVar[None] = None
    medium: ClassVar[None] = None

    @property
    def halting_rules(self) -> tuple[str, ...]:
        return ("fixed", "convergence")

    @property
    def recursion(self) -> float:
        return 1


class IterativeConfig(ModelConfig):
    """A model that improves its answer over supervision steps: halting, and what happens to the state between two steps."""

    supervision_steps: int = Field(16, ge=1)
    """N_sup: supervision steps an example lives in training."""
    halting: Literal["act", "act_continue", "fixed"] = "act"
    """When an example leaves: at q > 0; at q_halt > q_continue; after N_sup supervision steps."""
    halt_exploration: float | None = Field(0.1, ge=0, le=1)
    """Probability that halting must wait for a random minimum of supervision steps."""
    state_reset: Literal["carry", "latent", "answer", "all"] = "carry"
    """What returns to its initial value between two supervision steps; carry: nothing."""
    state_init: Literal["fixed", "learned", "zeros", "random"] = "fixed"
    """The state of a new example."""
    state_noise: float = Field(0.0, ge=0)
    """Standard deviation of Gaussian noise on the state."""
    state_noise_at: Literal["carry", "call"] | None = "call"
    """Where the noise acts: on the carried state, or on the state at every network call."""
    state_noise_in_evaluation: bool | None = False
    """Whether the noise acts in evaluation too, from a fixed seed."""
    damping: float = Field(0.0, ge=0, lt=1)
    """z <- damping z + (1 - damping) f(z)."""
    medium: Literal["latent", "tokens"] = "latent"
    """What passes on: the state, or only the answer that was given."""

    @classmethod
    def fill(cls, given: dict[str, Any]) -> dict[str, Any]:
        filled = super().fill(given)
        if filled.get("medium") == "tokens":
            filled = {"state_reset": "all"} | filled
        idle: dict[str, tuple[str, str]] = {}
        if cls.value_of("halting", filled) == "fixed":
            idle["halt_exploration"] = ("where halting is fixed", "halting")
        if not filled.get("state_noise"):
            idle |= dict.fromkeys(("state_noise_at", "state_noise_in_evaluation"), ("without state_noise", "state_noise"))
        for name, (where, cause) in idle.items():
            if name in given:
                raise RuleError(f"{name} has no effect {where}: leave it out", name, cause)
        return filled | dict.fromkeys(idle)

    @model_validator(mode="after")
    def _check_state(self) -> Self:
        if self.single_state and self.state_reset in {"latent", "answer"}:
            problem = f"state_reset {self.state_reset} has no effect where there is a single state: choose carry or all"
            raise RuleError(problem, "state_reset", "state", "kind")
        if self.medium == "tokens" and self.state_reset != "all":
            problem = f"medium tokens passes nothing but the answer: state_reset must be all or absent, got {self.state_reset!r}"
            raise RuleError(problem, "state_reset", "medium")
        if self.state_init == "learned" and self.graded_calls() < len(self.call_layers()):
            problem = (
                "state_init learned needs a gradient that reaches the first call of a supervision step, "
                f"got {self.graded_calls()} of {len(self.call_layers())} calls (gradient {getattr(self, 'gradient', 'full')!r}): "
                "choose gradient full"
            )
            raise RuleError(problem, "state_init", "gradient", "h_cycles", "l_cycles")
        return self

    @property
    def trained_depth(self) -> int:
        return self.supervision_steps

    @property
    def halting_rules(self) -> tuple[str, ...]:
        return ("fixed", "q", "convergence")

    @property
    def answers_at_random(self) -> bool:
        return self.state_init == "random" or bool(self.state_noise_in_evaluation)

    @property
    def passes_nothing(self) -> bool:
        return self.state_reset == "all" and self.medium == "latent"


Gradient = Literal["one_step", "last_cycle", "full"] | Annotated[int, Field(ge=1)]


def count_graded(gradient: Gradient, calls: int, cycle: int) -> int:
    """How many of the calls of a supervision step are differentiated, where the last cycle has `cycle` calls."""
    graded = {"one_step": 2, "last_cycle": cycle, "full": calls}.get(gradient) if isinstance(gradient, str) else gradient
    return min(graded or calls, calls)


class RecursiveConfig(IterativeConfig):
    """A model with T cycles a supervision step, each n latent updates and one answer update."""

    h_cycles: int = Field(3, ge=1)
    """T: cycles a supervision step."""
    l_cycles: int = Field(6, ge=1)
    """n: latent updates a cycle."""
    gradient: Gradient = "last_cycle"
    """Which calls are differentiated: the last two, the last cycle's, all, or this number of the last ones."""

    @property
    def single_state(self) -> bool:
        return False

    @property
    def cycles(self) -> Cycles:
        return Cycles(self.h_cycles, self.l_cycles)

    @property
    def answer_network_layers(self) -> int | None:
        """Layers of a network for the answer's updates alone; None where one network has both roles."""
        return None

    def call_layers(self, cycles: Cycles | None = None) -> list[int]:
        t, n = cycles or self.cycles
        return ([self.num_layers] * n + [self.answer_network_layers or self.num_layers]) * t

    def graded_calls(self, cycles: Cycles | None = None) -> int:
        return count_graded(self.gradient, len(self.call_layers(cycles)), cycle=(cycles or self.cycles).l_cycles + 1)

    @property
    def network_layers(self) -> tuple[int, ...]:
        answer = self.answer_network_layers
        return (self.num_layers,) if answer is None else (self.num_layers, answer)


AnyModelConfig = IterativeConfig | OnePassConfig


class LossConfig(StrictConfig):
    """How answers and halting values are scored."""

    kind: Literal["stablemax", "softmax"] = "stablemax"
    """How logits become a distribution over tokens; the papers use `stablemax`."""
    precision: Literal["float64", "float32"] | None = None
    """Precision of that distribution. Default: `float64` for `stablemax`, as in the papers, `float32` for `softmax`."""
    q_weight: float = Field(0.5, ge=0)
    """Weight of the halting losses; 0 removes them."""

    @model_validator(mode="before")
    @classmethod
    def _fill_precision(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {"precision": "float32" if given.get("kind") == "softmax" else "float64"} | given


class OptimConfig(StrictConfig):
    """How weights are updated (TRM paper, appendix; models without a prefix have no puzzle embedding)."""

    kind: Literal["adam_atan2", "adamw", "muon"] = "adam_atan2"
    """Optimizer. `muon` updates the matrices of the blocks and leaves all other weights to AdamW."""
    lr: float = Field(1e-3, gt=0)
    """Learning rate after the warm-up."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay rates of Adam's first and second moment."""
    weight_decay: float = Field(0.1, ge=0)
    """Weight decay, decoupled from the gradient."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the budget in which lr rises linearly from 0."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up: constant, or a cosine that ends at `min_lr_ratio` x lr."""
    min_lr_ratio: float | None = Field(None, ge=0, le=1)
    """Where the cosine ends, as a share of lr. The schedule `cosine` requires it, and no other schedule has it."""
    puzzle_lr: float = Field(1e-2, gt=0)
    """Learning rate of the puzzle embedding, which sign-SGD trains; without effect where `model.prefix_length` is 0."""
    puzzle_weight_decay: float = Field(0.1, ge=0)
    """Weight decay of the puzzle embedding; without effect where `model.prefix_length` is 0."""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """Decay of the moving average of the weights, which is what is scored; with 0 the last weights are scored."""
    ema_warmup: bool = True
    """Whether the average follows the weights closely at first, so that a short run does not score its initial weights.

    The papers have no such warm-up.
    """

    @model_validator(mode="after")
    def _cosine_has_an_end(self) -> Self:
        if (self.schedule == "cosine") != (self.min_lr_ratio is not None):
            problem = "min_lr_ratio goes with schedule cosine, and cosine needs it (0 for the usual one)"
            raise RuleError(problem, "schedule", "min_lr_ratio")
        return self
