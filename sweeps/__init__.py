"""Many trials: one YAML file, Ray to run it, Optuna to choose, MLflow to hold the runs, a folder that is the truth.

A sampler or a tracker of your own imports `Sampler` or `Tracker` from here (docs/extending.md); each is loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.spec.sampler import Sampler as Sampler
    from sweeps.tracking.tracker import Tracker as Tracker

_MODULES = {"Sampler": "sweeps.spec.sampler", "Tracker": "sweeps.tracking.tracker"}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'sweeps' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
