"""Files of tables that this project did not write: CSV cell by cell, since pandas shifts or renames columns without an error."""

import csv
import gzip
import json
import zlib
from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.data.names import RECORD, SETTINGS
from rrm.errors import UserError
from rrm.files import expand_home

# Text of cells without a value. `none` is not among them: it is a value of model.positions.
MISSING = {"", "NA", "N/A", "n/a", "<NA>", "#N/A", "NULL", "null", "NaN", "nan", "-nan", "None"}
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"  # first bytes of files
OTHER_FORMATS = {
    b"PK\x03\x04": "is an Excel workbook or a zip archive: save its sheet as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook: save its sheet as CSV",
    b"SQLite format 3": "is a database; a database of MLflow is read by rrm-analyze SWEEP --tracking-uri sqlite:///FILE --out DIR",
}
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars"}
MAX_SHOWN_LETTERS = 60  # letters of a first line that an error shows
JSON_ADVICE = "is JSON: pandas.read_json(FILE).to_csv('runs.csv', index=False) makes a CSV of it"


def read_table(path: Path) -> pd.DataFrame:
    """The named columns of a CSV (also gzipped) or Parquet file; a cell is None or NaN where it has no value.

    Every cell of a CSV is text, so that no digit of a fingerprint is lost: `with_types` makes numbers. A first column without a
    name holds row names and is left out.

    Raises:
        UserError: the file cannot be read as a table, a row has more or fewer fields than the header, or names repeat.
    """
    path = Path(expand_home(path))
    data = _read_bytes(path)
    is_parquet = data.startswith(PARQUET) or path.suffix == ".parquet"
    table = _read_parquet(path) if is_parquet else _read_csv(_decode(data, path), path)
    repeated = [name for name, count in Counter(table.columns).items() if count > 1]
    if repeated:
        places = [str(place) for place, name in enumerate(table.columns, 1) if name == repeated[0]]
        raise UserError(str(path), f"must have each column once, got {repeated[0]!r} as columns {', '.join(places)}")
    return table


def with_types(column: pd.Series) -> pd.Series:
    """A column of text as numbers, or as True and False, where all of its cells are such; lists in Python's notation."""
    present = column.dropna()
    if present.empty:
        return column.astype(float)
    if not present.map(lambda value: isinstance(value, str)).all():
        return column
    if set(present.str.lower()) <= {"true", "false"}:
        truth = column.str.lower().map({"true": True, "false": False})
        return truth.astype(bool) if truth.notna().all() else truth
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column.map(_python_list)


def _read_bytes(path: Path) -> bytes:
    if not path.exists():
        raise UserError(str(path), "does not exist")
    if path.is_dir():
        raise UserError(str(path), "must be a file, got a folder; without --csv a folder is read as a sweep")
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP) else data
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(str(path), f"cannot be read: {error}") from None


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(str(path), f"cannot be read as Parquet: {error}") from None
    table.columns = table.columns.map(str)
    return table.reset_index(drop=True).map(_plain)


def _decode(data: bytes, path: Path) -> str:
    """The text of a CSV file."""
    for start, problem in OTHER_FORMATS.items():
        if data.startswith(start):
            raise UserError(str(path), problem)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(str(path), "is not text in UTF-8: save it as CSV in UTF-8, or as Parquet") from None
    if text.lstrip()[:1] in {"{", "["}:
        raise UserError(str(path), JSON_ADVICE)
    return text


def _read_csv(text: str, path: Path) -> pd.DataFrame:
    reader = csv.reader(StringIO(text, newline=""), skipinitialspace=True)
    rows: list[list[str]] = []
    lines: list[int] = []  # where each row begins; a quoted cell may hold line breaks
    line = 1
    try:
        for row in reader:
            if row:
                rows.append([cell.strip() for cell in row])
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(str(path), f"cannot be read as CSV: line {line}: {error}") from None
    if not rows:
        raise UserError(str(path), "is empty")
    header, *cells = rows
    _check_names(header, lines[0], path)
    _check_separator(header, cells, path)
    _check_widths(header, cells, lines[1:], path)
    return _named(pd.DataFrame(cells, columns=header, dtype=object).map(_plain), path)


def _check_names(header: list[str], line: int, path: Path) -> None:
    """Refuse a first line that does not hold names: a comment, the separator for Excel, or the values of a row."""
    problem = None
    if header[0].startswith("#") and header[0] != "#":
        problem = "is a comment: remove it, or its #"
    elif header[0].lower() == "sep=" and not any(header[1:]):
        problem = "is the separator for Excel: remove it"
    elif any(header) and all(map(_is_number, filter(None, header))):
        problem = "has only numbers: add a line with the names before it"
    if problem:
        rule = "the first line must hold the names of the columns"
        raise UserError(str(path), f"line {line} {problem}; {rule}, got {','.join(header)[:MAX_SHOWN_LETTERS]!r}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_separator(header: list[str], cells: list[list[str]], path: Path) -> None:
    """Refuse a table whose fields are not separated by commas."""
    text = ",".join(header)
    separators = [name for mark, name in SEPARATORS.items() if mark in text and (len(header) == 1 or _has_names(header, mark))]
    if not separators and len(header) == 1 and cells and len(text.split()) == len(cells[0][0].split()) > 1:
        separators = ["blanks"]
    if separators:
        raise UserError(str(path), f"must have its columns separated by commas, got {separators[0]}")


def _has_names(header: list[str], mark: str) -> bool:
    """Whether a mark separates names in a header: a tab always does, another mark where one of the names is ours."""
    parts = {part.strip(' "') for cell in header if mark in cell for part in cell.split(mark)}
    return bool(parts) and (mark == "\t" or not parts.isdisjoint({*SETTINGS, *RECORD}))


def _check_widths(header: list[str], cells: list[list[str]], lines: list[int], path: Path) -> None:
    """Refuse rows with more or fewer fields than the header, whose values would belong to other columns."""
    wrong = [number for number, row in enumerate(cells) if len(row) != len(header)]
    if not wrong:
        return
    row, line = cells[wrong[0]], lines[wrong[0]]
    if len(row) > len(header) and not any(row[len(header) :]):
        advice = "remove the comma at the end of the rows"
    else:
        advice = "a row must have a field for each column, and a field with a comma must be quoted"
    count = f", as in {len(wrong)} of {len(cells)} rows" if len(wrong) > 1 else ""
    fields = f"{len(header)} field{'' if len(header) == 1 else 's'}"
    raise UserError(str(path), f"cannot be read as CSV: Expected {fields} in line {line}, saw {len(row)}{count}: {advice}")


def _named(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns that have a name. Row names, and columns without a name and without a value, are left out."""
    for place, name in enumerate(table.columns):
        if not name and place > 0 and table.iloc[:, place].notna().any():
            raise UserError(str(path), f"column {place + 1} has no name")
    return table.loc[:, [bool(name) for name in table.columns]]


def _plain(cell: object) -> object:
    """A cell that can be compared: a list or a dictionary as text, None for a text that represents a missing value."""
    if isinstance(cell, list | np.ndarray):
        return str(cell.tolist() if isinstance(cell, np.ndarray) else cell)
    if isinstance(cell, dict):
        return str(cell)
    return None if isinstance(cell, str) and cell in MISSING else cell


def _python_list(value: object) -> object:
    """`["a",1]` of JSON as `['a', 1]`, which is how records show a list."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value
