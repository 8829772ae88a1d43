"""MLflow's words for what events hold: statuses of runs, names of tags."""

from collections.abc import Mapping

from lightning_modules.outcome import Outcome
from sweeps.tracking.events import State

STATUS: dict[State | Outcome, str] = {
    State.RUNNING: "RUNNING",
    State.WAITING: "SCHEDULED",
    State.FINISHED: "FINISHED",
    State.STOPPED: "KILLED",
    Outcome.COMPLETED: "FINISHED",
    Outcome.PRUNED: "KILLED",
    Outcome.FAILED: "FAILED",
}
ENDED = {"FINISHED", "FAILED", "KILLED"}
RUN_NAME, PARENT = "mlflow.runName", "mlflow.parentRunId"  # tags
SOURCE = {"mlflow.source.name": "rrm-sweep", "mlflow.source.type": "LOCAL"}  # tags of every run
TAGS = {"user": "mlflow.user", "git.commit": "mlflow.source.git.commit"}


def mlflow_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a run at its start."""
    return SOURCE | {TAGS.get(name, name): value for name, value in tags.items()}
