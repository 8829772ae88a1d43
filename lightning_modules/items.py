"""`items.parquet`: the scores of each test item at some depths, which show which puzzles are solved at which depth."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.atomic_write import write_atomically
from lightning_modules.columns import ITEMS_FORMAT
from lightning_modules.evaluation import Scores
from rrm.tasks import Examples

MAX_ROWS = 1000  # rows of the split, from its beginning


def item_columns(scores: Scores, examples: Examples, depths: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A row an example, depth and rollout.

    Args:
        scores: of a split of N examples of L tokens at depths 1 .. D.
        depths: depths of interest; the powers of two are added.

    Returns:
        Columns of equal length: `item` (examples of one item show the same question), `difficulty` by the task's first
        measure, `depth`, `rollout`, `correct`, `q` (the halting value, above 0 for "right"), `state_change` (relative change
        of the answer state in this step), `token_changes` (tokens whose answer changed in this step; all of them at depth 1).
    """
    deepest, count = len(scores.rows.solved), min(MAX_ROWS, len(examples))
    examples = examples.take(slice(0, count))
    powers = {2**power for power in range(deepest.bit_length())}
    chosen = sorted(depth for depth in powers.union(depths) if depth <= deepest)
    difficulty = next(iter(examples.difficulty.values()), np.zeros(count, dtype=np.int32))
    length = examples.inputs.shape[1]
    parts: dict[str, list[np.ndarray]] = {}
    for number, rollout in enumerate(scores.rollouts):
        for depth in chosen:
            at = {name: values[depth - 1, :count].numpy() for name, values in vars(rollout.rows).items()}
            columns = {
                "item": examples.items,
                "difficulty": difficulty,
                "depth": np.full(count, depth, dtype=np.int32),
                "rollout": np.full(count, number, dtype=np.int32),
                "correct": at["solved"].astype(bool),
                "q": at["q"].astype(np.float32),
                "state_change": at["state_change"].astype(np.float32),
                "token_changes": np.rint(at["token_change"] * length).astype(np.int32),
            }
            for name, values in columns.items():
                parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def write_items(path: Path, columns: dict[str, Any]) -> None:
    """Write the columns as a Parquet file; nothing is written where pyarrow is not installed, as on a bare GPU machine."""
    if find_spec("pyarrow") is None:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns).replace_schema_metadata({"format": str(ITEMS_FORMAT)}), sink)
    write_atomically(path, sink.getvalue().to_pybytes())
