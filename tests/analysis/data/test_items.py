"""`items.parquet` in few numbers."""

from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.data.items import ITEM_COLUMNS, summarise_items
from rrm.errors import UserError


def items_file(correct: np.ndarray, q: np.ndarray, change: float = 0.01, column: str = "state_change") -> bytes:
    """[rollouts, depths, items] at depths 1, 2, 4, .."""
    rollouts, depths, count = correct.shape
    rows = [
        {"item": item, "difficulty": 0, "depth": 2**depth, "rollout": rollout, "correct": bool(correct[rollout, depth, item]),
         "q": float(q[rollout, depth, item]), column: change, "token_changes": 0}
        for rollout in range(rollouts) for depth in range(depths) for item in range(count)
    ]  # fmt: skip
    sink = BytesIO()
    pd.DataFrame(rows).to_parquet(sink)
    return sink.getvalue()


def told(table: pd.DataFrame, summary: str) -> list[tuple[int, float, float]]:
    own = table[table["summary"] == summary]
    return [(int(row.depth), float(row.at), float(row.value)) for row in own.itertuples()]


def test_an_item_halts_at_the_first_depth_with_q_above_zero() -> None:
    correct = np.array([[[0, 1, 0, 0], [1, 0, 0, 1], [1, 0, 1, 0]]])
    q = np.array([[[-1, 1, -1, -1], [1, -1, -1, -1], [1, 1, 1, -1]]])
    table = summarise_items([("a", items_file(correct, q))])
    assert table.columns.tolist() == ITEM_COLUMNS and set(table["fingerprint"]) == {"a"}
    # Item 1 halts at once and is right; item 0 at depth 2; items 2 and 3 run to the last depth.
    assert told(table, "halted") == [(1, 1.0, 0.25), (2, 1.75, 0.75), (4, 2.75, 0.75)]


def test_the_most_confident_rollout_and_any_of_them() -> None:
    correct = np.array([[[0, 0, 1, 0]], [[1, 0, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 0, 0]]])
    q = np.array([[[0, 0, 5, 0]], [[1, 0, 0, 0]], [[0, 2, 0, 0]], [[0, 9, 0, 1]]], dtype=float)
    table = summarise_items([("a", items_file(correct, q))])
    assert told(table, "best_q") == [(1, 1.0, 0.25), (1, 2.0, 0.5), (1, 4.0, 0.5)]
    assert told(table, "oracle") == [(1, 1.0, 0.25), (1, 2.0, 0.5), (1, 4.0, 0.75)]


@pytest.mark.parametrize("column", ["state_change", "residual"])
def test_confidence_and_state_change_are_binned_with_their_counts_also_in_a_file_of_format_1(column: str) -> None:
    correct = np.array([[[1, 1, 0, 0]]])
    q = np.array([[[4.0, 4.0, 4.0, -4.0]]])
    table = summarise_items([("a", items_file(correct, q, 0.0033, column))])
    confident = table[table["summary"] == "confidence"]
    assert confident["count"].tolist() == [1, 3] and confident["value"].tolist() == pytest.approx([0, 2 / 3])
    assert told(table, "state_change") == [(1, -2.5, 0.5)]


def test_a_file_of_a_later_format_is_refused_with_its_trial() -> None:
    table = pq.read_table(BytesIO(items_file(np.ones((1, 1, 2)), np.ones((1, 1, 2)))))
    sink = BytesIO()
    pq.write_table(table.replace_schema_metadata({"format": "3"}), sink)
    with pytest.raises(UserError, match=r"^items.parquet of trial abc: has format 3, .* install a newer rrm-sweeps$"):
        summarise_items([("abc", sink.getvalue())])


def test_no_files_are_an_empty_table() -> None:
    assert summarise_items([]).columns.tolist() == ITEM_COLUMNS
