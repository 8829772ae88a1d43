"""Names of columns that have a meaning here (docs/formats.md)."""

from lightning_modules.columns import COSTS, SCORES, TEXTS
from lightning_modules.config import TrialConfig
from rrm.config import fields_by_path
from sweeps.design.axes import AMOUNT, AUGMENTATIONS, AXIS_SETTINGS, TRAIN_EXAMPLES

SETTINGS = frozenset(path for path in fields_by_path(TrialConfig) if "." in path)
NUMBERS = ("seed", *COSTS, *SCORES, "chosen_depth", "threads", "test_examples_seen_in_training", *AXIS_SETTINGS,
           TRAIN_EXAMPLES, AUGMENTATIONS, AMOUNT)  # fmt: skip
RECORD = (*TEXTS, *NUMBERS, "retryable", "outside_spec")  # columns of a record that are no settings, and the axes


def is_share(name: str) -> bool:
    """Whether a metric is a share, between 0 and 1."""
    return "/" in name and ("accuracy" in name or "pass_at_" in name)
