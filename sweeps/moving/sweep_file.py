"""The file of an exported sweep: Parquet with a row for each finished trial, and the rest of the store in its metadata.

A row has the scalar columns of the record for readers such as pandas, then the parts of a `TrialPart`, which are what an import
reads. The header has the SHA-256 of each part, and the metadata that of the header, so that no damage is imported.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from lightning_modules.record import RESULT_FORMAT, CurvePoint, Record
from rrm.errors import UserError, first_line, first_problem
from rrm.files import draft_of
from rrm.format_version import STORE_FORMAT, check_format

FILE_FORMAT = 1  # version of the file, which its header states
FORMATS = {
    "format": FILE_FORMAT,
    "store_format": STORE_FORMAT,
    "result_format": RESULT_FORMAT,
}  # versions that a header states, and the newest ones read here
HEADER, HEADER_DIGEST = b"rrm_sweeps", b"rrm_sweeps_sha256"  # keys of the metadata
MAX_ROWS_READ = 16  # trials in memory at a time
INTEGER_BITS = 64  # a column of whole numbers holds no more, sign included

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]  # also the name of a folder


class NumberedRow(TypedDict):
    """A line of rows.jsonl."""

    number: int  # place among the rows of all trials, in the order in which they were judged
    row: str  # JSON


class SmallFile(TypedDict):
    """A file of a trial."""

    name: str
    data: bytes


class TrialPart(TypedDict):
    """A finished trial."""

    fingerprint: str
    trial: str  # the resolved config as JSON
    record: str  # result.json without its curves, as JSON
    curves: list[CurvePoint]
    rows: list[NumberedRow]
    attempts: list[str]  # lines of attempts.jsonl, as JSON
    files: list[SmallFile]


SCHEMA = pa.schema(
    {
        "fingerprint": pa.string(),
        "trial": pa.string(),
        "record": pa.string(),
        "curves": pa.list_(
            pa.struct({"metric": pa.string(), "axis": pa.string(), "at": pa.int64(), "value": pa.float64(), "time": pa.int64()})
        ),
        "rows": pa.list_(pa.struct({"number": pa.int64(), "row": pa.string()})),
        "attempts": pa.list_(pa.string()),
        "files": pa.list_(pa.struct({"name": pa.string(), "data": pa.binary()})),
    }
)


def _require_file_name(name: str) -> str:
    """A name that stays in its folder."""
    if name != Path(name).name or name == "..":
        raise ValueError(f"must be the name of a file, got {name!r}")
    return name


class PluginFile(BaseModel):
    """A file of the user's own code."""

    name: Annotated[str, AfterValidator(_require_file_name)]
    sha256: Digest
    text: str  # bytes that are no UTF-8 are surrogates

    @property
    def content(self) -> bytes:
        return self.text.encode(errors="surrogateescape")


class Header(BaseModel):
    """The parts of a store that belong to no trial."""

    model_config = ConfigDict(frozen=True)

    format: int = FILE_FORMAT
    store_format: int = STORE_FORMAT  # version of spec, rows and attempts
    result_format: int = RESULT_FORMAT  # version of records and curves
    sweep: str
    identity: str | None  # identity of the store; None for one that no driver of this version has run
    spec: str  # YAML, as the store holds it
    design: list[str]
    plugins: list[PluginFile]
    trials: dict[Fingerprint, Digest]  # digests of the parts, by fingerprint

    def is_of(self, sweep: str, identity: str | None) -> bool:
        """Whether it is of this sweep."""
        return (self.sweep, self.identity) == (sweep, identity)


