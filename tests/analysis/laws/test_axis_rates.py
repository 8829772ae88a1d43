"""The form `axes`: rates come back, and an axis that the design does not identify has no rate."""

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.laws.axis_levels import add_levels
from analysis.laws.axis_rates import AxesFit, fit_axes
from analysis.laws.groups import groups_of
from analysis.laws.recurrence import Recurrence
from benchmarks.coverage import AXES, judge_axes
from sweeps.design.axes import CYCLES, LATENT_UPDATES, LAYERS, RECURSION, SUPERVISION_STEPS, WIDTH
from sweeps.design.axis_rates import axis_values, design_axes
from sweeps.design.reasons import Reason

DRAWS = 6
WIDTHS = (16, 24, 32, 48)
Cell = tuple[int, int, int, int, int]  # width, T, n, N_sup, layers


def cells(widths: Any = WIDTHS, t: Any = (1,), n: Any = (1,), steps: Any = (1,), layers: Any = (1,)) -> list[Cell]:
    return list(itertools.product(widths, t, n, steps, layers))


def fit(design: list[Cell], slopes: tuple[float, ...] = (0.2, 0.1, 0.15, 0.05), seeds: int = 3, noise: float = 0.05) -> AxesFit:
    """The form fitted to runs of log L = -0.3 log N - slopes of T, n + 1, N_sup and layers; training costs no supervision steps."""
    rng, rows = np.random.default_rng(0), []
    for width, t, n, steps, layers in design:
        size = 12 * layers * width**2
        log_loss = -0.3 * np.log(size) - sum(
            b * np.log(max(x, 0.5)) for b, x in zip(slopes, (t, n + 1, steps, layers), strict=True)
        )
        rows += [
            {WIDTH: width, CYCLES: t, LATENT_UPDATES: n, SUPERVISION_STEPS: steps, LAYERS: layers, "params_recursed": size,
             "seed": seed, "inference_flops": 6.0 * size * t * (n + 1) * steps, "train_flops": 6e3 * size * t * (n + 1),
             "test/nll": float(np.exp(log_loss + noise * rng.standard_normal()))} for seed in range(seeds)
        ]  # fmt: skip
    (group,) = groups_of(pd.DataFrame(rows))
    fitted = fit_axes(Recurrence(), group)
    assert fitted is not None
    return add_levels(fitted, group)


FAST = {"axes of opposite sign", "three axes, corners"}
NAMES = [pytest.param(name, marks=() if name in FAST else pytest.mark.more) for name in AXES]


@pytest.mark.parametrize("name", NAMES)
def test_rates_and_the_printed_headline_lie_in_their_intervals(name: str) -> None:
    """A small part of `python benchmarks/coverage.py`."""
    judged = [judge_axes(name, seed)[0] for seed in range(DRAWS)]
    for constant in judged[0]:
        assert sum(covered[constant] for covered in judged) >= DRAWS - 2, constant


def test_axes_of_opposite_sign_have_rates_above_and_below_1_and_no_common_slope() -> None:
    fitted = fit(cells(n=(1, 3, 7), steps=(1, 2, 4)), slopes=(0, 0.3, -0.2, 0))
    assert fitted.rate(LATENT_UPDATES).low > 1 > fitted.rate(SUPERVISION_STEPS).high
    assert fitted.equal_slopes_p < 1e-6 and not fitted.flags
    for axis, joint in fitted.joint_rates.items():
        assert joint.low < fitted.rate(axis).low < fitted.rate(axis).high < joint.high


def test_layers_have_the_rate_of_depth_at_equal_parameters() -> None:
    fitted = fit(cells(n=(1, 3, 7), layers=(1, 2, 4)), noise=0.01)
    assert fitted.rate(LAYERS).estimate == pytest.approx(2 ** (0.05 / 0.3), rel=0.02)
    assert fitted.equal_slopes_p is None  # layers are no recursion


def test_layers_that_alone_change_the_size_are_a_part_of_it() -> None:
    fitted = fit(cells(widths=(32,), n=(1, 3, 7), layers=(1, 2, 4)))
    assert fitted.identified == (LATENT_UPDATES,) and set(fitted.unidentified) == {LAYERS}
    assert fitted.rate(LATENT_UPDATES) is not None


AT_ONE_WIDTH = [*cells(n=(1, 3, 7)), *cells(widths=(32,), n=(1, 3, 7), steps=(4,))]
TOGETHER = [(width, t, n, 2 * t - 1, 1) for width in WIDTHS for t in (1, 2, 4) for n in (1, 3)]
UNIDENTIFIED: dict[str, tuple[list[Cell], str, Reason]] = {
    "one cell alone": ([*cells(n=(1, 3, 7)), (32, 3, 3, 1, 1)], CYCLES, Reason.TOO_FEW_SCALES),
    "at one width": (AT_ONE_WIDTH, SUPERVISION_STEPS, Reason.TOO_FEW_SCALES),
    "at one width and in one more cell": ([*AT_ONE_WIDTH, (48, 1, 3, 4, 1)], SUPERVISION_STEPS, Reason.TOO_FEW_SCALES),
    "rising with another axis": (TOGETHER, SUPERVISION_STEPS, Reason.CONFOUNDED),
}


