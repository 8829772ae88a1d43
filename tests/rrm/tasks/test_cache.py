import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from rrm.errors import UserError
from rrm.tasks import build_task
from rrm.tasks.automaton import AutomatonConfig
from rrm.tasks.cache import META, load_data
from rrm.tasks.sudoku import SudokuConfig

CONFIG = AutomatonConfig(train_examples=200, validation_examples=20, test_examples=30, ood_examples=40)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RRM_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def test_what_is_read_is_what_was_made() -> None:
    data = load_data(build_task(CONFIG))
    assert {split: len(examples) for split, examples in data.splits.items()} == {
        "train": 200,
        "validation": 20,
        "test": 30,
        "ood": 40,
    }
    for split, examples in data.splits.items():
        made = build_task(CONFIG).make(split, len(examples), 0).arrays()
        for name, array in examples.arrays().items():
            assert isinstance(array.base, np.memmap) and not array.flags.writeable
            assert np.array_equal(array, made[name])


def test_data_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_data(build_task(CONFIG))
    task = build_task(CONFIG)
    monkeypatch.setattr(task, "make", None)  # would raise if it were called
    assert load_data(task).fingerprint == first.fingerprint
    assert len(folders(cache)) == 1


def test_other_settings_are_other_data(cache: Path) -> None:
    fingerprints = {
        load_data(build_task(config)).fingerprint
        for config in (CONFIG, CONFIG.model_copy(update={"seed": 1}), CONFIG.model_copy(update={"rule": 30}), SudokuConfig(size=4))
    }
    assert len(fingerprints) == len(folders(cache)) == 4


def run(code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


LOAD = f"""
from rrm.tasks import build_task
from rrm.tasks.automaton import AutomatonConfig
from rrm.tasks.cache import load_data
print(load_data(build_task(AutomatonConfig(**{CONFIG.model_dump()!r}))).fingerprint)
"""


def slow(log: Path) -> str:
    """A build that takes half a second a split, and says so."""
    return f"""
import time
from collections.abc import Callable
from pathlib import Path
from rrm.tasks.automaton import Automaton
make = Automaton.make
def slowly(self, *given):
    Path({str(log)!r}).open("a").write("made ")
    time.sleep(0.5)
    return make(self, *given)
Automaton.make = slowly
{LOAD}
"""


def test_trials_that_start_at_once_build_one_of_it(cache: Path, tmp_path: Path) -> None:
    started = [run(slow(tmp_path / "log")) for _ in range(4)]
    printed = [process.communicate(timeout=60)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert set(printed) == {load_data(build_task(CONFIG)).fingerprint}
    assert (tmp_path / "log").read_text().split() == ["made"] * 4  # the four splits, once each
    assert len(folders(cache)) == 1


def test_a_build_that_was_killed_leaves_nothing_that_looks_whole(cache: Path, tmp_path: Path) -> None:
    process = run(slow(tmp_path / "log"))
    while not (tmp_path / "log").exists() or len((tmp_path / "log").read_text().split()) < 3:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(cache.glob(f"*/{META}"))  # a draft at most
    again = run(LOAD)
    assert again.communicate(timeout=60)[0].strip() == load_data(build_task(CONFIG)).fingerprint
    assert len(folders(cache)) == 1 and not list(cache.glob("*draft*"))


def test_facts_of_files_are_kept(cache: Path, tmp_path: Path) -> None:
    rows = "source,question,answer,rating\n" + "t,12.4341221434321,1234341221434321,0\n" * 3
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text(rows)
    config = SudokuConfig(size=4, train=Path("train.csv"), test=Path("test.csv")).located(tmp_path)
    assert load_data(build_task(config)).facts == {"test_examples_seen_in_training": 3}
    (meta,) = cache.glob(f"*/{META}")
    assert json.loads(meta.read_text())["facts"] == {"test_examples_seen_in_training": 3}


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RRM_DATA_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written: .*RRM_DATA_CACHE names another folder"):
        load_data(build_task(CONFIG))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "cut off": cut_off,
    "empty": lambda path: path.write_bytes(b""),
    "one bit": flip_a_bit,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another format": lambda path: path.write_bytes(b"PK\x03\x04 no archive"),
    "gone": lambda path: path.unlink(),
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", ["train.inputs.npy", "test.difficulty.k.npy", META])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_data_is_built_anew(cache: Path, name: str, damage: Callable[[Path], object]) -> None:
    first = load_data(build_task(CONFIG))
    (folder,) = folders(cache)
    whole = (folder / name).read_bytes()
    damage(folder / name)
    again = load_data(build_task(CONFIG))
    assert again.fingerprint == first.fingerprint and again.facts == first.facts
    assert (folder / name).read_bytes() == whole and len(folders(cache)) == 1


@pytest.mark.parametrize(
    ("raised", "expected"), [(MemoryError, MemoryError), (PermissionError(13, "Permission denied"), UserError)]
)
def test_an_error_that_is_no_damage_leaves_the_data(
    cache: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception]
) -> None:
    load_data(build_task(CONFIG))
    (folder,) = folders(cache)
    number = folder.stat().st_ino
    with monkeypatch.context() as patched:
        patched.setattr(np, "load", Mock(side_effect=raised))  # tests run as root too, whom no mode of a file stops
        with pytest.raises(expected, match=f"{folder.name}: cannot be read: Permission denied" if expected is UserError else None):
            load_data(build_task(CONFIG))
    assert folder.stat().st_ino == number


def test_damaged_data_that_cannot_be_removed_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_data(build_task(CONFIG))
    (folder,) = folders(cache)
    cut_off(folder / META)
    remove = os.unlink

    def refuse(path: Path | str, **options: Any) -> None:
        if str(path).endswith("train.inputs.npy") and "draft" not in str(path):
            raise PermissionError(13, "Permission denied")
        remove(path, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(UserError, match=f"{folder.name}: is damaged and cannot be removed: Permission denied: remove this folder"):
        load_data(build_task(CONFIG))


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"splits": 3}', '{"fingerprint": "", "splits": {}, "facts": {}}'])
def test_data_whose_description_is_damaged_is_built_anew(cache: Path, content: str) -> None:
    first = load_data(build_task(CONFIG))
    (meta,) = cache.glob(f"*/{META}")
    meta.write_text(content)
    assert load_data(build_task(CONFIG)).fingerprint == first.fingerprint
    assert json.loads(meta.read_text())["fingerprint"] == first.fingerprint
