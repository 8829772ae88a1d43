"""What a `search` section says: who proposes trials, who stops them, over which space, for what, within which limits."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from lightning_modules.config import BudgetUnit
from lightning_modules.outcome import Outcome
from rrm.config import StrictConfig
from rrm.errors import suggest
from sweeps.spec.constraints import Constraint, find_conflict, parse_constraint
from sweeps.spec.space import Domain, Scalar, factorial
from sweeps.spec.tied_parameters import Tie

VALIDATION_METRICS = ("val/exact_accuracy", "val/token_accuracy", "val/nll")
COST_METRICS = ("params", "params_recursed", "inference_flops", "train_flops", "layers_executed")
SamplerKind = Literal["tpe", "gp", "nsga2", "nsga3", "cmaes", "qmc", "random"]


class Sampler(StrictConfig):
    """Who proposes configurations; each is Optuna's own."""

    kind: SamplerKind = "tpe"
    seed: int = Field(0, ge=0, lt=2**32)


class Scheduler(StrictConfig):
    """Who stops trials early; both compare trials at equal shares of the budget."""

    UNDERSTOOD: ClassVar[dict[str, dict[str, Any]]] = {
        "none": {},
        "asha": {"grace": 0.1, "reduction": 3.0},
        "median": {"grace": 0.1, "min_trials": 3},
    }

    kind: Literal["none", "asha", "median"] = "none"
    time: BudgetUnit | None = None  # what shares are counted in; the budget's unit
    grace: float | None = Field(None, gt=0, lt=1)  # share of the budget before which nobody is stopped
    reduction: float | None = Field(None, gt=1)  # asha: one in so many goes on from a rung
    min_trials: int | None = Field(None, ge=1)  # median: others that must have come as far before one is stopped

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, given: Any) -> Any:
        """Defaults of the kind; what it does not understand is refused."""
        if not isinstance(given, dict) or given.get("kind", "none") not in cls.UNDERSTOOD:
            return given
        kind = given.get("kind", "none")
        understood = cls.UNDERSTOOD[kind]
        for name in ("time", "grace", "reduction", "min_trials"):
            if given.get(name) is not None and name not in understood and (name != "time" or kind == "none"):
                raise ValueError(f"{name} has no effect on the scheduler {kind}: leave it out")
        return understood | {name: value for name, value in given.items() if value is not None}


class Objective(StrictConfig):
    """What a search makes large or small; it sees validation only."""

    metric: str
    goal: Literal["maximize", "minimize"]

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = (*VALIDATION_METRICS, *COST_METRICS)
        if self.metric not in known:
            raise ValueError(
                f"metric must be a recorded metric other than test/..., got {self.metric!r}; {suggest(self.metric, known)}"
            )
        return self


class When(StrictConfig):
    """Parameters that exist only where others have certain values."""

    if_: dict[str, Scalar] = Field(alias="if", min_length=1)
    space: dict[str, Domain] = Field(min_length=1)

    def may_hold(self, values: dict[str, Scalar]) -> bool:
        """Whether no value contradicts the condition; one that is absent may still come to meet it."""
        return all(values.get(path, value) == value for path, value in self.if_.items())


class Confirm(StrictConfig):
    """The last stage of a search: its best trials over fresh seeds, at the full budget, nobody stopped early."""

    top: int = Field(ge=1)
    seeds: int = Field(3, ge=1)  # n means the seeds 1 .. n; the search has used 0


