"""On the PYTHONPATH of a sweep's workers: trials do not train, they score what `known.scores` says and end at once."""

import importlib.abc
import importlib.machinery
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def trivial(config: Any, folder: Path, report: Callable[[Any], bool]) -> Any:
    """`fit` without training: one row, and a record with all that a sweep reads."""
    from known import scores

    from lightning_modules.record import FitResult, describe, step_points

    found = scores(config.flat())
    steps = int(config.fit.budget.amount)
    row = {
        "step": steps,
        "time": time.time_ns() // 1_000_000,
        "metrics": {name.replace("val/", "val_curve/"): value for name, value in found.items()},
        "used": {"steps": steps, "train_flops": steps, "train_seconds": 0.0},
    }
    outcome = "completed" if report(row) else "pruned"
    record = {**describe(config), **row["used"], **found, "test/nll": found["val/nll"], "outcome": outcome}
    return FitResult(record, step_points(row))


class Patch(importlib.abc.MetaPathFinder):
    """Replaces `fit` in `sweeps.worker.run_trial` when it is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != "sweeps.worker.run_trial":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        run = spec.loader.exec_module

        def patched(module: ModuleType) -> None:
            run(module)
            module.fit = trivial  # type: ignore[attr-defined]

        spec.loader.exec_module = patched  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Patch())
