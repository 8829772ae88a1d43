"""A machine whose locale knows ASCII alone, as containers and batch systems have it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.store.store import Store
from tests.conftest import ROOT
from tests.sweeps.conftest import command, measure_sections, run_here

DESCRIPTION = "Größe gegen Rekursion: 幅と深さ"
POSIX = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
SECTIONS = measure_sections(fit__budget__amount=4, eval__validations=1) | {"description": DESCRIPTION}


def type_in_posix(*words: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, cwd=folder, env=os.environ | POSIX, capture_output=True, timeout=240)


@pytest.mark.more
def test_a_finished_sweep_keeps_its_spec_when_it_is_run_again(open_ledger: Callable, tmp_path: Path) -> None:
    ledger = open_ledger(SECTIONS | {"tracking": {"models": 0}})
    run_here(ledger)
    before = ledger.store.spec()
    ended = type_in_posix(*command("run", "sweep.yaml", "storage=runs"), folder=tmp_path)
    assert ended.returncode == 0 and b"is finished: 4 trials" in ended.stdout, ended.stderr
    assert ledger.store.spec() == before.replace(str(tmp_path / "runs"), "runs") and DESCRIPTION in before


@pytest.mark.ray
@pytest.mark.more
def test_the_smallest_sweep_runs_from_its_spec_to_its_report(write_spec: Callable, tmp_path: Path) -> None:
    write_spec(SECTIONS)
    analyze = [command()[0], "-m", "analysis.cli", "runs/tiny"]
    commands = [command("run", "sweep.yaml"), command("run", "sweep.yaml"), command("status", "runs/tiny"), analyze]
    ended = [type_in_posix(*words, folder=tmp_path) for words in commands]
    assert [one.returncode for one in ended] == [0] * 4, [one.stderr for one in ended]
    assert b"is finished: 4 trials" in ended[1].stdout and b"4 completed" in ended[2].stdout and b"report:" in ended[3].stdout
    assert DESCRIPTION in (Store(tmp_path / "runs/tiny").spec() or "")


@pytest.mark.parametrize("override", [pytest.param([], marks=pytest.mark.more), ["storage=Größe"]], ids=["in the spec", "typed"])
def test_a_file_name_that_the_locale_cannot_write_is_one_line(write_spec: Callable, tmp_path: Path, override: list[str]) -> None:
    spec = write_spec(SECTIONS | {"storage": "Größe"})
    ended = type_in_posix(*command("run", str(spec), *override), folder=tmp_path)
    assert ended.returncode == 2 and ended.stderr.count(b"\n") == 1, ended.stderr
    assert b"set PYTHONUTF8=1 in the environment" in ended.stderr
