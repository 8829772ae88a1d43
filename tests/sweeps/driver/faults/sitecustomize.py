"""On the PYTHONPATH of a test's workers: trials of some widths misbehave, by what real failures do.

24 raises    32 learns NaN    40 dies of a segmentation fault    48 hangs    56 eats memory
72 finds the disk full after its first report, unless it goes on from a checkpoint
"""

import ctypes
import importlib.abc
import importlib.machinery
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def misbehave(config: Any, fit: Any, folder: Path, report: Any) -> Any:
    width = config.model.hidden_size
    if width == 24:
        raise RuntimeError("this trial raises")
    if width == 40:
        ctypes.string_at(0)
    while width == 48:
        time.sleep(0.1)
    eaten = []
    while width == 56:
        eaten.append(bytearray(20_000_000))
    full = width == 72 and not (folder / "checkpoint.ckpt").exists()
    try:
        result = fit(config, folder, with_full_disk(report) if full else report)
    finally:
        if full:
            limit_files(resource.RLIM_INFINITY)
    if width == 32:
        result.record["test/nll"] = float("nan")
    return result


def with_full_disk(report: Any) -> Any:
    """The file system takes no more after the first report: what is written there becomes an OSError, as on a full disk."""

    def reported(row: Any) -> bool:
        goes_on = report(row)
        limit_files(4096)
        return goes_on

    return reported


def limit_files(most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


class Patch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Replaces `fit` in `sweeps.worker.run_trial` when it is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != "sweeps.worker.run_trial":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        loader = spec.loader
        run = loader.exec_module

        def patched(module: ModuleType) -> None:
            run(module)
            fit = module.fit  # type: ignore[attr-defined]
            module.fit = lambda config, *given: misbehave(config, fit, *given)  # type: ignore[attr-defined]

        loader.exec_module = patched  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Patch())
