"""Files that a config names: by path for people, by digest for identity."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Strict

from rrm.errors import UserError

# A validator that sees the raw dict turns JSON's strings into Python's, which strict mode would refuse as paths.
FilePath = Annotated[Path, Strict(False)]
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")  # a file of this name can exist on any system


def expand_home(location: str | Path) -> str:
    """A path with the home in the place of a leading `~` or `~name`; any other path or URI as it is.

    Raises:
        UserError: there is no such home.
    """
    text = str(location)
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise UserError(text, "begins with a home folder that is not known here: write the whole path") from None


def locate(folder: Path, path: str | Path) -> Path:
    """The absolute path of a file that a config in `folder` names.

    Raises:
        UserError: there is no such home, or no file can have this path.
    """
    try:
        return (folder / expand_home(path)).resolve()
    except (ValueError, RuntimeError) as error:  # a character that no path has, or links in a circle
        raise UserError(ascii(str(path)), f"cannot be read: {error}") from None


def join_location(storage: str, name: str) -> str:
    """The location of a sweep in a storage, which is a folder or a URI."""
    scheme, separator, rest = storage.rpartition("://")
    return f"{scheme}{separator}{rest.rstrip('/')}/{name}"


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file to write beside `path`. It takes the place of `path` when the block ends, and is removed where the block raises."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def checked_sha256(path: Path, expected: str | None) -> str:
    """Digest of a file, computed once a version of it.

    Raises:
        UserError: the file cannot be read, or has another digest than expected.
    """
    try:
        digest = _sha256(path, path.stat().st_mtime_ns)
    except IsADirectoryError:
        raise UserError(str(path), "must be a file, got a folder: name a file in it") from None
    except OSError as error:
        place = "put it there, or change the field that names it, such as trial.task.train=PATH"
        remedy = f": the file with the sha256 {expected} is needed; {place}" if expected else ""
        raise UserError(str(path), f"cannot be read: {error.strerror}{remedy}") from None
    if expected not in (None, digest):
        raise UserError(str(path), f"is not the file of this trial: its sha256 is {digest}, expected {expected}")
    return digest


@lru_cache
def _sha256(path: Path, _modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
