"""Records of the finished trials of a sweep, by cell."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lightning_modules.config import TrialConfig
from lightning_modules.outcome import Outcome

ACCURACY = "test/exact_accuracy"
Records = Mapping[str, dict[str, Any]]  # by fingerprint


def completed_seeds(cell: TrialConfig, seeds: int, results: Records) -> list[dict[str, Any]]:
    """Records of the completed seeds of a cell that have a loss; the cell is its trial of the first seed."""
    names = [cell.model_copy(update={"seed": cell.seed + number}).fingerprint for number in range(seeds)]
    records = [results[name] for name in names if name in results and results[name]["outcome"] == Outcome.COMPLETED]
    return [record for record in records if record.get("test/nll", 0) > 0]


def scores_of(records: list[dict[str, Any]], metric: str) -> np.ndarray:
    """The values of a metric, [records that have it]."""
    return np.array([record[metric] for record in records if record.get(metric) is not None], dtype=float)
