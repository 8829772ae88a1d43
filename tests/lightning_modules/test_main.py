"""`rrm-trial` as a user types it."""

import json
from pathlib import Path

import pytest

from lightning_modules.__main__ import main
from lightning_modules.config import Budget, load_trial
from lightning_modules.fit import fit
from lightning_modules.yaml_file import write_yaml
from rrm.tasks import CONFIGS
from tests.conftest import ROOT, tiny_sections


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


TRIALS = sorted((ROOT / "lightning_modules/trials").glob("*.yaml"))


def test_every_task_has_a_trial_file() -> None:
    assert {load_trial(path).task.kind for path in TRIALS} == set(CONFIGS)  # type: ignore[attr-defined]


@pytest.mark.more
@pytest.mark.parametrize("path", TRIALS, ids=lambda path: path.stem)
def test_every_trial_file_trains_and_scores_every_split(path: Path) -> None:
    config = load_trial(path)
    short = config.model_copy(update={"fit": config.fit.model_copy(update={"budget": Budget(amount=2)})})
    record = fit(short).record
    assert record["outcome"] == "completed" and len(record["data_fingerprint"]) == 16
    assert {"val/nll", "test/nll", "test/valid_accuracy"} <= record.keys()
    assert ("ood/nll" in record) == (path.stem not in {"sudoku", "arc", "table", "official"})
    if path.stem == "arc":
        assert 0 <= record["test/pass_at_1"] <= record["test/pass_at_2"] <= 1


def test_curves_have_a_point_for_every_bin_and_depth() -> None:
    config = load_trial(next(path for path in TRIALS if path.stem == "automaton"))
    short = config.model_copy(update={"fit": config.fit.model_copy(update={"budget": Budget(amount=2)})})
    found = {(point["metric"], point["at"]) for point in fit(short).curves}
    for depth in range(1, config.eval.max_depth + 1):
        assert {(f"depth/exact_accuracy/k{k}", depth) for k in range(1, 5)} <= found
        assert {(f"ood_depth/exact_accuracy/k{k}", depth) for k in range(5, 9)} <= found
        assert ("ood_depth/nll", depth) in found


def test_a_folder_that_older_defaults_began_goes_on_with_them(
    trial_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # without --out the folder bears the fingerprint
    for out in (["--out", "out"], []):
        trial_file.write_text(write_yaml(tiny_sections() | {"defaults": 1}))
        assert main([str(trial_file), *out]) == 0
        trial_file.write_text(write_yaml(tiny_sections()))
        capsys.readouterr()
        assert main([str(trial_file), *out]) == 0
        shown = capsys.readouterr().out
        assert "was started with defaults 1 (model.positions: rotary): the trial keeps them" in shown
        assert "already finished" in shown
    trial_file.write_text(write_yaml(tiny_sections() | {"defaults": 2}))
    assert main([str(trial_file), "--out", "out"]) == 2
    assert "holds another trial" in capsys.readouterr().err


@pytest.mark.parametrize(("version", "message"), [(99, "is 99, written by a newer rrm-sweeps"), ("new", "must be a version of")])
def test_a_version_that_is_not_known_is_one_line(
    trial_file: Path, capsys: pytest.CaptureFixture[str], version: object, message: str
) -> None:
    trial_file.write_text(write_yaml(tiny_sections() | {"defaults": version}))
    assert main([str(trial_file)]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"defaults: {message}") and shown.count("\n") == 1
