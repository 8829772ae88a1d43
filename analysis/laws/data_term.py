"""The data term: what more puzzles in training bring beside more parameters and more recursion.

    L = E + A N_eff^-alpha + B D^-beta        N_eff = N_once + R^phi N_recursed

L: error on test, or the lowest NLL on validation; D: puzzles in training, with their augmented copies where the task counts
them; E, A, B >= 0. Seeds share the puzzles, so that a fit holds for these puzzles. docs/laws.md, "Data", has the rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.laws.cells import ACCURACY, RESPONSE, SIZE_SLOPE, Cells, check_misfit, draw_points, find_end, read_cells
from analysis.laws.draft import Draft
from analysis.laws.drawing import Drawing
from analysis.laws.fit import Fit, Quality, only_bounded
from analysis.laws.groups import CELL, Group
from analysis.laws.law import Law
from analysis.laws.sentence import Sentence, name_place, state_interval
from analysis.statistics.interval import Interval
from analysis.statistics.regression import Curve, Linear, aic, fieller, fit_curve, fit_linear, r_squared
from sweeps.design.axes import AUGMENTATIONS, DEPTH_AXES, RECURSION, SIZE, TRAIN_EXAMPLES
from sweeps.design.identifiability import count_values, lack_seeds, max_correlation
from sweeps.design.reasons import Reason
from sweeps.design.slopes import law_matrix
from sweeps.design.thresholds import MAX_CORRELATION
from sweeps.planning.evidence import is_size_clear

DATA, ERROR, LOWEST_NLL = "train_puzzles", "test/error", "val/nll, lowest"
VALIDATION_NLL = "val_curve/nll"
ERROR_FORM, NLL_FORM = "error", "nll"
MIN_DATA, MIN_SIZES, MIN_RECURSIONS = 4, 3, 3  # numbers of puzzles, each crossed with so many sizes and values of R
TURNED_UP = 1.05  # factor over the lowest validation NLL from which the last one counts as overfitted
OVERFITTED = "overfitted"
LOG_E, C_SIZE, ALPHA, PHI, C_DATA, BETA = range(6)  # places in the parameters
DATA_SLOPE = 3  # place in the coefficients of the log-linear form; size and R are before it


class DataTerm(Law):
    """The part of the loss that more puzzles remove."""

    name = "data_term"
    rank = 9
    is_leading = True
    needs = ((SIZE,), DEPTH_AXES, (TRAIN_EXAMPLES, AUGMENTATIONS), (ACCURACY, RESPONSE))
    spans = (TRAIN_EXAMPLES, AUGMENTATIONS)
    shows = "how the error falls with the number of training puzzles"
    drawing = Drawing("Training puzzles", "puzzles in training", "error on test, or lowest NLL on validation")

    def fit(self, group: Group) -> list[Fit]:
        """A fit on the error, and one on the lowest validation NLL where the table has its curve; none where data does not vary."""
        trials = group.trials.assign(**{DATA: _count_data(group.trials)})
        if ACCURACY in trials:
            trials[ERROR] = 1 - trials[ACCURACY]
        curves = _validation_curves(group.curves, trials)
        trials[LOWEST_NLL] = trials["fingerprint"].map(curves.groupby("fingerprint")["value"].min())
        if count_values(trials[DATA].dropna().to_numpy()) < 2:
            return []
        flags = (OVERFITTED,) if _has_overfitted(curves, trials) else ()
        forms = ((ERROR_FORM, ERROR), (NLL_FORM, LOWEST_NLL))
        parts = [(form, column, _known(replace(group, trials=trials), column)) for form, column in forms]
        return [_fit_form(self, part, form, column, flags) for form, column, part in parts if part is not None]

    def sentence(self, fit: Fit) -> list[Sentence]:
        """What a doubling of the puzzles is worth, and how fast the part that puzzles remove falls."""
        what = "the error" if fit.form == ERROR_FORM else "the lowest validation NLL"
        worth, beta = fit.estimates.get("data_exchange_rate"), fit.estimates.get("beta")
        parts = []
        if worth is not None:
            parts.append(f"twice the puzzles lower {what} as much as {state_interval(worth)} times the recursed parameters")
        if beta is not None:
            parts.append(f"the part of {what} that more puzzles remove falls as their number to the power {state_interval(beta)}")
        if not parts:
            return []
        low, high = fit.fitted_range[DATA]
        over = f"over {low:,.0f} to {high:,.0f} puzzles, for these puzzles, which all seeds share"
        turned = "; in some cells validation NLL turned up before training ended" if OVERFITTED in fit.flags else ""
        return [Sentence(f"{name_place(fit)}{'; '.join(parts)} ({over}){turned}.", f"law_{fit.form}")]

    def refusals(self, fits: Sequence[Fit]) -> list[Sentence]:
        refused = [fit for fit in fits if not fit.is_fitted]
        return [
            Sentence(f"{name_place(fit)}what more training puzzles bring has no law: {_explain(fit)}.")
            for fit in {str(fit.group): fit for fit in refused}.values()
        ]

    def suggest(self, draft: Draft, fit: Fit) -> bool:
        """As few numbers of puzzles, sizes and values of R as identify the law."""
        recursion, size = draft.recursion_axis(), draft.size_axis()
        if recursion is None or not draft.levels(TRAIN_EXAMPLES):
            return False
        for axis, count in ((TRAIN_EXAMPLES, MIN_DATA), (size, MIN_SIZES), (recursion, MIN_RECURSIONS)):
            if not draft.levels(axis):
                return False
            draft.cross(axis, draft.grow(axis, max(count, len(draft.levels(axis)))))
        return True


def _explain(fit: Fit) -> str:
    if fit.reason == Reason.TOO_FEW_SCALES:
        needed = f"at least {MIN_DATA} numbers of puzzles, each crossed with {MIN_SIZES} sizes and {MIN_RECURSIONS} values of R"
        return f"it needs {needed}"
    assert fit.reason is not None
    return fit.reason.sentence


# -- what is read from trials and curves --------------------------------------------------------------------------


def _count_data(trials: pd.DataFrame) -> np.ndarray:
    """Puzzles in training, times their copies where a task states how many it makes, [trials]."""
    count = np.ones(len(trials))
    if TRAIN_EXAMPLES in trials:
        count = count * pd.to_numeric(trials[TRAIN_EXAMPLES]).to_numpy(dtype=float)
    if AUGMENTATIONS in trials:
        count = count * (1 + pd.to_numeric(trials[AUGMENTATIONS]).fillna(0).to_numpy(dtype=float))
    return np.asarray(count)


def _known(group: Group, response: str) -> Group | None:
    return group.with_values_of([SIZE, RECURSION, DATA, response])


def _validation_curves(curves: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Validation NLL of these trials by step, rising."""
    if curves.empty:
        return pd.DataFrame(columns=["fingerprint", "at", "value"])
    own = curves[(curves["metric"] == VALIDATION_NLL) & curves["fingerprint"].isin(set(trials["fingerprint"]))]
    return own.sort_values("at")


