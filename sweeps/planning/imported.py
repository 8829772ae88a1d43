"""What an imported sweep lacks: the weights of its finished trials, and the data, which may be other data on this machine."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lightning_modules.config import TrialConfig
from lightning_modules.trial_folder import WEIGHTS
from rrm.errors import UserError
from rrm.tasks import build_task
from rrm.tasks.cache import load_data
from sweeps.design.groups import FILE_PATHS
from sweeps.planning.donors import Donors
from sweeps.planning.finished import Records
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store

ANOTHER_NAME = "train it anew under another name: name=NEW"


def refuse_missing_parts(spec: SweepSpec, store: Store, results: Records) -> None:
    """Refuse new trials beside imported ones that need weights which were not imported, or whose data is other data.

    Args:
        results: the finished trials of the store.

    Raises:
        UserError: a new trial would be scored from an imported one, or its data has another digest here.
    """
    imported = store.imported()
    left = [config for config in spec.design or (spec.base,) if config.fingerprint not in results]
    if not imported or not left:
        return
    _refuse_absent_weights(left, store, results, imported)
    _refuse_other_data(left, [record for name, record in results.items() if name in imported])


def _refuse_absent_weights(left: Iterable[TrialConfig], store: Store, results: Records, imported: set[str]) -> None:
    donors = Donors(store, results)
    for config in left:
        donor = donors.find(config)
        if donor is not None and not donor.has_weights and donor.fingerprint in imported:
            where = f"{store.where(donor.fingerprint)}/{WEIGHTS}"
            raise UserError(where, f"was not imported, so that the trial cannot be scored in another way: {ANOTHER_NAME}")


def _refuse_other_data(left: Iterable[TrialConfig], records: Iterable[Mapping[str, Any]]) -> None:
    digests = {_settings(record): record["data_fingerprint"] for record in records if "data_fingerprint" in record}
    for task in {config.task: config for config in left}.values():
        expected = digests.get(_settings(task.flat()))
        found = load_data(build_task(task.task)).fingerprint if expected is not None else None
        if found != expected:
            problem = f"is other data here than that of the imported trials: its digest is {found}, expected {expected}"
            raise UserError("trial.task", f"{problem}; {ANOTHER_NAME}")


def _settings(columns: Mapping[str, Any]) -> str:
    """The settings of a task among columns, without the paths of its files, as a text."""
    task = {name: value for name, value in columns.items() if name.startswith("task.") and name not in FILE_PATHS}
    return json.dumps(task, sort_keys=True)
