"""What all tests share: one thread (two cores run two tests' trials), a tiny trial, no tracking server from outside."""

import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import torch

from lightning_modules.config import TrialConfig, parse_trial
from lightning_modules.yaml_file import write_yaml
from rrm.plugins import installed_points
from rrm.registry import registry_of

torch.set_num_threads(1)  # for fixtures of a session or a module, which are made before `one_thread`
os.environ.setdefault("RAY_AUTH_MODE", "token")  # as `rrm-sweep` does: Ray reads it when it is imported, here by test modules

ROOT = Path(__file__).parent.parent
GOLDEN = sorted((ROOT / "tests/golden").glob("*.safetensors"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_data_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Data is built anew in every session, once: the workers of a session share a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RRM_DATA_CACHE", str(session_folder(tmp_path_factory) / "data"))
        yield


def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that the workers of a session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(autouse=True, scope="session")
def copied_mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """New SQLite databases of MLflow are copies of one that MLflow has made: its migrations take seconds for each."""
    if "mlflow" not in sys.modules:  # no collected test needs it, and its import takes seconds
        yield
        return
    from mlflow.store.db import utils

    made, make_tables = session_folder(tmp_path_factory) / "mlflow_tables.db", utils._initialize_tables

    @cache
    def read_tables() -> bytes:
        if not made.exists():
            mine = made.with_suffix(f".{os.getpid()}")
            make_tables(sqlalchemy.create_engine(f"sqlite:///{mine}", poolclass=sqlalchemy.NullPool))
            mine.replace(made)
        return made.read_bytes()

    def copy_tables(engine: sqlalchemy.Engine) -> None:
        if engine.dialect.name != "sqlite" or sqlalchemy.inspect(engine).get_table_names():
            make_tables(engine)
            return
        with closing(sqlite3.connect(":memory:")) as source, closing(engine.raw_connection()) as target:
            source.deserialize(read_tables())
            source.backup(target.driver_connection)

    read_tables()  # a test without the right to read the folder finds them read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", copy_tables)
        yield


@pytest.fixture(autouse=True)
def no_outside_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "RRM_STORAGE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def write_spec(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes a sweep spec."""

    def write(sections: dict[str, Any]) -> Path:
        path = tmp_path / "sweep.yaml"
        path.write_text(write_yaml(sections))
        return path

    return write


def tiny_sections(**changes: Any) -> dict[str, Any]:
    """Sections of a trial that trains in a second; `model__hidden_size=32` changes one field."""
    sections: dict[str, Any] = {
        "task": {"kind": "sudoku", "size": 4, "train_examples": 60, "validation_examples": 20, "test_examples": 30},
        "model": {
            "kind": "trm", "hidden_size": 16, "head_size": 8, "num_layers": 1, "h_cycles": 1, "l_cycles": 2,
            "supervision_steps": 2, "halting": "fixed",
        },
        "fit": {"batch_size": 8, "budget": {"unit": "steps", "amount": 12}},
        "eval": {"max_depth": 4, "validations": 3},
    }  # fmt: skip
    for name, value in changes.items():
        *parents, last = name.split("__")
        section = sections
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = dict(value) if isinstance(value, dict) else value
    return sections


def tiny_trial(**changes: Any) -> TrialConfig:
    return parse_trial(tiny_sections(**changes), Path())


EXTENDING = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", EXTENDING, re.DOTALL))  # files that the page shows, by name


@pytest.fixture
def plugin_folder(tmp_path: Path) -> Path:
    """A folder with the task and the model of docs/extending.md; its name has a space."""
    folder = tmp_path / "my plug-ins"
    folder.mkdir()
    for name in ("my_puzzle.py", "my_model.py"):
        (folder / name).write_text(EXAMPLES[name])
    return folder


def plugin_sections(**changes: Any) -> dict[str, Any]:
    """Sections of a tiny trial of the task and the model of docs/extending.md."""
    task = {"kind": "reverse", "serial_steps": 6, "ood_serial_steps": 8, "train_examples": 60}
    task |= {"validation_examples": 20, "test_examples": 30, "ood_examples": 20}
    sections = tiny_sections() | {"task": task, "plugins": ["my_puzzle.py", "my_model.py"]}
    sections["model"]["kind"] = "damped"
    return sections | changes


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a package with the task and the model of docs/extending.md, by its files and its dist-info folder alone."""

    def forget() -> None:
        installed_points.cache_clear()
        registry_of.cache_clear()

    def install_package(version: str = "1.0", **points: str) -> None:
        site = tmp_path / f"site-{version}"
        (site / f"my_puzzles-{version}.dist-info").mkdir(parents=True)
        (site / f"my_puzzles-{version}.dist-info/METADATA").write_text(
            f"Metadata-Version: 2.1\nName: my-puzzles\nVersion: {version}\n"
        )
        points = points or {"tasks": "reverse = my_puzzles:Reverse"}
        lines = [f"[rrm_sweeps.{group}]\n{line}\n" for group, line in points.items()]
        (site / f"my_puzzles-{version}.dist-info/entry_points.txt").write_text("".join(lines))
        (site / "my_puzzles.py").write_text(EXAMPLES["my_puzzle.py"])
        monkeypatch.syspath_prepend(site)
        sys.modules.pop("my_puzzles", None)
        forget()

    yield install_package
    monkeypatch.undo()
    sys.modules.pop("my_puzzles", None)
    forget()
