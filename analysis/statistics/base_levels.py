"""The base level of a categorical setting, with which its other levels are compared."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lightning_modules.config import TrialConfig
from rrm.config import OnePassConfig
from rrm.models import CONFIGS, model_config

KIND = "model.kind"
ONE_PASS = [kind for kind, config in CONFIGS.items() if issubclass(config, OnePassConfig)]  # baselines that recursion has to beat


def base_level(setting: str, levels: Sequence[Any], trials: pd.DataFrame) -> Any:
    """The one-pass baseline for the kind of model, the default for any other setting, else the first level.

    Args:
        levels: the levels of the setting, sorted; at least one.
        trials: completed trials; their most frequent `model.kind` decides the default.
    """
    if setting == KIND:
        return next((kind for kind in ONE_PASS if kind in levels), levels[0])
    default = _default(setting, trials)
    return default if default in levels else levels[0]


def _default(setting: str, trials: pd.DataFrame) -> Any:
    kinds = trials[KIND].value_counts().index.tolist() if KIND in trials else []
    known = [kind for kind in kinds if kind in CONFIGS]
    model = model_config(known[0]) if known else model_config()
    return TrialConfig(model=model).flat().get(setting)
