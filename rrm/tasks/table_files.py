"""Columns of a Parquet, `.npz` or CSV file, a chunk of rows at a time, in one form for the three formats."""

import csv
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rrm.errors import UserError, first_line

CHUNK_ROWS = 4096
MAX_FIELD = 2**24  # characters of a field of a CSV file
PARQUET, ZIP = b"PAR1", b"PK\x03\x04"  # first bytes of files; `.npz` is a zip archive
OTHER_FORMATS = {
    b"\xd0\xcf\x11\xe0": "is an Excel workbook: save its sheet as CSV",
    b"\x93NUMPY": "is a single array (.npy): save all columns in one file with numpy.savez(FILE, input=..., label=...)",
    b"\x1f\x8b": "is compressed (gzip): unpack it first",
    b"ARROW1": "is an Arrow file: save it as Parquet",
    b"SQLite format 3": "is a database: save its table as Parquet or CSV",
    b"\xff\xfe": "is not text in UTF-8 (it is UTF-16): save it as CSV in UTF-8",
    b"\xfe\xff": "is not text in UTF-8 (it is UTF-16): save it as CSV in UTF-8",
    b"{": "is JSON: save the rows as Parquet, .npz or CSV",
    b"[": "is JSON: save the rows as Parquet, .npz or CSV",
}
DAMAGED = "cannot be read as {}, it is cut or damaged: save it again ({})"


@dataclass(frozen=True)
class Lists:
    """Cells of N rows that are lists of numbers."""

    values: np.ndarray  # numbers of all lists, one list after another; NaN for an absent one
    lengths: np.ndarray  # [N] int64; 0 where the cell is absent


@dataclass(frozen=True)
class Numbers:
    """Cells of N rows that are numbers."""

    values: np.ndarray  # [N]; NaN for an absent one


@dataclass(frozen=True)
class Texts:
    """Cells of N rows that are text."""

    values: list[str]  # [N]; empty for an absent one


@dataclass(frozen=True)
class Others:
    """Cells of another type."""

    type: str


Cells = Lists | Numbers | Texts | Others


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file that follow each other."""

    path: Path
    first: int  # number of the first row, from 1
    cells: dict[str, Cells]  # by column
    lines: list[int] | None = None  # CSV: the line on which each row ends

    def place(self, row: int) -> str:
        """Where a row of the chunk stands, for an error."""
        line = "" if self.lines is None else f" (line {self.lines[row]})"
        return f"{self.path}, row {self.first + row}{line}"


@dataclass(frozen=True)
class TableFile:
    """A file of rows whose columns are known, and whose rows have not been read."""

    path: Path
    columns: list[str]
    read: Callable[[Sequence[str]], Iterator[Chunk]]  # chunks of the given columns; an empty file has none


def open_table(path: Path) -> TableFile:
    """Find the format of a file by its first bytes, and read the names of its columns.

    Raises:
        UserError: the file cannot be read, is no table, or has a column twice.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except IsADirectoryError:
        raise UserError(str(path), "must be a Parquet, .npz or CSV file, got a folder: name a file in it") from None
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None
    table = _opener(path, start)(path)
    repeated = [name for name, count in Counter(table.columns).items() if count > 1]
    if repeated:
        raise UserError(str(path), f"must have each column once, got {repeated[0]!r} twice: rename or remove one")
    return table


def _opener(path: Path, start: bytes) -> Callable[[Path], TableFile]:
    if not start:
        raise UserError(str(path), "is empty: a table has rows with the columns input and label")
    if start.startswith(PARQUET):
        return _open_parquet
    if start.startswith(ZIP):
        return _open_npz
    problem = next((problem for mark, problem in OTHER_FORMATS.items() if start.startswith(mark)), None)
    if problem is None and path.suffix in {".parquet", ".npz"}:
        problem = DAMAGED.format(path.suffix, f"its first bytes are {start[:4]!r}")
    if problem is not None:
        raise UserError(str(path), problem)
    return _open_csv


def _open_parquet(path: Path) -> TableFile:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(str(path), "is Parquet, which needs pyarrow: pip install pyarrow, or save it as .npz or CSV") from None
    try:
        names = list(pq.read_schema(path).names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(str(path), DAMAGED.format("Parquet", first_line(error))) from None

    def read(columns: Sequence[str]) -> Iterator[Chunk]:
        first = 1
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=CHUNK_ROWS, columns=list(columns)):
                    if batch.num_rows:
                        yield Chunk(path, first, {name: _arrow_cells(batch.column(name)) for name in columns})
                    first += batch.num_rows
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(str(path), DAMAGED.format("Parquet", first_line(error))) from None

    return TableFile(path, names, read)


