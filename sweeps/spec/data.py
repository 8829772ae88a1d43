"""The data and weights that a sweep needs. This module imports torch for the weights; the other modules of a spec do not."""

from lightning_modules.datamodule import load_splits
from rrm.errors import UserError
from rrm.weights import read_weights
from sweeps.design.axes import TRAIN_EXAMPLES
from sweeps.spec.sweep import SweepSpec


def check_data(spec: SweepSpec) -> None:
    """Build the data of every task of the spec where it is absent, and read the weights that trials start from.

    Raises:
        UserError: a file is missing or has a bad row.
    """
    trials = spec.design or (spec.base,)
    for task in {trial.task for trial in trials}:
        rows = len(load_splits(task).splits["train"])
        _check_rows(spec, getattr(task, "train_examples", None), rows)
    for path in {trial.fit.start_from for trial in trials if trial.fit.start_from is not None}:
        read_weights(path)


def _check_rows(spec: SweepSpec, asked: int | None, rows: int) -> None:
    """Refuse a number of training puzzles of a design that a file does not have.

    Raises:
        UserError: there are fewer.
    """
    if TRAIN_EXAMPLES in spec.varied_paths and asked is not None and asked > rows:
        raise UserError(
            TRAIN_EXAMPLES, f"must be at most {rows:,}, the training rows of the file, got {asked:,}: vary smaller numbers"
        )
