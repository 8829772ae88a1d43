"""`thinking.npz`: the answers of a model to a few test rows after each supervision step, and what each step fixes and breaks."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.atomic_write import write_atomically
from lightning_modules.columns import THINKING_FORMAT
from rrm.format_version import check_format

MAX_TOKENS = 1024  # tokens of a row; no file is written for longer ones, because it would be large


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