class Search(StrictConfig):
    """A sampler over a space: finds good settings, is never fitted."""

    sampler: Sampler = Sampler()
    scheduler: Scheduler = Scheduler()
    space: dict[str, Domain] = Field(min_length=1)
    when: list[When] = Field([])  # conditional parameters
    tie: list[Tie] = Field([])  # parameters that are solved for, not sampled
    objectives: list[Objective] = Field(min_length=1)
    constraints: list[str] = Field([])  # such as "inference_flops <= 2e9"
    num_trials: int = Field(ge=1)
    points: list[dict[str, Scalar]] = Field([])  # configurations to begin with
    warm_start: list[str] = Field([])  # sweeps whose completed trials the sampler learns from: names beside this one, or folders
    confirm: Confirm | None = None

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
    def _counts_fit(self) -> Self:
        metrics = [objective.metric for objective in self.objectives]
        if len(set(metrics)) < len(metrics):
            raise ValueError(f"objectives must be different metrics, got {', '.join(metrics)}")
        if self.confirm is not None and self.confirm.top > self.num_trials:
            raise ValueError(f"confirm.top must be at most num_trials, got {self.confirm.top} of {self.num_trials}")
        if len(self.points) > self.num_trials:
            raise ValueError(f"points must be at most num_trials, got {len(self.points)} for {self.num_trials}")
        return self

    @model_validator(mode="after")
    def _scheduler_follows_a_curve(self) -> Self:
        first = self.objectives[0].metric
        if self.scheduler.kind != "none" and first not in VALIDATION_METRICS:
            raise ValueError(
                f"scheduler {self.scheduler.kind} needs a first objective that is measured during training, got {first!r}; "
                f"choose from: {', '.join(VALIDATION_METRICS)}"
            )
        return self

    @model_validator(mode="after")
    def _cmaes_is_numeric(self) -> Self:
        if self.sampler.kind == "cmaes":
            choices = [path for path, domain in self.space.items() if domain.choice is not None]
            if choices:
                raise ValueError(f"sampler cmaes moves through numbers only, got a choice for {choices[0]}: take tpe, gp or random")
            if self.when:
                raise ValueError("sampler cmaes knows no conditional parameters (when): take tpe or random")
            if len(self.objectives) > 1:
                raise ValueError("sampler cmaes knows one objective: take tpe, nsga2 or nsga3")
            if len(self.space) < 2:
                raise ValueError("sampler cmaes needs two parameters or more: take tpe, gp or random")
        return self

    @model_validator(mode="after")
    def _conditions_can_be_met(self) -> Self:
        for number, block in enumerate(self.when):
            for path, value in block.if_.items():
                if path not in self.space:
                    raise ValueError(f"when.{number}.if.{path} must be a path of search.space: {suggest(path, self.space)}")
                if not self.space[path].is_listed(value):
                    raise ValueError(f"when.{number}.if.{path} must be a value of search.space.{path}, got {value!r}")
            for path in block.space:
                if path in self.space:
                    raise ValueError(f"when.{number}.space.{path} is in search.space already: leave it out of one of them")
            if any(other.if_ == block.if_ for other in self.when[:number]):
                raise ValueError(f"when.{number}.if stands in a block before: put what it opens there")
        return self

    @model_validator(mode="after")
    def _domains_agree(self) -> Self:
        """Where conditions give a parameter several domains, Optuna takes different ranges but not different kinds."""
        for path in self.every_space:
            first, *others = self.domains(path)
            if not all(first.is_compatible_with(other) for other in others):
                raise ValueError(f"when: {path} must be of one kind in every block, with the same choices")
        return self

    @model_validator(mode="after")
    def _paths_have_one_source(self) -> Self:
        for number, tie in enumerate(self.tie):
            if tie.solve in self.every_space:
                raise ValueError(f"tie.{number}.solve {tie.solve} is in the space already: it is either sampled or solved for")
        for number, point in enumerate(self.points):
            if not point or point in self.points[:number]:
                raise ValueError(f"points.{number} must hold values, other ones than the points before, got {point}")
            for path in point:
                if path not in self.every_space:
                    raise ValueError(f"points.{number}.{path} is not in the space; {suggest(path, self.every_space)}")
                if path not in self.space and not any(path in block.space and block.may_hold(point) for block in self.when):
                    raise ValueError(f"points.{number}.{path} has no effect: the point does not meet the condition that opens it")
        return self

    @property
    def every_space(self) -> dict[str, Domain]:
        """All paths that may be sampled, conditional ones included."""
        return self.space | {path: domain for block in self.when for path, domain in block.space.items()}

    def domains(self, path: str) -> list[Domain]:
        """Those of a path: several where conditions give it different ones."""
        return [space[path] for space in (self.space, *(block.space for block in self.when)) if path in space]

    def opened_by(self, values: Mapping[str, Any]) -> dict[str, Domain]:
        """The conditional parameters that these values open."""
        return {
            path: domain
            for block in self.when
            if all(values.get(name) == value for name, value in block.if_.items())
            for path, domain in block.space.items()
        }

    def space_at(self, values: Mapping[str, Any]) -> dict[str, Domain]:
        """All that is sampled where the space has these values, conditional parameters included."""
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
        """The constraints, read."""
        return [parse_constraint(text, VALIDATION_METRICS) for text in self.constraints]

    def is_feasible(self, record: dict[str, Any]) -> bool:
        """Whether a completed trial keeps every constraint."""
        return all(limit.violation(record) <= 0 for limit in self.limits)

    def best(self, records: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
        """Completed trials that keep all constraints, the best by the first objective first; of equals the smaller model."""
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
