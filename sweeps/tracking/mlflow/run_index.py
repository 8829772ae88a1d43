"""The runs of an experiment by fingerprint: each is created once."""

from collections import defaultdict

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from sweeps.tracking.mlflow import ATTEMPT, FINGERPRINT, SWEEP
from sweeps.tracking.mlflow.experiment import DELETED
from sweeps.tracking.mlflow.runs import all_runs


class RunIndex:
    """Run IDs by fingerprint; "" is the sweep's run.

    This driver is the only writer, so the index asks MLflow again only after a request without an answer.
    """

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self.client, self.experiment_id = client, experiment_id
        self.start_times: dict[str, int] = {}  # milliseconds since 1970, by fingerprint
        self._unanswered: set[str] = set()  # fingerprints of runs that may have been created although no answer came
        self.ids: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the runs. Of those with one fingerprint the last attempt with the most values stays; the others are deleted."""
        by_fingerprint: dict[str, list[Run]] = defaultdict(list)
        for run in all_runs(self.client, self.experiment_id):
            tags = run.data.tags
            if FINGERPRINT in tags or SWEEP in tags:
                by_fingerprint[tags.get(FINGERPRINT, "")].append(run)
        ids = {}
        for fingerprint, same in by_fingerprint.items():
            first, *others = sorted(same, key=_precedence)
            ids[fingerprint], self.start_times[fingerprint] = first.info.run_id, first.info.start_time
            for other in others:
                self.client.delete_run(other.info.run_id)
        self.ids = ids

    def find_or_create(self, fingerprint: str, start_time: int, tags: dict[str, str]) -> bool:
        """Create a run where it is certain that none has this fingerprint; False if one exists."""
        if fingerprint in self._unanswered:
            self.refresh()
            self._unanswered.clear()
        if fingerprint in self.ids:
            return False
        self._unanswered.add(fingerprint)  # it may still arrive, even after the next refresh
        run = self.client.create_run(self.experiment_id, start_time=start_time, tags=tags)
        self.ids[fingerprint], self.start_times[fingerprint] = run.info.run_id, start_time
        self._unanswered.remove(fingerprint)
        return True

    def delete(self, fingerprint: str) -> None:
        """Delete a run in MLflow and here."""
        self.client.delete_run(self.ids.pop(fingerprint))

    def forget_if_deleted(self, fingerprint: str) -> bool:
        """Whether MLflow has deleted the run; such a run is forgotten, so that it is created again."""
        if fingerprint not in self.ids:
            return False
        try:
            is_deleted = self.is_deleted(self.ids[fingerprint])
        except MlflowException as error:
            is_deleted = error.error_code == "RESOURCE_DOES_NOT_EXIST"
        if is_deleted:
            del self.ids[fingerprint]
        return is_deleted

    def is_deleted(self, run_id: str) -> bool:
        """Whether a run has the mark of a deleted one."""
        return bool(self.client.get_run(run_id).info.lifecycle_stage == DELETED)


def _precedence(run: Run) -> tuple[int, int, int]:
    """Sorts runs of one fingerprint, the run that stays first."""
    attempt = int(run.data.tags.get(ATTEMPT, 1))
    return -attempt, -len(run.data.metrics) - len(run.data.params), run.info.start_time
