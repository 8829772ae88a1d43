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
PARQUET, ZIP = b"PAR1", (b"PK\x03\x04", b"PK\x05\x06")  # first bytes of files; `.npz` is a zip archive, which may hold no file
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


# Cells of N rows: lists of numbers, numbers [N] with NaN for an absent one, texts that are empty for an absent one, or the name of
# another type. Floats have 64 bits.
Cells = Lists | np.ndarray | list[str] | str


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
    with _reading(path, "a table"), path.open("rb") as file:
        start = file.read(16)
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


@contextmanager
def _reading(path: Path, format_name: str) -> Iterator[None]:
    """Turn an error of reading a file into one line; the bytes of a damaged file can make a library raise any error."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except UnicodeDecodeError:
        raise UserError(str(path), "is not text in UTF-8: save it as CSV in UTF-8, or as Parquet") from None
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise UserError(str(path), f"cannot be read: {error.strerror}") from None
        raise UserError(str(path), DAMAGED.format(format_name, first_line(error))) from None


def _open_parquet(path: Path) -> TableFile:
    import pyarrow.parquet as pq

    with _reading(path, "Parquet"):
        names = list(pq.read_schema(path).names)

    def read(columns: Sequence[str]) -> Iterator[Chunk]:
        first = 1
        with _reading(path, "Parquet"), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=CHUNK_ROWS, columns=list(columns)):
                if batch.num_rows:
                    yield Chunk(path, first, {name: _arrow_cells(batch.column(name)) for name in columns})
                first += batch.num_rows

    return TableFile(path, names, read)


def _arrow_cells(array: Any) -> Cells:
    """The cells of a column of Arrow."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _arrow_cells(array.storage)
    if pa.types.is_dictionary(kind):
        return _arrow_cells(array.dictionary_decode())
    if pa.types.is_null(kind):
        return [""] * len(array)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return [text or "" for text in array.to_pylist()]
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _arrow_cells(array.cast(pa.large_list(kind.value_type)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _arrow_numbers(pc.list_flatten(array))
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        return str(kind) if inner is None else Lists(inner, lengths)
    numbers = _arrow_numbers(array)
    return str(kind) if numbers is None else numbers


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
    return _lengthen(array.to_numpy(zero_copy_only=False))


def _lengthen(numbers: np.ndarray) -> np.ndarray:
    """The same numbers; short floats, which do not hold the limits of tokens, as 64-bit ones."""
    return numbers.astype(np.float64) if numbers.dtype.kind == "f" else numbers


def _open_npz(path: Path) -> TableFile:
    with _reading(path, ".npz"), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
    if any(name.startswith("xl/") for name in members):
        raise UserError(str(path), "is an Excel workbook: save its sheet as CSV")
    names = [name.removesuffix(".npy") for name in members if name.endswith(".npy")]
    if not names:
        raise UserError(str(path), "is a zip archive without arrays: save the columns with numpy.savez(FILE, input=..., label=...)")
    return TableFile(path, names, lambda columns: _read_npz(path, columns))


def _read_npz(path: Path, columns: Sequence[str]) -> Iterator[Chunk]:
    arrays = {name: _read_array(path, name) for name in columns}
    first = columns[0]
    for name, array in arrays.items():
        if len(array) != len(arrays[first]):
            rule = f"{name} must have as many rows as {first} ({len(arrays[first])})"
            raise UserError(str(path), f"{rule}, got {len(array)}: save arrays of the same rows")
    for start in range(0, len(arrays[first]), CHUNK_ROWS):
        cells = {name: _array_cells(array[start : start + CHUNK_ROWS]) for name, array in arrays.items()}
        yield Chunk(path, start + 1, cells)


def _read_array(path: Path, name: str) -> np.ndarray:
    with _reading(path, ".npz"), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        try:
            array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            rule = f"{name} must be an array of whole numbers [rows, tokens], got Python objects"
            raise UserError(str(path), f"{rule}: give all rows the same length, and a dtype such as uint16") from None
    if array.ndim == 0:
        raise UserError(str(path), f"{name} must be an array with a value for each row, got a single value: save all rows")
    return array


def _array_cells(array: np.ndarray) -> Cells:
    """The cells of an array: [N, L] numbers, [N] numbers, or [N] text."""
    if array.ndim == 2 and array.dtype.kind in "biuf":
        return Lists(_lengthen(array.reshape(-1)), np.full(len(array), array.shape[1], dtype=np.int64))
    if array.ndim == 1 and array.dtype.kind in "biuf":
        return _lengthen(array)
    if array.ndim == 1 and array.dtype.kind == "U":
        return list(array.tolist())
    shape = ", ".join(["rows", *map(str, array.shape[1:])])
    return f"array [{shape}] of {array.dtype}"


def _open_csv(path: Path) -> TableFile:
    with _csv_rows(path) as rows:
        header = [name.strip() for name in next(rows, ([], 0))[0]]
    if "\0" in "".join(header):  # every second byte of English text in UTF-16
        raise UserError(str(path), OTHER_FORMATS[b"\xff\xfe"])
    return TableFile(path, header, lambda columns: _read_csv(path, header, columns))


@contextmanager
def _csv_rows(path: Path) -> Iterator[Iterator[tuple[list[str], int]]]:
    """The fields of each row, the header first, and the line on which the row ends; an empty line is no row."""
    csv.field_size_limit(MAX_FIELD)
    with _reading(path, "CSV"), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        yield ((row, reader.line_num) for row in reader if row)


def _read_csv(path: Path, header: list[str], columns: Sequence[str]) -> Iterator[Chunk]:
    first = 1
    places = {name: header.index(name) for name in columns}
    with _csv_rows(path) as numbered:
        next(numbered)
        while rows := list(islice(numbered, CHUNK_ROWS)):
            chunk = Chunk(path, first, {}, [line for _, line in rows])
            for number, (row, _) in enumerate(rows):
                if len(row) != len(header):
                    advice = "put a list with commas in quotes, or separate its tokens by blanks"
                    raise UserError(chunk.place(number), f"must have {len(header)} fields as the header, got {len(row)}: {advice}")
            chunk.cells.update({name: [row[at] for row, _ in rows] for name, at in places.items()})
            yield chunk
            first += len(rows)
