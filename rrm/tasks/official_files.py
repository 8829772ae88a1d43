"""Folders of the official dataset builders of HRM and TRM: their files, and what is checked of them.

A folder has `identifiers.json` and the splits `train/` and `test/`. A split has `dataset.json` and, for each of its sets, the
arrays `inputs` and `labels` [rows, tokens], `puzzle_identifiers` [puzzles], `puzzle_indices` [puzzles + 1] (first row of each
puzzle) and `group_indices` [groups + 1] (first puzzle of each group).
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rrm.config import RuleError
from rrm.errors import UserError, first_line, from_validation
from rrm.files import PLAIN_NAME
from rrm.tasks.cache import keep_facts

Half = Literal["train", "test"]
HALVES: tuple[Half, ...] = ("train", "test")
IDENTIFIERS = "identifiers.json"
METADATA = "dataset.json"
TOKENS = ("inputs", "labels")
INDICES = ("puzzle_identifiers", "puzzle_indices", "group_indices")
MAX_VOCABULARY = 65_535  # 16-bit tokens, with room for a token that the files do not have
CHUNK_ROWS = 4096
BUILT = "name a folder that a dataset builder of HRM or TRM wrote"

Version = tuple[str, int, int]  # path, bytes and time of change of a file

_DIGESTS: dict[tuple[Version, ...], str] = {}  # digests of the folders that this process has used


class Metadata(BaseModel):
    """What a `dataset.json` states; its other keys are statistics."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    seq_len: int = Field(ge=1)
    vocab_size: int = Field(ge=2, le=MAX_VOCABULARY)
    pad_id: int = Field(ge=0)
    ignore_label_id: int | None
    blank_identifier_id: int = Field(ge=0)
    num_puzzle_identifiers: int = Field(ge=1, lt=2**31)
    sets: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pad_id >= self.vocab_size:
            raise RuleError(f"pad_id must be below vocab_size ({self.vocab_size}), got {self.pad_id}: correct one of them")
        if self.blank_identifier_id >= self.num_puzzle_identifiers:
            rule = f"blank_identifier_id must be below num_puzzle_identifiers ({self.num_puzzle_identifiers})"
            raise RuleError(f"{rule}, got {self.blank_identifier_id}: correct one of them")
        unusable = next((name for name in self.sets if not PLAIN_NAME.fullmatch(name)), None)
        if unusable is not None:
            rule = "sets must have names of letters, digits, dots, dashes and underscores, a letter or digit first"
            raise RuleError(f"{rule}, got {unusable!r}: rename the set and its files")
        if len(set(self.sets)) < len(self.sets):
            raise RuleError(f"sets must have each name once, got {self.sets}: remove one")
        return self


@dataclass(frozen=True)
class OfficialSet:
    """The arrays of a set. Rows of a puzzle follow each other, and so do puzzles of a group."""

    inputs: np.ndarray  # [N, L] any integers, mapped
    labels: np.ndarray  # [N, L] any integers, mapped
    puzzle_identifiers: np.ndarray  # [P] int64
    sizes: np.ndarray  # [P] int64, rows of each puzzle
    groups: np.ndarray  # [G] int64, puzzles of each group


@dataclass(frozen=True)
class Folder:
    """A folder whose `dataset.json` files are known, and whose arrays have not been looked at."""

    path: Path
    metadata: Metadata  # both splits agree in all but their sets
    sets: dict[Half, tuple[str, ...]]

    def array_path(self, half: Half, name: str, array: str) -> Path:
        return self.path / half / f"{name}__{array}.npy"

    @property
    def files(self) -> list[Path]:
        """All files that the data depends on."""
        arrays = [
            self.array_path(half, name, array) for half in HALVES for name in self.sets[half] for array in (*TOKENS, *INDICES)
        ]
        return [self.path / IDENTIFIERS, *(self.path / half / METADATA for half in HALVES), *arrays]

    def digest(self, check: Callable[[], object]) -> str:
        """SHA-256 over all files, which are read and checked once for each size and time of change that they had on this machine.

        Args:
            check: what else may refuse the folder; nothing is kept of a folder that is refused.

        Raises:
            UserError: a file cannot be read, is damaged or breaks a rule.
        """
        versions = tuple(_version(path) for path in self.files)
        if versions not in _DIGESTS:
            _DIGESTS[versions] = str(keep_facts({"official files": versions}, lambda: self._checked_digest(check))["sha256"])
        return _DIGESTS[versions]

    def _checked_digest(self, check: Callable[[], object]) -> dict[str, str]:
        check()
        sha256 = _hash_files(self.path, self.files)
        check_content(self, sha256)
        return {"sha256": sha256}

    def identifiers(self) -> list[str]:
        """The name of each puzzle identifier.

        Raises:
            UserError: the file is damaged, or has another number of names than `dataset.json`.
        """
        path, count = self.path / IDENTIFIERS, self.metadata.num_puzzle_identifiers
        names = _read_json(path)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(str(path), "must be a list of names, one for each puzzle identifier: write the list of the builder")
        if len(names) != count:
            raise UserError(str(path), f"must have num_puzzle_identifiers ({count}) names, got {len(names)}: build the folder anew")
        return names