def _has_overfitted(curves: pd.DataFrame, trials: pd.DataFrame) -> bool:
    """Whether in most seeds of any cell the last validation NLL is clearly above the lowest one."""
    if curves.empty:
        return False
    ends = curves.groupby("fingerprint")["value"].agg(["min", "last"])
    turned = trials["fingerprint"].map(ends["last"] > TURNED_UP * ends["min"]).dropna().astype(float)
    return bool((turned.groupby(trials[CELL]).mean() > 0.5).any())


def find_refusal(sizes: np.ndarray, recursions: np.ndarray, data: np.ndarray, seeds: np.ndarray) -> Reason | None:
    """Why a design cannot identify the data term; all [cells]."""
    crossed = [
        level
        for level in np.unique(data)
        if count_values(sizes[data == level]) >= MIN_SIZES and count_values(recursions[data == level]) >= MIN_RECURSIONS
    ]
    if len(crossed) < MIN_DATA or len(sizes) <= BETA + 1:
        return Reason.TOO_FEW_SCALES
    if lack_seeds(seeds):
        return Reason.TOO_FEW_SEEDS
    return Reason.CONFOUNDED if max_correlation(np.column_stack((sizes, recursions, data))) > MAX_CORRELATION else None


# -- the fit ------------------------------------------------------------------------------------------------------


def _fit_form(law: Law, group: Group, form: str, response: str, flags: tuple[str, ...]) -> Fit:
    fit = Fit(law, response, **group.facts, form=form, flags=flags, fitted_range=group.range_of(SIZE, RECURSION, DATA))
    if (group.trials[[SIZE, RECURSION, DATA]] <= 0).any(axis=None):
        return replace(fit, reason=Reason.NOT_POSITIVE)
    positive = group.trials[response] > 0
    if not positive.all():  # an error of 0: nothing is left to explain
        return replace(fit, reason=Reason.CEILING if form == ERROR_FORM else Reason.NOT_POSITIVE)
    cells = read_cells(group, [group.trials[name].to_numpy(dtype=float) for name in (RECURSION, DATA)], response)
    recursions, data = np.exp(cells.log_axes.T).round(9)
    reason = find_refusal(cells.recursed, recursions, data, cells.seeds) or find_end(group, cells)
    return replace(fit, reason=reason) if reason is not None else _estimate(fit, Surface(cells))


