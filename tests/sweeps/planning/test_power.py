"""The half-widths that a plan expects are those that least squares gives on draws from the law."""

import numpy as np
import pytest
from scipy import stats

from sweeps.planning.power import (
    POWER,
    Design,
    HalfWidths,
    Slopes,
    detectable_dependence,
    detectable_difference,
    expect_half_widths,
    fit_slopes,
    pool_noise,
)

WIDTHS, RECURSIONS = np.array([3328.0, 7296.0, 12544.0, 50176.0]), np.array([2.0, 4.0, 8.0, 16.0])
LAW, NOISE_SD = Slopes(a=0.4, b=0.2), 0.08


def factorial(sizes: np.ndarray, recursions: np.ndarray, seeds: int = 3) -> Design:
    grid = np.array([(size, times) for size in sizes for times in recursions])
    return Design(grid[:, 0], grid[:, 1], seeds)


def draw(design: Design, random: np.random.Generator) -> np.ndarray:
    """Log NLL of every cell and seed, [cells, seeds]."""
    means = -1.0 + design.matrix[:, 1:] @ np.array(LAW)
    return means[:, None] + random.normal(0, NOISE_SD, (len(means), design.seeds))


def fitted_half_widths(design: Design, log_nll: np.ndarray) -> HalfWidths:
    """What a fit reports of its own residuals."""
    means = log_nll.mean(axis=1)
    slopes = fit_slopes(design, means)
    matrix = design.matrix
    residuals = means - matrix @ np.linalg.lstsq(matrix, means, rcond=None)[0]
    sd = np.sqrt(residuals @ residuals / (len(means) - 3) * design.seeds)
    return expect_half_widths(design, float(sd), slopes)


@pytest.mark.parametrize("cells", [(3, 3), (4, 4), (3, 4)])
def test_half_widths_agree_with_fits_of_simulated_sweeps(cells: tuple[int, int]) -> None:
    design = factorial(WIDTHS[: cells[0]], RECURSIONS[: cells[1]])
    expected = expect_half_widths(design, NOISE_SD, LAW)
    random = np.random.default_rng(0)
    fits = [fitted_half_widths(design, draw(design, random)) for _ in range(2000)]
    for name in ("a", "b", "phi"):
        measured = np.sqrt(np.mean([getattr(fit, name) ** 2 for fit in fits]))
        assert getattr(expected, name) == pytest.approx(measured, rel=0.1), name


def test_half_widths_are_t_times_the_scatter_of_fitted_slopes() -> None:
    design = factorial(WIDTHS, RECURSIONS)
    random = np.random.default_rng(1)
    slopes = [fit_slopes(design, draw(design, random).mean(axis=1)) for _ in range(4000)]
    quantile = stats.t.ppf(0.975, 13)
    expected = expect_half_widths(design, NOISE_SD, LAW)
    assert expected.a == pytest.approx(quantile * np.std([law.a for law in slopes]), rel=0.1)
    assert expected.b == pytest.approx(quantile * np.std([law.b for law in slopes]), rel=0.1)
    assert expected.phi == pytest.approx(quantile * np.std([law.phi for law in slopes]), rel=0.1)
    assert np.mean(slopes, axis=0) == pytest.approx(LAW, abs=0.005)


def test_more_seeds_shrink_by_the_square_root() -> None:
    three, twelve = (expect_half_widths(factorial(WIDTHS, RECURSIONS, seeds), NOISE_SD, LAW) for seeds in (3, 12))
    assert twelve.phi == pytest.approx(three.phi / 2)


def test_phi_is_expected_only_where_a_is_clear() -> None:
    design = factorial(WIDTHS, RECURSIONS)
    assert expect_half_widths(design, 0.05, LAW).has_clear_a
    assert not expect_half_widths(design, 1.0, LAW).has_clear_a


PATH = Design(WIDTHS, RECURSIONS, 3)  # width and recursion rise together


@pytest.mark.parametrize(
    ("design", "reason", "rule"),
    [
        (factorial(WIDTHS[:2], RECURSIONS), "too_few_scales", "2 values of params_recursed"),
        (factorial(WIDTHS, RECURSIONS[:1]), "too_few_scales", "1 value of recursion"),
        (factorial(WIDTHS, RECURSIONS, seeds=1), "too_few_seeds", "1 seed a cell"),
        (PATH, "confounded", "is 0.981"),
        (Design(WIDTHS[:3], RECURSIONS[[1, 2, 0]], 3), "too_few_scales", "3 cells for 3 coefficients"),
    ],
)
def test_a_design_that_tells_nothing_is_refused_with_the_rule(design: Design, reason: str, rule: str) -> None:
    refusal = design.refusal
    assert refusal is not None and refusal.reason == reason and rule in refusal.text


def test_a_factorial_of_three_by_three_is_not_refused() -> None:
    assert factorial(WIDTHS[:3], RECURSIONS[:3]).refusal is None


def test_noise_is_pooled_over_cells_and_needs_three_of_them() -> None:
    cells = [row - 3.0 for row in np.random.default_rng(2).normal(0, 0.2, (200, 3))]
    assert pool_noise(cells) == pytest.approx(0.2, rel=0.1)
    assert pool_noise([*cells[:2], cells[2][:1]]) is None


@pytest.mark.parametrize(("seeds", "pairs"), [(2, 3), (3, 1), (5, 1), (3, 6)])
def test_a_difference_that_a_design_can_show_is_clear_in_four_of_five_sweeps(seeds: int, pairs: int) -> None:
    random, sd = np.random.default_rng(0), 0.05
    change = detectable_difference(sd, seeds, pairs)
    low, high = (random.normal(level, sd, (20_000, pairs, seeds)) for level in (0, change))
    difference = high - low
    error = np.sqrt(difference.var(axis=2, ddof=1).mean(axis=1) / (pairs * seeds))
    t = difference.mean(axis=(1, 2)) / error
    assert np.mean(t > stats.t.ppf(0.975, pairs * (seeds - 1))) == pytest.approx(POWER, abs=0.015)


@pytest.mark.parametrize(("seeds", "pairs"), [(2, 3), (3, 1), (5, 1)])
def test_a_dependence_that_a_design_can_show_is_clear_in_four_of_five_sweeps(seeds: int, pairs: int) -> None:
    random, sd = np.random.default_rng(0), 0.05
    change = detectable_dependence(sd, seeds, pairs)
    cells = random.normal(0, sd, (20_000, 2, 2, pairs, seeds))  # levels of the other setting, then of the first
    cells[:, 1, 1] += change
    effects = cells[:, :, 1] - cells[:, :, 0]
    dependence = effects[:, 1].mean(axis=(1, 2)) - effects[:, 0].mean(axis=(1, 2))
    error = np.sqrt(2 * effects.var(axis=3, ddof=1).mean(axis=(1, 2)) / (pairs * seeds))
    assert np.mean(dependence / error > stats.t.ppf(0.975, 2 * pairs * (seeds - 1))) == pytest.approx(POWER, abs=0.015)
