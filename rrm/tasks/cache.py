"""Data built once per machine: the splits of a task as memory-mapped arrays, in a folder named by a digest of the task.

Each load compares the arrays with their digest, and a damaged folder is built again.

A folder is written under another name and renamed, so that it is always complete. A lock, which ends with its process,
makes trials that start at the same time build a folder once.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rrm.errors import UserError
from rrm.files import draft_of, expand_home
from rrm.tasks.made_rows import find_fault, find_task_fault
from rrm.tasks.task import BaseTaskConfig, Examples, Split, Task

META = "meta.json"  # written last


@dataclass(frozen=True)
class Data:
    """The splits of a task. Arrays are read-only maps of files, all of which a load has read once to compare their digest."""

    task: Task
    splits: dict[Split, Examples]
    fingerprint: str  # 16 hex digits over all arrays, or over the identity of a task whose splits lie in files
    facts: dict[str, int]  # see `Task.facts`


def cache_folder() -> Path:
    """The folder of all data: RRM_DATA_CACHE, or a folder in the user's cache. It may be removed at any time."""
    default = f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/rrm-sweeps/data"
    return Path(expand_home(os.environ.get("RRM_DATA_CACHE") or default))


def load_data(task: Task) -> Data:
    """The splits of a task, built where this machine does not have them; those that lie in files are used from there.

    Raises:
        UserError: a data file has a bad row, the task makes rows that cannot be used, or the cache cannot be read or written.
    """
    mapped = task.mapped_splits()
    if mapped is not None:
        identity = task.config.identity() | _code_of_plugin(task.config)
        return Data(task, mapped, _digest_of(identity)[:16], keep_facts({"facts of": identity}, task.facts))
    folder = cache_folder() / _key(task.config)
    data = _read(task, folder)
    if data is None:
        try:
            data = _build(task, folder)
        except OSError as error:
            raise UserError(str(folder), f"cannot be written: {error.strerror} (RRM_DATA_CACHE names another folder)") from None
    return data


def keep_facts(key: Mapping[str, Any], find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Facts of data files, found once on a machine, and again where they are damaged; a cache that cannot be written keeps none.

    Args:
        key: all that the facts depend on beside the code of this package.
        find: finds facts that the cache does not have.
    """
    kept = read_facts(key)
    if kept is not None:
        return kept
    facts, path = find(), _facts_path(key)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(path) as draft:
            draft.write_text(json.dumps({"digest": _digest_of(facts), "facts": facts}), encoding="utf-8")
    return facts


def read_facts(key: Mapping[str, Any]) -> dict[str, Any] | None:
    """Facts that the cache keeps; None where they are absent or damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(_facts_path(key).read_text(encoding="utf-8"))
        if kept["digest"] == _digest_of(kept["facts"]):
            return dict(kept["facts"])
    return None


def _facts_path(key: Mapping[str, Any]) -> Path:
    return cache_folder() / f"facts-{_digest_of({**key, 'code': _code_digest()})}.json"


def _read(task: Task, folder: Path) -> Data | None:
    """The splits in a folder; None where it is absent or damaged.

    Raises:
        UserError: this user may not read it.
    """
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        # A plain view of a memory map is faster than numpy's class `memmap`.
        arrays = {
            split: {name: np.load(folder / f"{split}.{name}.npy", mmap_mode="r").view(np.ndarray) for name in names}
            for split, names in meta["splits"].items()
        }
        digest = hashlib.sha256()
        for split, parts in arrays.items():
            _digest_split(digest, split, parts)
        is_whole = _fingerprint(digest) == meta["fingerprint"]
        splits = {split: Examples.from_arrays(parts) for split, parts in arrays.items()}
        return Data(task, splits, meta["fingerprint"], dict(meta["facts"])) if is_whole else None
    except PermissionError as error:
        advice = "give this user the right to read it, or name another folder with RRM_DATA_CACHE"
        raise UserError(str(folder), f"cannot be read: {error.strerror}: {advice}") from None
    except MemoryError:  # the files may be whole
        raise
    except Exception:  # the bytes of a damaged file can make numpy and json raise any error
        return None


def _build(task: Task, folder: Path) -> Data:
    """Make all splits and put them in place in one step; a damaged folder is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        data = _read(task, folder)
        if data is not None:  # another process built it while this one waited for the lock
            return data
        for leftover in folder.parent.glob(f"{folder.name}.draft-*"):  # an interrupted build left it
            shutil.rmtree(leftover)
        draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.draft-", dir=folder.parent))
        try:
            _refuse(task, find_task_fault(task))
            digest, names = hashlib.sha256(), {}
            for split, count in task.counts.items():
                parts = _make(task, split, count).arrays()
                _digest_split(digest, split, parts)
                names[split] = list(parts)
                for name, array in parts.items():
                    _write(draft / f"{split}.{name}.npy", array)
            facts = {name: int(value) for name, value in task.facts().items()}  # numpy's numbers are no JSON
            meta = {"fingerprint": _fingerprint(digest), "facts": facts, "splits": names}
            (draft / META).write_text(json.dumps(meta), encoding="utf-8")
            _remove(folder)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        data = _read(task, folder)
    if data is None:
        raise UserError(str(folder), "is damaged again after it was built: RRM_DATA_CACHE names another folder")
    return data


def _make(task: Task, split: Split, count: int) -> Examples:
    """The rows of a split.

    Raises:
        UserError: they cannot be trained on and scored.
    """
    made = task.make(split, count, task.config.seed)
    _refuse(task, find_fault(task, split, made))
    return made


def _refuse(task: Task, fault: str | None) -> None:
    """Refuse a task, which may be that of a plug-in, where it has a fault."""
    if fault is not None:
        raise UserError(f"task {type(task).__name__}", fault)


def _remove(folder: Path) -> None:
    """Remove a damaged folder, if there is one.

    Raises:
        UserError: something in it cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        advice = "remove this folder, or name another one with RRM_DATA_CACHE"
        raise UserError(str(folder), f"is damaged and cannot be removed: {error.strerror or error}: {advice}") from None


def _digest_split(digest: "hashlib._Hash", split: str, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        digest.update(f"{split}.{name}{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)


def _fingerprint(digest: "hashlib._Hash") -> str:
    return digest.hexdigest()[:16]


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
    """A digest of all that the data depends on: the config with digests of files, the code of the task, numpy's version."""
    known = {"config": config.identity(), "code": _code_digest(), "numpy": np.__version__}
    return _digest_of(known | _code_of_plugin(config))


def _code_of_plugin(config: BaseTaskConfig) -> dict[str, str]:
    """What identifies the code of a task that is not built in; empty for one that is."""
    return {} if config.from_plugin is None else {"plugin": config.from_plugin.code}


def _digest_of(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def _code_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*")):
        if path.suffix in {".py", ".txt"}:
            digest.update(path.read_bytes())
    return digest.hexdigest()