@dataclass(frozen=True)
class Surface:
    """The law over cells; recursion is the first of their axes, data the second."""

    cells: Cells

    def predict(self, parameters: np.ndarray) -> np.ndarray:
        """log L, [G]."""
        cells, phi = self.cells, parameters[PHI]
        log_recursion = cells.log_axes[:, 0]
        mean = np.log(cells.recursed).mean() + log_recursion.mean() * phi
        effective = np.logaddexp(np.log(np.maximum(cells.once, 1e-300)), np.log(cells.recursed) + log_recursion * phi)
        of_size = parameters[C_SIZE] - parameters[ALPHA] * (effective - mean)
        of_data = parameters[C_DATA] - parameters[BETA] * cells.axes[:, 1]
        return np.asarray(np.logaddexp(parameters[LOG_E], np.logaddexp(of_size, of_data)))

    def fit(self) -> Curve:
        """The best of several descents: the shares of E and of the two terms in the middle of the design are unknown."""
        cells = self.cells
        weights, low = np.sqrt(cells.seeds), float(cells.log_loss.min())

        def residuals(parameters: np.ndarray) -> np.ndarray:
            return np.asarray(weights * (cells.log_loss - self.predict(parameters)))

        lower = np.array([low - 14.0, low - 14.0, 0.0, -50.0, low - 14.0, 0.0])
        upper = np.array([low + 1.0, low + 20.0, 20.0, 50.0, low + 20.0, 20.0])
        shares = ((1e-6, 0.5), (1e-6, 0.8), (1e-6, 0.2), (0.3, 0.35), (0.3, 0.55), (0.3, 0.15))
        starts = [self._start(*pair) for pair in shares]
        return fit_curve(residuals, starts, (lower, upper), len(cells.names))

    def _start(self, floor: float, of_size: float) -> np.ndarray:
        """Parameters from which a descent begins: E and the term of size take these shares of the loss in the middle."""
        of_data = 1 - floor - of_size
        slopes = self.line().coefficients
        middle = float(slopes[0])
        a, b, d = (float(slope) for slope in slopes[SIZE_SLOPE : DATA_SLOPE + 1])
        phi = float(np.clip(b / a, -5, 5)) if a else 0.0
        exponents = (max(0.01, a / of_size), max(0.01, d / of_data))
        terms = (middle + np.log(floor), middle + np.log(of_size), middle + np.log(of_data))
        return np.array([terms[0], terms[1], exponents[0], phi, terms[2], exponents[1]])

    def line(self) -> Linear:
        """log L = c - a log N - b log R - d log D, by cell, logs centred at the design."""
        return fit_linear(law_matrix(self.cells.log_recursed, self.cells.axes), self.cells.log_loss, self.cells.names)


def _estimate(fit: Fit, surface: Surface) -> Fit:
    """Exponents, rates in parameters, and how well the law fits."""
    cells, law, line = surface.cells, surface.fit(), surface.line()
    misfit, count = cells.log_loss - surface.predict(law.parameters), len(cells.names)
    check = check_misfit(cells, misfit, len(law.parameters))
    straight = cells.log_loss - law_matrix(cells.log_recursed, cells.axes) @ line.coefficients
    quality = Quality(
        r_squared=r_squared(misfit, cells.log_loss),
        aic=aic(law.squares, count, len(law.parameters)),
        aic_simpler={"log_linear": aic(cells.squares(straight), count, len(line.coefficients))},
        lack_of_fit=check.lack_of_fit,
    )
    estimates = only_bounded(_slopes(line) | ({} if check.reason else _exponents(law, line)))
    points = draw_points(cells, misfit, [f"R {value:g}, N {size:,.0f}" for value, size in _places(cells)])
    points["x"] = np.exp(cells.log_axes[points.index, 1]).round(6)
    flags = (*fit.flags, *quality.flags)
    return replace(fit, estimates=estimates, quality=quality, flags=flags, reason=check.reason, points=points)


def _places(cells: Cells) -> list[tuple[float, float]]:
    """R and recursed parameters of each cell."""
    return list(zip(np.exp(cells.log_axes[:, 0]).round(6).tolist(), cells.recursed.tolist(), strict=True))


def _slopes(line: Linear) -> dict[str, Interval | None]:
    """Of the log-linear form; and the worth of a doubling of data in parameters in the middle of the design."""
    unit = np.eye(len(line.coefficients))
    slopes: dict[str, Interval | None] = {
        "slope_log_params": line.interval(unit[SIZE_SLOPE]),
        "slope_log_recursion": line.interval(unit[SIZE_SLOPE + 1]),
        "slope_log_data": line.interval(unit[DATA_SLOPE]),
    }
    if not is_size_clear(line.t(SIZE_SLOPE), line.freedom):
        return slopes
    ratio = fieller(line, DATA_SLOPE, SIZE_SLOPE)
    return slopes | {"data_exchange_rate": ratio and ratio.map(lambda exponent: 2**exponent)}


def _exponents(law: Curve, line: Linear) -> dict[str, Interval | None]:
    """alpha, beta, and phi where the slope in size is clear."""
    exponents = {"alpha": law.profile(ALPHA, 0.05), "beta": law.profile(BETA, 0.05)}
    if not is_size_clear(line.t(SIZE_SLOPE), line.freedom):
        return exponents
    phi = law.profile(PHI, 0.05)
    return exponents | {"phi": phi, "exchange_rate": phi and phi.map(lambda exponent: 2**exponent)}
