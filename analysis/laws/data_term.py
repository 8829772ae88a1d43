"""The data term: what more puzzles in training bring beside more parameters and more recursion.

    L = E + A N_eff^-alpha + B D^-beta        N_eff = N_once + R^phi N_recursed

L: error on test, or the lowest NLL on validation; D: puzzles in training, with their augmented copies where the task counts
them; E, A, B >= 0. Seeds share the puzzles, so that a fit holds for these puzzles. docs/laws.md, "Data", has the rules.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.laws.cells import ACCURACY, SIZE_SLOPE, Cells, check_misfit, draw_points, find_end, read_cells
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
LOG_2 = float(np.log(2))
LOG_E, C_SIZE, ALPHA, PHI, C_DATA, BETA = range(6)  # places in the parameters
DATA_SLOPE = 3  # place in the coefficients of the log-linear form; size and R are before it


@dataclass(frozen=True, eq=False)
class DataFit(Fit):
    """A fit of one response."""

    counted: str = "puzzles"  # the noun of D

    @property
    def what(self) -> str:
        """The response, for a sentence."""
        return "the error" if self.form == ERROR_FORM else "the lowest validation NLL"


class DataTerm(Law):
    """The part of the loss that more puzzles remove."""

    name = "data_term"
    rank = 9
    is_leading = True
    needs = ((SIZE,), DEPTH_AXES, (TRAIN_EXAMPLES, AUGMENTATIONS), (ACCURACY,))
    spans = (TRAIN_EXAMPLES, AUGMENTATIONS)
    shows = "how the error falls with the number of training puzzles"

    def drawing_of(self, form: str | None) -> Drawing:
        label = "error on test" if form == ERROR_FORM else "lowest NLL on validation"
        return Drawing(f"Training puzzles: {label}", "puzzles in training, with their augmented copies", label)

    def fit(self, group: Group) -> list[Fit]:
        """A fit on the error, and one on the lowest validation NLL where the table has its curve; none where data does not vary."""
        trials = group.trials.copy()
        trials[DATA], trials[ERROR] = _count_data(trials), 1 - trials[ACCURACY]
        if count_values(trials[DATA].dropna().to_numpy()) < 2:
            return []
        curves = _validation_curves(group.curves, trials)
        trials[LOWEST_NLL] = trials["fingerprint"].map(curves.groupby("fingerprint")["value"].min())
        flags = (OVERFITTED,) if _has_overfitted(curves, trials) else ()
        forms = ((ERROR_FORM, ERROR), (NLL_FORM, LOWEST_NLL))
        parts = [(form, column, _known(replace(group, trials=trials), column)) for form, column in forms]
        return [_fit_form(self, part, form, column, flags) for form, column, part in parts if part is not None]

    def sentence(self, fit: Fit) -> list[Sentence]:
        """What twice the data brings, and how fast the part that data removes falls."""
        assert isinstance(fit, DataFit)
        low, high = fit.fitted_range[DATA]
        over = f"over {low:,.0f} to {high:,.0f} {fit.counted}, for these puzzles, which the seeds of a cell share"
        turned = "; in some cells validation NLL turned up before training ended" if OVERFITTED in fit.flags else ""
        beta = fit.estimates.get("beta")
        falls = f"; the part of it that more {fit.counted} remove falls as their number to the power" if beta else ""
        power = f" {state_interval(beta)}" if beta else ""
        return [Sentence(f"{name_place(fit)}{_state_worth(fit)}{falls}{power} ({over}){turned}.", f"law_{fit.form}")]

    def refusals(self, fits: Sequence[Fit]) -> list[Sentence]:
        """One sentence for each group in which no response has a fit."""
        fitted = {str(fit.group) for fit in fits if fit.is_fitted}
        refused = {str(fit.group): fit for fit in fits if not fit.is_fitted and str(fit.group) not in fitted}
        return [
            Sentence(f"{name_place(fit)}what more training puzzles bring has no law: {_explain(fit)}.") for fit in refused.values()
        ]

    def suggest(self, draft: Draft, fit: Fit) -> bool:
        """As few numbers of puzzles, sizes and values of R as identify the law; one more of each where it does not fit."""
        recursion, size = draft.recursion_axis(), draft.size_axis()
        axes = [(TRAIN_EXAMPLES, MIN_DATA), (size, MIN_SIZES), (recursion or size, MIN_RECURSIONS)]
        is_known = all(draft.values(number, axis) for number in draft.cells for axis, _ in axes)
        if recursion is None or fit.reason == Reason.NOT_POSITIVE or not is_known:
            return False
        before = copy.deepcopy(draft.blocks)
        if not any(TRAIN_EXAMPLES in block for block in before):
            draft.keep_training_sets()
        more = 1 if fit.reason == Reason.LACK_OF_FIT else 0
        for axis, count in axes:
            draft.cross(axis, draft.grow(axis, max(count, len(draft.levels(axis)) + more)))
        return draft.blocks != before or not draft.parent.is_ours


def _state_worth(fit: DataFit) -> str:
    slope, worth = fit.estimates["slope_log_data"], fit.estimates.get("data_exchange_rate")
    if not slope.is_clear:
        return f"{fit.what} does not clearly change with the number of {fit.counted}"
    if slope.estimate < 0:
        return f"more {fit.counted} do not lower {fit.what}: log changes by {state_interval(slope, -LOG_2)} a doubling"
    if worth is None:
        return f"twice the {fit.counted} change the log of {fit.what.removeprefix('the ')} by {state_interval(slope, -LOG_2)}"
    return f"twice the {fit.counted} lower {fit.what} as much as {state_interval(worth)} times the recursed parameters"


def _explain(fit: Fit) -> str:
    needed = f"at least {MIN_DATA} numbers of puzzles, each crossed with {MIN_SIZES} sizes and {MIN_RECURSIONS} values of R"
    reasons = {
        Reason.TOO_FEW_SCALES: f"it needs {needed}",
        Reason.CONFOUNDED: "size, recursion and the number of puzzles rise together",
        Reason.NOT_POSITIVE: "a trial makes no error on test, or a size, R or a number of puzzles is not above 0",
    }
    assert fit.reason is not None
    return reasons.get(fit.reason, fit.reason.sentence)


# -- what is read from trials and curves --------------------------------------------------------------------------


def _count_data(trials: pd.DataFrame) -> np.ndarray:
    """Puzzles in training, times their copies where a task states how many it makes, [trials]; NaN where it is not known."""
    copies = 1 + (pd.to_numeric(trials[AUGMENTATIONS]).fillna(0) if AUGMENTATIONS in trials else 0)
    puzzles = pd.to_numeric(trials[TRAIN_EXAMPLES]) if TRAIN_EXAMPLES in trials else pd.Series(0.0, index=trials.index)
    has_number = puzzles > 0  # all puzzles of a file have none, and so has a task whose puzzles are what they are
    count = puzzles.where(has_number) if has_number.any() else pd.Series(1.0, index=trials.index)
    return np.asarray(count * copies, dtype=float)


def _name_data(trials: pd.DataFrame) -> str:
    """The noun of D, by what varies."""
    varied = [name for name in (TRAIN_EXAMPLES, AUGMENTATIONS) if name in trials and trials[name].nunique() > 1]
    if AUGMENTATIONS not in varied:
        return "puzzles"
    return "puzzles and augmented copies" if TRAIN_EXAMPLES in varied else "augmented copies"


def _known(group: Group, response: str) -> Group | None:
    return group.with_values_of([SIZE, RECURSION, DATA, response])


def _validation_curves(curves: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Validation NLL of these trials by step, rising; points over all rows that are finite."""
    if curves.empty:
        return pd.DataFrame(columns=["fingerprint", "at", "value"])
    is_own = (curves["metric"] == VALIDATION_NLL) & curves["fingerprint"].isin(set(trials["fingerprint"]))
    return curves[is_own & curves["difficulty"].isna() & np.isfinite(curves["value"].astype(float))].sort_values("at")


