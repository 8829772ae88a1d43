"""Do the intervals cover? Runs drawn from each law, and from designs with known effects, analysed as a user's table would be.

    python benchmarks/coverage.py [--draws 200] [--only NAME ...]

Prints how many of the draws have each constant inside its 95 % interval, and how often a plateau, a collapse or an interaction
is flagged. No design of effects has an interaction, so that those flags are false ones. Designs of axes also have what the headline
prints, through the whole selection of its form, and how often no false flag is raised.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from analysis.data.tables import CURVE_COLUMNS, Tables
from analysis.laws.axis_rates import fit_axes
from analysis.laws.cells import SIGNIFICANT
from analysis.laws.fit import Fit
from analysis.laws.fit_all import fit_laws
from analysis.laws.groups import groups_of
from analysis.laws.headline import find_headlines, may_have_one_rate
from analysis.laws.recurrence import Recurrence
from analysis.statistics.effects import ALL_CELLS, measure_effects, measure_interactions
from analysis.statistics.interval import Interval
from sweeps.design.axes import CYCLES, LATENT_UPDATES, LAYERS, SUPERVISION_STEPS, WIDTH
from sweeps.design.axis_rates import RATE_AXES
from sweeps.design.slopes import centre, law_matrix

SEEDS, NOISE = 3, 0.1  # of log NLL
WIDTHS = [16, 32, 64, 128, 256]
DEPTHS = [1, 2, 4, 8, 16]


class Drawn(NamedTuple):
    """A table, the true constants, and which entry and flags to look at."""

    tables: Tables
    truth: dict[str, float]
    law: str
    form: str | None = None
    flag: str | None = None


def _trials(rows: list[dict]) -> Tables:
    trials = pd.DataFrame(rows)
    trials["fingerprint"] = [f"t{number}" for number in range(len(trials))]
    trials["sweep"], trials["outcome"], trials["outside_spec"] = "drawn", "completed", False
    return Tables(trials, pd.DataFrame(columns=CURVE_COLUMNS))


def _noisy(rng: np.random.Generator, loss: float) -> float:
    return float(loss * np.exp(NOISE * rng.standard_normal()))


def recurrence(
    rng: np.random.Generator, e: float = 0.0, once: int = 0, phi: float = 0.45, alpha: float = 0.3, stops: float = np.inf
) -> Drawn:
    """5 widths x 5 depths; recursion beyond `stops` does nothing."""
    rows = []
    for width, depth, seed in itertools.product(WIDTHS, DEPTHS, range(SEEDS)):
        recursed, times = 12 * width**2, 3.0 * depth
        effective = once * width + min(times, stops) ** phi * recursed
        loss = e + 20 * effective**-alpha
        rows.append({"model.hidden_size": width, "model.supervision_steps": depth, "model.l_cycles": 2, "model.h_cycles": 1,
                     "params_recursed": recursed, "params_once": once * width, "seed": seed,
                     "test/nll": _noisy(rng, loss)})  # fmt: skip
    truth = {"alpha": alpha, "phi": phi, "exchange_rate": 2**phi, "exchange_rate_model_free": 2**phi} if stops == np.inf else {}
    return Drawn(_trials(rows), truth, "recurrence", "one_exponent", "plateau")


def power(rng: np.random.Generator, law: str) -> Drawn:
    rows = []
    for level, seed in itertools.product([1, 2, 4, 8, 16, 32], range(SEEDS)):
        size, times = (12 * (16 * level) ** 2, 6.0) if law == "power_params" else (12 * 64**2, 3.0 * level)
        x = size / 12 if law == "power_params" else times
        rows.append({"params_recursed": size, "recursion": times, "seed": seed, "test/nll": _noisy(rng, 0.1 + 3 * x**-0.4)})
    return Drawn(_trials(rows), {"alpha": 0.4, "e": 0.1}, law)


def log_depth(rng: np.random.Generator) -> Drawn:
    rows = [{"params_recursed": 50_000, "recursion": times, "seed": seed, "test/nll": 1.0,
             "test/exact_accuracy": float(0.2 + 0.1 * np.log2(times) + 0.03 * rng.standard_normal())}
            for times, seed in itertools.product([1, 2, 4, 8, 16, 32], range(SEEDS))]  # fmt: skip
    return Drawn(_trials(rows), {"intercept": 0.2, "slope_per_doubling": 0.1}, "log_depth")


def iso_flop(rng: np.random.Generator) -> Drawn:
    rows = []
    for compute, shift, seed in itertools.product([1e12, 4e12, 1.6e13, 6.4e13], [-1.5, -0.75, 0, 0.75, 1.5], range(SEEDS)):
        optimum = 11 + 0.6 * np.log(compute / 8e12)
        size = np.exp(11 + 0.6 * np.log(compute / 8e12) + shift + 0.2)
        loss = np.exp(-0.2 * np.log(compute / 8e12) + 0.25 * (np.log(size) - optimum) ** 2)
        rows.append({"params_recursed": size, "recursion": compute / size / 1e6, "train_flops": compute, "seed": seed,
                     "test/nll": _noisy(rng, loss)})  # fmt: skip
    return Drawn(_trials(rows), {"optimal_params_exponent": 0.6}, "iso_flop")


def test_time(rng: np.random.Generator, collapses: bool = False) -> Drawn:
    """Curves of 1,000 items up to D = 16, trained at 16 and tested up to 32."""
    e, first, tau = 0.2, 0.8, 3.0
    rows, points = [], []
    for seed in range(SEEDS):
        own = e * np.exp(0.1 * rng.standard_normal())
        items = rng.uniform(size=1000)
        rows.append(
            {"model.hidden_size": 64, "model.supervision_steps": 16, "params_recursed": 50_000, "seed": seed, "test/nll": 1.0}
        )
        for depth in range(1, 33):
            error = own + (first - own) * np.exp(-(depth - 1) / tau) + (0.2 * max(0, depth - 16) / 16 if collapses else 0)
            points.append({"fingerprint": f"t{seed}", "metric": "depth/error", "axis": "depth", "at": depth,
                           "value": float((items < error).mean())})  # fmt: skip
    drawn = _trials(rows)
    curves = pd.DataFrame(points).reindex(columns=CURVE_COLUMNS)
    truth = {} if collapses else {"first_error": first, "tau": tau}
    return Drawn(Tables(drawn.trials, curves), truth, "test_time", None, "collapse")


def required_depth(rng: np.random.Generator) -> Drawn:
    a, b, c = 1.0, 2.0, 1.6
    rows, points = [], []
    for seed in range(SEEDS):
        shift = 0.2 * rng.standard_normal()
        rows.append(
            {"model.hidden_size": 64, "model.supervision_steps": 8, "params_recursed": 50_000, "seed": seed, "test/nll": 1.0}
        )
        for depth, k in itertools.product([1, 2, 4, 8, 16], [1, 2, 4, 8, 16]):
            p = expit(a + shift + b * np.log(depth) - c * np.log(k))
            points.append({"fingerprint": f"t{seed}", "metric": "depth/exact_accuracy", "axis": "depth", "at": depth,
                           "value": rng.binomial(200, p) / 200, "difficulty": k, "binned_by": "k"})  # fmt: skip
    return Drawn(Tables(_trials(rows).trials, pd.DataFrame(points).reindex(columns=CURVE_COLUMNS)),
                 {"a": a, "b": b, "c": c, "exponent": c / b}, "required_depth")  # fmt: skip


def compute_optimal(rng: np.random.Generator) -> Drawn:
    """The gain of recursion falls: log L = c - a log N - b log R + q (log R)^2, and an answer costs 6 N R FLOPs."""
    a, b, q, middle = 0.25, 0.35, 0.06, np.log(12.0)
    rows = []
    for width, depth, seed in itertools.product(WIDTHS, DEPTHS, range(SEEDS)):
        recursed, times = 12 * width**2, 3.0 * depth
        x = np.log(times) - middle
        loss = np.exp(0.3 - a * np.log(recursed / 50_000) - b * x + q * x**2)
        rows.append({"model.hidden_size": width, "model.supervision_steps": depth, "model.l_cycles": 2, "model.h_cycles": 1,
                     "params_recursed": recursed, "seed": seed, "inference_flops": 6 * recursed * times,
                     "test/nll": _noisy(rng, loss)})  # fmt: skip
    best = np.exp(middle + (b - a) / (2 * q))
    truth = {"best_recursion": best, "best_params_recursed": 1e8 / 6 / best, "gain_of_recursion_at_equal_cost": b - a}
    return Drawn(_trials(rows), truth, "compute_optimal")


def data_term(rng: np.random.Generator, e: float = 0.0, phi: float = 0.5, of_data: float = 0.2) -> Drawn:
    """4 widths x 3 recursions x 5 numbers of puzzles; `of_data` is the error that data leaves in the middle of the design."""
    alpha, beta = 0.4, 0.5
    rows = []
    for width, n, puzzles, seed in itertools.product([16, 24, 32, 48], [1, 3, 7], [125, 250, 500, 1000, 2000], range(SEEDS)):
        recursed, times = 12 * width**2, n + 1.0
        error = e + 0.2 * (recursed * times**phi / (9200 * 4**phi)) ** -alpha + of_data * (puzzles / 500) ** -beta
        rows.append({"model.hidden_size": width, "model.supervision_steps": 1, "model.l_cycles": n, "model.h_cycles": 1,
                     "params_recursed": recursed, "seed": seed, "task.train_examples": puzzles,
                     "test/exact_accuracy": 1 - _noisy(rng, error)})  # fmt: skip
    truth = {"alpha": alpha, "beta": beta, "phi": phi, "exchange_rate": 2**phi}
    return Drawn(_trials(rows), truth, "data_term", "error")


LAWS: dict[str, Callable[[np.random.Generator], Drawn]] = {
    "recurrence": recurrence,
    "recurrence, E > 0": partial(recurrence, e=0.15),
    "recurrence, N_once": partial(recurrence, once=200),
    "recurrence, phi < 0": partial(recurrence, phi=-0.2),
    "recurrence, stops at R = 12": partial(recurrence, alpha=0.5, phi=0.6, stops=12.0),
    "power in parameters": partial(power, law="power_params"),
    "power in depth": partial(power, law="power_depth"),
    "log depth": log_depth,
    "compute-optimal": compute_optimal,
    "iso-FLOP": iso_flop,
    "data term": data_term,
    "data term, E > 0": partial(data_term, e=0.05),
    "data term, phi < 0": partial(data_term, phi=-0.2),
    "data term, little of data": partial(data_term, of_data=0.05),
    "test time": test_time,
    "test time, collapses": partial(test_time, collapses=True),
    "required depth": required_depth,
}


# -- a rate for each axis, and the printed headline ---------------------------------------------------------------

FULL: dict[str, tuple[int, ...]] = {WIDTH: (16, 24, 32, 48), LATENT_UPDATES: (1, 3, 7), SUPERVISION_STEPS: (1, 2, 4)}
UNEQUAL_NOISE = (0.02, 0.2, 0.1, 0.05, 0.15)  # of cells, taken in turn


class AxesDesign(NamedTuple):
    """log L = c - a log N - sum b log x + q (log x)^2 over a factorial, logs centred at its cells."""

    slopes: dict[str, float]  # b of each axis; n counts as n + 1
    levels: dict[str, tuple[int, ...]] = FULL
    size_slope: float = 0.3
    bend: float = 0.0  # q of every axis
    noises: tuple[float, ...] = (NOISE,)  # of cells, taken in turn
    missing: int = 0  # cells, drawn anew each time; as many others lack a seed
    corners: bool = False  # the ends of the axes of recursion and one centre, not their factorial

    def cells(self, rng: np.random.Generator) -> pd.DataFrame:
        """A row a cell: settings, size, R and seeds."""
        table = pd.DataFrame(itertools.product(*self.levels.values()), columns=list(self.levels))
        for axis in (WIDTH, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS, LAYERS):
            table[axis] = table.get(axis, 1)
        if self.corners:
            varied = [axis for axis in self.slopes if axis != LAYERS]
            at_end = pd.DataFrame({axis: table[axis].isin([min(self.levels[axis]), max(self.levels[axis])]) for axis in varied})
            table = table[at_end.all(axis=1) | ~at_end.any(axis=1)].reset_index(drop=True)
        table["params_recursed"] = 12 * table[LAYERS] * table[WIDTH] ** 2
        table["recursion"] = table[CYCLES] * (table[LATENT_UPDATES] + 1) * table[SUPERVISION_STEPS]
        table["seeds"], table["noise"] = SEEDS, list(itertools.islice(itertools.cycle(self.noises), len(table)))
        order = rng.permutation(len(table))
        table.loc[order[self.missing : 2 * self.missing], "seeds"] -= 1
        return table.drop(index=order[: self.missing]).reset_index(drop=True)

    def log_loss(self, cells: pd.DataFrame) -> np.ndarray:
        """Without noise, [cells]."""
        logs = {axis: centre(np.log(cells[axis].to_numpy() + (axis == LATENT_UPDATES))) for axis in self.slopes}
        size = centre(np.log(cells["params_recursed"].to_numpy()))
        bent = sum((self.bend * log**2 for log in logs.values()), np.zeros(len(cells)))
        return -self.size_slope * size - sum(slope * logs[axis] for axis, slope in self.slopes.items()) + bent

    def truth(self, cells: pd.DataFrame) -> dict[str, float]:
        """The worth of a doubling of each axis in the middle of the design, and of R.

        Where slopes differ there is no rate of R; its truth is then that of a doubling of R by the mixture of axes by which
        R rises in this design: the ratio of the slopes of the loss without noise in log R and in log N, by least squares.
        """
        rates = {RATE_AXES[axis]: 2 ** (slope / self.size_slope) for axis, slope in self.slopes.items()}
        single = [axis for axis in self.slopes if axis != LAYERS]
        if len(single) == 1:
            return rates | {"recursion": rates[RATE_AXES[single[0]]]}
        logs = [centre(np.log(cells[name].to_numpy(dtype=float))) for name in ("params_recursed", "recursion")]
        matrix = law_matrix(logs[0], logs[1][:, None], quadratic=bool(self.bend))
        slopes = np.linalg.lstsq(matrix, self.log_loss(cells), rcond=None)[0]
        return rates | {"recursion": 2 ** (slopes[2] / slopes[1])}

    def draw(self, rng: np.random.Generator) -> tuple[Tables, dict[str, float]]:
        cells = self.cells(rng)
        rows = cells.drop(columns=["seeds", "noise"]).to_dict("records")
        drawn = [
            row | {"seed": seed, "test/nll": float(np.exp(mean + noise * rng.standard_normal()))}
            for row, mean, noise, seeds in zip(rows, self.log_loss(cells), cells["noise"], cells["seeds"], strict=True)
            for seed in range(seeds)
        ]
        return _trials(drawn), self.truth(cells)


ALONE = {**FULL, LATENT_UPDATES: (1, 2, 4, 8), SUPERVISION_STEPS: (1,)}
AXES: dict[str, AxesDesign] = {
    "axes of opposite sign": AxesDesign({LATENT_UPDATES: 0.2, SUPERVISION_STEPS: -0.15}),
    "axes alike": AxesDesign({LATENT_UPDATES: 0.15, SUPERVISION_STEPS: 0.15}),
    "axes nearly alike": AxesDesign({LATENT_UPDATES: 0.15, SUPERVISION_STEPS: 0.12}),
    "axes, both curved": AxesDesign({LATENT_UPDATES: 0.2, SUPERVISION_STEPS: -0.15}, bend=0.08),
    "axes, unequal noise": AxesDesign({LATENT_UPDATES: 0.15, SUPERVISION_STEPS: 0.15}, noises=UNEQUAL_NOISE),
    "axes, 5 cells missing": AxesDesign({LATENT_UPDATES: 0.15, SUPERVISION_STEPS: 0.15}, missing=5),
    "axes, two levels": AxesDesign(
        {LATENT_UPDATES: 0.2, SUPERVISION_STEPS: -0.15}, {**FULL, LATENT_UPDATES: (1, 7), SUPERVISION_STEPS: (1, 4)}
    ),
    "three axes, corners": AxesDesign(
        {CYCLES: 0.15, LATENT_UPDATES: 0.09, SUPERVISION_STEPS: 0.21},
        {WIDTH: (32, 64, 128), CYCLES: (1, 2, 4), LATENT_UPDATES: (1, 3, 7), SUPERVISION_STEPS: (1, 4, 16)}, corners=True,
    ),
    "recursion and layers": AxesDesign({LATENT_UPDATES: 0.2, LAYERS: 0.06}, {**FULL, SUPERVISION_STEPS: (1,), LAYERS: (1, 2, 4)}),
    "one axis": AxesDesign({LATENT_UPDATES: 0.15}, ALONE),
    "one axis, curved": AxesDesign({LATENT_UPDATES: 0.15}, ALONE, bend=0.1),
    "one axis, unequal noise": AxesDesign(
        {LATENT_UPDATES: 0.15}, ALONE, noises=UNEQUAL_NOISE
    ),
}  # fmt: skip


def judge_axes(name: str, seed: int) -> tuple[dict[str, bool], None, str]:
    """One draw: whether each rate of the form `axes` and every rate that the headline prints is covered, which flags are right,
    and what the headline speaks of.
    """
    design = AXES[name]
    tables, truth = design.draw(np.random.default_rng([seed, sum(map(ord, name))]))
    (group,) = groups_of(tables.completed)
    axes = fit_axes(Recurrence(), group)
    assert axes is not None
    fits = Recurrence().fit(group) if may_have_one_rate(axes) else [axes]  # other forms are not printed
    covered = {word: _holds(axes.rate(axis), truth[word]) for axis, word in RATE_AXES.items() if axis in design.slopes}
    (headline,) = find_headlines(fits)
    covered["printed headline"] = bool(headline.rates) and all(_holds(rate, truth[word]) for word, rate in headline.rates.items())
    covered["no interactions are flagged"] = "interactions" not in axes.flags
    if not design.bend:
        covered["no curvature is flagged"] = "curvature" not in axes.flags
    if len(design.slopes) > 1 and len(set(design.slopes.values())) == 1:
        covered["equal slopes are not rejected"] = axes.equal_slopes_p is not None and axes.equal_slopes_p >= SIGNIFICANT
    return covered, None, "prints " + (", ".join(headline.rates) or str(headline.reason))


def _holds(interval: Interval | None, value: float) -> bool:
    return interval is not None and interval.low <= value <= interval.high


# -- effects of settings ------------------------------------------------------------------------------------------

RESPONSE, RESET = "test/exact_accuracy", "model.state_reset"
RESET_EFFECTS = {"carry": 0.0, "latent": 0.03, "answer": -0.05, "all": -0.1}
NOISE_OF_CELLS = {True: [0.03], False: [0.01, 0.06, 0.02, 0.03, 0.005]}  # by whether it is equal; taken in turn


class Design(NamedTuple):
    """Four state resets at three widths. What a seed changes in all cells is as large as the noise of a cell."""

    seeds: int
    has_equal_noise: bool = True
    incomplete: int = 0  # cells, drawn anew each time, that lack one seed
    widths: tuple[int, ...] = (16, 32, 64)

    def draw(self, rng: np.random.Generator) -> pd.DataFrame:
        noises = itertools.cycle(NOISE_OF_CELLS[self.has_equal_noise])
        shifts = 0.03 * rng.standard_normal(self.seeds)
        rows = []
        for width, (reset, effect) in itertools.product(self.widths, RESET_EFFECTS.items()):
            noise = next(noises)
            accuracies = 0.3 + width / 200 + effect + shifts + noise * rng.standard_normal(self.seeds)
            rows += [{WIDTH: width, RESET: reset, "seed": seed, RESPONSE: float(value)} for seed, value in enumerate(accuracies)]
        cells = len(self.widths) * len(RESET_EFFECTS)
        lacking = rng.permutation(cells)[: self.incomplete] * self.seeds + rng.integers(self.seeds, size=self.incomplete)
        return pd.DataFrame(rows).drop(index=lacking)


EFFECTS: dict[str, Design] = {
    **{f"effects, {seeds} seeds": Design(seeds) for seeds in (2, 3, 4, 5)},
    **{f"effects, {seeds} seeds, unequal noise": Design(seeds, has_equal_noise=False) for seeds in (2, 3, 4, 5)},
    "effects, 3 seeds, one missing in 4 cells": Design(3, incomplete=4),
    "effects, 3 seeds, unequal noise, one missing in 4 cells": Design(3, has_equal_noise=False, incomplete=4),
    "effects, 4 seeds, unequal noise, one missing in 6 cells": Design(4, has_equal_noise=False, incomplete=6),
    "effects, 2 seeds, one width": Design(2, widths=(32,)),
    "effects, 3 seeds, one width, unequal noise": Design(3, has_equal_noise=False, widths=(32,)),
}


def judge_effects(name: str, seed: int) -> tuple[dict[str, bool], bool | None, str]:
    """One draw of a design: which effects are covered, and whether an interaction is flagged."""
    design = EFFECTS[name]
    trials = design.draw(np.random.default_rng([seed, sum(map(ord, name))]))
    varied = [WIDTH, RESET] if len(design.widths) > 1 else [RESET]
    covered = {}
    for effect in measure_effects(trials, varied, RESPONSE):
        truth = RESET_EFFECTS[effect.level] if effect.axis == RESET else (effect.level - effect.base) / 200
        if effect.where in (ALL_CELLS, "width 16"):  # the effects at one width are alike
            covered[f"{effect.level} / {effect.base}, {effect.where}"] = effect.change.low <= truth <= effect.change.high
    interactions = measure_interactions(trials, varied, RESPONSE)
    return covered, any(one.is_clear for one in interactions) if interactions else None, "measured"


def judge(name: str, seed: int) -> tuple[dict[str, bool], bool | None, str]:
    """Of one draw: which constants are covered, whether the flag is raised, and the status."""
    drawn = LAWS[name](np.random.default_rng([seed, sum(map(ord, name))]))
    fits = [
        fit
        for fit in fit_laws(drawn.tables, {"inference_flops": [1e8]})
        if fit.law == drawn.law and (drawn.form is None or fit.form == drawn.form)
    ]
    fit: Fit = fits[0]
    covered = {}
    for constant, value in drawn.truth.items():
        found = fit.estimates.get(constant)
        covered[constant] = found is not None and found.low <= value <= found.high
    flagged = drawn.flag in fit.flags if drawn.flag else None
    return covered, flagged, fit.reason or "fitted"


def find_judge(name: str) -> Callable[[str, int], tuple[dict[str, bool], bool | None, str]]:
    """The function that draws and analyses one table of this name."""
    return judge_effects if name in EFFECTS else judge_axes if name in AXES else judge


def cover(name: str, draws: int) -> tuple[Counter, int | None, Counter]:
    """Sums over draws."""
    inside: Counter = Counter()
    flags, statuses = [], Counter()
    for seed in range(draws):
        covered, flagged, status = find_judge(name)(name, seed)
        inside.update({constant: int(is_inside) for constant, is_inside in covered.items()})
        flags.append(flagged)
        statuses[status] += 1
    return inside, None if flags[0] is None else sum(map(bool, flags)), statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=[*LAWS, *AXES, *EFFECTS], metavar="NAME")
    options = parser.parse_args()
    print(f"| law or design | constant | covered of {options.draws} | flagged | status |\n| --- | --- | ---: | ---: | --- |")
    chosen = options.only or [*LAWS, *AXES, *EFFECTS]
    with ProcessPoolExecutor() as pool:
        for name, (inside, flagged, statuses) in zip(chosen, pool.map(cover, chosen, [options.draws] * len(chosen)), strict=True):
            status = ", ".join(f"{reason} {count}" for reason, count in statuses.items())
            for constant in list(inside) or ["-"]:
                counts = f"{inside[constant] if inside else ''} | {'' if flagged is None else flagged}"
                print(f"| {name} | {constant} | {counts} | {status} |")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