def open_folder(path: Path, wanted: tuple[str, ...] | None) -> Folder:
    """Read the `dataset.json` files of a folder.

    Args:
        path: the folder.
        wanted: names of sets, each of which at least one split has; None takes all sets.

    Raises:
        UserError: a file is absent, damaged or breaks a rule, the splits do not fit each other, or a set is absent.
    """
    try:
        is_folder = S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}: {BUILT}") from None
    if not is_folder:
        raise UserError(str(path), f"must be a folder, got a file: {BUILT}")
    train, test = (_read_metadata(path / half / METADATA) for half in HALVES)
    for name in Metadata.model_fields:
        here, there = getattr(train, name), getattr(test, name)
        if name != "sets" and here != there:
            rule = f"{name} must be {here} as in {path / 'train' / METADATA}, got {there}"
            raise UserError(str(path / "test" / METADATA), f"{rule}: build both splits together")
    sets = {half: _choose_sets(path, half, known.sets, wanted) for half, known in zip(HALVES, (train, test), strict=True)}
    absent = set(wanted or ()) - set(train.sets) - set(test.sets)
    if absent:
        rule = f"must name sets of {path} ({', '.join(dict.fromkeys([*train.sets, *test.sets]))})"
        raise UserError("task.sets", f"{rule}, got {min(absent)!r}: leave it out, or choose from these")
    return Folder(path, train, sets)


def _choose_sets(path: Path, half: Half, known: list[str], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    chosen = tuple(name for name in known if wanted is None or name in wanted)
    if not chosen:
        rule = f"must name at least one set of {path / half} ({', '.join(known)})"
        raise UserError("task.sets", f"{rule}, got {', '.join(wanted or ())}: add one")
    return chosen


def _read_metadata(path: Path) -> Metadata:
    content = _read_json(path)
    if not isinstance(content, dict):
        raise UserError(str(path), f"must be an object with the keys {', '.join(Metadata.model_fields)}: build the folder anew")
    try:
        return Metadata.model_validate(content)
    except ValidationError as error:
        found = from_validation(error, Metadata)
        raise UserError(str(path), f"{found.where} {found.problem}" if found.where else found.problem) from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # no JSON, or no text in UTF-8
        raise UserError(str(path), f"is not JSON in UTF-8: {first_line(error)}: save it again") from None


def _version(path: Path) -> Version:
    try:
        facts = path.stat()
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None
    return str(path), facts.st_size, facts.st_mtime_ns


def _hash_files(folder: Path, files: list[Path]) -> str:
    """A digest over the names, as they stand in the folder, and the contents of files."""
    total = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                total.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        except OSError as error:
            raise UserError(str(path), f"cannot be read: {error.strerror}") from None
    return total.hexdigest()


def open_sets(folder: Folder, half: Half) -> list[OfficialSet]:
    """The sets of a split. Shapes, types, indices and identifiers are checked, tokens are not.

    Raises:
        UserError: a file is absent, damaged or breaks a rule.
    """
    return [_open_set(folder, half, name) for name in folder.sets[half]]


def _open_set(folder: Folder, half: Half, name: str) -> OfficialSet:
    paths = {array: folder.array_path(half, name, array) for array in (*TOKENS, *INDICES)}
    inputs, labels = (_open_array(paths[array], 2) for array in TOKENS)
    length = folder.metadata.seq_len
    if inputs.shape[1] != length:
        rule = f"must have seq_len ({length}) tokens a row as in {METADATA}, got {inputs.shape[1]}"
        raise UserError(str(paths["inputs"]), f"{rule}: build the folder anew")
    if labels.shape != inputs.shape:
        rule = f"must have the shape of the inputs {inputs.shape}, got {labels.shape}"
        raise UserError(str(paths["labels"]), f"{rule}: build the folder anew")
    sizes = _read_indices(paths["puzzle_indices"], len(inputs), "rows")
    groups = _read_indices(paths["group_indices"], len(sizes), "puzzles")
    identifiers = _open_array(paths["puzzle_identifiers"], 1)
    count = folder.metadata.num_puzzle_identifiers
    if len(identifiers) != len(sizes):
        rule = f"must have a value for each puzzle of puzzle_indices ({len(sizes)}), got {len(identifiers)}"
        raise UserError(str(paths["puzzle_identifiers"]), f"{rule}: build the folder anew")
    wrong = np.flatnonzero((identifiers < 0) | (identifiers >= count))
    if len(wrong):
        rule = f"must be from 0 to {count - 1} (num_puzzle_identifiers {count}), got {identifiers[wrong[0]]}"
        raise UserError(f"{paths['puzzle_identifiers']}, puzzle {wrong[0] + 1}", f"{rule}: build the folder anew")
    return OfficialSet(inputs, labels, identifiers.astype(np.int64), sizes, groups)


def _open_array(path: Path, dimensions: int) -> np.ndarray:
    """An array of whole numbers, mapped where it holds rows of tokens."""
    try:
        array = np.lib.format.open_memmap(path, mode="r") if dimensions == 2 else _read_array(path)
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror or first_line(error)}") from None
    except MemoryError:
        raise
    except Exception as error:  # the bytes of a damaged file can make numpy raise any error
        if "Python objects" in str(error) or "Object arrays" in str(error):
            problem = "must hold whole numbers, got Python objects: save it with an integer dtype"
            raise UserError(str(path), problem) from None
        raise UserError(str(path), f"cannot be read as .npy, it is cut or damaged: save it again ({first_line(error)})") from None
    if array.dtype.kind not in "iu":
        raise UserError(str(path), f"must hold whole numbers, got {array.dtype}: save it with an integer dtype")
    if array.ndim != dimensions:
        shape = "[rows, tokens]" if dimensions == 2 else "[values]"
        raise UserError(str(path), f"must have the shape {shape}, got {list(array.shape)}: build the folder anew")
    if not array.size:
        raise UserError(str(path), f"must hold at least one value, got the shape {list(array.shape)}: leave the set out")
    return array.view(np.ndarray)  # a plain view of a memory map is faster than numpy's class `memmap`


