"""Data built once per machine: the splits of a task as memory-mapped arrays, found by what the task is.

A folder appears whole or not at all: it is written under another name and renamed. A lock, which ends with its process,
makes many trials that start at once build one of it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rrm.errors import UserError
from rrm.tasks.task import BaseTaskConfig, Examples, Split, Task

META = "meta.json"  # written last


@dataclass(frozen=True)
class Data:
    """The splits of a task; arrays are read-only and in memory only where they are touched."""

    task: Task
    splits: dict[Split, Examples]
    fingerprint: str  # 16 hex digits over all arrays
    facts: dict[str, int]  # see `Task.facts`


def cache_folder() -> Path:
    """Where data is kept: RRM_DATA_CACHE, or a folder of the user's cache. It may be removed at any time."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rrm-sweeps" / "data"
    return Path(os.environ.get("RRM_DATA_CACHE") or default)


def load_data(task: Task) -> Data:
    """The splits of a task, built if this machine does not have them.

    Raises:
        UserError: a data file has a bad row, or the cache cannot be written.
    """
    folder = cache_folder() / _key(task.config)
    if not (folder / META).exists():
        try:
            _build(task, folder)
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror} (RRM_DATA_CACHE names another folder)", str(folder)) from None
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
    splits: dict[Split, Examples] = {}
    for split, names in meta["splits"].items():
        # Plain views of the maps: numpy's own class for them makes every access slow.
        arrays = {name: np.load(folder / f"{split}.{name}.npy", mmap_mode="r").view(np.ndarray) for name in names}
        splits[split] = Examples.from_arrays(arrays)
    return Data(task, splits, meta["fingerprint"], meta["facts"])


def _build(task: Task, folder: Path) -> None:
    """Make all splits and put them in place in one step."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if (folder / META).exists():  # somebody else was faster
            return
        for leftover in folder.parent.glob(f"{folder.name}.draft-*"):  # of a build that was interrupted
            shutil.rmtree(leftover)
        draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.draft-", dir=folder.parent))
        try:
            digest, names = hashlib.sha256(), {}
            for split, count in task.counts.items():
                arrays = task.make(split, count, task.config.seed).arrays()
                names[split] = list(arrays)
                for name, array in arrays.items():
                    digest.update(f"{split}.{name}{array.shape}{array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
                    _write(draft / f"{split}.{name}.npy", array)
            meta = {"fingerprint": digest.hexdigest()[:16], "facts": task.facts(), "splits": names}
            (draft / META).write_text(json.dumps(meta), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _write(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for a lock that the system releases when its process ends."""
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _key(config: BaseTaskConfig) -> str:
    """What the data is a function of: the config, with digests of files, and the code that makes it."""
    identity: dict[str, Any] = {"config": config.identity(), "code": _code_digest(), "numpy": np.__version__}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _code_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*")):
        if path.suffix in {".py", ".txt"}:
            digest.update(path.read_bytes())
    return digest.hexdigest()
