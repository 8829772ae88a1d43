"""How much of what was found each parameter accounts for: shares of variance in a design, PED-ANOVA in a search."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 200  # of a design
SEARCH_RESAMPLES = 40  # of a search, which takes Optuna longer
WIDE = 8  # ratio of largest to smallest
FEWEST_TRIALS = 10  # of a search
TOGETHER, SEEDS = "axes together", "seeds"  # what no single axis accounts for; what the settings do not


@dataclass(frozen=True)
class Importance:
    """The share of one parameter with its 95 % interval over resamples."""

    parameter: str
    share: float
    low: float
    high: float


def anova_shares(trials: pd.DataFrame, axes: Sequence[str], response: str) -> list[Importance]:
    """Shares of the variance over trials: each axis by itself, axes together, seeds.

    Sums of squares of an axis are those that it explains beside all other axes (type II); what noise alone would explain is taken
    off (omega squared). Resampled: residuals within cells, put on the means of the cells.

    Returns:
        Empty without replicates or with fewer than two axes.
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
    residual = (y - means) * np.sqrt(len(y) / freedom)
    rng = np.random.default_rng(0)
    drawn = np.array([design.shares(means + rng.choice(residual, len(y))) for _ in range(RESAMPLES)])
    names = [*axes, TOGETHER, SEEDS]
    return _with_intervals(names, design.shares(y), drawn)


class _Design:
    """Projections that do not change over resamples."""

    def __init__(self, levels: list[np.ndarray], codes: np.ndarray) -> None:
        dummies = [np.eye(own.max() + 1)[own][:, 1:] for own in levels]
        ones = np.ones((len(codes), 1))
        self.codes, self.sizes = codes, np.bincount(codes)
        self.whole = _basis(np.hstack([ones, *dummies]))
        self.without = [_basis(np.hstack([ones, *dummies[:n], *dummies[n + 1 :]])) for n in range(len(dummies))]
        self.freedoms = [own.shape[1] for own in dummies]

    def shares(self, y: np.ndarray) -> np.ndarray:
        """Of each axis, of axes together and of seeds; they sum to one where none was below zero."""
        total = float(((y - y.mean()) ** 2).sum())
        cells = (np.bincount(self.codes, y) / self.sizes)[self.codes]
        within = float(((y - cells) ** 2).sum())
        noise = within / (len(y) - len(self.sizes))
        main = _explained(self.whole, y)
        own = [main - _explained(basis, y) - free * noise for basis, free in zip(self.without, self.freedoms, strict=True)]
        beyond = len(self.sizes) - 1 - sum(self.freedoms)
        together = total - within - (main - _explained(np.full((len(y), 1), len(y) ** -0.5), y)) - beyond * noise
        # What noise puts into the axes belongs to the seeds.
        seeds = within + (len(self.sizes) - 1) * noise
        return np.maximum(0.0, np.array([*own, together, seeds])) / total


def _basis(x: np.ndarray) -> np.ndarray:
    """Orthonormal columns of what x spans."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return u[:, s > 1e-9 * s.max()]


def _explained(basis: np.ndarray, y: np.ndarray) -> float:
    return float(((basis.T @ y) ** 2).sum())


def ped_anova(trials: pd.DataFrame, parameters: Sequence[str], response: str, maximize: bool = True) -> list[Importance]:
    """Importance of each parameter of a search for being among its best tenth (PED-ANOVA, 2304.10255; Optuna's).

    Resampled: trials. Parameters that some trials do not have are left out.

    Returns:
        Empty with fewer than ten trials.
    """
    whole = [name for name in parameters if trials[name].notna().all() and trials[name].astype(str).nunique() > 1]
    if len(trials) < FEWEST_TRIALS or len(whole) < 2 or trials[response].nunique() < 3:
        return []
    rng = np.random.default_rng(0)
    evaluate = _SearchEvaluator(trials, whole, response, maximize)
    drawn = [evaluate.shares(rng.integers(len(trials), size=len(trials))) for _ in range(SEARCH_RESAMPLES)]
    known = [shares for shares in drawn if shares is not None]
    estimate = evaluate.shares(np.arange(len(trials)))
    if estimate is None or len(known) < SEARCH_RESAMPLES / 2:
        return []
    return _with_intervals(whole, estimate, np.array(known))


class _SearchEvaluator:
    """Optuna's evaluator on rows of a table."""

    def __init__(self, trials: pd.DataFrame, names: list[str], response: str, maximize: bool) -> None:
        from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

        self.names, self.maximizes = names, maximize
        self.values = trials[response].to_numpy(dtype=float)
        columns = {name: trials[name] for name in names}
        numeric = {name for name, column in columns.items() if pd.api.types.is_numeric_dtype(column) and column.dtype != bool}
        self.distributions: dict[str, BaseDistribution] = {
            name: FloatDistribution(float(column.min()), float(column.max()), log=_is_wide(column))
            if name in numeric
            else CategoricalDistribution(sorted(map(str, column.unique())))
            for name, column in columns.items()
        }  # fmt: skip
        self.rows = [
            {name: float(columns[name].iloc[row]) if name in numeric else str(columns[name].iloc[row]) for name in names}
            for row in range(len(trials))
        ]

    def shares(self, rows: np.ndarray) -> np.ndarray | None:
        """None where the drawn trials are all alike."""
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
            warnings.simplefilter("ignore")  # of an evaluator that Optuna calls experimental
            found = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), params=self.names
            )
        return np.array([found[name] for name in self.names])


def _is_wide(column: pd.Series) -> bool:
    """Whether a parameter was searched over more than a few doublings, on a log scale then."""
    return bool(column.min() > 0 and column.max() > WIDE * column.min())


def _with_intervals(names: Sequence[str], estimate: np.ndarray, drawn: np.ndarray) -> list[Importance]:
    """Percentiles of the resamples, widened to hold the estimate."""
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [
        Importance(name, float(share), float(min(share, below)), float(max(share, above)))
        for name, share, below, above in zip(names, estimate, low, high, strict=True)
    ]
