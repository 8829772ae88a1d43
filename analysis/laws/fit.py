"""What a law says about a group of trials, as `fits.json` holds it (docs/formats.md)."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from analysis.data.file_names import slug
from lightning_modules.atomic_write import write_atomically
from sweeps.design.thresholds import LEVEL

Reason = Literal[
    "too_few_scales", "too_few_seeds", "confounded", "floor", "ceiling", "flat", "lack_of_fit", "no_interior_optimum"
]  # of a refusal; the first that applies, in this order


@dataclass(frozen=True)
class Estimate:
    """A number with its two-sided interval; none is written without one."""

    estimate: float
    low: float
    high: float


@dataclass
class Fit:
    """A law fitted to one group of trials, or the reason why it was not."""

    law: str
    response: str
    group: dict[str, Any]
    trials: int
    cells: int
    seeds: int
    form: str | None = None
    reason: Reason | None = None
    suggestion: str | None = None  # of a refusal: a spec as YAML that would identify the law
    estimates: dict[str, Estimate] = field(default_factory=dict)
    lack_of_fit: dict[str, Any] | None = None
    flags: list[str] = field(default_factory=list)
    aic: float | None = None
    aic_simpler: dict[str, float] = field(default_factory=dict)
    r_squared: float | None = None
    leave_one_scale_out_error: float | None = None
    fitted_range: dict[str, list[float]] = field(default_factory=dict)
    choice: dict[str, float] = field(default_factory=dict)  # of `compute_optimal`: what to run
    local_rates: pd.DataFrame | None = None  # of the curvature form: `kind` (law, model_free), recursion, estimate, low, high
    seen: pd.DataFrame | None = None  # what a figure draws: line, x, measured, fitted, residual; not written

    @property
    def is_fitted(self) -> bool:
        return self.reason is None

    @property
    def suffix(self) -> str:
        """Of the names of its figures, as a report may have several groups."""
        return "".join(f"_{slug(self.group[name])}" for name in ("task.kind", "model.kind") if name in self.group)

    def add(self, name: str, interval: tuple[float, float, float] | None) -> None:
        """Note an estimate, unless its interval is not bounded."""
        if interval is not None and all(map(math.isfinite, interval)):
            self.estimates[name] = Estimate(*map(float, interval))

    def __str__(self) -> str:
        """One line for a terminal."""
        settings = ", ".join(f"{name} {value}" for name, value in self.group.items())
        about = f" ({settings})" if settings else ""
        name = f"{self.law} ({self.form})" if self.form else self.law
        flags = f" [{', '.join(self.flags)}]" if self.flags else ""
        if not self.is_fitted:
            return f"{name}: refused, {self.reason}{flags}{about}"
        said = ", ".join(f"{key} {e.estimate:.3g} ({e.low:.3g} to {e.high:.3g})" for key, e in self.estimates.items())
        return f"{name}: {said}{flags}{about}"

    def to_json(self) -> dict[str, Any]:
        estimates = {name: {**vars(estimate), "level": LEVEL} for name, estimate in self.estimates.items()}
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
            "lack_of_fit": self.lack_of_fit,
            "flags": self.flags,
            "aic": self.aic,
            "aic_simpler": self.aic_simpler,
            "r_squared": self.r_squared,
            "leave_one_scale_out_error": self.leave_one_scale_out_error,
            "fitted_range": self.fitted_range,
            "choice": self.choice,
            "local_exchange_rates": [] if self.local_rates is None else self.local_rates.to_dict("records"),
        }


def write_fits(path: Path, fits: list[Fit]) -> None:
    """Write `fits.json`."""
    write_atomically(path, json.dumps([fit.to_json() for fit in fits], indent=1))
