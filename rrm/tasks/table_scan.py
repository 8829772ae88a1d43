"""Facts of the files of a table, for which each file is read once: they are kept in the data cache by the digests of the files."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rrm.errors import UserError
from rrm.tasks.cache import keep_facts, read_facts
from rrm.tasks.table_rules import OPTIONAL, Rows, TableFormat, read_rows
from rrm.tasks.task import Split

MAX_HELD_BYTES = 2**29  # memory of the rows that a process holds

_HELD: dict[tuple[str, TableFormat], Rows] = {}  # rows of files by digest and format


class Source(NamedTuple):
    """A file of a table."""

    split: Split
    path: Path
    sha256: str


class TableFacts(NamedTuple):
    """What the files of a table have in common."""

    length: int  # tokens of a row
    largest: int  # largest token of all files
    largest_split: Split  # the file that holds it ...
    largest_at: str  # ... and where: `row 17`
    puzzles: int  # distinct values of the column `puzzle`; 0 without it
    groups: Mapping[Split, int]  # by file: how many groups of rows stay together


@dataclass(frozen=True)
class _FileFacts:
    source: Source
    groups: int  # rows of one group stay in one split
    length: int
    largest: int
    largest_row: int
    columns: set[str]  # optional columns that the file has
    puzzles: np.ndarray  # distinct puzzles, rising; empty without the column
    first_rows: np.ndarray  # row in which each of them stands first


@lru_cache
def scan_table(sources: tuple[Source, ...], given: TableFormat) -> TableFacts:
    """Facts of files, the training file first. Every row is checked where the cache has no facts of these files.

    Raises:
        UserError: a file is no table, a row breaks a rule, or files do not fit each other.
    """
    kept = read_facts(_key(sources, given))
    return _compare([_scan_file(source, given) for source in sources]) if kept is None else TableFacts(**kept)


def keep_scan(sources: tuple[Source, ...], given: TableFormat, facts: TableFacts) -> None:
    """Keep the facts of files that nothing refuses in the data cache."""
    keep_facts(_key(sources, given), facts._asdict)


def _key(sources: tuple[Source, ...], given: TableFormat) -> dict[str, Any]:
    return {"files": {source.split: source.sha256 for source in sources}, "format": given}


def read_source(source: Source, given: TableFormat) -> Rows:
    """The rows of a file. The process holds those that it has read last, so that it reads a file once for facts and trials.

    Raises:
        UserError: as from `read_rows`.
    """
    key = (source.sha256, given)
    if key in _HELD:
        return _HELD[key]
    rows = read_rows(source.path, given)
    if sum(held.num_bytes for held in (*_HELD.values(), rows)) > MAX_HELD_BYTES:
        _HELD.clear()
    if rows.num_bytes <= MAX_HELD_BYTES:
        _HELD[key] = rows
    return rows


def _scan_file(source: Source, given: TableFormat) -> _FileFacts:
    rows = read_source(source, given)
    highest = np.maximum(rows.inputs.max(axis=1), rows.labels.max(axis=1))
    columns = {name for name in OPTIONAL if getattr(rows, name) is not None}
    groups = len(highest) if rows.group is None else len(np.unique(rows.group))
    distinct, first = np.unique([] if rows.puzzle is None else rows.puzzle, return_index=True)
    at = int(highest.argmax())
    return _FileFacts(source, groups, rows.inputs.shape[1], int(highest[at]), at + 1, columns, distinct, first + 1)


def _compare(files: list[_FileFacts]) -> TableFacts:
    """Facts of all files.

    Raises:
        UserError: files have rows of different lengths, different optional columns, or rows of one puzzle.
    """
    first, *others = files
    for other in others:
        _refuse_different(first, other)
    for number, file in enumerate(files):
        for other in files[number + 1 :]:
            _refuse_shared_puzzle(file, other)
    highest = max(files, key=lambda file: file.largest)
    return TableFacts(
        first.length,
        highest.largest,
        highest.source.split,
        f"row {highest.largest_row}",
        puzzles=sum(len(file.puzzles) for file in files),
        groups={file.source.split: file.groups for file in files},
    )


def _refuse_different(first: _FileFacts, other: _FileFacts) -> None:
    where, like = str(other.source.path), first.source.path
    if other.length != first.length:
        raise UserError(where, f"must have rows of {first.length} tokens as {like}, got {other.length}: give all files one length")
    for name in OPTIONAL:
        if (name in other.columns) != (name in first.columns):
            has, lacks = (first, other) if name in first.columns else (other, first)
            rule = f"must have the column {name!r} as {has.source.path}"
            raise UserError(str(lacks.source.path), f"{rule}: add it, or remove it from all files")


def _refuse_shared_puzzle(file: _FileFacts, other: _FileFacts) -> None:
    shared, at, other_at = np.intersect1d(file.puzzles, other.puzzles, assume_unique=True, return_indices=True)
    if len(shared):
        places = f"{shared[0]}, which {file.source.path} has in row {file.first_rows[at[0]]}"
        rule = "puzzle must have all its rows in one split"
        problem = f"{rule}, got {places}: move its rows to one file"
        raise UserError(f"{other.source.path}, row {other.first_rows[other_at[0]]}", problem)


def count_groups(groups: int, shares: Mapping[Split, float], where: str) -> dict[Split, int]:
    """How many groups of rows of the training file belong to each split.

    Args:
        groups: number of groups whose rows stay together.
        shares: share of the groups that each split takes, of those that the splits before it left; at least one group.

    Raises:
        UserError: no group is left for training; `where` is the file.
    """
    counts: dict[Split, int] = {}
    for split, share in shares.items():
        counts[split] = max(1, round((groups - sum(counts.values())) * share))
    counts["train"] = groups - sum(counts.values())
    if counts["train"] <= 0:
        given = " and ".join(f"{name} {value:g}" for name, value in shares.items())
        rule = f"must leave puzzles for training (items or rows without the column 'puzzle'), got {groups} and the shares {given}"
        raise UserError(where, f"{rule}: give smaller shares, or files of their own")
    return counts


def split_groups(counts: Mapping[Split, int], seed: int) -> dict[Split, np.ndarray]:
    """The numbers of the groups of each split, drawn by `seed`."""
    order = np.random.default_rng(seed).permutation(sum(counts.values()))
    ends = np.cumsum(list(counts.values()))
    return dict(zip(counts, np.split(order, ends[:-1]), strict=True))
