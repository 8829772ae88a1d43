"""The data and weights that a sweep needs; a module of its own because the weights need torch, and a spec does not."""

from rrm.tasks import build_task
from rrm.tasks.cache import load_data
from rrm.weights import read_weights
from sweeps.spec.sweep import SweepSpec


def check_data(spec: SweepSpec) -> None:
    """Build the data of every task that the spec names, or find that it is there; read the weights that trials start from.

    Raises:
        UserError: a file is missing or has a bad row.
    """
    trials = spec.design or (spec.base,)
    for task in {trial.task for trial in trials}:
        load_data(build_task(task))
    for path in {trial.fit.start_from for trial in trials if trial.fit.start_from is not None}:
        read_weights(path)