def write_file(path: Path, header: Header, parts: list[TrialPart], records: list[Record]) -> None:
    """Write the file in one step.

    Args:
        records: of the parts, in their order.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(header.model_dump()).encode()  # pydantic's own JSON refuses the surrogates of a plug-in that is no UTF-8
    table = pa.Table.from_pylist(parts, schema=SCHEMA)
    for number, (name, column) in enumerate(_scalar_columns(records), start=1):
        table = table.add_column(number, name, column)
    table = table.replace_schema_metadata({HEADER: text, HEADER_DIGEST: hashlib.sha256(text).hexdigest()})
    try:
        with draft_of(path) as draft:
            pq.write_table(table, draft, compression="zstd", row_group_size=MAX_ROWS_READ)
    except OSError as error:
        raise UserError(str(path), f"cannot be written: {error.strerror or first_line(error)}") from None


def read_header(path: Path) -> Header:
    """The header of an exported sweep.

    Raises:
        UserError: the file cannot be read, is no exported sweep, is damaged, or has a later format.
    """
    with _open(path) as file:
        metadata = file.schema_arrow.metadata or {}
    text = metadata.get(HEADER)
    if text is None:
        made_anew = "is no exported sweep, or another program wrote it anew"
        raise UserError(str(path), f"{made_anew}: import what rrm-sweep export SWEEP --to parquet wrote")
    if hashlib.sha256(text).hexdigest().encode() != metadata.get(HEADER_DIGEST):
        raise damaged(path, "its header has another digest than it states")
    fields = _header_fields(path, text)
    for name, newest in FORMATS.items():  # before fields that a later version may have changed
        check_format(fields.get(name), newest, str(path))
    try:
        header = Header.model_validate(fields)
    except ValidationError as error:
        raise damaged(path, f"header: {first_problem(error)}") from None
    for plugin in header.plugins:
        if hashlib.sha256(plugin.content).hexdigest() != plugin.sha256:
            raise damaged(path, f"the plug-in {plugin.name} has another digest than it states")
    return header


def _header_fields(path: Path, text: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except ValueError as error:  # no JSON, or no text in UTF-8
        raise damaged(path, f"header: {first_line(error)}") from None
    if not isinstance(fields, dict):
        raise damaged(path, "header: must be an object")
    return fields


def read_parts(path: Path, header: Header) -> Iterator[TrialPart]:
    """The trials of the file, few at a time.

    Raises:
        UserError: a trial is damaged, absent, or there more than once.
    """
    missing = dict(header.trials)
    with _open(path) as file:
        for part in _iterate(path, file):
            if not _is_whole(part):
                raise damaged(path, f"trial {part['fingerprint']} has an empty cell")
            if missing.pop(part["fingerprint"], None) != digest_of(part):
                raise damaged(path, f"trial {part['fingerprint']} has another digest than the header states")
            yield part
    if missing:
        raise damaged(path, f"trial {min(missing)} is absent")


def digest_of(part: TrialPart) -> str:
    """SHA-256 of a part."""
    files = [(file["name"], hashlib.sha256(file["data"]).hexdigest()) for file in part["files"]]
    curves = [
        (p["metric"], p["axis"], p["at"], float(p["value"]), p["time"]) for p in part["curves"]
    ]  # a file holds no whole values
    return hashlib.sha256(json.dumps({**part, "files": files, "curves": curves}, sort_keys=True).encode()).hexdigest()


def _is_whole(value: object) -> bool:
    """Whether no part of a value is null."""
    if isinstance(value, dict | list):
        return all(map(_is_whole, value.values() if isinstance(value, dict) else value))
    return value is not None


def damaged(path: Path, problem: str) -> UserError:
    """The error for a file that must not be imported."""
    return UserError(str(path), f"is damaged ({problem}): export the sweep again")


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise UserError(str(path), f"is no Parquet file, or a damaged one ({first_line(error)})") from None
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror or first_line(error)}") from None


def _iterate(path: Path, file: pq.ParquetFile) -> Iterator[TrialPart]:
    """The rows of a file without the columns that only readers of tables use."""
    try:
        for batch in file.iter_batches(MAX_ROWS_READ, columns=SCHEMA.names):
            yield from pa.Table.from_batches([batch]).select(SCHEMA.names).cast(SCHEMA).to_pylist()
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise damaged(path, first_line(error)) from None


def _scalar_columns(records: list[Record]) -> Iterable[tuple[str, pa.Array]]:
    """Columns of the records as typed ones; values of several types, and lists, become JSON."""
    for name in dict.fromkeys(name for record in records for name in record if name not in SCHEMA.names):
        values = [record.get(name) for record in records]
        kinds = {type(value) for value in values if value is not None}
        if kinds in ({int}, {float}, {int, float}):
            yield name, _numbers(values)
        elif kinds == {bool}:
            yield name, pa.array(values)
        elif kinds <= {str}:
            yield name, pa.array([None if value is None else _as_utf8(value) for value in values], pa.string())
        else:
            yield name, pa.array([None if value is None else json.dumps(value) for value in values], pa.string())


def _as_utf8(text: str) -> str:
    """The text, with escapes for what UTF-8 cannot hold, such as a part of the name of a file in a reason."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _numbers(values: list[int | float | None]) -> pa.Array:
    """Whole numbers as such where 64 bits hold them, else floats: FLOPs of a long training need more than 64 bits."""
    held = [value for value in values if value is not None]
    if all(isinstance(value, int) and value.bit_length() < INTEGER_BITS for value in held):
        return pa.array(values, pa.int64())
    return pa.array([None if value is None else float(value) for value in values], pa.float64())
