"""Settings without torch: a model (`ModelConfig`, its axes), its loss, its optimizer, and the strict base of every config."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

Decay = Annotated[float, Field(ge=0, lt=1)]
SCORING: dict[str, Any] = {"scoring": True}  # in a field's json_schema_extra: it changes no weights
ModelKind = Literal["trm", "hrm", "direct", "untied", "looped", "outer_loop"]


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
    return isinstance(extra, dict) and "neutral" in extra and bool(extra["neutral"] == value)


def is_scoring(field: FieldInfo, value: Any) -> bool:
    """Whether a field changes how weights are scored and not the weights: `json_schema_extra=SCORING`."""
    return isinstance(field.json_schema_extra, dict) and SCORING.items() <= field.json_schema_extra.items()


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


# What the kinds understand beyond width, layers and input, each with its default. A field that a kind does not
# understand is refused when given, and left out of the resolved config.
_HALTING: dict[str, Any] = {"supervision_steps": 16, "halting": "act", "halt_exploration": 0.1}
_CARRY: dict[str, Any] = {
    "state_reset": "carry",
    "state_init": "fixed",
    "state_noise": 0.0,
    "state_noise_at": "call",
    "state_noise_in_evaluation": False,
    "damping": 0.0,
    "medium": "latent",
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "trm": {"h_cycles": 3, "l_cycles": 6, "num_layers": 2, "gradient": "last_cycle"}
    | {"networks": "shared", "state": "pair", "answer_layers": None}
    | _HALTING
    | _CARRY,
    "hrm": {"h_cycles": 2, "l_cycles": 2, "num_layers": 4, "gradient": "one_step", "answer_layers": None}
    | _HALTING
    | {"halting": "act_continue"}
    | _CARRY,
    "looped": {"l_cycles": 6, "num_layers": 2, "gradient": "full"} | _HALTING | _CARRY,
    "outer_loop": {"num_layers": 8} | _HALTING | {"halting": "act_continue"} | _CARRY,
    "untied": {"h_cycles": 3, "l_cycles": 6, "num_layers": 2},
    "direct": {"num_layers": 8},
}
SINGLE_STATE = {"looped", "outer_loop", "untied", "direct"}


class ModelConfig(StrictConfig):
    """A reasoning model. The comment behind a field gives its paper symbol (HRM 2506.21734, TRM 2510.04871).

    Fields that are None here have a default that depends on `kind` (see `DEFAULTS`), or no meaning for it.
    """

    kind: ModelKind = "trm"
    # Width, layers, input
    hidden_size: int = Field(128, ge=1)
    head_size: int = Field(16, ge=2, multiple_of=2)  # heads follow from it, so that width is one number
    num_layers: int | None = Field(None, ge=1)  # of a network
    answer_layers: int | None = Field(None, ge=1)  # of the answer's own network; num_layers where absent
    mixer: Literal["attention", "mlp"] = "attention"  # what mixes the positions of a grid
    expansion: float = Field(4.0, gt=0)  # SwiGLU's inner width is 2/3 expansion hidden_size, rounded up to ...
    mlp_multiple: int = Field(8, ge=1)  # ... a multiple of this (256 in the papers)
    positions: Literal["rotary", "learned", "none"] | None = None  # learned, with the mlp mixer none (rotary in the papers)
    prefix_length: int = Field(0, ge=0)  # puzzle-embedding slots before the grid (16 in TRM's recipes)
    puzzle_embedding_size: int | None = Field(None, ge=1)  # of the vector that fills the prefix; hidden_size where absent
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of activations; auto: bfloat16 on a GPU that has it
    # Recursion
    h_cycles: int | None = Field(None, ge=1)  # T: cycles a supervision step
    l_cycles: int | None = Field(None, ge=1)  # n: latent updates a cycle; loops of `looped`
    gradient: Literal["one_step", "last_cycle", "full"] | Annotated[int, Field(ge=1)] | None = None  # calls differentiated
    networks: Literal["shared", "separate"] | None = None  # one for both roles (TRM), or one each
    state: Literal["pair", "single"] | None = None  # answer and latent, or one for both
    # Supervision
    supervision_steps: int | None = Field(None, ge=1)  # N_sup: supervision steps an example lives in training
    halting: Literal["act", "act_continue", "fixed"] | None = None  # leaves when q > 0; when q_halt > q_continue; after N_sup
    halt_exploration: float | None = Field(None, ge=0, le=1)  # probability that halting must wait for a random minimum of steps
    # What happens to the state between two supervision steps, and at its start
    state_reset: Literal["carry", "latent", "answer", "all"] | None = None  # what returns to its initial value
    state_init: Literal["fixed", "learned", "zeros", "random"] | None = None
    state_noise: float | None = Field(None, ge=0)  # sigma of Gaussian noise ...
    state_noise_at: Literal["carry", "call"] | None = None  # ... on the carried state, or on the state at every network call
    state_noise_in_evaluation: bool | None = Field(None, json_schema_extra=SCORING)  # there too, from a fixed seed
    damping: float | None = Field(None, ge=0, lt=1)  # z <- damping z + (1 - damping) f(z)
    medium: Literal["latent", "tokens"] | None = None  # what passes on: the state, or only the answer that was given

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, given: Any) -> Any:
        """Defaults of the kind; a field that the kind does not understand is refused."""
        if not isinstance(given, dict) or given.get("kind", "trm") not in DEFAULTS:
            return given
        kind = given.get("kind", "trm")
        understood = DEFAULTS[kind]
        every = {name for defaults in DEFAULTS.values() for name in defaults}
        for name in sorted(every & given.keys()):
            if name not in understood and given[name] is not None:
                owners = ", ".join(other for other, defaults in DEFAULTS.items() if name in defaults)
                problem = f"{name} has no effect on the kind {kind!r}: leave it out (it is understood by {owners})"
                raise RuleError(problem, name, "kind")
        filled = {**understood, **{name: value for name, value in given.items() if value is not None}}
        if filled.get("medium") == "tokens":
            filled["state_reset"] = given.get("state_reset") or "all"
        if kind == "hrm" or filled.get("networks") == "separate":
            filled["answer_layers"] = filled["answer_layers"] or filled["num_layers"]
        cls._drop_without_effect(given, filled)
        filled.setdefault("positions", "learned" if filled.get("mixer", "attention") == "attention" else "none")
        if filled.get("prefix_length"):
            filled.setdefault("puzzle_embedding_size", filled.get("hidden_size", 128))
        return filled

    @staticmethod
    def _drop_without_effect(given: dict[str, Any], filled: dict[str, Any]) -> None:
        """Leave out what another field makes idle; refuse it when it is given."""
        idle = {"halt_exploration": ("where halting is fixed", "halting")} if filled.get("halting") == "fixed" else {}
        if not filled.get("state_noise"):
            idle |= dict.fromkeys(("state_noise_at", "state_noise_in_evaluation"), ("without state_noise", "state_noise"))
        for name, (where, cause) in idle.items():
            if given.get(name) is not None:
                raise RuleError(f"{name} has no effect {where}: leave it out", name, cause)
            filled.pop(name, None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_width()
        self._check_prefix()
        self._check_state()
        return self

    def _check_width(self) -> None:
        if self.hidden_size % self.head_size:
            sizes = f"hidden_size {self.hidden_size} and head_size {self.head_size}"
            shared = math.gcd(self.hidden_size, self.head_size)  # also fits every width that head_size fits
            remedy = "choose" if shared % 2 else f"choose model.head_size: {shared}, or"
            wider = math.ceil(self.hidden_size / self.head_size) * self.head_size
            problem = f"hidden_size must be a multiple of head_size, got {sizes}: {remedy} model.hidden_size: {wider}"
            raise RuleError(problem, "hidden_size", "head_size")
        if self.mixer == "mlp" and self.positions == "rotary":
            raise RuleError("positions rotary has no effect with the mixer mlp: choose learned or none", "positions", "mixer")

    def _check_prefix(self) -> None:
        size = self.puzzle_embedding_size
        if not self.prefix_length and size is not None:
            problem = "puzzle_embedding_size has no effect without a prefix (prefix_length 0): leave it out"
            raise RuleError(problem, "puzzle_embedding_size", "prefix_length")
        if size is not None and size > self.prefix_length * self.hidden_size:
            places = self.prefix_length * self.hidden_size
            problem = f"puzzle_embedding_size must fit the prefix, prefix_length * hidden_size = {places}, got {size}"
            raise RuleError(problem, "puzzle_embedding_size", "prefix_length", "hidden_size")

    def _check_state(self) -> None:
        if self.single_state and self.state_reset in {"latent", "answer"}:
            problem = f"state_reset {self.state_reset} has no effect where there is a single state: choose carry or all"
            raise RuleError(problem, "state_reset", "state", "kind")
        if self.answer_layers is not None and not self.separate_networks:
            problem = "answer_layers has no effect where one network has both roles: choose networks separate"
            raise RuleError(problem, "answer_layers", "networks")
        if self.single_state and self.networks == "separate":
            raise RuleError("networks separate has no effect where there is a single state: choose shared", "networks", "state")
        if self.medium == "tokens" and self.state_reset != "all":
            problem = f"medium tokens passes nothing but the answer: state_reset must be all or absent, got {self.state_reset!r}"
            raise RuleError(problem, "state_reset", "medium")
        if self.state_init == "learned" and self.graded_calls() < len(self.call_layers()):
            problem = (
                "state_init learned needs a gradient that reaches the first call of a supervision step, "
                f"got {self.graded_calls()} of {len(self.call_layers())} calls (gradient {self.gradient!r}): choose gradient full"
            )
            raise RuleError(problem, "state_init", "gradient", "h_cycles", "l_cycles")

    @property
    def single_state(self) -> bool:
        return self.kind in SINGLE_STATE or self.state == "single"

    @property
    def separate_networks(self) -> bool:
        """Whether the answer's updates have a network of their own."""
        return self.kind == "hrm" or self.networks == "separate"

    @property
    def passes_nothing(self) -> bool:
        """Whether a supervision step receives nothing from the step before: neither a state nor an answer."""
        return self.state_reset == "all" and self.medium == "latent"

    @property
    def trained_depth(self) -> int:
        """N_sup; 1 for the models that answer in one pass."""
        return self.supervision_steps or 1

    @property
    def num_heads(self) -> int:
        return self.hidden_size // self.head_size

    def inner_size(self, size: int) -> int:
        """Inner width of a SwiGLU over `size` (official: `_find_multiple(round(expansion * size * 2 / 3), 256)`)."""
        return math.ceil(round(self.expansion * size * 2 / 3) / self.mlp_multiple) * self.mlp_multiple

    def call_layers(self, h_cycles: int | None = None, l_cycles: int | None = None) -> list[int]:
        """Layers of every network call of one supervision step, in order; a curriculum may ask for other T and n.

        T (n + 1) calls for TRM and HRM, n latent updates and one answer update a cycle.
        """
        t, n = h_cycles or self.h_cycles or 1, l_cycles or self.l_cycles or 1
        assert self.num_layers is not None
        if self.kind in {"trm", "hrm"}:
            return ([self.num_layers] * n + [self.answer_layers or self.num_layers]) * t
        if self.kind == "untied":  # as many layers as a TRM of the same T, n would execute
            return [t * (n + 1) * self.num_layers]
        return [self.num_layers] * (n if self.kind == "looped" else 1)

    def graded_calls(self, h_cycles: int | None = None, l_cycles: int | None = None) -> int:
        """How many of these calls, the last ones, are differentiated."""
        calls = len(self.call_layers(h_cycles, l_cycles))
        if isinstance(self.gradient, int):
            return min(self.gradient, calls)
        last_cycle = (l_cycles or self.l_cycles or 1) + (self.kind != "looped")
        return min({"one_step": 2, "last_cycle": last_cycle}.get(self.gradient or "full", calls), calls)

    @property
    def network_layers(self) -> tuple[int, ...]:
        """Layers of each network: the latent's (or the only one), then the answer's where it has its own."""
        own = self.call_layers()
        return (own[0], own[-1]) if self.separate_networks else (own[0],)

    @property
    def layers_per_step(self) -> int:
        """Layers executed in one supervision step: T (n + 1) layers for TRM (TRM paper, Table 1 "depth")."""
        return sum(self.call_layers())

    @property
    def recursion(self) -> float:
        """How often a recursed parameter is applied to an example that lives N_sup supervision steps, on average.

        T (n + 1) N_sup for TRM, (n T L_layers + T H_layers) / (L_layers + H_layers) N_sup with two networks.
        """
        if self.kind in {"direct", "untied"}:
            return 1
        return self.layers_per_step / sum(self.network_layers) * self.trained_depth


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
