"""The recommendation for a budget, and the local exchange rate with its band."""

import numpy as np
import pandas as pd
import pytest

from analysis.data.tables import Tables
from analysis.laws.compute_optimal import BudgetFit, ComputeOptimal
from analysis.laws.curvature import CurvatureFit, draw_local_rates
from analysis.laws.exchange_rate import model_free_rate
from analysis.laws.fit_all import fit_laws
from analysis.laws.presentation import describe_fits
from analysis.laws.recurrence import Recurrence
from benchmarks.coverage import compute_optimal, recurrence

BEST = 12.0 * np.exp(0.1 / 0.12)  # best recursion under the curved law from which `compute_optimal` draws


def curved() -> Tables:
    return compute_optimal(np.random.default_rng(3)).tables


def straight(phi: float) -> Tables:
    tables = recurrence(np.random.default_rng(0), phi=phi).tables
    trials = tables.trials
    cost = 6 * trials["params_recursed"] * 3 * trials["model.supervision_steps"]
    return Tables(trials.assign(inference_flops=cost), tables.curves)


def recommend(tables: Tables, *budgets: float) -> list[BudgetFit]:
    fits = fit_laws(tables, {"inference_flops": list(budgets)}, [ComputeOptimal()])
    return [fit for fit in fits if isinstance(fit, BudgetFit)]


def test_an_optimum_inside_the_design_is_found_with_its_interval() -> None:
    (fit,) = recommend(curved(), 1e8)
    recursion, size = fit.estimates["best_recursion"], fit.estimates["best_params_recursed"]
    assert recursion.low < BEST < recursion.high and recursion.high / recursion.low < 5
    assert fit.choice.params_recursed == pytest.approx(1e8 / 6 / recursion.estimate, rel=1e-3)
    assert size.low < size.estimate < size.high and not fit.flags
    (sentence,) = [str(said) for said in describe_fits([fit])]
    assert "At 1e+08 FLOPs an answer, the loss is least at R" in sentence and "extrapolation" not in sentence


def test_a_budget_beyond_the_sizes_of_the_design_is_called_extrapolation() -> None:
    small, large = recommend(curved(), 1e3, 1e12)
    assert small.flags == large.flags == ("extrapolation",)
    low, high = small.fitted_range["inference_flops"]
    assert 1e3 < low < high < 1e12
    assert "This budget lies outside of" in str(describe_fits([large])[0]) and "loss" not in large.estimates


@pytest.mark.parametrize(("phi", "edge", "words"), [(0.45, 3.0, "width, not on recursion"), (1.6, 48.0, "recursion, not on width")])
def test_without_curvature_the_optimum_is_an_edge_and_is_called_so(phi: float, edge: float, words: str) -> None:
    (fit,) = recommend(straight(phi))
    assert "edge" in fit.flags and fit.choice.recursion == pytest.approx(edge)
    assert "best_recursion" not in fit.estimates
    assert words in str(describe_fits([fit])[0])


def test_nothing_is_recommended_where_neither_is_the_better_buy() -> None:
    (fit,) = recommend(straight(1.0))
    assert {"edge", "no_preference"} <= set(fit.flags)
    assert "neither width nor recursion is clearly the better buy" in str(describe_fits([fit])[0])


def test_a_cost_that_does_not_follow_from_size_and_recursion_has_no_recommendation() -> None:
    tables = curved()
    noise = np.exp(np.random.default_rng(0).standard_normal(len(tables.trials)))
    assert recommend(Tables(tables.trials.assign(inference_flops=1e6 * noise), tables.curves)) == []


def test_the_local_exchange_rate_falls_along_a_curved_law_and_its_band_holds_the_truth() -> None:
    (fit,) = [fit for fit in fit_laws(curved(), laws=[Recurrence()]) if isinstance(fit, CurvatureFit)]
    assert fit.local_rates is not None
    law = fit.local_rates[fit.local_rates["kind"] == "law"]
    truth = 2 ** ((0.35 - 0.12 * np.log(law["recursion"] / 12)) / 0.25)
    inside = (law["low"] < truth) & (truth < law["high"])
    assert inside.all() and law["estimate"].is_monotonic_decreasing and len(law) > 10
    assert [row["recursion"] for row in fit.to_json()["local_exchange_rates"][:2]] == law["recursion"].tolist()[:2]


def test_the_figure_of_the_local_rates_has_the_break_even_of_the_costs_and_none_where_these_are_unknown() -> None:
    tables = curved()
    noise = np.exp(np.random.default_rng(0).standard_normal(len(tables.trials)))
    free = Tables(tables.trials.assign(inference_flops=1e6 * noise), tables.curves)
    lines = {}
    for name, table in (("known", tables), ("unknown", free)):
        (fit,) = [fit for fit in fit_laws(table, laws=[Recurrence()]) if isinstance(fit, CurvatureFit)]
        figure = draw_local_rates(fit)
        assert figure is not None
        lines[name] = [series.y for series in figure.series if series.label.startswith("break-even")]
    recommended = recommend(tables)[0]
    assert recommended.choice is not None
    assert lines == {"known": [[recommended.choice.pays_above_exchange_rate] * 2], "unknown": []}


def test_the_rate_without_a_law_is_exact_where_there_is_no_noise() -> None:
    sizes, depths = np.meshgrid(np.log([1e3, 4e3, 16e3, 64e3]), np.log([1.0, 2.0, 4.0]), indexing="ij")
    loss = -0.3 * sizes - 0.15 * depths  # one doubling is worth 2^0.5
    error = np.full(sizes.size, 1e-6)
    overall, between = model_free_rate(sizes.ravel(), depths.ravel(), loss.ravel(), error, 24)
    assert overall is not None and overall.estimate == pytest.approx(2**0.5, abs=1e-3)
    assert between["estimate"].tolist() == pytest.approx([2**0.5] * 2, abs=1e-3)
    assert between["recursion"].tolist() == pytest.approx([2**0.5, 2**1.5])


def test_fits_of_every_law_say_how_well_they_fit() -> None:
    tables = curved()
    table = tables.trials.assign(**{"test/exact_accuracy": lambda rows: np.clip(1 - rows["test/nll"] / 3, 0, 1)})
    for fit in fit_laws(Tables(pd.DataFrame(table), tables.curves)):
        if fit.is_fitted and fit.law != "compute_optimal":
            quality = fit.quality
            assert quality.r_squared is not None and quality.aic is not None and quality.lack_of_fit is not None, fit
            if fit.law != "recurrence" or fit.form == "one_exponent":
                assert quality.aic_simpler and quality.leave_one_scale_out_error is not None, fit
            if fit.form not in ("curvature", "axes"):  # one axis: as in the first form
                assert fit.points is not None and {"line", "x", "measured", "fitted", "misfit"} <= set(fit.points)
