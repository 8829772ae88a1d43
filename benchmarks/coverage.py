"""Do the intervals cover? Runs drawn from each law, and from designs with known effects, analysed as a user's table would be.

    python benchmarks/coverage.py [--draws 200] [--only NAME]

Prints how many of the draws have each constant inside its 95 % interval, and how often a plateau, a collapse or an interaction
is flagged. No design of effects has an interaction, so that those flags are false ones.
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
from analysis.laws.fit import Fit
from analysis.laws.fit_all import fit_laws
from analysis.statistics.effects import ALL_CELLS, measure_effects, measure_interactions

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


def three_exponents(rng: np.random.Generator) -> Drawn:
    """3 widths x (8 corners and a centre of T, n, N_sup)."""
    alpha, phis = 0.3, (0.5, 0.3, 0.7)
    corners = [*itertools.product((1, 4), (1, 7), (1, 16)), (2, 3, 4)]
    rows = []
    for width, (t, n, steps), seed in itertools.product([32, 64, 128], corners, range(SEEDS)):
        recursed = 12 * width**2
        effective = t ** phis[0] * (n + 1) ** phis[1] * steps ** phis[2] * recursed
        rows.append({"model.hidden_size": width, "model.supervision_steps": steps, "model.l_cycles": n, "model.h_cycles": t,
                     "params_recursed": recursed, "params_once": 0, "seed": seed,
                     "test/nll": _noisy(rng, 20 * effective**-alpha)})  # fmt: skip
    names = ("phi_h_cycles", "phi_l_cycles_plus_1", "phi_supervision_steps")
    return Drawn(_trials(rows), {"alpha": alpha, **dict(zip(names, phis, strict=True))}, "recurrence", "three_exponents")


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


LAWS: dict[str, Callable[[np.random.Generator], Drawn]] = {
    "recurrence": recurrence,
    "recurrence, E > 0": partial(recurrence, e=0.15),
    "recurrence, N_once": partial(recurrence, once=200),
    "recurrence, phi < 0": partial(recurrence, phi=-0.2),
    "recurrence, stops at R = 12": partial(recurrence, alpha=0.5, phi=0.6, stops=12.0),
    "three exponents": three_exponents,
    "power in parameters": partial(power, law="power_params"),
    "power in depth": partial(power, law="power_depth"),
    "log depth": log_depth,
    "compute-optimal": compute_optimal,
    "iso-FLOP": iso_flop,
    "test time": test_time,
    "test time, collapses": partial(test_time, collapses=True),
    "required depth": required_depth,
}


# -- effects of settings ------------------------------------------------------------------------------------------

RESPONSE, RESET, WIDTH = "test/exact_accuracy", "model.state_reset", "model.hidden_size"
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


def cover(name: str, draws: int) -> tuple[Counter, int | None, Counter]:
    """Sums over draws."""
    inside: Counter = Counter()
    flags, statuses = [], Counter()
    for seed in range(draws):
        covered, flagged, status = (judge_effects if name in EFFECTS else judge)(name, seed)
        inside.update({constant: int(is_inside) for constant, is_inside in covered.items()})
        flags.append(flagged)
        statuses[status] += 1
    return inside, None if flags[0] is None else sum(map(bool, flags)), statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--only", choices=[*LAWS, *EFFECTS], metavar="NAME")
    options = parser.parse_args()
    print(f"| law or design | constant | covered of {options.draws} | flagged | status |\n| --- | --- | ---: | ---: | --- |")
    chosen = [options.only] if options.only else [*LAWS, *EFFECTS]
    with ProcessPoolExecutor() as pool:
        for name, (inside, flagged, statuses) in zip(chosen, pool.map(cover, chosen, [options.draws] * len(chosen)), strict=True):
            status = ", ".join(f"{reason} {count}" for reason, count in statuses.items())
            for constant in list(inside) or ["-"]:
                counts = f"{inside[constant] if inside else ''} | {'' if flagged is None else flagged}"
                print(f"| {name} | {constant} | {counts} | {status} |")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
