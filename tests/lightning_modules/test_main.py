"""`rrm-trial` as a user types it."""

import json
from pathlib import Path

import pytest

from lightning_modules.__main__ import main
from lightning_modules.yaml_file import write_yaml
from tests.conftest import tiny_sections


@pytest.fixture
def trial_file(tmp_path: Path) -> Path:
    path = tmp_path / "trial.yaml"
    path.write_text(write_yaml(tiny_sections()))
    return path


def test_a_trial_is_run_once_and_then_shown(trial_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(trial_file), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["outcome"] == "completed" and result["curves"]
    written = (tmp_path / "out/result.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main(command) == 0
    assert "already finished" in capsys.readouterr().out
    assert (tmp_path / "out/result.json").stat().st_mtime_ns == written


def test_the_stored_trial_is_the_same_trial(trial_file: Path, tmp_path: Path) -> None:
    assert main([str(trial_file), "--out", str(tmp_path / "a")]) == 0
    assert main([str(tmp_path / "a/trial.yaml"), "--out", str(tmp_path / "b")]) == 0
    first, second = (json.loads((tmp_path / name / "result.json").read_text()) for name in "ab")
    assert first["fingerprint"] == second["fingerprint"] and first["test/nll"] == second["test/nll"]


def test_a_folder_that_holds_another_trial_is_refused(trial_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trial_file), "--out", str(tmp_path / "out")]) == 0
    trial_file.write_text(write_yaml(tiny_sections(seed=5)))
    assert main([str(trial_file), "--out", str(tmp_path / "out")]) == 2
    assert "holds another trial" in capsys.readouterr().err


def test_a_bad_trial_is_one_line_and_creates_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(write_yaml(tiny_sections(model__hiden_size=3)))
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
