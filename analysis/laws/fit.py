"""The result of a law for a group of trials, and `fits.json` (docs/formats.md)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.data.file_names import slug
from analysis.data.tables import is_parameter
from analysis.statistics.interval import Interval
from analysis.statistics.regression import LackOfFit
from lightning_modules.atomic_write import write_atomically
from sweeps.design.axes import AXES
from sweeps.design.reasons import Reason
from sweeps.design.thresholds import LEVEL

if TYPE_CHECKING:
    from analysis.laws.law import Law

KINDS = ("task.kind", "model.kind")
MAX_SUFFIX_LETTERS = 100  # a longer name of a file is cut, with a digest


@dataclass(frozen=True)
class Quality:
    """How well a law fits; None where the data cannot give a number."""

    r_squared: float | None = None  # share of the variance of the response, or of its logarithm where the law is one of logarithms
    aic: float | None = None
    aic_simpler: dict[str, float] = field(default_factory=dict)  # AIC of simpler forms
    leave_one_scale_out_error: float | None = None  # root mean square, in the units of the misfit
    lack_of_fit: LackOfFit | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        return ("lack_of_fit",) if self.lack_of_fit and self.lack_of_fit.flagged else ()


@dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to one group of trials, or the reason why it was refused."""

    fitted_by: "Law"
    response: str  # column or curve
    group: dict[str, Any]  # settings that the trials share
    trials: int
    cells: int
    seeds: int  # median over cells
    form: str | None = None
    reason: Reason | None = None  # None for a law that is not refused
    estimates: dict[str, Interval] = field(default_factory=dict)
    quality: Quality = Quality()
    flags: tuple[str, ...] = ()
    fitted_range: dict[str, list[float]] = field(default_factory=dict)  # lowest and highest value by column
    points: pd.DataFrame | None = None  # columns line, x, measured, fitted, misfit, and where known half the 95 % interval (half)
    is_asked: bool = False  # whether it answers a question of the user, such as a budget on the command line
    suggestion: str | None = None  # a spec as YAML that would identify a law that is refused

    @property
    def law(self) -> str:
        return self.fitted_by.name

    @property
    def name(self) -> str:
        """The law, with its form where it has several."""
        return f"{self.law} ({self.form})" if self.form else self.law

    @property
    def is_fitted(self) -> bool:
        return self.reason is None

    @property
    def suffix(self) -> str:
        """The end of the names of its figures, with the settings by which its group differs from others of a report."""
        kinds = [str(self.group[name]) for name in KINDS if name in self.group]
        further = [name for name in self.group if is_parameter(name) and name not in (*KINDS, *AXES)]
        texts = [*kinds, *(f"{name.replace('.', '_')}_{self.group[name]}" for name in further)]
        whole = "".join(f"_{slug(text)}" for text in texts)
        return whole if len(whole) <= MAX_SUFFIX_LETTERS else f"_{slug(' '.join(texts))}"

    def __str__(self) -> str:
        """One line for a terminal."""
        settings = ", ".join(f"{name} {value}" for name, value in self.group.items())
        about = f" ({settings})" if settings else ""
        flags = f" [{', '.join(self.flags)}]" if self.flags else ""
        if not self.is_fitted:
            return f"{self.name}: refused, {self.reason}{flags}{about}"
        estimates = ", ".join(f"{key} {e.estimate:.3g} ({e.low:.3g} to {e.high:.3g})" for key, e in self.estimates.items())
        return f"{self.name}: {estimates}{flags}{about}"

    def further_json(self) -> dict[str, Any]:
        """Keys of `fits.json` that the results of one law alone have."""
        return {}

    def to_json(self) -> dict[str, Any]:
        quality = self.quality
        estimates = {
            name: {"estimate": interval.estimate, "low": interval.low, "high": interval.high, "level": LEVEL}
            for name, interval in self.estimates.items()
        }
        return {
            "law": self.law,
            "form": self.form,
            "response": self.response,
            "group": self.group,
            "status": "fitted" if self.is_fitted else "refused",
            "reason": self.reason,
            "suggestion": self.suggestion,
            "trials": self.trials,
            "cells": self.cells,
            "seeds": self.seeds,
            "estimates": estimates,
            "lack_of_fit": None if quality.lack_of_fit is None else vars(quality.lack_of_fit),
            "flags": list(self.flags),
            "aic": quality.aic,
            "aic_simpler": quality.aic_simpler,
            "r_squared": quality.r_squared,
            "leave_one_scale_out_error": quality.leave_one_scale_out_error,
            "fitted_range": self.fitted_range,
            "choice": {},
            "local_exchange_rates": [],
        } | self.further_json()


def only_bounded(intervals: Mapping[str, Interval | None]) -> dict[str, Interval]:
    """The estimates whose interval is bounded; no other one is reported."""
    return {name: interval for name, interval in intervals.items() if interval is not None and interval.is_bounded}


def write_fits(path: Path, fits: list[Fit]) -> None:
    """Write `fits.json`."""
    write_atomically(path, json.dumps([fit.to_json() for fit in fits], indent=1))
