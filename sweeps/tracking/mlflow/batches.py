"""Params, metrics and tags of a run in as few requests as MLflow's limits allow."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from sweeps.tracking.events import Point
from sweeps.tracking.mlflow.refusals import describe_error, is_divisible
from sweeps.tracking.mlflow.run_index import RunIndex

MAX_METRICS = 800  # metrics in one log_batch, whose limit is 1000 metrics, params and tags together
MAX_PARAMS = 100
MAX_TAGS = 100
Item = Metric | Param | RunTag


def log_values(
    index: RunIndex, run_id: str, points: Sequence[Point], params: Mapping[str, Any], tags: Mapping[str, str]
) -> list[str]:
    """Send points, params and tags. Returns a line for each item that the server refuses alone."""
    metrics = [Metric(point["metric"], point["value"], point["time"], point["at"]) for point in points]
    named = [Param(key, str(value)) for key, value in params.items()]
    marks = [RunTag(key, value) for key, value in tags.items()]
    refusals: list[str] = []
    while metrics or named or marks:
        refusals += _log_items(index, run_id, [*named[:MAX_PARAMS], *metrics[:MAX_METRICS], *marks[:MAX_TAGS]])
        metrics, named, marks = metrics[MAX_METRICS:], named[MAX_PARAMS:], marks[MAX_TAGS:]
    return refusals


def _log_items(index: RunIndex, run_id: str, items: list[Item]) -> list[str]:
    """Send one request; where it is too large, or an item is refused, its halves, down to single items."""
    try:
        index.client.log_batch(
            run_id,
            metrics=[item for item in items if isinstance(item, Metric)],
            params=[item for item in items if isinstance(item, Param)],
            tags=[item for item in items if isinstance(item, RunTag)],
        )
    except Exception as error:
        if not is_divisible(error) or index.is_deleted(run_id):
            raise
        if len(items) == 1:
            return [f"{items[0].key}: {describe_error(error)}"]
        half = len(items) // 2
        return _log_items(index, run_id, items[:half]) + _log_items(index, run_id, items[half:])
    return []