def _has_overfitted(curves: pd.DataFrame, trials: pd.DataFrame) -> bool:
    """Whether in most seeds of any cell the last validation NLL is clearly above the lowest one."""
    if curves.empty:
        return False
    ends = curves.groupby("fingerprint")["value"].agg(["min", "last"])
    turned = trials["fingerprint"].map(ends["last"] > TURNED_UP * ends["min"]).dropna().astype(float)
    return bool((turned.groupby(trials[CELL]).mean() > 0.5).any())


def find_refusal(sizes: np.ndarray, recursions: np.ndarray, data: np.ndarray, seeds: np.ndarray) -> Reason | None:
    """Why a design cannot identify the data term; all [cells]."""
    crossed = [level for level in np.unique(data) if _is_crossed(sizes[data == level], recursions[data == level])]
    if len(crossed) < MIN_DATA or len(sizes) <= BETA + 1:
        return Reason.TOO_FEW_SCALES
    if lack_seeds(seeds):
        return Reason.TOO_FEW_SEEDS
    return Reason.CONFOUNDED if max_correlation(np.column_stack((sizes, recursions, data))) > MAX_CORRELATION else None


def _is_crossed(sizes: np.ndarray, recursions: np.ndarray) -> bool:
    """Whether enough sizes have enough values of R; both [cells] of one number of puzzles."""
    sizes = sizes.round(9)
    return sum(count_values(recursions[sizes == size]) >= MIN_RECURSIONS for size in np.unique(sizes)) >= MIN_SIZES


# -- the fit ------------------------------------------------------------------------------------------------------


def _fit_form(law: Law, group: Group, form: str, response: str, flags: tuple[str, ...]) -> Fit:
    ranges, counted = group.range_of(SIZE, RECURSION, DATA), _name_data(group.trials)
    fit = DataFit(law, response, **group.facts, form=form, flags=flags, fitted_range=ranges, counted=counted)
    if (group.trials[[SIZE, RECURSION, DATA, response]] <= 0).any(axis=None):
        return replace(fit, reason=Reason.NOT_POSITIVE)
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
    """alpha and beta where the runs bound them, and phi where the slope in size is clear."""
    exponents = {"alpha": _inside_bounds(law, ALPHA), "beta": _inside_bounds(law, BETA)}
    if not is_size_clear(line.t(SIZE_SLOPE), line.freedom):
        return exponents
    phi = law.profile(PHI, 0.05)
    return exponents | {"phi": phi, "exchange_rate": phi and phi.map(lambda exponent: 2**exponent)}


def _inside_bounds(law: Curve, index: int) -> Interval | None:
    """The interval of a parameter; None where it reaches a bound, which the runs then do not exclude."""
    interval = law.profile(index, 0.05)
    lower, upper = law.bounds[0][index], law.bounds[1][index]
    return interval if interval is not None and lower < interval.low and interval.high < upper else None
