"""Laws on runs drawn from them: constants come back, and what is not there is refused or flagged for the right reason."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.data.tables import Tables, split_bins
from analysis.laws.fit import Fit, write_fits
from analysis.laws.fit_all import find_laws, fit_laws
from analysis.laws.groups import Group
from analysis.laws.recurrence import Recurrence
from benchmarks.coverage import LAWS, iso_flop, judge
from sweeps.spec.load_spec import load_spec

DRAWS = 6
SLOW = {
    "recurrence",
    "recurrence, E > 0",
    "recurrence, N_once",
    "recurrence, phi < 0",
    "recurrence, stops at R = 12",
    "compute-optimal",
    "iso-FLOP",
    "data term",
    "data term, E > 0",
    "data term, phi < 0",
    "data term, little of data",
}
PARAMETERS = [pytest.param(name, marks=pytest.mark.more if name in SLOW else ()) for name in LAWS]


@pytest.mark.parametrize("name", PARAMETERS)
def test_constants_lie_in_their_intervals_and_flags_say_the_truth(name: str) -> None:
    """A small part of `python benchmarks/coverage.py`."""
    judged = [judge(name, seed) for seed in range(DRAWS)]
    assert {status for _, _, status in judged} == {"fitted"}
    for constant in judged[0][0]:
        assert sum(covered[constant] for covered, _, _ in judged) >= DRAWS - 2, constant
    flagged = sum(bool(flag) for _, flag, _ in judged)
    if "stops" in name or "collapses" in name:
        assert flagged >= DRAWS - 1
    else:
        assert flagged <= 1


# -- refusals -----------------------------------------------------------------------------------------------------


def table(widths: list[int], depths: list[int], seeds: int = 3, **columns: Any) -> Tables:
    """Runs of the recurrence law as a sweep of this project would have them."""
    rng = np.random.default_rng(0)
    rows = []
    for width, depth, seed in itertools.product(widths, depths, range(seeds)):
        recursed = 12 * width**2
        loss = 20 * ((3 * depth) ** 0.5 * recursed) ** -0.3 * np.exp(0.05 * rng.standard_normal())
        rows.append(
            {
                "sweep": "drawn", "fingerprint": f"t{len(rows)}", "outcome": "completed", "outside_spec": False, "seed": seed,
                "task.kind": "sudoku", "task.size": 4, "model.kind": "trm", "model.hidden_size": width, "model.head_size": 8,
                "model.supervision_steps": depth, "model.l_cycles": 2, "model.h_cycles": 1, "model.halting": "fixed",
                "fit.budget.unit": "steps", "fit.budget.amount": 100.0, "matching": "steps", "eval.max_depth": 16,
                "params_recursed": recursed, "params_once": 0, "test/nll": loss, "test/exact_accuracy": 0.4,
            }
        )  # fmt: skip
    trials = pd.DataFrame(rows)
    for name, value in columns.items():
        trials[name.replace("__", "/")] = value
    return Tables(trials, pd.DataFrame(columns=["fingerprint", "metric", "axis", "at", "value", "binned_by", "difficulty"]))


def one_exponent(tables: Tables) -> Fit:
    (fit,) = [fit for fit in fit_laws(tables, laws=[Recurrence()]) if fit.form == "one_exponent"]
    return fit


def test_a_law_that_changes_its_table_changes_no_other_law() -> None:
    class Spoiler(Recurrence):
        name = "spoiler"

        def fit(self, group: Group) -> list[Fit]:
            group.trials["test/nll"] = 1.0
            return []

    tables = table([16, 32, 64], [1, 2, 4])
    spoiled = [fit for fit in fit_laws(tables, laws=[Spoiler(), Recurrence()]) if fit.form == "one_exponent"]
    assert [fit.estimates for fit in spoiled] == [one_exponent(tables).estimates]


def confounded() -> Tables:
    """Depth rises with width."""
    tables = table([16, 32, 64, 128], [1, 2, 4, 8])
    along = {16: 1, 32: 2, 64: 4, 128: 8}
    kept = tables.trials["model.supervision_steps"] == tables.trials["model.hidden_size"].map(along)
    return Tables(tables.trials[kept], tables.curves)


def noise(level: float, accuracy: float) -> Tables:
    """Cells that do not differ."""
    tables = table([16, 32, 64], [1, 2, 4])
    rng = np.random.default_rng(1)
    tables.trials["test/nll"] = level * np.exp(0.05 * rng.standard_normal(len(tables.trials)))
    tables.trials["test/exact_accuracy"] = accuracy
    return tables


REFUSED = {
    "too_few_scales": lambda: table([16, 32], [1, 2, 4]),
    "too_few_seeds": lambda: table([16, 32, 64], [1, 2, 4], seeds=1),
    "confounded": confounded,
    "floor": lambda: noise(1.4, 0.0),
    "ceiling": lambda: noise(0.01, 1.0),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_design_that_cannot_tell_is_refused_with_a_spec_that_could(reason: str, tmp_path: Path) -> None:
    fit = one_exponent(REFUSED[reason]())
    assert fit.reason == reason and not fit.estimates and fit.suggestion
    (tmp_path / "more.yaml").write_text(fit.suggestion)
    spec = load_spec(tmp_path / "more.yaml")
    design = spec.design
    assert len({config.model.hidden_size for config in design}) >= 3 and len({config.seed for config in design}) >= 2
    assert len({config.model.supervision_steps for config in design}) >= 3


def too_shallow() -> Tables:
    """Depth curves of three depths, told by two difficulties."""
    tables = table([16, 32, 64], [1, 2])
    points = [{"fingerprint": name, "metric": metric, "axis": "depth", "at": depth, "value": 0.2 * depth}
              for name in tables.trials["fingerprint"] for depth in (1, 2, 3)
              for metric in ("depth/exact_accuracy", "depth/exact_accuracy/k1", "depth/exact_accuracy/k2")]  # fmt: skip
    return Tables(tables.trials, split_bins(pd.DataFrame(points)))


def one_level_of_compute_too_few() -> Tables:
    """Two budgets of training compute, two sizes at each."""
    tables = table([16, 32], [1, 2, 4])
    tables.trials["train_flops"] = tables.trials["seed"].map({0: 1e12, 1: 1e12, 2: 4e12})
    return tables


def rising_with_size() -> Tables:
    """Three budgets, at each of which the smallest size is best."""
    tables = table([16, 32, 64, 128], [1, 2, 4])
    tables.trials["train_flops"] = tables.trials["model.supervision_steps"] * 1e12
    tables.trials["test/nll"] = tables.trials["params_recursed"] ** 0.3 * (1 + 0.001 * tables.trials["seed"])
    return tables


OTHERS_REFUSED = {
    ("power_params", "too_few_scales"): too_shallow, ("power_depth", "too_few_scales"): too_shallow,
    ("log_depth", "too_few_scales"): too_shallow, ("test_time", "too_few_scales"): too_shallow,
    ("required_depth", "too_few_scales"): too_shallow, ("iso_flop", "too_few_scales"): one_level_of_compute_too_few,
    ("iso_flop", "no_interior_optimum"): rising_with_size,
}  # fmt: skip


@pytest.mark.parametrize(("law", "reason"), OTHERS_REFUSED)
def test_every_refusal_has_a_spec_with_more_of_what_is_missing(law: str, reason: str, tmp_path: Path) -> None:
    tables = OTHERS_REFUSED[law, reason]()
    fit = next(fit for fit in fit_laws(tables, laws=[one for one in find_laws() if one.name == law]) if fit.reason == reason)
    assert fit.suggestion
    (tmp_path / "more.yaml").write_text(fit.suggestion)
    design = load_spec(tmp_path / "more.yaml").design
    widths = {config.model.hidden_size for config in design}
    depths = {config.model.supervision_steps for config in design}
    assert len({config.seed for config in design}) >= 3
    if law == "power_params":
        assert len(widths) >= 4
    if law in {"power_depth", "log_depth"}:
        assert len(depths) >= 4
    if law in {"test_time", "required_depth"}:
        assert max(depths) >= 8 and min(config.eval.max_depth for config in design) >= 2 * max(depths)
    if law == "iso_flop":
        assert len(widths) >= 4 and {config.fit.budget.unit for config in design} == {"train_flops"}
        assert design[0].fit.budget.amount >= tables.trials["train_flops"].max()


def curves_over_depth(error: Callable[[int, int], float]) -> Fit:
    """The test-time law of three seeds, whose error is a function of the seed and of D."""
    tables = table([16], [8], seeds=3)
    points = [{"fingerprint": name, "metric": "depth/exact_accuracy", "axis": "depth", "at": depth, "value": 1 - error(seed, depth)}
              for seed, name in enumerate(tables.trials["fingerprint"]) for depth in range(1, 17)]  # fmt: skip
    (fit,) = [fit for fit in fit_laws(Tables(tables.trials, split_bins(pd.DataFrame(points)))) if fit.law == "test_time"]
    return fit


FLAT = {
    "all seeds": lambda seed, depth: 0.4 + 0.1 * seed,
    "but for rounding": lambda seed, depth: 0.4 + 0.1 * seed + 1e-16 * depth,
    "one seed": lambda seed, depth: 0.5 if seed == 1 else 0.2 + 0.6 * np.exp(-(depth - 1)),
    "but for noise": lambda seed, depth: 0.4 + 0.01 * ((7 * depth + 3 * seed) % 5),
}


@pytest.mark.parametrize("error", FLAT)
def test_accuracy_that_does_not_change_with_the_depth_has_no_law_and_no_suggestion(error: str) -> None:
    fit = curves_over_depth(FLAT[error])
    assert fit.reason == "flat" and not fit.estimates and fit.suggestion is None and fit.quality.r_squared is None
    assert "does not change with D" in fit.reason.sentence


def test_shares_of_the_test_time_law_lie_between_0_and_1() -> None:
    fit = curves_over_depth(
        lambda seed, depth: 0.02 * seed + (0.95 - 0.02 * seed) * np.exp(-(depth - 1) / (2 + seed)) + 0.05 * seed
    )
    e, first = fit.estimates["e"], fit.estimates["first_error"]
    assert 0 == e.low < e.estimate < e.high < 1 and 0 < first.low < first.estimate < first.high == 1


def test_a_response_that_does_not_vary_has_no_r_squared() -> None:
    tables = table([16, 32, 64], [1, 2, 4, 8])  # all have the same accuracy
    assert {fit.quality.r_squared for fit in fit_laws(tables) if fit.law == "log_depth" and fit.is_fitted} == {None}


def test_sweeps_of_several_budgets_are_one_iso_flop_law() -> None:
    """Budgets split every other law, not the one that is about them."""
    tables = iso_flop(np.random.default_rng(0)).tables
    tables.trials["fit.budget.amount"] = tables.trials["train_flops"]
    (fit,) = [fit for fit in fit_laws(tables) if fit.law == "iso_flop"]
    exponent = fit.estimates["optimal_params_exponent"]
    assert exponent.low < 0.6 < exponent.high


def test_pruned_failed_and_unfinished_trials_are_never_fitted() -> None:
    tables = table([16, 32, 64], [1, 2, 4])
    expected = one_exponent(tables).to_json()
    spoiled = tables.trials.head(3).assign(
        **{"test/nll": 1e6, "outcome": ["pruned", "failed", "running"], "fingerprint": ["a", "b", "c"]}
    )
    got = one_exponent(Tables(pd.concat([tables.trials, spoiled], ignore_index=True), tables.curves))
    assert "survivors_only" in got.flags
    assert got.to_json() | {"flags": []} == expected


def test_a_setting_that_follows_the_width_does_not_split_a_group_and_another_does() -> None:
    tables = table([16, 32, 64], [1, 2, 4])
    tables.trials["optim.lr"] = tables.trials["model.hidden_size"].map({16: 1e-2, 32: 5e-3, 64: 2e-3})
    assert one_exponent(tables).trials == 27
    split = Tables(tables.trials.assign(**{"optim.weight_decay": [0.1, 1.0] * 13 + [0.1]}), tables.curves)
    groups = {fit.group.get("optim.weight_decay") for fit in fit_laws(split, laws=[Recurrence()]) if fit.form == "one_exponent"}
    assert groups == {0.1, 1.0}


def test_a_search_is_not_fitted() -> None:
    tables = table([16, 32, 64], [1, 2, 4])
    assert fit_laws(Tables(tables.trials, tables.curves, "search")) == []


def test_fits_json_has_the_shape_that_the_page_promises(tmp_path: Path) -> None:
    fits = fit_laws(table([16, 32, 64, 128], [1, 2, 4, 8]))
    write_fits(tmp_path / "fits.json", fits)
    entries = json.loads((tmp_path / "fits.json").read_text())
    assert {entry["law"] for entry in entries} >= {"recurrence", "power_params", "power_depth", "log_depth"}
    for entry in entries:
        assert entry["status"] == ("refused" if entry["reason"] else "fitted")
        for estimate in entry["estimates"].values():
            assert estimate["low"] <= estimate["estimate"] <= estimate["high"] and estimate["level"] == 0.95
    (one,) = [entry for entry in entries if entry["form"] == "one_exponent"]
    assert {"alpha", "phi", "slope_log_params", "slope_log_recursion", "exchange_rate"} <= set(one["estimates"])
    assert one["trials"] == 48 and one["cells"] == 16 and one["seeds"] == 3
    assert one["fitted_range"] == {"params_recursed": [3072.0, 196608.0], "recursion": [3.0, 24.0]}


# -- in a notebook --------------------------------------------------------------------------------------------------


def test_the_names_of_the_package_fit_and_plot() -> None:
    tables = table([16, 32, 64, 128], [1, 2, 4, 8])
    tables.trials["params"], tables.trials["layers_executed"] = tables.trials["params_recursed"], 4
    (group,) = analysis.groups_of(tables.completed)
    one, *_ = Recurrence().fit(group)
    for drawing in (analysis.plot_law([one]), analysis.plot_misfit([one]), analysis.plot_accuracy_by_parameters(tables)):
        assert drawing is not None and len(drawing.data) >= 4
    assert analysis.plot_inference_depth(tables) is None
    for name in analysis.__all__:
        assert getattr(analysis, name).__doc__, name
