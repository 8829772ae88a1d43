"""The best trials of a sweep on validation, and their score in words; no plug-in is imported."""

from collections.abc import Iterable

from lightning_modules.outcome import Outcome
from lightning_modules.record import Record
from sweeps.spec.sweep import SweepSpec

ACCURACY = "val/exact_accuracy"


def best_trials(spec: SweepSpec, records: Iterable[Record], count: int) -> list[Record]:
    """The best completed trials of a sweep, the best first: of a search by its first objective, else by accuracy."""
    if spec.search is not None:
        return spec.search.best(list(records), count)
    completed = [record for record in records if record["outcome"] == Outcome.COMPLETED and record.get(ACCURACY) is not None]
    # Among equals the smaller model, then the order of fingerprints, so that two runs name the same one.
    ranked = sorted(completed, key=lambda record: (-record[ACCURACY], record["params"], record["fingerprint"]))
    models: dict[str, Record] = {}  # a model that is scored in several ways counts once
    for record in ranked:
        models.setdefault(str(record.get("training_fingerprint") or record["fingerprint"]), record)
    return list(models.values())[:count]


def describe_score(spec: SweepSpec, record: Record) -> str:
    """`val exact accuracy 0.813`, after the first objective of a search that has another one."""
    accuracy = f"val exact accuracy {record[ACCURACY]:.3f}"
    if spec.search is None or spec.search.objectives[0].metric == ACCURACY:
        return accuracy
    metric = spec.search.objectives[0].metric
    return f"{metric} {record[metric]:.4g}, {accuracy}"
