"""The section `search`: sampler, scheduler, space, objectives and constraints."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from lightning_modules.config import BudgetUnit
from lightning_modules.outcome import Outcome
from lightning_modules.record import Record
from rrm.config import RuleError, StrictConfig
from rrm.errors import suggest
from sweeps.spec.constraints import Constraint, find_conflict, parse_constraint
from sweeps.spec.sampler import BuiltInSampler
from sweeps.spec.space import Domain, Scalar, factorial
from sweeps.spec.tied_parameters import Tie

VALIDATION_METRICS = ("val/exact_accuracy", "val/token_accuracy", "val/nll")
COST_METRICS = ("params", "params_recursed", "inference_flops", "train_flops", "layers_executed")


class Scheduler(StrictConfig):
    """Early stopping: trials are compared at equal shares of the budget."""

    KIND_DEFAULTS: ClassVar[dict[str, dict[str, Any]]] = {
        "none": {},
        "asha": {"grace": 0.1, "reduction": 3.0},
        "median": {"grace": 0.1, "min_trials": 3},
    }

    kind: Literal["none", "asha", "median"] = "none"
    """`asha` and `median` stop trials early by the first objective; `none` stops no trial."""
    time: BudgetUnit | None = None
    """Unit of the shares; it must be the unit of the budget, which is the default."""
    grace: float | None = Field(None, gt=0, lt=1)
    """Share of the budget before which no trial is stopped. Default: 0.1 (`asha`, `median`)."""
    reduction: float | None = Field(None, gt=1)
    """One in so many trials continues after a rung. Default: 3 (`asha`)."""
    min_trials: int | None = Field(None, ge=1)
    """Number of other trials that must have come as far before a trial is stopped. Default: 3 (`median`)."""

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, given: Any) -> Any:
        """Fill in the defaults of the kind, and refuse a field that has no effect on it."""
        if not isinstance(given, dict) or given.get("kind", "none") not in cls.KIND_DEFAULTS:
            return given
        kind = given.get("kind", "none")
        defaults = cls.KIND_DEFAULTS[kind]
        for name in ("time", "grace", "reduction", "min_trials"):
            if given.get(name) is not None and name not in defaults and (name != "time" or kind == "none"):
                raise RuleError(f"{name} has no effect on the scheduler {kind}: leave it out", name, "kind")
        return defaults | {name: value for name, value in given.items() if value is not None}


class Objective(StrictConfig):
    """A validation metric or a cost that a search makes large or small."""

    metric: str
    """Recorded metric: `val/...` or a cost, never `test/...`."""
    goal: Literal["maximize", "minimize"]
    """Direction of the search."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = (*VALIDATION_METRICS, *COST_METRICS)
        if self.metric not in known:
            problem = f"metric must be a recorded metric other than test/..., got {self.metric!r}"
            raise RuleError(f"{problem}; {suggest(self.metric, known)}", "metric")
        return self


class When(StrictConfig):
    """Parameters that exist only where others have certain values."""

    if_: dict[str, Scalar] = Field(alias="if", min_length=1)
    """Dotted paths of `search.space` and the values that they must have."""
    space: dict[str, Domain] = Field(min_length=1)
    """Parameters that are sampled where the condition holds."""

    def may_hold(self, values: dict[str, Scalar]) -> bool:
        """Whether no value contradicts the condition; a path without a value contradicts nothing."""
        return all(values.get(path, value) == value for path, value in self.if_.items())


class Confirm(StrictConfig):
    """The last stage of a search: its best trials over fresh seeds, at the full budget, without early stopping."""

    top: int = Field(ge=1)
    """Number of the best trials that are confirmed."""
    seeds: int = Field(3, ge=1)
    """Number n of seeds: the seeds 1 .. n, as the search has used seed 0."""


