"""What events state of a trial: from its config while a sweep runs, from its files and its record where it ended earlier."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning_modules.config import TrialConfig, flatten
from lightning_modules.record import Record
from lightning_modules.yaml_file import parse_yaml, write_yaml
from rrm.errors import UserError
from sweeps.store.store import Store
from sweeps.store.stored_trials import read_config
from sweeps.tracking.events import DataFacts


@dataclass(frozen=True)
class TrialFacts:
    """A trial without its config."""

    fingerprint: str
    params: dict[str, Any]  # by dotted path, and the seed
    matching: str  # unit of its budget
    training_fingerprint: str
    text: str  # trial.yaml
    describe_data: Callable[[Record], DataFacts | None]  # None where its record has no data


def facts_of(config: TrialConfig) -> TrialFacts:
    """The facts of a trial whose config is known."""
    return TrialFacts(
        fingerprint=config.fingerprint,
        params={**config.flat(), "seed": config.seed},
        matching=config.fit.budget.unit,
        training_fingerprint=config.training_fingerprint,
        text=write_yaml(config.resolved()),
        describe_data=lambda record: _data_of_config(config, record),
    )


def stored_facts(store: Store, fingerprint: str, record: Record) -> TrialFacts:
    """The facts of an ended trial in a store. Those of a trial with a plug-in come from its files, and no plug-in is imported.

    Raises:
        UserError: its `trial.yaml` is damaged.
    """
    text = store.trial(fingerprint) or ""
    sections = parse_yaml(text, store.where(fingerprint))
    if not isinstance(sections, dict) or "plugins" not in sections:
        return facts_of(read_config(store, fingerprint))
    params = flatten({name: value for name, value in sections.items() if name != "plugins"})
    return TrialFacts(
        fingerprint=fingerprint,
        params=params,
        matching=params["fit.budget.unit"],
        training_fingerprint=record["training_fingerprint"],
        text=text,
        describe_data=lambda ended: _data(sections["task"], {}, ended),
    )


def _data_of_config(config: TrialConfig, record: Record) -> DataFacts | None:
    """The data of a trial; None where the trial failed before it read any, or its files are gone."""
    if "data_fingerprint" not in record:
        return None
    try:
        shape = config.task.shape
    except UserError:  # the number of puzzles in sets of ARC comes from their files
        return None
    return _data(config.task.identity(), {"tokens": shape.length, "vocabulary": shape.vocabulary}, record)


def _data(task: dict[str, Any], shape: dict[str, int], record: Record) -> DataFacts | None:
    """The data of a task with these settings; None where the trial failed before it read any."""
    if "data_fingerprint" not in record:
        return None
    counts = {name: value for name, value in task.items() if name.endswith("_examples")}
    return DataFacts(
        name=f"{task['kind']}{task.get('size', '')}", digest=record["data_fingerprint"], source=task, profile=counts | shape
    )