def _arrow_cells(array: Any) -> Cells:
    """The cells of a column of Arrow; nulls as `Lists`, `Numbers` and `Texts` have them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, given = array.type, str(array.type)
    if isinstance(array, pa.ExtensionArray):
        return _arrow_cells(array.storage)
    if pa.types.is_dictionary(kind):
        return _arrow_cells(array.dictionary_decode())
    if pa.types.is_null(kind):
        return Texts([""] * len(array))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return Texts([text or "" for text in array.to_pylist()])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _arrow_numbers(pc.list_flatten(array))
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        return Others(given) if inner is None else Lists(inner, lengths)
    numbers = _arrow_numbers(array)
    return Others(given) if numbers is None else Numbers(numbers)


def _arrow_numbers(array: Any) -> np.ndarray | None:
    """Numbers, or true and false; None for any other type. A null makes floats of integers."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    if array.null_count:
        array = array.cast(pa.int8()) if pa.types.is_boolean(kind) else array
        array = array.cast(pa.float64(), safe=False)
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    return values


def _open_npz(path: Path) -> TableFile:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(str(path), DAMAGED.format(".npz", first_line(error))) from None
    if any(name.startswith("xl/") for name in members):
        raise UserError(str(path), "is an Excel workbook: save its sheet as CSV")
    names = [name.removesuffix(".npy") for name in members if name.endswith(".npy")]
    if not names:
        raise UserError(str(path), "is a zip archive without arrays: save the columns with numpy.savez(FILE, input=..., label=...)")
    return TableFile(path, names, lambda columns: _read_npz(path, columns))


def _read_npz(path: Path, columns: Sequence[str]) -> Iterator[Chunk]:
    arrays = {name: _read_array(path, name) for name in columns}
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    first, *others = columns
    for name in others:
        if counts[name] != counts[first]:
            rule = f"{name} must have as many rows as {first} ({counts[first]})"
            raise UserError(str(path), f"{rule}, got {counts[name]}: save arrays of the same rows")
    for start in range(0, counts[first], CHUNK_ROWS):
        cells = {name: _array_cells(array[start : start + CHUNK_ROWS]) for name, array in arrays.items()}
        yield Chunk(path, start + 1, cells)


def _read_array(path: Path, name: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as file:
            array: np.ndarray = file[name]
            return array
    except MemoryError:
        raise
    except Exception as error:  # the bytes of a damaged file can make numpy and zipfile raise any error
        if "allow_pickle" in str(error):
            rule = f"{name} must be an array of whole numbers [rows, tokens], got Python objects"
            raise UserError(str(path), f"{rule}: give all rows the same length, and a dtype such as uint16") from None
        raise UserError(str(path), DAMAGED.format(".npz", first_line(error))) from None


def _array_cells(array: np.ndarray) -> Cells:
    """The cells of an array: [N, L] numbers, [N] numbers, or [N] text."""
    if array.ndim == 2 and array.dtype.kind in "biuf":
        return Lists(array.reshape(-1), np.full(len(array), array.shape[1], dtype=np.int64))
    if array.ndim == 1 and array.dtype.kind in "biuf":
        return Numbers(array)
    if array.ndim == 1 and array.dtype.kind == "U":
        return Texts(array.tolist())
    shape = ", ".join(["rows", *map(str, array.shape[1:])])
    return Others(f"array [{shape}] of {array.dtype}")


def _open_csv(path: Path) -> TableFile:
    with _csv_errors(path), path.open(newline="", encoding="utf-8-sig") as file:
        header = [name.strip() for name in next(csv.reader(file, strict=True), [])]
    if "\0" in "".join(header):  # every second byte of English text in UTF-16
        raise UserError(str(path), OTHER_FORMATS[b"\xff\xfe"])
    return TableFile(path, header, lambda columns: _read_csv(path, header, columns))


@contextmanager
def _csv_errors(path: Path) -> Iterator[None]:
    """Turn an error of reading a CSV file into one line."""
    csv.field_size_limit(MAX_FIELD)
    try:
        yield
    except UnicodeDecodeError:
        raise UserError(str(path), "is not text in UTF-8: save it as CSV in UTF-8, or as Parquet") from None
    except csv.Error as error:
        raise UserError(str(path), DAMAGED.format("CSV", error)) from None
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None


def _read_csv(path: Path, header: list[str], columns: Sequence[str]) -> Iterator[Chunk]:
    first = 1
    places = [header.index(name) for name in columns]
    with _csv_errors(path), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        next(reader)
        numbered = ((row, reader.line_num) for row in reader if row)  # an empty line, such as the last one, is no row
        while rows := list(islice(numbered, CHUNK_ROWS)):
            chunk = Chunk(path, first, {}, [line for _, line in rows])
            for number, (row, _) in enumerate(rows):
                if len(row) != len(header):
                    advice = "put a list with commas in quotes, or separate its tokens by blanks"
                    raise UserError(chunk.place(number), f"must have {len(header)} fields as the header, got {len(row)}: {advice}")
            chunk.cells.update({name: Texts([row[at] for row, _ in rows]) for name, at in zip(columns, places, strict=True)})
            yield chunk
            first += len(rows)