class Search(StrictConfig):
    """A sampler over a space: it finds good settings, and laws are not fitted on its trials."""

    sampler: BuiltInSampler = BuiltInSampler()
    """How candidates are proposed."""
    scheduler: Scheduler = Scheduler()
    """How trials are stopped early."""
    space: dict[str, Domain] = Field(min_length=1)
    """Dotted paths and the values that each may have."""
    when: list[When] = Field([])
    """Conditional parameters."""
    tie: list[Tie] = Field([])
    """Fields that are solved for in every trial, not sampled."""
    objectives: list[Objective] = Field(min_length=1)
    """Metrics to optimize; several give a Pareto front."""
    constraints: list[str] = Field([])
    """Bounds such as `inference_flops <= 2e9`. A cost rejects a candidate before it runs; other metrics reach the sampler."""
    num_trials: int = Field(ge=1)
    """Number of trials that are started; candidates that a constraint rejects do not count."""
    points: list[dict[str, Scalar]] = Field([])
    """Candidates to begin with, each a section of dotted paths and values; each is tried once."""
    warm_start: list[str] = Field([])
    """Sweeps whose completed trials the sampler learns from: names beside this sweep, or folders and URIs."""
    confirm: Confirm | None = None
    """A last stage that repeats the best trials over fresh seeds. Default: no such stage."""

    @field_validator("constraints")
    @classmethod
    def _readable(cls, constraints: list[str]) -> list[str]:
        conflict = find_conflict([parse_constraint(text, VALIDATION_METRICS) for text in constraints])
        if conflict:
            raise ValueError(conflict)
        return constraints

    @field_validator("warm_start")
    @classmethod
    def _named_once(cls, sweeps: list[str]) -> list[str]:
        if "" in sweeps or len(set(sweeps)) < len(sweeps):
            raise ValueError(f"warm_start must be a list of different sweeps, got {sweeps}")
        return sweeps

    @model_validator(mode="after")
    def _objectives_differ(self) -> Self:
        metrics = [objective.metric for objective in self.objectives]
        if len(set(metrics)) < len(metrics):
            raise RuleError(f"objectives must be different metrics, got {', '.join(metrics)}", "objectives")
        return self

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if self.confirm is not None and self.confirm.top > self.num_trials:
            rule = f"confirm.top must be at most num_trials, got {self.confirm.top} of {self.num_trials}"
            raise RuleError(rule, "confirm.top", "num_trials")
        if len(self.points) > self.num_trials:
            rule = f"points must be at most num_trials, got {len(self.points)} for {self.num_trials}"
            raise RuleError(rule, "points", "num_trials")
        return self

    @model_validator(mode="after")
    def _scheduler_follows_a_curve(self) -> Self:
        first, kind = self.objectives[0].metric, self.scheduler.kind
        if kind != "none" and first not in VALIDATION_METRICS:
            rule = f"scheduler {kind} requires a first objective that is measured during training, got {first!r}"
            raise RuleError(f"{rule}; choose from: {', '.join(VALIDATION_METRICS)}", "scheduler.kind", "objectives")
        return self

    @model_validator(mode="after")
    def _cmaes_is_numeric(self) -> Self:
        if self.sampler.kind != "cmaes":
            return self
        choice = next((path for path, domain in self.space.items() if domain.choice is not None), None)
        if choice is not None:
            raise RuleError(
                f"sampler cmaes requires numbers, got a choice for {choice}: use tpe, gp or random", "sampler.kind", "space"
            )
        if self.when:
            raise RuleError("sampler cmaes has no conditional parameters (when): use tpe or random", "sampler.kind", "when")
        if len(self.objectives) > 1:
            raise RuleError("sampler cmaes has one objective: use tpe, nsga2 or nsga3", "sampler.kind", "objectives")
        if len(self.space) < 2:
            raise RuleError("sampler cmaes requires two parameters or more: use tpe, gp or random", "sampler.kind", "space")
        return self

    @model_validator(mode="after")
    def _conditions_can_be_met(self) -> Self:
        for number, block in enumerate(self.when):
            where = f"when.{number}"
            for path, value in block.if_.items():
                if path not in self.space:
                    raise RuleError(f"{where}.if.{path} must be a path of search.space: {suggest(path, self.space)}", f"{where}.if")
                if not self.space[path].is_listed(value):
                    raise RuleError(f"{where}.if.{path} must be a value of search.space.{path}, got {value!r}", f"{where}.if")
            if any(other.if_ == block.if_ for other in self.when[:number]):
                raise RuleError(f"{where}.if is the condition of an earlier block: join the two blocks", f"{where}.if")
        return self

    @model_validator(mode="after")
    def _paths_have_one_source(self) -> Self:
        for number, block in enumerate(self.when):
            if path := next((path for path in block.space if path in self.space), None):
                rule = f"when.{number}.space.{path} is in search.space already: leave it out of one of them"
                raise RuleError(rule, f"when.{number}.space", "space")
        for number, tie in enumerate(self.tie):
            if tie.solve in self.every_space:
                rule = f"tie.{number}.solve {tie.solve} is in the space already: it is either sampled or solved for"
                raise RuleError(rule, f"tie.{number}.solve", "space")
        return self

    @model_validator(mode="after")
    def _points_have_an_effect(self) -> Self:
        for number, point in enumerate(self.points):
            where = f"points.{number}"
            if not point or point in self.points[:number]:
                raise RuleError(f"{where} must have values, and others than the points before, got {point}", where)
            for path in point:
                if path not in self.every_space:
                    raise RuleError(f"{where}.{path} is not in the space; {suggest(path, self.every_space)}", where)
                if path not in self.space and not any(path in block.space and block.may_hold(point) for block in self.when):
                    raise RuleError(f"{where}.{path} has no effect: the point does not meet the condition of its block", where)
        return self

    @model_validator(mode="after")
    def _domains_agree(self) -> Self:
        """Optuna gives a parameter different ranges in different blocks, but no different kinds."""
        for path in self.every_space:
            first, *others = self.domains(path)
            if not all(first.is_compatible_with(other) for other in others):
                raise RuleError(f"when: {path} must be of one kind in every block, with the same choices", "when")
        return self

    @property
    def every_space(self) -> dict[str, Domain]:
        """Domains of all parameters, conditional ones included."""
        return self.space | {path: domain for block in self.when for path, domain in block.space.items()}

    def domains(self, path: str) -> list[Domain]:
        """The domains of a path: several where conditions give it different ones."""
        return [space[path] for space in (self.space, *(block.space for block in self.when)) if path in space]

    def opened_by(self, values: Mapping[str, Any]) -> dict[str, Domain]:
        """The conditional parameters that exist at these values."""
        return {
            path: domain
            for block in self.when
            if all(values.get(name) == value for name, value in block.if_.items())
            for path, domain in block.space.items()
        }

    def space_at(self, values: Mapping[str, Any]) -> dict[str, Domain]:
        """All parameters that exist at these values, conditional ones included."""
        return self.space | self.opened_by(values)

    def drawn_values(self, settings: Mapping[str, Any]) -> dict[str, Scalar] | None:
        """The values that the space gives a trial with these settings; None where it gives no such trial.

        Settings that the space does not name are not compared.
        """
        members = {path: domain.member(settings.get(path)) for path, domain in self.space_at(settings).items()}
        drawn = {path: value for path, value in members.items() if value is not None}
        return drawn if len(drawn) == len(members) else None

    def allows(self, values: Mapping[str, Any]) -> bool:
        """Whether each of these values is one of its parameter; other parameters may be absent."""
        return all(any(domain.contains(value) for domain in self.domains(path)) for path, value in values.items())

    def list_points(self, limit: int) -> list[dict[str, Scalar]] | None:
        """All combinations of values, conditional parameters included; None where there are more than `limit`."""
        points: list[dict[str, Scalar]] = []
        outer = _combine(self.space, limit)
        for values in outer or []:
            inner = _combine(self.opened_by(values), limit)
            if inner is None or len(points) + len(inner) > limit:
                return None
            points += [values | opened for opened in inner]
        return None if outer is None else points

    @property
    def limits(self) -> list[Constraint]:
        """The parsed constraints."""
        return [parse_constraint(text, VALIDATION_METRICS) for text in self.constraints]

    def is_feasible(self, record: Record) -> bool:
        """Whether a completed trial keeps every constraint."""
        return all(limit.violation(record) <= 0 for limit in self.limits)

    def best(self, records: list[Record], count: int) -> list[Record]:
        """The best completed trials within all constraints by the first objective, best first; a tie goes to the smaller model."""
        sign = 1 if self.objectives[0].goal == "maximize" else -1
        chosen = [record for record in records if record["outcome"] == Outcome.COMPLETED and self.is_feasible(record)]
        key = self.objectives[0].metric
        return sorted(chosen, key=lambda record: (-sign * record[key], record["params"], record["fingerprint"]))[:count]


def _combine(space: dict[str, Domain], limit: int) -> list[dict[str, Scalar]] | None:
    """All combinations of the values of a space; None where there are more than `limit`."""
    values = {path: domain.list_values(limit) for path, domain in space.items()}
    listed = {path: some for path, some in values.items() if some is not None}
    if len(listed) < len(values) or math.prod(map(len, listed.values())) > limit:
        return None
    return list(factorial(listed))
