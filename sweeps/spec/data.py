"""The data and weights that a sweep needs. This module imports torch for the weights; the other modules of a spec do not."""

from rrm.tasks import build_task
from rrm.tasks.cache import load_data
from rrm.weights import read_weights
from sweeps.spec.sweep import SweepSpec


def check_data(spec: SweepSpec) -> None:
    """Build the data of every task of the spec where it is absent, and read the weights that trials start from.

    Raises:
        UserError: a file is missing or has a bad row.
    """
    trials = spec.design or (spec.base,)
    for task in {trial.task for trial in trials}:
        load_data(build_task(task))
    for path in {trial.fit.start_from for trial in trials if trial.fit.start_from is not None}:
        read_weights(path)
