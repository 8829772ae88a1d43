"""Copies trials of other sweeps into the store of this one (`measure.reuse`)."""

from collections import Counter

from lightning_modules.record import FitResult
from lightning_modules.trial_folder import ITEMS, THINKING, WEIGHTS
from lightning_modules.yaml_file import write_yaml
from sweeps.planning.finished import Records
from sweeps.planning.reuse import find_reusable
from sweeps.spec.sweep import SweepSpec
from sweeps.store.attempts import settled
from sweeps.store.store import Store, trial_file

COPIED = (WEIGHTS, ITEMS, THINKING)


def take_over(spec: SweepSpec, store: Store, results: Records) -> list[str]:
    """Copy the completed trials of `measure.reuse` that this sweep lacks or would try again; an interrupted copy is made again.

    The records of the copies have the name of this sweep, and their configs name data and plug-ins as this spec does.

    Args:
        results: the finished trials of the store.

    Returns:
        A line for each sweep that trials came from.

    Raises:
        UserError: as `find_reusable`.
    """
    counts: Counter[str] = Counter()
    found = find_reusable(spec, settled(results, spec.resources.max_retries))
    configs = {config.fingerprint: config for config in spec.design} if found else {}
    for fingerprint, reusable in found.items():
        store.write_trial(fingerprint, write_yaml(configs[fingerprint].resolved()))
        for name in COPIED:
            content = reusable.store.file(fingerprint, name)
            if content is not None:
                store.backend.write(trial_file(fingerprint, name), content)
        record = {name: value for name, value in reusable.record.items() if name != "curves"}
        result = FitResult(record | {"sweep": spec.name}, reusable.record["curves"])
        store.write_result(fingerprint, result.to_json())  # the end marker, last
        counts[reusable.store.location] += 1
    return [f"{count} finished trial{'' if count == 1 else 's'} taken over from {place}" for place, count in counts.items()]