@pytest.mark.parametrize("case", UNIDENTIFIED)
def test_an_axis_that_a_design_does_not_identify_has_no_rate_and_others_are_compared_at_equal_levels_of_it(case: str) -> None:
    design, axis, reason = UNIDENTIFIED[case]
    fitted = fit(design, noise=0.01)
    assert fitted.unidentified[axis] == reason and fitted.rate(axis) is None
    assert fitted.identified == (LATENT_UPDATES,)
    rate = fitted.rate(LATENT_UPDATES)
    assert rate.low < 2 ** (0.1 / 0.3) < rate.high and rate.high / rate.low < 1.2


REFUSED = {
    "axes rising together": ([(width, t, 2 * t - 1, 1, 1) for width in WIDTHS for t in (1, 2, 4)], Reason.CONFOUNDED),
    "an axis rising with size": ([(width, 1, width // 8 - 1, 1, 1) for width in WIDTHS], Reason.CONFOUNDED),
    "n + 1 of zero": (cells(n=(-1, 1, 3)), Reason.NOT_POSITIVE),
    "negative n + 1": (cells(n=(-3, 1, 3)), Reason.NOT_POSITIVE),
    "N_sup of zero": (cells(n=(1, 3), steps=(0, 1, 2)), Reason.NOT_POSITIVE),
    "two widths": (cells(widths=(16, 32), n=(1, 3, 7), steps=(1, 4)), Reason.TOO_FEW_SCALES),
    "as many cells as slopes": ([(16, 1, 1, 1, 1), (24, 1, 3, 1, 1), (32, 1, 1, 1, 1)], Reason.TOO_FEW_SCALES),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_design_that_identifies_no_axis_is_refused(case: str) -> None:
    design, reason = REFUSED[case]
    fitted = fit(design)
    assert fitted.reason == reason and not fitted.estimates
    json.dumps(fitted.to_json(), allow_nan=False)


def test_one_seed_is_refused() -> None:
    assert fit(cells(n=(1, 3, 7), steps=(1, 4)), seeds=1).reason == Reason.TOO_FEW_SEEDS


def test_an_axis_of_two_levels_has_a_rate_and_no_curvature() -> None:
    fitted = fit(cells(n=(1, 7), steps=(1, 2, 4)))
    assert fitted.rate(LATENT_UPDATES) is not None and set(fitted.curvature_p) == {SUPERVISION_STEPS}
    assert set(fitted.local_rates["axis"]) == {SUPERVISION_STEPS}


def test_a_curvature_term_needs_five_residual_degrees_of_freedom() -> None:
    assert fit(cells(widths=(16, 24, 32), n=(1, 3, 7))).curvature_p.keys() == {LATENT_UPDATES}  # 9 cells, 4 coefficients
    small = [cell for cell in cells(widths=(16, 24, 32), n=(1, 3, 7)) if cell[:3] != (24, 1, 3)]
    assert not fit(small).curvature_p


def test_rates_of_one_axis_at_each_level_of_the_others_are_refused_where_a_level_does_not_identify_them() -> None:
    full = fit(cells(n=(1, 3, 7), steps=(1, 4)), noise=0.02)
    table = full.rates_by_level
    assert set(table["at"]) == {"N_sup 1", "N_sup 4", "n + 1 2", "n + 1 4", "n + 1 8"} and table["reason"].isna().all()
    assert ((table["low"] < table["estimate"]) & (table["estimate"] < table["high"])).all()
    sparse = fit([cell for cell in cells(n=(1, 3, 7), steps=(1, 4)) if cell[3] == 1 or cell[0] < 32], noise=0.02)
    refused = sparse.rates_by_level.set_index("at").loc["N_sup 4"]
    assert refused["reason"] == Reason.TOO_FEW_SCALES and np.isnan(refused["estimate"])
    rows = json.loads(json.dumps(sparse.to_json(), allow_nan=False))["axes"]["rates_by_level"]
    assert {row["axis"] for row in rows} == {"l_cycles_plus_1", "supervision_steps"}


def test_an_axis_that_costs_nothing_gains_at_equal_cost_what_its_slope_is() -> None:
    fitted = fit(cells(n=(1, 3, 7), steps=(1, 2, 4)))
    free = fitted.gain(SUPERVISION_STEPS, "train_flops")
    assert free.estimate == pytest.approx(fitted.slope(SUPERVISION_STEPS).estimate, rel=1e-6)
    paid = fitted.gain(SUPERVISION_STEPS, "inference_flops")
    assert paid.low < 0.15 - 0.3 < paid.high


def test_r_is_an_axis_only_where_it_does_not_follow_from_the_others() -> None:
    n, steps = np.array([1, 3, 1, 3]), np.array([1, 1, 4, 4])
    columns = {LATENT_UPDATES: n, SUPERVISION_STEPS: steps, RECURSION: (n + 1) * steps}
    assert set(axis_values(columns)) == {LATENT_UPDATES, SUPERVISION_STEPS}
    del columns[SUPERVISION_STEPS]
    assert set(axis_values(columns)) == {RECURSION}


def test_a_design_is_judged_before_it_is_run() -> None:
    """By cells alone, as a plan has them."""
    size, n = np.array([1e3, 4e3, 16e3] * 3), np.repeat([2.0, 4.0, 8.0], 3)
    design = design_axes(size, {LATENT_UPDATES: n}, np.full(9, 3))
    assert design.identified == design.curved == (LATENT_UPDATES,) and design.freedom == 5
