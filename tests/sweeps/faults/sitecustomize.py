"""On the PYTHONPATH of a test's workers: trials of some widths misbehave, by what real failures do.

24 raises    32 learns NaN    40 dies of a segmentation fault    48 hangs    56 eats memory
"""

import ctypes
import importlib.abc
import importlib.machinery
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any


def misbehave(config: Any, fit: Any, *given: Any) -> Any:
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
    result = fit(config, *given)
    if width == 32:
        result.record["test/nll"] = float("nan")
    return result


class Patch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Replaces `fit` in `sweeps.trial` when it is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != "sweeps.trial":
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
