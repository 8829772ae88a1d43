"""What a search section asks for reaches Optuna: samplers, conditions, ties, constraints, points."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from lightning_modules.config import TrialConfig
from rrm.compute import count_parameters
from rrm.errors import UserError
from sweeps.driver import study as study_module
from sweeps.driver.early_stopping import build_judge
from sweeps.driver.live_table import pareto_front
from sweeps.driver.study import Study
from sweeps.spec.load_spec import load_spec
from sweeps.spec.sweep import SweepSpec
from tests.sweeps.conftest import Sections, assert_refused, load_study, search_sections

NUMERIC = {"optim.lr": {"log_uniform": [1e-4, 1e-2]}, "model.hidden_size": {"int": [16, 64], "step": 16}}
SAMPLERS = ["tpe", "gp", "nsga2", "nsga3", "cmaes", "qmc", "random"]


def sections(**changes: Any) -> Sections:
    """A search whose `search` section has some fields replaced; `trial__...` changes the trial."""
    trial = {name.removeprefix("trial__"): value for name, value in changes.items() if name.startswith("trial__")}
    made = search_sections(**trial)
    made["search"] |= {name: value for name, value in changes.items() if not name.startswith("trial__")}
    return made


@pytest.fixture
def make(write_spec: Callable) -> Callable[..., SweepSpec]:
    return lambda **changes: load_spec(write_spec(sections(**changes)))


def study_of(tmp_path: Path) -> optuna.Study:
    return load_study(tmp_path)


def record(config: TrialConfig, **measured: Any) -> dict[str, Any]:
    counts = count_parameters(config.model, config.task.shape)
    return {
        **config.flat(),
        "fingerprint": config.fingerprint,
        "outcome": "completed",
        "params": counts.total,
        "val/nll": 0.5,
        **measured,
    }


@pytest.mark.parametrize("kind", SAMPLERS)
def test_every_sampler_proposes_valid_and_different_trials(make: Callable, tmp_path: Path, kind: str) -> None:
    study = Study(make(sampler={"kind": kind}, space=NUMERIC, num_trials=14), tmp_path / "study.db")
    seen = set()
    for number in range(14):
        config = study.ask()
        assert config is not None and config.model.hidden_size in {16, 32, 48, 64} and 1e-4 <= config.optim.lr <= 1e-2
        seen.add(config.fingerprint)
        study.tell(config.fingerprint, record(config, **{"val/nll": abs(config.optim.lr - 2e-3) + number * 1e-6}))
    assert len(seen) == 14 and study.ask() is None


@pytest.mark.parametrize("kind", ["tpe", "random", "nsga2"])
def test_a_restarted_search_goes_on_elsewhere(make: Callable, tmp_path: Path, kind: str) -> None:
    spec = make(sampler={"kind": kind}, space=NUMERIC, num_trials=20)
    first = [Study(spec, tmp_path / "study.db").ask() for _ in range(1)]
    second = Study(spec, tmp_path / "study.db")
    assert second.ask().optim.lr != first[0].optim.lr  # type: ignore[union-attr]


WHEN = {
    "space": {"model.kind": {"choice": ["trm", "hrm"]}, "optim.lr": {"log_uniform": [1e-4, 1e-2]}},
    "when": [
        {
            "if": {"model.kind": "hrm"},
            "space": {"model.gradient": {"choice": ["one_step", "full"]}, "model.num_layers": {"int": [1, 2]}},
        },
        {"if": {"model.kind": "trm"}, "space": {"model.networks": {"choice": ["shared", "separate"]}}},
    ],
}


def test_conditional_parameters_exist_only_where_their_condition_holds(make: Callable, tmp_path: Path) -> None:
    study = Study(make(**WHEN, num_trials=24), tmp_path / "study.db")
    kinds = set()
    while (config := study.ask()) is not None:
        kinds.add((config.model.kind, config.model.gradient if config.model.kind == "hrm" else config.model.networks))
        study.tell(config.fingerprint, record(config))
    assert kinds == {("hrm", "one_step"), ("hrm", "full"), ("trm", "shared"), ("trm", "separate")}
    for trial in study_of(tmp_path).trials:
        assert ("model.gradient" in trial.params) == (trial.params["model.kind"] == "hrm")
        assert ("model.networks" in trial.params) == (trial.params["model.kind"] == "trm")


def test_a_lost_study_of_conditional_parameters_is_rebuilt(make: Callable, tmp_path: Path) -> None:
    spec = make(**WHEN, num_trials=6)
    lost = Study(spec, tmp_path / "lost.db")
    results = {config.fingerprint: record(config) for config in (lost.ask() for _ in range(6)) if config}
    Study(spec, tmp_path / "study.db").reconcile(results, {})
    assert all(("model.gradient" in t.params) == (t.params["model.kind"] == "hrm") for t in study_of(tmp_path).trials)


TIE = [{"solve": "model.hidden_size", "so_that": "params", "equals": 40_000, "within": 0.2}]


def test_a_tied_width_makes_every_trial_as_large(make: Callable, tmp_path: Path) -> None:
    spec = make(space={"model.num_layers": {"int": [1, 4]}, "optim.lr": {"log_uniform": [1e-4, 1e-2]}}, tie=TIE, num_trials=10)
    study = Study(spec, tmp_path / "study.db")
    widths = {}
    while (config := study.ask()) is not None:
        assert abs(count_parameters(config.model, config.task.shape).total / 40_000 - 1) <= 0.2
        widths[config.model.num_layers] = config.model.hidden_size
        study.tell(config.fingerprint, record(config))
    assert len(widths) > 1 and len(set(widths.values())) > 1


def test_a_measure_sweep_may_be_tied_too(write_spec: Callable) -> None:
    made = sections()
    del made["search"]
    made["trial"]["model"]["head_size"] = 4
    made["measure"] = {"vary": {"model.num_layers": [1, 2, 4]}, "seeds": 1, "tie": TIE}
    design = load_spec(write_spec(made)).design
    sizes = [count_parameters(trial.model, trial.task.shape).total for trial in design]
    assert len(sizes) == 3 and all(abs(size / 40_000 - 1) <= 0.2 for size in sizes)
    made["measure"]["tie"] = [TIE[0] | {"equals": 700}]
    with pytest.raises(
        UserError, match=r"measure.tie.0: no value of model.hidden_size gives params = 700 within 20%; the nearest is"
    ):
        load_spec(write_spec(made))


def test_a_constraint_that_is_known_before_costs_nothing(make: Callable, tmp_path: Path) -> None:
    space = {"model.hidden_size": {"int": [16, 128], "step": 16}, "optim.lr": {"log_uniform": [1e-4, 1e-2]}}
    study = Study(make(space=space, constraints=["params <= 12000"], num_trials=10), tmp_path / "study.db")
    asked = []
    while (config := study.ask()) is not None:
        asked.append(count_parameters(config.model, config.task.shape).total)
        study.tell(config.fingerprint, record(config))
    assert len(asked) == 10 and max(asked) <= 12_000
    rejected = [trial for trial in study_of(tmp_path).trials if trial.state == TrialState.PRUNED]
    assert rejected and all(trial.constraints["params <= 12000"] > 0 and not trial.intermediate_values for trial in rejected)
    assert "breaks params <= 12000" in rejected[0].user_attrs["reason"]


def test_a_constraint_on_what_is_measured_reaches_optuna(make: Callable, tmp_path: Path) -> None:
    spec = make(space=NUMERIC, constraints=["peak_memory_bytes <= 1e9", "val/token_accuracy >= 0.5"], num_trials=4)
    study = Study(spec, tmp_path / "study.db")
    for memory, accuracy in ((5e8, 0.6), (2e9, 0.6), (5e8, 0.25)):
        config = study.ask()
        assert config is not None
        study.tell(config.fingerprint, record(config, peak_memory_bytes=memory, **{"val/token_accuracy": accuracy}))
    found = [trial.constraints for trial in study_of(tmp_path).trials]
    assert [constraint["peak_memory_bytes <= 1e9"] for constraint in found] == pytest.approx([-0.5, 1.0, -0.5])
    assert [constraint["val/token_accuracy >= 0.5"] for constraint in found] == pytest.approx([-0.2, -0.2, 0.5])


def test_a_search_that_constraints_leave_nothing_ends(make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "MAX_MISSES", 20)  # sooner than after 200 proposals
    study = Study(make(space=NUMERIC, constraints=["params <= 100"], num_trials=5), tmp_path / "study.db")
    assert study.ask() is None and study.is_full
    reason = "search.space and search.constraints forbade 20 proposals in a row"
    assert study.shortfall == f"{reason}: the search ends with 0 of search.num_trials = 5"


def test_points_are_tried_first_and_once(make: Callable, tmp_path: Path) -> None:
    points = [{"optim.lr": 3e-3, "model.hidden_size": 32}, {"optim.lr": 7e-3}]
    first = Study(make(space=NUMERIC, points=points, num_trials=9), tmp_path / "study.db")
    first.reconcile({}, {})
    asked = [first.ask() for _ in range(1)]
    again = Study(make(space=NUMERIC, points=[*points, {"optim.lr": 5e-4}], num_trials=9), tmp_path / "study.db")
    again.reconcile({}, {asked[0].fingerprint: asked[0]})  # type: ignore[union-attr]
    asked += [again.ask() for _ in range(3)]
    assert [config.optim.lr for config in asked[:3] if config] == [3e-3, 7e-3, 5e-4]
    assert asked[0].model.hidden_size == 32  # type: ignore[union-attr]
    assert asked[3].optim.lr not in {3e-3, 7e-3, 5e-4}  # type: ignore[union-attr]


def test_the_median_rule_stops_who_is_worse_than_the_median_of_the_others(make: Callable) -> None:
    spec = make(space=NUMERIC, scheduler={"kind": "median", "grace": 0.2, "min_trials": 3}, trial__fit__budget__amount=10)

    def row(step: int, nll: float) -> Any:
        return {"step": step, "time": 0, "metrics": {"val_curve/nll": nll}, "used": {"steps": step}}

    rows = [(name, row(step, nll)) for step in (1, 5) for name, nll in zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True)]
    judge = build_judge(spec.search, spec.base.fit.budget)
    assert judge is not None
    decisions = [judge.stops(*entry) for entry in rows]
    # At 1 no trial is stopped (grace). At 5 the first three have fewer than three others beside them.
    assert decisions == [False] * 7 + [True]
    assert judge.stops("d", row(6, 4.0)) and not judge.stops("d", row(10, 4.0))  # has not heard of it; ends by itself
    again = build_judge(spec.search, spec.base.fit.budget)
    assert again is not None and [again.stops(*entry) for entry in rows] == decisions


def test_the_pareto_front_is_of_feasible_trials(make: Callable) -> None:
    objectives = [{"metric": "val/nll", "goal": "minimize"}, {"metric": "params", "goal": "minimize"}]
    search = make(space=NUMERIC, objectives=objectives, constraints=["steps >= 5"]).search
    records = [
        {"name": name, "outcome": "completed", "val/nll": nll, "params": params, "steps": steps}
        for name, nll, params, steps in (
            ("a", 1.0, 10, 9),
            ("b", 2.0, 5, 9),
            ("c", 2.0, 10, 9),
            ("d", 0.1, 1, 2),
            ("e", 1.0, 10, 9),
        )
    ]
    assert [found["name"] for found in pareto_front(search, [*records, {"outcome": "failed"}])] == ["a", "b", "e"]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "sampler": ({"sampler": {"kind": "bayes"}}, "search.sampler.kind: got 'bayes'; choose from: cmaes, gp"),
    "cmaes with choices": (
        {"sampler": {"kind": "cmaes"}, "space": {"model.kind": {"choice": ["trm"]}}},
        "cmaes requires numbers",
    ),
    "cmaes with conditions": (
        {
            "sampler": {"kind": "cmaes"},
            "space": {"model.l_cycles": {"int": [1, 3]}},
            "when": [{"if": {"model.l_cycles": 2}, "space": NUMERIC}],
        },
        "cmaes has no conditional parameters",
    ),
    "reduction without asha": (
        {"scheduler": {"kind": "median", "reduction": 2}},
        "reduction has no effect on the scheduler median",
    ),
    "grace without scheduler": ({"scheduler": {"grace": 0.5}}, "grace has no effect on the scheduler none"),
    "another clock": (
        {"scheduler": {"kind": "asha", "time": "seconds"}},
        "search.scheduler.time: must equal trial.fit.budget.unit",
    ),
    "median of a cost": (
        {"scheduler": {"kind": "median"}, "objectives": [{"metric": "params", "goal": "minimize"}]},
        "scheduler median requires a first objective that is measured",
    ),
    "no constraint": (
        {"constraints": ["params < 3"]},
        "constraints must have the form 'inference_flops <= 2e9' (or >=), got 'params < 3'",
    ),
    "constraint on test": (
        {"constraints": ["test/nll <= 1"]},
        "constraints must name a recorded metric other than test/..., got 'test/nll'",
    ),
    "constraint without number": ({"constraints": ["params <= 1e"]}, "constraints must end in a number, got '1e'"),
    "condition outside": (
        {"when": [{"if": {"model.mixer": "mlp"}, "space": {"model.num_layers": {"int": [1, 2]}}}]},
        "when.0.if.model.mixer must be a path",
    ),
    "condition never met": (
        {"space": WHEN["space"], "when": [{"if": {"model.kind": "direct"}, "space": {"model.num_layers": {"int": [1, 2]}}}]},
        "when.0.if.model.kind must be a value of search.space.model.kind, got 'direct'",
    ),
    "conditional and not": (
        {"space": WHEN["space"], "when": [{"if": {"model.kind": "hrm"}, "space": {"optim.lr": {"uniform": [0.1, 0.2]}}}]},
        "when.0.space.optim.lr is in search.space already",
    ),
    "conditional value": (
        {"space": WHEN["space"], "when": [{"if": {"model.kind": "hrm"}, "space": {"model.networks": {"choice": ["shared"]}}}]},
        "networks has no effect on the kind 'hrm'",
    ),
    "tied and sampled": ({"space": NUMERIC, "tie": TIE}, "tie.0.solve model.hidden_size is in the space already"),
    "tied to nothing": (
        {"tie": [TIE[0] | {"solve": "model.width"}]},
        "search.tie.0.solve: is not a field of a trial that can be solved for",
    ),
    "tie to a measurement": ({"tie": [TIE[0] | {"so_that": "val/nll"}]}, "search.tie.0.so_that: must be 'params'"),
    "unreachable tie": (
        {"space": {"optim.lr": {"uniform": [0.001, 0.01]}}, "tie": [TIE[0] | {"equals": 3}]},
        "no value of model.hidden_size gives params = 3",
    ),
    "point outside the space": ({"points": [{"optim.beta": 1}]}, "points.0.optim.beta is not in the space"),
    "point beyond the bounds": (
        {"space": NUMERIC, "points": [{"optim.lr": 1.0}]},
        "search.points.0.optim.lr: must lie in the space, got 1.0",
    ),
    "point between the steps": (
        {"space": NUMERIC, "points": [{"model.hidden_size": 20}]},
        "search.points.0.model.hidden_size: must lie in the space",
    ),
    "sampler as a word": ({"sampler": "tpe"}, "search.sampler: must be a section of key: value lines, got 'tpe'"),
    "setting of no sampler": ({"sampler": {"population": 9}}, "search.sampler.population: unknown key; choose from: kind, seed"),
    "seed too large": ({"sampler": {"seed": 2**40}}, "search.sampler.seed: must be less than 4294967296"),
    "cmaes on a line": (
        {"sampler": {"kind": "cmaes"}, "space": {"optim.lr": {"uniform": [0.1, 0.2]}}},
        "search: sampler cmaes requires two parameters or more",
    ),
    "cmaes for two": (
        {
            "sampler": {"kind": "cmaes"},
            "space": NUMERIC,
            "objectives": [{"metric": metric, "goal": "minimize"} for metric in ("val/nll", "params")],
        },
        "search: sampler cmaes has one objective",
    ),
    "unknown scheduler": (
        {"scheduler": {"kind": "hyperband"}},
        "search.scheduler.kind: must be 'none', 'asha' or 'median', got 'hyperband'",
    ),
    "scheduler without a number": (
        {"scheduler": {"kind": "asha", "grace": "10%"}},
        "search.scheduler.grace: must be a valid number, got '10%'",
    ),
    "all the grace": ({"scheduler": {"kind": "asha", "grace": 1}}, "search.scheduler.grace: must be less than 1, got 1"),
    "no reduction": ({"scheduler": {"kind": "asha", "reduction": 1}}, "search.scheduler.reduction: must be greater than 1, got 1"),
    "time without scheduler": ({"scheduler": {"time": "steps"}}, "search.scheduler: time has no effect on the scheduler none"),
    "scheduler that sees nothing": (
        {"scheduler": {"kind": "asha"}, "trial__eval__validations": 1},
        "search.scheduler: has no effect with eval.validations 1: no validation lies between grace (0.1) and the end",
    ),
    "objective twice": (
        {"objectives": [{"metric": "val/nll", "goal": goal} for goal in ("minimize", "maximize")]},
        "search: objectives must be different metrics, got val/nll, val/nll",
    ),
    "constraint as a word": ({"constraints": "params <= 9"}, "search.constraints: must be a list, got 'params <= 9'"),
    "misspelt constraint": (
        {"constraints": ["parms <= 9"]},
        "constraints must name a recorded metric other than test/..., got 'parms'; did you mean 'params'?",
    ),
    "constraint in percent": (
        {"constraints": ["val/exact_accuracy >= 90"]},
        "constraints on val/exact_accuracy must lie between 0 and 1, got 90",
    ),
    "constraint beyond numbers": (
        {"constraints": ["params <= 1e999"]},
        "constraints must end in a finite number, got 'params <= 1e999'",
    ),
    "constraint twice": ({"constraints": ["params <= 9e3", "params <= 8e3"]}, "constraints bound params twice from the same side"),
    "constraints that exclude each other": (
        {"constraints": ["params <= 3e3", "params >= 9e3"]},
        "constraints on params exclude each other: params <= 3e3, params >= 9e3",
    ),
    "condition on several": (
        {"space": WHEN["space"], "when": [{"if": {"model.kind": ["hrm", "trm"]}, "space": {"model.num_layers": {"int": [1, 2]}}}]},
        "search.when.0.if.model.kind: must be a number, a word, true or false, got ['hrm', 'trm']",
    ),
    "condition without space": ({"when": [{"if": {"model.hidden_size": 16}}]}, "search.when.0.space: is required, and absent"),
    "condition with then": (
        {"when": [{"if": {"model.hidden_size": 16}, "then": {}, "space": {"model.l_cycles": {"int": [1, 2]}}}]},
        "search.when.0.then: unknown key; choose from: if, space",
    ),
    "condition twice": (
        {
            "when": [
                {"if": {"model.hidden_size": 16}, "space": {path: {"int": [1, 2]}}} for path in ("model.l_cycles", "model.h_cycles")
            ]
        },
        "search: when.1.if is the condition of an earlier block",
    ),
    "condition on a fraction": (
        {"when": [{"if": {"optim.lr": 1e-4}, "space": {"model.l_cycles": {"int": [1, 2]}}}]},
        "search: when.0.if.optim.lr must be a value of search.space.optim.lr, got 0.0001",
    ),
    "parameter of two kinds": (
        {
            "space": WHEN["space"],
            "when": [
                {"if": {"model.kind": "hrm"}, "space": {"model.num_layers": {"int": [1, 2]}}},
                {"if": {"model.kind": "trm"}, "space": {"model.num_layers": {"choice": [1, 2]}}},
            ],
        },
        "search: when: model.num_layers must be of one kind in every block, with the same choices",
    ),
    "one tie for a list": ({"tie": TIE[0]}, "search.tie: must be a list, got {'solve': 'model.hidden_size'"),
    "tie to nothing at all": (
        {"tie": [{"solve": "model.num_layers", "so_that": "params"}]},
        "search.tie.0.equals: is required, and absent",
    ),
    "tie in percent": ({"tie": [TIE[0] | {"within": 20}]}, "search.tie.0.within: must be less than 1, got 20"),
    "tie of a fraction": (
        {"tie": [TIE[0] | {"solve": "optim.warmup"}]},
        "search.tie.0.solve: must be a field of whole numbers, got optim.warmup",
    ),
    "tie of a word": (
        {"tie": [TIE[0] | {"solve": "model.mixer"}]},
        "search.tie.0.solve: must be a field of whole numbers, got model.mixer",
    ),
    "tie of what costs nothing": (
        {"tie": [TIE[0] | {"solve": "fit.batch_size"}]},
        "search.tie.0.solve: params does not grow with fit.batch_size: solve for another field",
    ),
    "tie to the budget": (
        {
            "tie": [{"solve": "model.num_layers", "so_that": "train_flops", "equals": 1e9}],
            "trial__fit__budget": {"unit": "train_flops", "amount": 1e9},
        },
        "search.tie.0.solve: train_flops does not grow with model.num_layers",
    ),
    "tie to an unknown quantity": (
        {
            "tie": [{"solve": "model.num_layers", "so_that": "train_flops", "equals": 1e9}],
            "trial__fit__budget": {"unit": "seconds", "amount": 1},
        },
        "search.tie.0.so_that: train_flops is not known before training with this budget",
    ),
    "empty point": ({"points": [{}]}, "search: points.0 must have values, and others than the points before, got {}"),
    "point twice": ({"points": [{"optim.lr": 1e-3}] * 2}, "search: points.1 must have values, and others than the points before"),
    "point that is a word": ({"points": ["best"]}, "search.points.0: must be a section of key: value lines, got 'best'"),
    "more points than trials": (
        {"points": [{"optim.lr": lr * 1e-3} for lr in (1, 2, 3)], "num_trials": 2},
        "search: points must be at most num_trials, got 3 for 2",
    ),
    "point that opens nothing": (
        WHEN | {"points": [{"model.kind": "trm", "model.num_layers": 1}]},
        "search: points.0.model.num_layers has no effect: the point does not meet the condition of its block",
    ),
    "start from a word": ({"warm_start": "other"}, "search.warm_start: must be a list, got 'other'"),
    "start from one sweep twice": ({"warm_start": ["a", "a"]}, "search.warm_start: warm_start must be a list of different sweeps"),
    "start from itself": ({"warm_start": ["tiny"]}, "search.warm_start must name other sweeps, got 'tiny', this one"),
    "confirm as a number": ({"confirm": 3}, "search.confirm: must be a section of key: value lines, got 3"),
    "confirm none": ({"confirm": {"top": 0}}, "search.confirm.top: must be greater than or equal to 1, got 0"),
    "confirm without seeds": (
        {"confirm": {"top": 1, "seeds": 0}},
        "search.confirm.seeds: must be greater than or equal to 1, got 0",
    ),
    "confirm more than there are": ({"confirm": {"top": 100}}, "search: confirm.top must be at most num_trials, got 100 of 6"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_search_is_one_line_that_names_the_field_and_costs_nothing(
    write_spec: Callable, typed: Callable, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    assert_refused(typed("run", str(write_spec(sections(**changes)))), message, tmp_path)


def test_conditions_may_give_a_parameter_different_ranges(make: Callable) -> None:
    blocks = [
        {"if": {"model.kind": kind}, "space": {"model.num_layers": {"int": [1, most]}}} for kind, most in (("hrm", 2), ("trm", 4))
    ]
    points = [{"model.kind": "trm", "model.num_layers": 4}]
    assert make(space=WHEN["space"], when=blocks, points=points).search.domains("model.num_layers")[1].int_ == (1, 4)
