"""The slopes and the noise that a forecast expects of the cells of one fit, and the half-widths that follow."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lightning_modules.config import TrialConfig
from rrm.compute import count_parameters, count_recursion
from sweeps.design.identifiability import COEFFICIENTS
from sweeps.design.thresholds import MAX_MISFIT_SHARE
from sweeps.planning.evidence import (
    LAW_PARAMETERS,
    Measured,
    Misfit,
    find_flat,
    find_misfit,
    is_size_clear,
    law_residual,
    size_slope_t,
)
from sweeps.planning.finished import ACCURACY, Records, completed_seeds, scores_of
from sweeps.planning.power import Design, HalfWidths, Slopes, expect_half_widths, fit_slopes, pool_noise

ASSUMED_NOISE_SD = 0.1  # standard deviation of log NLL over seeds
ASSUMED_SLOPES = Slopes(a=0.30, b=0.14)  # phi near 0.46, looped language models (2604.21106)


@dataclass(frozen=True)
class Group:
    """Cells that one fit spans: they differ only in axes, and in numbers that follow from the axes."""

    label: str  # settings by which it differs from the other groups of its sweep; empty if it is the only one
    cells: list[TrialConfig]  # trials of the first seed
    seeds: int

    @property
    def params_once(self) -> np.ndarray:
        """Parameters outside the recursion, [cells]."""
        return np.array([count_parameters(cell.model, cell.task.shape).once for cell in self.cells], dtype=float)

    @property
    def design(self) -> Design:
        sizes = [count_parameters(cell.model, cell.task.shape).recursed for cell in self.cells]
        return Design(
            np.array(sizes, dtype=float),
            np.array([count_recursion(cell.model, cell.task.shape) for cell in self.cells]),
            self.seeds,
        )


@dataclass(frozen=True)
class Expectation:
    """Slopes and noise on which a forecast rests."""

    noise_sd: float
    slopes: Slopes
    source: str  # where noise and slopes come from, for people
    misfit_sd: float = 0.0  # standard deviation of log NLL of cells around the law
    refusal: str = ""  # why the report refuses the law on the finished cells, as a sentence; empty if it does not
    has_clear_a: bool | None = None  # whether the report finds a clear; None before all trials have finished

    def half_widths(self, group: Group) -> HalfWidths | None:
        """None where no law can be fitted."""
        if group.design.refusal:
            return None
        return expect_half_widths(group.design, self.noise_sd, self.slopes, self.misfit_sd)


def expect_slopes(group: Group, results: Records) -> Expectation:
    """Noise and slopes of a group: from its finished trials where these suffice, else assumed."""
    records = [completed_seeds(cell, group.seeds, results) for cell in group.cells]
    scores = [np.log(scores_of(seeds, "test/nll")) for seeds in records]
    scored = [number for number, values in enumerate(scores) if len(values)]
    finished = replace(group, cells=[group.cells[index] for index in scored])
    noise = pool_noise(scores)
    noise_sd = ASSUMED_NOISE_SD if noise is None else noise
    noise_text = f"sd of log NLL over seeds {noise_sd:.2f} {'assumed' if noise is None else 'from finished trials'}"
    if len(scored) < len(group.cells) / 2 or finished.design.refusal is not None:
        return Expectation(noise_sd, ASSUMED_SLOPES, f"{noise_text}, slopes assumed")
    design, cells = finished.design, _measure([scores[index] for index in scored])
    slopes = fit_slopes(design, cells.log_loss)
    source = f"{noise_text}, slopes from {len(scored)} finished cells"
    misfit = find_misfit(cells, law_residual(cells, finished.params_once, design.params_recursed, design.recursion), LAW_PARAMETERS)
    is_done = all(len(values) == group.seeds for values in scores)
    t = size_slope_t(cells, design.params_recursed, design.recursion)
    return Expectation(
        noise_sd, slopes, source, misfit.beyond if misfit else 0.0,
        _refusal(cells, [records[index] for index in scored], misfit),
        is_size_clear(t, len(scored) - COEFFICIENTS) if is_done else None,
    )  # fmt: skip


def _refusal(cells: Measured, records: list[list[dict[str, Any]]], misfit: Misfit | None) -> str:
    """Why the report refuses the law on finished cells, by its own rules."""
    accuracies = [scores_of(seeds, ACCURACY) for seeds in records]
    flat = find_flat(cells, np.array([values.mean() for values in accuracies]) if all(map(len, accuracies)) else None)
    if flat is not None:
        return f"{flat}: the finished cells do not differ beyond the noise of their seeds"
    if misfit is not None and misfit.is_refused:
        range_text = f"more than {MAX_MISFIT_SHARE:.0%} of its range over the finished cells"
        return f"lack_of_fit: the law misses log NLL by {misfit.beyond:.2f} beyond the noise of seeds, {range_text}"
    return ""


def _measure(scores: list[np.ndarray]) -> Measured:
    """Cell means and pooled variance of log NLL ([seeds] each)."""
    replicates = sum(len(values) - 1 for values in scores)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in scores)
    means, seeds = np.array([values.mean() for values in scores]), np.array([len(values) for values in scores])
    return Measured(means, seeds, squares / replicates if replicates else math.nan, replicates)