def _read_array(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _read_indices(path: Path, count: int, of: str) -> np.ndarray:
    """The numbers of things between indices, which rise from 0 to `count`."""
    indices = _open_array(path, 1)
    if indices[0] != 0 or indices[-1] != count:
        rule = f"must begin with 0 and end with the number of {of} ({count}), got {indices[0]} and {indices[-1]}"
        raise UserError(str(path), f"{rule}: build the folder anew")
    falls = np.flatnonzero(indices[1:] <= indices[:-1])
    if len(falls):
        at = int(falls[0])
        rule = f"must rise from value to value, got {indices[at + 1]} after {indices[at]}"
        raise UserError(f"{path}, value {at + 2}", f"{rule}: build the folder anew")
    steps: np.ndarray = np.diff(indices.astype(np.int64))
    return steps


def check_content(folder: Folder, sha256: str) -> None:
    """Check every token and the names of a folder, once for each digest on a machine.

    Raises:
        UserError: a token is no token of the vocabulary, a row has no token that is scored, or the names are damaged.
    """

    def check() -> dict[str, int]:
        return {"names": len(folder.identifiers()), "rows": sum(_check_half(folder, half) for half in HALVES)}

    keep_facts({"official folder": sha256}, check)


def _check_half(folder: Folder, half: Half) -> int:
    known, rows = folder.metadata, 0
    for name, arrays in zip(folder.sets[half], open_sets(folder, half), strict=True):
        rows += len(arrays.inputs)
        for path, first, values in _chunks(folder.array_path(half, name, "inputs"), arrays.inputs):
            _refuse_tokens(path, first, values, (values < 0) | (values >= known.vocab_size), known.vocab_size)
        for path, first, values in _chunks(folder.array_path(half, name, "labels"), arrays.labels):
            scored = np.full(values.shape, True) if known.ignore_label_id is None else values != known.ignore_label_id
            _refuse_tokens(path, first, values, scored & ((values < 0) | (values >= known.vocab_size)), known.vocab_size)
            empty = np.flatnonzero(~scored.any(axis=1))
            if len(empty):
                rule = f"must have a token that is scored, got ignore_label_id ({known.ignore_label_id}) alone"
                raise UserError(f"{path}, row {first + empty[0] + 1}", f"{rule}: leave the row out")
    return rows


def _chunks(path: Path, array: np.ndarray) -> Iterator[tuple[Path, int, np.ndarray]]:
    """Some rows at a time, each with the file and the number of the first row from 0."""
    return ((path, start, array[start : start + CHUNK_ROWS]) for start in range(0, len(array), CHUNK_ROWS))


def _refuse_tokens(path: Path, first: int, values: np.ndarray, wrong: np.ndarray, vocabulary: int) -> None:
    if wrong.any():
        row, token = np.argwhere(wrong)[0]
        rule = (
            f"must hold tokens from 0 to {vocabulary - 1} (vocab_size {vocabulary}), got {values[row, token]} at token {token + 1}"
        )
        raise UserError(f"{path}, row {first + row + 1}", f"{rule}: correct the row or vocab_size")
