"""Cells, and groups of cells that one law may span."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FILE_PATHS = {  # paths of files among the settings, each with the digests that identify the file
    "task.train": {"task.train_sha256", "task.sources_sha256"},
    "task.test": {"task.test_sha256", "task.sources_sha256"},
    "task.validation": {"task.validation_sha256"},
    "task.ood": {"task.ood_sha256"},
    "task.path": {"task.sha256"},
    "fit.start_from": {"fit.start_from_sha256"},
}
# Settings that are filled in from all data files together.
FILE_FACTS = {"task.length", "task.vocabulary", "task.puzzles", "task.identifiers"}
Columns = Mapping[str, Sequence[Any]]  # values by name, all of equal length; None, NaN and "" stand for an absent value


def name_rows(columns: Columns, count: int) -> np.ndarray:
    """A text for each of `count` rows, equal where all values are equal, [rows]."""
    texts = [[_text(value) for value in values] for values in columns.values()]
    return np.array(["|".join(row) for row in zip(*texts, strict=True)] if texts else [""] * count, dtype=object)


def find_splitting(settings: Columns, axes: Columns, count: int) -> list[str]:
    """Settings that divide rows into groups which no law may span, in the order given.

    A word or a list divides wherever it differs. A number does not if it follows from the axes and the dividing words, as a
    learning rate for each width does. The path of a file does not where its digest is known.

    Args:
        settings: all that is neither an axis nor the seed, and on which scores may depend.
        axes: as `sweeps.design.axes.independent_axes` has them.
        count: rows.
    """
    known = {name: values for name, values in settings.items() if not FILE_PATHS.get(name, set()) & settings.keys()}
    differing = {name: values for name, values in known.items() if len(set(map(_text, values))) > 1}
    words = {name: values for name, values in differing.items() if not _are_numbers(values)}
    position = name_rows({**axes, **words}, count)
    return [name for name, values in differing.items() if name in words or not _follows(values, position)]


def split_rows(columns: Columns, count: int) -> list[np.ndarray]:
    """Numbers of the rows with equal values, an array for each group: numbers rise, then texts in the order of the alphabet."""
    rows: dict[tuple[str, ...], list[int]] = {}
    for row in range(count):
        rows.setdefault(tuple(_text(values[row]) for values in columns.values()), []).append(row)
    return [np.array(rows[key]) for key in sorted(rows, key=lambda key: [_rank(text) for text in key])]


def _text(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) else str(value)


def _rank(text: str) -> tuple[bool, float, str]:
    """What orders the texts of values."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _are_numbers(values: Sequence[Any]) -> bool:
    present = [value for value in values if _text(value) != ""]
    return all(isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_) for value in present)


def _follows(values: Sequence[Any], position: np.ndarray) -> bool:
    """Whether rows at an equal position have an equal value."""
    seen: dict[str, str] = {}
    return all(seen.setdefault(at, _text(value)) == _text(value) for at, value in zip(position, values, strict=True))
