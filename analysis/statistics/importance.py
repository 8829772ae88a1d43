"""Importance of each parameter: shares of variance in a design, PED-ANOVA in a search."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 200  # bootstrap resamples of a design
SEARCH_RESAMPLES = 40  # bootstrap resamples of a search; fewer, because Optuna evaluates each one
MIN_LOG_RATIO = 8  # a parameter whose largest value is more than 8 times its smallest is searched on a log scale
MIN_TRIALS = 10  # a search with fewer trials has no importances
TOGETHER, SEEDS = "axes together", "seeds"  # rows for interactions of axes, and for noise over seeds


@dataclass(frozen=True)
class Importance:
    """The share of one parameter, with its 95 % CI over resamples."""

    parameter: str
    share: float
    low: float
    high: float


def anova_shares(trials: pd.DataFrame, axes: Sequence[str], response: str) -> list[Importance]:
    """Shares of the variance over trials: of each axis, of interactions between axes, of seeds.

    The sum of squares of an axis is what it explains beyond all other axes (type II), minus the part that noise would explain
    (omega squared). A resample adds drawn deviations from cell means to the cell means.

    Returns:
        One importance per axis and two for `TOGETHER` and `SEEDS`; empty without replicates or with fewer than two axes.
    """
    if len(axes) < 2:
        return []
    codes, _ = pd.factorize(pd.MultiIndex.from_frame(trials[list(axes)].astype(str)))
    y = trials[response].to_numpy(dtype=float)
    sizes = np.bincount(codes)
    freedom = len(y) - len(sizes)
    if freedom < 1 or not np.isfinite(y).all() or np.ptp(y) == 0:
        return []
    design = _Design([pd.factorize(trials[axis].astype(str))[0] for axis in axes], codes)
    means = (np.bincount(codes, y) / sizes)[codes]
    deviations = (y - means) * np.sqrt(len(y) / freedom)
    rng = np.random.default_rng(0)
    drawn = np.array([design.shares(means + rng.choice(deviations, len(y))) for _ in range(RESAMPLES)])
    names = [*axes, TOGETHER, SEEDS]
    return _with_intervals(names, design.shares(y), drawn)


class _Design:
    """The projections of a design, which all resamples share."""

    def __init__(self, levels: list[np.ndarray], codes: np.ndarray) -> None:
        dummies = [np.eye(codes_of_axis.max() + 1)[codes_of_axis][:, 1:] for codes_of_axis in levels]
        ones = np.ones((len(codes), 1))
        self.codes, self.sizes = codes, np.bincount(codes)
        self.whole = _basis(np.hstack([ones, *dummies]))
        self.without = [_basis(np.hstack([ones, *dummies[:n], *dummies[n + 1 :]])) for n in range(len(dummies))]
        self.freedoms = [columns.shape[1] for columns in dummies]

    def shares(self, y: np.ndarray) -> np.ndarray:
        """Shares of each axis, of axes together and of seeds, which sum to 1; a negative estimate counts as 0."""
        total = float(((y - y.mean()) ** 2).sum())
        cells = (np.bincount(self.codes, y) / self.sizes)[self.codes]
        within = float(((y - cells) ** 2).sum())
        noise = within / (len(y) - len(self.sizes))
        main = _explained(self.whole, y)
        single = [main - _explained(basis, y) - free * noise for basis, free in zip(self.without, self.freedoms, strict=True)]
        interaction_freedom = len(self.sizes) - 1 - sum(self.freedoms)
        mean_only = _explained(np.full((len(y), 1), len(y) ** -0.5), y)
        together = total - within - (main - mean_only) - interaction_freedom * noise
        # The sums of squares of the axes contain noise, which counts as an effect of seeds.
        seeds = within + (len(self.sizes) - 1) * noise
        parts = np.maximum(0.0, np.array([*single, together, seeds]))
        return np.asarray(parts / parts.sum())


def _basis(x: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the column space of x: [N, rank]."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return u[:, s > 1e-9 * s.max()]


def _explained(basis: np.ndarray, y: np.ndarray) -> float:
    return float(((basis.T @ y) ** 2).sum())


def ped_anova(trials: pd.DataFrame, parameters: Sequence[str], response: str, maximize: bool = True) -> list[Importance]:
    """Importance of each parameter of a search for reaching its best tenth (PED-ANOVA, 2304.10255, as Optuna implements it).

    Trials are resampled. Parameters that some trials do not have are left out.

    Returns:
        One importance per parameter; empty with fewer than ten trials.
    """
    common = [name for name in parameters if trials[name].notna().all() and trials[name].astype(str).nunique() > 1]
    if len(trials) < MIN_TRIALS or len(common) < 2 or trials[response].nunique() < 3:
        return []
    rng = np.random.default_rng(0)
    evaluate = _SearchEvaluator(trials, common, response, maximize)
    drawn = [evaluate.shares(rng.integers(len(trials), size=len(trials))) for _ in range(SEARCH_RESAMPLES)]
    known = [shares for shares in drawn if shares is not None]
    estimate = evaluate.shares(np.arange(len(trials)))
    if estimate is None or len(known) < SEARCH_RESAMPLES / 2:
        return []
    return _with_intervals(common, estimate, np.array(known))


class _SearchEvaluator:
    """Optuna's importance evaluator, applied to rows of a table."""

    def __init__(self, trials: pd.DataFrame, names: list[str], response: str, maximize: bool) -> None:
        from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

        self.names, self.maximizes = names, maximize
        self.values = trials[response].to_numpy(dtype=float)
        columns = {name: trials[name] for name in names}
        numeric = {name for name, column in columns.items() if pd.api.types.is_numeric_dtype(column) and column.dtype != bool}
        self.distributions: dict[str, BaseDistribution] = {
            name: FloatDistribution(float(column.min()), float(column.max()), log=_is_log_scaled(column))
            if name in numeric
            else CategoricalDistribution(sorted(map(str, column.unique())))
            for name, column in columns.items()
        }  # fmt: skip
        self.rows = [
            {name: float(columns[name].iloc[row]) if name in numeric else str(columns[name].iloc[row]) for name in names}
            for row in range(len(trials))
        ]

    def shares(self, rows: np.ndarray) -> np.ndarray | None:
        """Importances from the trials in the given rows; None if all of these have the same value."""
        import optuna

        if len(set(self.values[rows])) < 2:
            return None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(direction="maximize" if self.maximizes else "minimize")
        study.add_trials(
            optuna.trial.create_trial(params=self.rows[row], distributions=self.distributions, value=float(self.values[row]))
            for row in rows
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns that this evaluator is experimental
            importances = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), params=self.names
            )
        return np.array([importances[name] for name in self.names])


def _is_log_scaled(column: pd.Series) -> bool:
    """Whether a parameter spans enough doublings to be treated on a log scale."""
    return bool(column.min() > 0 and column.max() > MIN_LOG_RATIO * column.min())


def _with_intervals(names: Sequence[str], estimate: np.ndarray, drawn: np.ndarray) -> list[Importance]:
    """95 % CIs from percentiles of the resamples, widened if they do not contain the estimate."""
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [
        Importance(name, float(share), float(min(share, below)), float(max(share, above)))
        for name, share, below, above in zip(names, estimate, low, high, strict=True)
    ]
