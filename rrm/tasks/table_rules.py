"""The rules that every row of a table obeys, the same for all formats, and the rows as arrays."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rrm.errors import UserError
from rrm.tasks.table_files import Cells, Chunk, Lists, TableFile, open_table
from rrm.tasks.task import PAD, token_type

MAX_TOKEN = 65_535
MAX_INTEGER = 2**31 - 1  # largest item and measure of difficulty
MAX_PUZZLE = 2**63 - 1
MAX_NAME = 200  # characters of the name of a puzzle
MAX_SHOWN_TEXT = 40  # characters of a cell that an error shows
REQUIRED, OPTIONAL = ("input", "label"), ("unknown", "puzzle", "item")  # columns that have a meaning by their name
PADDING = "give all rows one length, with the token 0 behind shorter ones (in text the character of task.pad; rrm-sweep new: --pad)"
NAME_THEM = "where characters are tokens, name them in task.alphabet (rrm-sweep new: --alphabet)"
NUMBERS = r"[+-]?\d+(?:\.\d*)?(?:(?:\s*,\s*|\s+)[+-]?\d+(?:\.\d*)?)*"
LIST = re.compile(rf"\s*(?:{NUMBERS}|\[\s*{NUMBERS}\s*\])\s*", re.ASCII)
SEPARATORS = str.maketrans("[],", "   ")
INTEGER = re.compile(r"\s*([+-]?[0-9]{1,30})(\.0*)?\s*")
TRUTH = str.maketrans("", "", "[], \t\r\n")  # what may stand between the values of `unknown`


class TableFormat(NamedTuple):
    """Settings on which the content of the columns depends."""

    alphabet: str | None
    pad: str | None  # character that is token 0
    difficulty: tuple[str, ...]  # columns of measures of difficulty


@dataclass(frozen=True)
class Rows:
    """The checked rows of a file; N rows of L tokens."""

    inputs: np.ndarray  # [N, L] uint8, or uint16 where a token needs it
    labels: np.ndarray  # [N, L] as `inputs`
    unknown: np.ndarray | None  # [N, L] bool; None without such a column
    puzzle: np.ndarray | None  # [N] int64, or text where a value is a name; None without such a column
    item: np.ndarray | None  # [N] int64; None without such a column
    difficulty: np.ndarray  # [N, measures] int64

    @property
    def group(self) -> np.ndarray | None:
        """[N]: rows of one value stay in one split; None where each row is its own."""
        return self.item if self.puzzle is None else self.puzzle

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in vars(self).values() if array is not None)


class Tokens(NamedTuple):
    """Tokens of N cells, which may have different numbers of them."""

    values: np.ndarray  # uint16, one cell after another
    lengths: np.ndarray  # [N]

    def cell(self, index: int) -> tuple[int, int]:
        """The row of a value, and its place in that row from 1."""
        ends = np.cumsum(self.lengths)
        row = int(np.searchsorted(ends, index, side="right"))
        return row, index - int(ends[row] - self.lengths[row]) + 1


def find_columns(table: TableFile, given: TableFormat) -> list[str]:
    """The columns of a file that are read.

    Raises:
        UserError: a column is missing.
    """
    for name in (*REQUIRED, *given.difficulty):
        if name not in table.columns:
            advice = f"add it, or leave {name} out of difficulty" if name in given.difficulty else "rename or add it"
            separated = "; columns of CSV are separated by commas" if len(table.columns) == 1 else ""
            found = ", ".join(map(repr, table.columns)) or "no column"
            raise UserError(str(table.path), f"must have the column {name!r}, got {found[:200]}: {advice}{separated}")
    return [*REQUIRED, *(name for name in OPTIONAL if name in table.columns), *given.difficulty]


def read_rows(path: Path, given: TableFormat) -> Rows:
    """All rows of a file.

    Raises:
        UserError: the file is no table, has no rows, or a row breaks a rule (file, row, column, rule, value, what to do).
    """
    table = open_table(path)
    parts: list[Rows] = []
    for chunk in table.read(find_columns(table, given)):
        parts.append(_check(chunk, given, parts[0].inputs.shape[1] if parts else None))
    if not parts:
        raise UserError(str(path), "has no rows: a table has at least one")
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Rows)}
    return Rows(**{name: None if held[0] is None else np.concatenate(held) for name, held in columns.items()})  # type: ignore[arg-type]


def _check(chunk: Chunk, given: TableFormat, length: int | None) -> Rows:
    """The rows of a chunk.

    Args:
        length: tokens of the rows before it; None for the first chunk.
    """
    inputs, labels = (_tokens(chunk, name, given) for name in REQUIRED)
    length = int(inputs.lengths[0]) if length is None else length
    rule = f"input must have {length} tokens as row 1"
    _refuse(chunk, inputs.lengths != length, lambda row: f"{rule}, got {inputs.lengths[row]}: {PADDING}")
    _refuse_other_length(chunk, "label", labels, length)
    questions, answers = inputs.values.reshape(-1, length), labels.values.reshape(-1, length)
    unscored = (answers == PAD).all(axis=1)
    rule = f"label must have a token above 0 (0 is not scored), got {length} times 0: correct the row, or remove it"
    _refuse(chunk, unscored, lambda row: rule)
    integers = [_integers(chunk, name, MAX_INTEGER) for name in given.difficulty]
    return Rows(
        _narrow(questions),
        _narrow(answers),
        unknown=_unknown(chunk, length, answers) if "unknown" in chunk.cells else None,
        puzzle=_puzzles(chunk) if "puzzle" in chunk.cells else None,
        item=_integers(chunk, "item", MAX_INTEGER) if "item" in chunk.cells else None,
        difficulty=np.array(integers, dtype=np.int64).reshape(len(integers), len(questions)).T,
    )


def _narrow(tokens: np.ndarray) -> np.ndarray:
    """Tokens in the narrowest type that holds them."""
    return tokens.astype(token_type(1 + int(tokens.max())), copy=False)


def _refuse(chunk: Chunk, bad: np.ndarray, describe: Callable[[int], str]) -> None:
    """Refuse the first of the bad rows [N] bool."""
    if bad.any():
        row = int(bad.argmax())
        raise UserError(chunk.place(row), describe(row))


def _refuse_other_length(chunk: Chunk, name: str, cells: Tokens, length: int) -> None:
    rule = f"{name} must have as many tokens as input ({length})"
    _refuse(chunk, cells.lengths != length, lambda row: f"{rule}, got {cells.lengths[row]}: {PADDING}")


def _tokens(chunk: Chunk, name: str, given: TableFormat) -> Tokens:
    """The tokens of a column: lists of whole numbers, or with an alphabet characters."""
    cells, alphabet = chunk.cells[name], given.alphabet
    needed = "lists of whole numbers" if alphabet is None else "text, because alphabet is given"
    if isinstance(cells, str | np.ndarray) or (isinstance(cells, Lists) and alphabet is not None):
        advice = "save a list of tokens in each row" if alphabet is None else "leave alphabet out, or save text"
        raise UserError(str(chunk.path), f"{name} must hold {needed}, got {_name_type(cells)}: {advice}")
    if isinstance(cells, list):
        absent = np.array([not text for text in cells])
        _refuse(chunk, absent, lambda row: f"{name} must have a value, got an empty cell: fill it, or remove the row")
        if alphabet is not None:
            return _spell(chunk, name, cells, alphabet, given.pad)
        cells = _parse_lists(chunk, name, cells)
    rule = f"{name} must have at least 1 token, got an empty or absent list: fill it, or remove the row"
    _refuse(chunk, cells.lengths == 0, lambda row: rule)
    return _whole_numbers(chunk, name, cells)


def _name_type(cells: Cells) -> str:
    if isinstance(cells, Lists):
        return f"lists of {cells.values.dtype}"
    return cells if isinstance(cells, str) else "text" if isinstance(cells, list) else f"one {cells.dtype} a row"


def _spell(chunk: Chunk, name: str, texts: list[str], alphabet: str, pad: str | None) -> Tokens:
    """Texts as tokens: character i of the alphabet, from 0, is token i + 1, and `pad` is token 0."""
    characters, first = (alphabet, 1) if pad is None else (pad + alphabet, 0)
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    known = np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    order = np.argsort(known)
    places = np.minimum(np.searchsorted(known[order], codes), len(known) - 1)
    tokens = Tokens((order[places] + first).astype(np.uint16), np.array([len(text) for text in texts]))
    wrong = known[order][places] != codes
    if wrong.any():
        row, place = tokens.cell(int(wrong.argmax()))
        rule = f"{name} must hold characters of the alphabet {_shorten(alphabet)!r}"
        got = f"got {texts[row][place - 1]!r} at character {place}"
        padding = "" if pad else "; if it is padding, name it in task.pad (rrm-sweep new: --pad)"
        advice = f"correct the row, or add the character to task.alphabet{padding}"
        raise UserError(chunk.place(row), f"{rule}, {got}: {advice}")
    return tokens


def _parse_lists(chunk: Chunk, name: str, texts: list[str]) -> Lists:
    """Texts such as `1 2 3` and `[1, 2, 3]` as lists of numbers."""
    wrong = np.array([LIST.fullmatch(text) is None for text in texts])
    advice = f"separate tokens by blanks; {NAME_THEM}"
    _refuse(chunk, wrong, lambda row: f"{name} must be a list of whole numbers, got {_shorten(texts[row])!r}: {advice}")
    plain = [text.translate(SEPARATORS) for text in texts]
    return Lists(np.fromstring(" ".join(plain), sep=" "), np.array([len(text.split()) for text in plain], dtype=np.int64))


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_TEXT else f"{text[:MAX_SHOWN_TEXT]}..."


def _whole_numbers(chunk: Chunk, name: str, cells: Lists, most: int = MAX_TOKEN) -> Tokens:
    """Lists of numbers as tokens from 0 to `most`."""
    values = cells.values
    if values.dtype.kind == "b" and most > 1:
        raise UserError(str(chunk.path), f"{name} must hold lists of whole numbers, got lists of true and false: number the tokens")
    wrong = _find_wrong(values, most)
    if wrong.any():
        index = int(wrong.argmax())
        row, place = Tokens(values, cells.lengths).cell(index)
        rule = f"{name} must hold whole numbers from 0 to {most:,}, got {_show(values[index])} at token {place}"
        advice = NAME_THEM if values[index] > most > 1 else "correct the row, or remove it"
        raise UserError(chunk.place(row), f"{rule}: {advice}")
    return Tokens(values.astype(np.uint16), cells.lengths)


def _find_wrong(values: np.ndarray, most: int) -> np.ndarray:
    """Which values are no whole numbers from 0 to `most`."""
    if values.dtype.kind != "f":
        return (values < 0) | (values > most)
    with np.errstate(invalid="ignore"):
        wrong: np.ndarray = ~((values >= 0) & (values <= most) & (values < 2.0**63) & (values == np.rint(values)))
    return wrong


def _show(value: np.generic) -> str:
    """A number as an error shows it."""
    number = value.item()
    return "no value (null or NaN)" if number != number else repr(number).removesuffix(".0")


def _unknown(chunk: Chunk, length: int, labels: np.ndarray) -> np.ndarray:
    """The column `unknown`, [N, L] bool."""
    cells = chunk.cells["unknown"]
    if isinstance(cells, list):
        cells = _parse_truth(chunk, cells)
    if not isinstance(cells, Lists):
        rule = "unknown must hold lists of 0 and 1, a value a token"
        raise UserError(str(chunk.path), f"{rule}, got {_name_type(cells)}: save lists, or remove the column")
    tokens = _whole_numbers(chunk, "unknown", cells, most=1)
    _refuse_other_length(chunk, "unknown", tokens, length)
    unknown: np.ndarray = tokens.values.reshape(-1, length).astype(bool)
    unscored = unknown & (labels == PAD)
    rule = "unknown must be 0 where label is 0, which is not scored, got 1 at token"
    _refuse(chunk, unscored.any(axis=1), lambda row: f"{rule} {int(unscored[row].argmax()) + 1}: correct the row")
    return unknown


def _parse_truth(chunk: Chunk, texts: list[str]) -> Lists:
    """Texts such as `0 1 0`, `010` and `[False, True, False]` as lists of 0 and 1."""
    plain = [re.sub("(?i)false", "0", re.sub("(?i)true", "1", text)).translate(TRUTH) for text in texts]
    wrong = np.array([re.fullmatch("[01]+", text) is None for text in plain])
    advice = "correct the row, or remove the column"
    _refuse(chunk, wrong, lambda row: f"unknown must be a list of 0 and 1, got {_shorten(texts[row])!r}: {advice}")
    values = np.frombuffer("".join(plain).encode(), dtype=np.uint8) - ord("0")
    return Lists(values, np.array([len(text) for text in plain], dtype=np.int64))


def _integers(chunk: Chunk, name: str, most: int, otherwise: str = "") -> np.ndarray:
    """A column of whole numbers from 0 to `most`, [N] int64.

    Args:
        otherwise: what else a cell may be, for an error.
    """
    cells = chunk.cells[name]
    rule, advice = f"{name} must be a whole number from 0 to {most:,}{otherwise}", "correct the row, or remove it"
    if isinstance(cells, list):
        found = [INTEGER.fullmatch(text) for text in cells]
        integers = [int(match[1]) if match else -1 for match in found]
        wrong = np.array([not 0 <= value <= most for value in integers])
        _refuse(chunk, wrong, lambda row: f"{rule}, got {_show_cell(cells[row])}: {advice}")
        return np.array(integers, dtype=np.int64)
    if not isinstance(cells, np.ndarray) or cells.dtype.kind == "b":
        raise UserError(str(chunk.path), f"{rule}, got {_name_type(cells)}: save one in each row")
    _refuse(chunk, _find_wrong(cells, most), lambda row: f"{rule}, got {_show(cells[row])}: {advice}")
    return cells.astype(np.int64)


def _show_cell(text: str) -> str:
    return repr(_shorten(text)) if text else "an empty cell"


def _puzzles(chunk: Chunk) -> np.ndarray:
    """The column `puzzle`: [N] int64, or text where a cell is a name. A whole number is one value however it is written."""
    cells = chunk.cells["puzzle"]
    if not isinstance(cells, list) or all(INTEGER.fullmatch(text) or _is_number(text) or not text.strip() for text in cells):
        return _integers(chunk, "puzzle", MAX_PUZZLE, " or a name")
    found = [(INTEGER.fullmatch(text), text.strip()) for text in cells]
    names = [str(int(match[1])) if match else name for match, name in found]
    wrong = np.array([not 0 < len(name) <= MAX_NAME or (_is_number(name) and not name.isdecimal()) for name in names])
    rule = f"puzzle must be a whole number from 0 or a name of 1 to {MAX_NAME} characters"
    _refuse(chunk, wrong, lambda row: f"{rule}, got {_show_cell(cells[row])}: correct the row, or remove it")
    return np.array(names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
