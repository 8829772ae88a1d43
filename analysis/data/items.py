"""Summaries of the test items of each trial: halting, state change and rollouts.

`items.parquet` of a trial has one row per item, depth and rollout, which is millions of rows for a thousand trials. Each file is
summarised when it is read, into rows of `ITEM_COLUMNS`.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.special import expit

from lightning_modules.columns import ITEMS_FORMAT, RENAMED
from lightning_modules.trial_folder import ITEMS
from rrm.format_version import check_format

ITEM_COLUMNS = ["fingerprint", "summary", "depth", "at", "count", "value"]
NEEDED_COLUMNS = ("depth", "rollout", "correct", "q", "state_change")
FORMAT_KEY = b"format"  # key of the version in the metadata of the file
CONFIDENCE_BINS = 10
STATE_CHANGE_BINS = 2  # bins in a power of ten
MIN_STATE_CHANGE = 1e-8  # smaller changes count as this one

Row = tuple[str, int, float, int, float]  # summary, depth, at, count, value


def summarise_items(files: Iterable[tuple[str, bytes]]) -> pd.DataFrame:
    """Rows of `ITEM_COLUMNS` for the items of each trial (its fingerprint, its file).

    The summaries, each at every depth D that the file has:
        `confidence`: share of items that are right, `at` the mean halting probability of the bin;
        `state_change`: share of items that are right, `at` the power of ten of the state change in this step, in halves;
        `halted`: share right where an item stops at the first of these depths with q > 0, at the latest at D; `at` the mean depth;
        `best_q`, `oracle`: share right of the most confident of `at` rollouts; share of items that at least one of them solves.
    """
    rows = [(fingerprint, *row) for fingerprint, content in files for row in _summaries(fingerprint, content)]
    return pd.DataFrame(rows, columns=ITEM_COLUMNS)


def _summaries(fingerprint: str, content: bytes) -> Iterator[Row]:
    columns = _read_columns(content, f"{ITEMS} of trial {fingerprint}")
    depths, rollouts = np.unique(columns["depth"]), int(columns["rollout"].max()) + 1
    # The rows of the file are ordered by rollout, depth and item.
    correct, q, change = (columns[name].reshape(rollouts, len(depths), -1) for name in ("correct", "q", "state_change"))
    for number, depth in enumerate(map(int, depths)):
        yield from _confidence(depth, correct[0, number], q[0, number])
        yield from _state_change(depth, correct[0, number], change[0, number])
        yield from _rollouts(depth, correct[:, number], q[:, number])
    yield from _halted(depths, correct[0], q[0])


def _read_columns(content: bytes, where: str) -> dict[str, np.ndarray]:
    """The columns of a file by today's names.

    Raises:
        UserError: a later version wrote the file.
    """
    file = pq.ParquetFile(BytesIO(content))
    stated = (file.schema_arrow.metadata or {}).get(FORMAT_KEY)
    check_format(None if stated is None else int(stated), ITEMS_FORMAT, where)
    wanted = [name for name in file.schema_arrow.names if RENAMED.get(name, name) in NEEDED_COLUMNS]
    table = file.read(columns=wanted)
    return {RENAMED.get(name, name): table[name].to_numpy() for name in table.column_names}


def _confidence(depth: int, correct: np.ndarray, q: np.ndarray) -> Iterator[Row]:
    probability = expit(q)
    bins = np.minimum((probability * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    for number in np.unique(bins):
        inside = bins == number
        yield "confidence", depth, float(probability[inside].mean()), int(inside.sum()), float(correct[inside].mean())


def _state_change(depth: int, correct: np.ndarray, state_change: np.ndarray) -> Iterator[Row]:
    powers = np.round(np.log10(np.maximum(state_change, MIN_STATE_CHANGE)) * STATE_CHANGE_BINS) / STATE_CHANGE_BINS
    for power in np.unique(powers):
        inside = powers == power
        yield "state_change", depth, float(power), int(inside.sum()), float(correct[inside].mean())


def _rollouts(depth: int, correct: np.ndarray, q: np.ndarray) -> Iterator[Row]:
    """Scores of the first k of K rollouts [K, items], for k in powers of two and for all."""
    total, items = correct.shape
    if total == 1:
        return
    for k in sorted({2**power for power in range(total.bit_length()) if 2**power <= total} | {total}):
        best = q[:k].argmax(0)
        yield "best_q", depth, float(k), items, float(correct[best, np.arange(items)].mean())
        yield "oracle", depth, float(k), items, float(correct[:k].any(0).mean())


def _halted(depths: np.ndarray, correct: np.ndarray, q: np.ndarray) -> Iterator[Row]:
    """Scores with halting by q, from [depths, items]."""
    items = np.arange(correct.shape[1])
    for last in range(len(depths)):
        halts = q[: last + 1] > 0
        place = np.where(halts.any(0), halts.argmax(0), last)
        yield "halted", int(depths[last]), float(depths[place].mean()), len(items), float(correct[place, items].mean())
