"""Optional parts of a run: dataset, artifacts, models, the view. Each is sent alone, so that a server can refuse one of them."""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag

from lightning_modules.trial_folder import TRIAL
from sweeps.tracking.curves_file import write_curves
from sweeps.tracking.events import BestChosen, CurvesReady, DataFacts, Event, SweepBegun, TrialBegun, TrialEnded
from sweeps.tracking.mlflow import CURVES, SPEC
from sweeps.tracking.mlflow.model_logging import log_best
from sweeps.tracking.mlflow.refusals import Refused
from sweeps.tracking.mlflow.run_index import RunIndex
from sweeps.tracking.mlflow.view import prepare_view

DIFF, VIEW, DATASET, MODELS = "code.diff", "view", "dataset", "models"  # names of parts
Part = tuple[str, str]  # fingerprint and name
ReadFile = Callable[[str, str], bytes | None]  # fingerprint and name of a trial's file to its content, None if it is absent


def part_names(event: Event) -> list[str]:
    """Names of the optional parts that an event brings."""
    match event:
        case SweepBegun():
            return [SPEC, VIEW] + ([DIFF] if event.diff else [])
        case TrialBegun():
            return [TRIAL]
        case TrialEnded():
            return ([DATASET] if event.dataset is not None else []) + list(event.files)
        case CurvesReady():
            return [CURVES]
        case BestChosen():
            return [MODELS]
    return []


def find_parts(parts: Iterable[Part], events: Iterable[Event]) -> dict[Part, Event]:
    """Parts with the last event that names each; those that no event names any more are left out."""
    wanted = set(parts)
    return {
        (event.fingerprint, name): event for event in events for name in part_names(event) if (event.fingerprint, name) in wanted
    }


class PartSender:
    """Sends optional parts to the runs of an index."""

    def __init__(self, index: RunIndex, sweep: str, events: Callable[[], Iterable[Event]], read_file: ReadFile) -> None:
        self.index, self.client, self.sweep = index, index.client, sweep
        self._events, self._read_file = events, read_file

    def send(self, part: Part, event: Event) -> None:
        """Send one part.

        Raises:
            Exception: it did not arrive.
        """
        fingerprint, name = part
        if fingerprint not in self.index.ids:
            raise Refused("the run does not exist")
        run_id = self.index.ids[fingerprint]
        match event:
            case SweepBegun() if name == VIEW:
                prepare_view(self.client, self.index.experiment_id, event.axes, event.objective)
            case SweepBegun():
                self.client.log_text(run_id, event.spec if name == SPEC else event.diff, name)
            case TrialBegun():
                self.client.log_text(run_id, event.trial, TRIAL)
            case TrialEnded(dataset=dataset) if name == DATASET and dataset is not None:
                self._log_dataset(run_id, dataset)
            case TrialEnded():
                self._log_file(run_id, fingerprint, name)
            case CurvesReady():
                self._log_curves(run_id)
            case BestChosen():
                self._log_models(event.fingerprints)

    def _log_dataset(self, run_id: str, data: DataFacts) -> None:
        facts = Dataset(data["name"], data["digest"], "code", json.dumps(data["source"]), profile=json.dumps(data["profile"]))
        splits = InputTag("mlflow.data.context", "train, validation, test")
        self.client.log_inputs(run_id, datasets=[DatasetInput(facts, [splits])])

    def _log_curves(self, run_id: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / CURVES
            write_curves(path, self._events())
            self.client.log_artifact(run_id, str(path))

    def _log_models(self, fingerprints: list[str]) -> None:
        missing = [fingerprint for fingerprint in fingerprints if fingerprint not in self.index.ids]
        if missing:
            raise Refused(f"the run of trial {missing[0]} does not exist")
        best = {fingerprint: self.index.ids[fingerprint] for fingerprint in fingerprints}
        log_best(self.client, self.index.experiment_id, self.sweep, best, self._read_file)

    def _log_file(self, run_id: str, fingerprint: str, name: str) -> None:
        """Send a file of a trial's folder; nothing where it is absent."""
        content = self._read_file(fingerprint, name)
        if content is not None:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / name).write_bytes(content)
                self.client.log_artifact(run_id, str(Path(folder) / name))
