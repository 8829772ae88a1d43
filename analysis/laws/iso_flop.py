"""The iso-FLOP law: at each training compute the size with the least loss, and how it grows with compute.

    log L = m_C + q (log N - log N*(C))^2      log N*(C) = mu + s (log C - mean)

One curvature for all levels of compute; s is the exponent of the optimal size. With C ~ N R at equal
examples, the exponent of the optimal recursion is 1 - s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.laws.draft import Draft, round_amount
from analysis.laws.drawing import LOSS_LABEL, SIZE_LABEL, Drawing
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import Group
from analysis.laws.law import Law
from analysis.laws.sentence import Sentence, name_place, state_interval
from analysis.statistics.regression import Curve, aic, fit_curve, half_widths, lack_of_fit, r_squared, root_mean_square
from sweeps.design.axes import AMOUNT, CYCLES, LATENT_UPDATES, LAYERS, SIZE, SUPERVISION_STEPS, WIDTH
from sweeps.design.reasons import Reason
from sweeps.design.thresholds import MIN_SEEDS
from sweeps.spec.measure import Block

LOSS, COMPUTE = "test/nll", "train_flops"
SAME_COMPUTE = 0.15  # largest relative distance of costs that count as one level
MIN_LEVELS, MIN_SIZES = 3, 4
SUGGESTED_WIDTHS = 5
MORE_COMPUTE = 4  # factor of the training compute that a suggestion adds
MU, S, Q, FIRST_LEVEL = 0, 1, 2, 3  # places in the parameters; from the last on, m_C of each level of compute


class IsoFlop(Law):
    """The best size as a function of training compute."""

    name = "iso_flop"
    rank = 8
    is_leading = True
    needs = ((LOSS,), (SIZE,), (COMPUTE,))
    spans = (AMOUNT,)  # each level of compute may be a sweep with another budget
    shows = "the best size at equal training FLOPs"
    drawing = Drawing("Equal training compute", SIZE_LABEL, LOSS_LABEL)
    grows = ()
    suggestion_note = "# one level of training compute; three make a law: rrm-analyze takes several sweeps together\n"

    def fit(self, group: Group) -> list[Fit]:
        """One fit of a group whose trials lie on levels of equal training FLOPs; none where they do not."""
        table = group.trials.dropna(subset=[LOSS, COMPUTE, SIZE]).copy()
        table["level"] = _find_levels(table[COMPUTE].to_numpy(dtype=float))
        sizes = table.groupby("level")[SIZE].nunique()
        if (sizes >= 2).sum() < 2:
            return []
        fit = Fit(self, LOSS, **group.facts, fitted_range=replace(group, trials=table).range_of(COMPUTE, SIZE))
        used = table[table["level"].isin(sizes[sizes >= MIN_SIZES].index)]
        if used["level"].nunique() < MIN_LEVELS:
            return [replace(fit, reason=Reason.TOO_FEW_SCALES)]
        if used.groupby(["level", SIZE]).size().median() < MIN_SEEDS:
            return [replace(fit, reason=Reason.TOO_FEW_SEEDS)]
        if (used[[LOSS, COMPUTE, SIZE]] <= 0).any(axis=None):
            return [replace(fit, reason=Reason.NOT_POSITIVE)]
        return [_estimate(fit, read_isoflops(used))]

    def sentence(self, fit: Fit) -> list[Sentence]:
        exponent = fit.estimates.get("optimal_params_exponent")
        if exponent is None:
            return []
        text = f"the best size grows as training compute to the power {state_interval(exponent)}."
        return [Sentence(f"{name_place(fit)}{text}", "law_iso_flop")]

    def suggest(self, draft: Draft, fit: Fit) -> bool:
        """Five widths at one more budget of training compute, under a new name."""
        widths, trials = draft.grow(WIDTH, SUGGESTED_WIDTHS), draft.trials
        factor = MORE_COMPUTE
        if fit.reason == Reason.NO_INTERIOR_OPTIMUM:
            losses = trials.groupby(SIZE)[LOSS].mean()
            if losses.idxmin() != losses.index.min():  # the best size is the largest: wider, at the same compute
                widths, factor = [*widths, 2 * widths[-1]], 1
        draft.drop_ties()
        draft.rename("iso_flop")
        last = max(draft.cells, key=lambda number: max(draft.values(number, WIDTH)))
        block = draft.blocks[last]
        axes = (LAYERS, CYCLES, LATENT_UPDATES, SUPERVISION_STEPS)
        deepest: Block = {path: [draft.levels(path)[-1]] for path in axes if path in block}
        draft.blocks = [{**{path: values for path, values in block.items() if path != AMOUNT}, **deepest, WIDTH: list(widths)}]
        draft.share("trial.fit.budget", {"unit": COMPUTE, "amount": round_amount(float(trials[COMPUTE].max()) * factor)})
        draft.share("measure.matching", COMPUTE)
        return True


def _find_levels(costs: np.ndarray) -> np.ndarray:
    """The level of each cost: neighbours closer than `SAME_COMPUTE` share one."""
    order = np.argsort(costs)
    levels = np.zeros(len(costs), dtype=int)
    level, first = 0, costs[order[0]] if len(costs) else 0.0
    for index in order:
        if costs[index] > first * (1 + SAME_COMPUTE):
            level, first = level + 1, costs[index]
        levels[index] = level
    return levels


@dataclass(frozen=True)
class Isoflops:
    """Trials on levels of equal training compute; N trials, K levels."""

    log_loss: np.ndarray  # [N]
    log_size: np.ndarray  # [N]
    log_compute: np.ndarray  # [N] log of the mean compute of the level, FLOPs
    codes: np.ndarray  # [N] number of the level, from 0 for the least compute

    @property
    def count(self) -> int:
        """K."""
        return int(self.codes.max()) + 1

    @property
    def sizes(self) -> np.ndarray:
        """log N less its mean, [N]."""
        return np.asarray(self.log_size - self.log_size.mean())

    @property
    def places(self) -> np.ndarray:
        """A number for each level and size, [N]: trials with equal numbers are replicates."""
        pairs = np.column_stack([self.codes, self.log_size.round(6)])
        return np.unique(pairs, axis=0, return_inverse=True)[1].ravel()

    def misfit(self, parameters: np.ndarray) -> np.ndarray:
        """log L less that of the law, [N].

        Args:
            parameters: [3 + K] mu (less the mean of log N), s, q, and m_C of each level.
        """
        compute, levels = self.log_compute - self.log_compute.mean(), parameters[FIRST_LEVEL:]
        distance = self.sizes - parameters[MU] - parameters[S] * compute
        return np.asarray(self.log_loss - levels[self.codes] - parameters[Q] * distance**2)


def read_isoflops(table: pd.DataFrame) -> Isoflops:
    """Trials with the columns `level`, loss, compute and size."""
    codes, _ = pd.factorize(table["level"], sort=True)
    log_compute = np.log(table.groupby("level")[COMPUTE].mean().to_numpy())[codes]
    loss, size = (np.log(table[name].to_numpy(dtype=float)) for name in (LOSS, SIZE))
    return Isoflops(loss, size, log_compute, codes)


def _find_optima(data: Isoflops) -> list[float] | None:
    """The best size of each level by a parabola, log N less its mean; None where one is not inside the sizes of its level."""
    optima = []
    for code in range(data.count):
        sizes = data.sizes[data.codes == code]
        quadratic = np.polyfit(sizes, data.log_loss[data.codes == code], 2)
        optimum = -quadratic[1] / (2 * quadratic[0]) if quadratic[0] > 0 else np.nan
        if not sizes.min() < optimum < sizes.max():
            return None
        optima.append(float(optimum))
    return optima


def _estimate(fit: Fit, data: Isoflops) -> Fit:
    """The fit with its estimates, or refused where a level has no best size within the design."""
    optima = _find_optima(data)
    if optima is None:
        return replace(fit, reason=Reason.NO_INTERIOR_OPTIMUM)
    curve = _fit_law(data, optima)
    exponent, optimum = curve.profile(S, 0.05), curve.profile(MU, 0.05)
    middle = data.log_size.mean()
    estimates = {
        "optimal_params_exponent": exponent,
        "optimal_recursion_exponent": exponent and exponent.map(lambda s: 1 - s),
        "optimal_params_at_mean_compute": optimum and optimum.map(lambda mu: np.exp(middle + mu)),
    }
    fitted = data.log_loss - data.misfit(curve.parameters)
    misfit = data.log_loss - fitted
    quality = Quality(
        r_squared=r_squared(misfit, data.log_loss),
        aic=aic(curve.squares, len(misfit), len(curve.parameters)),
        aic_simpler={"same_optimum": _aic_of_one_optimum(data, optima, curve)},
        leave_one_scale_out_error=root_mean_square(_errors_of_unseen_places(data, curve)),
        lack_of_fit=lack_of_fit(misfit, data.places, len(curve.parameters)),
    )
    points = _points(data, fitted)
    return replace(fit, estimates=only_bounded(estimates), quality=quality, flags=quality.flags, points=points)


def _start(data: Isoflops, optima: Sequence[float]) -> np.ndarray:
    """Parameters from which the search for the least squares starts."""
    compute = np.unique(data.log_compute) - data.log_compute.mean()
    levels = [data.log_loss[data.codes == code].min() for code in range(data.count)]
    return np.array([float(np.mean(optima)), float(np.polyfit(compute, optima, 1)[0]), 0.1, *levels])


def _fit_law(data: Isoflops, optima: Sequence[float]) -> Curve:
    free = [np.inf] * data.count
    bounds = (np.array([-20.0, -10.0, 1e-6, *np.negative(free)]), np.array([20.0, 10.0, 100.0, *free]))
    return fit_curve(data.misfit, [_start(data, optima)], bounds, len(data.log_loss))


def _aic_of_one_optimum(data: Isoflops, optima: Sequence[float], curve: Curve) -> float:
    """AIC of the same law with s = 0."""
    bounds = (np.delete(curve.bounds[0], S), np.delete(curve.bounds[1], S))
    starts = [np.delete(_start(data, optima), S)]
    still = fit_curve(lambda others: data.misfit(np.insert(others, S, 0.0)), starts, bounds, len(data.log_loss))
    return aic(still.squares, len(data.log_loss), len(still.parameters))


def _errors_of_unseen_places(data: Isoflops, curve: Curve) -> list[float]:
    """Mean error of each level and size by a fit without its trials."""
    errors, places = [], data.places
    for place in np.unique(places):
        seen = places != place

        def misfit(parameters: np.ndarray, seen: np.ndarray = seen) -> np.ndarray:
            return np.asarray(data.misfit(parameters)[seen])

        refitted = fit_curve(misfit, [curve.parameters], curve.bounds, int(seen.sum()))
        errors.append(float(data.misfit(refitted.parameters)[~seen].mean()))
    return errors


def _points(data: Isoflops, fitted: np.ndarray) -> pd.DataFrame:
    """What the figures draw, by rising compute."""
    rows = {
        "line": [f"{value:.1e} FLOPs" for value in np.exp(data.log_compute)],
        "x": np.exp(data.log_size),
        "measured": np.exp(data.log_loss),
        "fitted": np.exp(fitted),
        "misfit": data.log_loss - fitted,
        "half": half_widths(data.log_loss, data.places),
    }
    return pd.DataFrame(rows).iloc[np.argsort(data.log_compute, kind="stable")]
