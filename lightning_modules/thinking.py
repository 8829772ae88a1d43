"""`thinking.npz`: the answers of a model to a few test rows after each supervision step, and what each step fixes and breaks."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.atomic_write import write_atomically
from lightning_modules.columns import THINKING_FORMAT
from lightning_modules.evaluation import Scores
from rrm.format_version import check_format
from rrm.tasks import Examples, Task

MAX_TOKENS = 1024  # tokens of a row; no file is written for longer ones, because it would be large


def thinking_arrays(scores: Scores, examples: Examples, task: Task) -> dict[str, np.ndarray]:
    """The content of the file.

    Args:
        scores: of a split of N examples of L tokens at depths 1 .. D.

    Returns:
        `answers` [rows, D, L] uint8 of the first rows; `inputs`, `labels` [rows, L] uint8 and `unknown` [rows, L] bool of the
        same rows, as in `Examples`; `grid` [2], rows and columns of the canvas; `kind` of the task; over all N rows, `fixed`
        [D] int64, unknown tokens that became right with this step, and `broken` [D] int64, those that became wrong. Before the
        first step none is right.
    """
    shown = scores.rollouts[0].shown_answers.numpy()
    rows = slice(0, shown.shape[1])
    return {
        "answers": shown.swapaxes(0, 1),
        "inputs": examples.inputs[rows],
        "labels": examples.labels[rows],
        "unknown": examples.unknown[rows],
        "grid": np.array(task.grid),
        "kind": np.array(task.config.identity()["kind"]),
        "fixed": scores.rows.fixed_tokens.sum(1).numpy(),
        "broken": scores.rows.broken_tokens.sum(1).numpy(),
    }


def write_thinking(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays with the version of the format; nothing where rows are longer than `MAX_TOKENS`."""
    if arrays["inputs"].shape[1] > MAX_TOKENS:
        return
    buffer = io.BytesIO()
    stated: dict[str, Any] = {"format": np.array(THINKING_FORMAT), **arrays}
    np.savez_compressed(buffer, **stated)
    write_atomically(path, buffer.getvalue())


def read_thinking(content: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays of a file.

    Args:
        where: the file, for the error.

    Raises:
        UserError: a later version wrote it.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)
    check_format(int(arrays.pop("format")), THINKING_FORMAT, where)
    return arrays
