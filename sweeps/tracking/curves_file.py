"""All curves of a sweep as one Parquet file: a reader needs one request, and not one per run and metric."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from lightning_modules.columns import axis_of, current_name
from sweeps.tracking.events import Event, TrialEnded, points_of

SCHEMA = pa.schema(
    {"fingerprint": pa.string(), "metric": pa.string(), "axis": pa.string(), "at": pa.int64(), "value": pa.float64()}
)
ENDED = b"ended"  # key in the file's metadata: JSON of end times in milliseconds, for trials whose curves are complete


def write_curves(path: Path, events: Iterable[Event]) -> None:
    """Write the curves of all events of a sweep; a later point replaces an earlier one of the same metric and step."""
    points: dict[tuple[str, str, int], float] = {}
    ended: dict[str, int] = {}
    for event in events:
        for point in points_of(event):
            if axis_of(point["metric"]):
                points[event.fingerprint, point["metric"], point["at"]] = point["value"]
        if isinstance(event, TrialEnded):
            ended[event.fingerprint] = event.time
    table = curve_table(
        {"fingerprint": fingerprint, "metric": metric, "at": at, "value": value}
        for (fingerprint, metric, at), value in points.items()
    )
    pq.write_table(table.replace_schema_metadata({ENDED: json.dumps(ended)}), path)


def curve_table(points: Iterable[dict[str, Any]]) -> pa.Table:
    """Points of curves as a table of `SCHEMA`."""
    listed = list(points)
    columns: dict[str, list[Any]] = {name: [point[name] for point in listed] for name in ("fingerprint", "metric", "at", "value")}
    columns["axis"] = [axis_of(metric) for metric in columns["metric"]]
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def read_curves(file: Path | BinaryIO) -> tuple[pa.Table, dict[str, int]]:
    """The table with today's names of metrics, and the end times in milliseconds of the trials whose curves are complete in it."""
    table = pq.read_table(file)
    metrics = pa.array([current_name(metric) for metric in table["metric"].to_pylist()], pa.string())
    ended = json.loads(table.schema.metadata[ENDED])
    return table.set_column(table.column_names.index("metric"), "metric", metrics), ended
