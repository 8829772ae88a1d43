"""Versions of the formats of files, and files of format 1."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.columns import axis_of, column_of, current_name, curve_of
from lightning_modules.fit import fit
from lightning_modules.module import read_checkpoint
from lightning_modules.record import RESULT_FORMAT, FitResult, Row, read_result, scores_of, used_of, value_of
from lightning_modules.saved_model import FORMAT, SavedModel, save_model
from lightning_modules.trial_folder import CHECKPOINT
from rrm.errors import UserError
from rrm.models import build_model
from tests.conftest import ROOT, tiny_trial

LATER = "has format 99, and this version of rrm-sweeps reads up to .*: install a newer rrm-sweeps$"
OLD = ROOT / "tests/fixtures/stores_e399d62/measure/trials"


def test_a_result_states_its_format_and_reads_back_equal(tmp_path: Path) -> None:
    point = {"metric": "depth/state_change", "axis": "depth", "at": 1, "value": 0.5, "time": 7}
    result = FitResult({"outcome": "completed", "steps": 4}, [point])  # type: ignore[list-item]
    path = tmp_path / "result.json"
    path.write_text(result.to_json())
    assert json.loads(path.read_text())["format"] == RESULT_FORMAT
    assert read_result(path) == result


def test_a_result_of_format_1_is_read_with_today_s_names() -> None:
    path = next(OLD.glob("*/result.json"))
    old, new = json.loads(path.read_text()), read_result(path)
    assert any(point["metric"] == "depth/residual" for point in old["curves"])
    assert [point["value"] for point in new.curves] == [point["value"] for point in old["curves"]]
    assert {point["metric"] for point in new.curves} >= {"depth/state_change", "depth/nll", "val_curve/nll"}
    assert not any("residual" in point["metric"] for point in new.curves)
    assert new.record == {name: value for name, value in old.items() if name != "curves"}


def test_a_result_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"format": 99, "curves": []}))
    with pytest.raises(UserError, match=f"result.json: {LATER}"):
        read_result(path)


def test_a_checkpoint_of_a_later_format_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    config = tiny_trial()
    fit(config, tmp_path)
    saved = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    torch.save(saved | {"trial": saved["trial"] | {"format": 99}}, tmp_path / CHECKPOINT)
    with pytest.raises(UserError, match=f"checkpoint.ckpt: {LATER}"):
        fit(config, tmp_path)


def test_a_checkpoint_of_format_1_is_read() -> None:
    saved = read_checkpoint(next(OLD.glob("*/checkpoint.ckpt")))
    assert saved is not None and "format" not in saved["trial"]


def test_a_saved_model_of_a_later_format_is_refused_and_one_without_a_version_is_loaded(tmp_path: Path) -> None:
    config = tiny_trial(model__state_init="random")  # no program is exported, which would take seconds
    save_model(tmp_path / "model", config, build_model(config.model, config.task.shape).state_dict())
    path = tmp_path / "model" / FORMAT
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match=f"format.json: {LATER}"):
        SavedModel(tmp_path / "model")
    path.unlink()
    assert SavedModel(tmp_path / "model").answer(np.ones((2, 16), dtype=np.int64)).answers.shape == (2, 16)


def test_a_row_is_read_by_the_names_of_a_record() -> None:
    row = Row(step=4, time=0, metrics={"val_curve/nll": 0.5, "train_curve/loss": 1.0}, used={"steps": 4, "train_seconds": 2.5})
    assert value_of(row, "val/nll") == 0.5 and value_of(row, "val/exact_accuracy") is None
    assert used_of(row, "steps") == 4 and used_of(row, "seconds") == 2.5
    assert scores_of(row) == {"val/nll": 0.5}


def test_names_of_curves_and_columns_correspond() -> None:
    assert curve_of("val/nll") == "val_curve/nll" and column_of("val_curve/nll") == "val/nll"
    assert column_of("train_curve/loss") is None
    assert axis_of("depth/nll") == "depth" and axis_of("val/nll") is None
    assert current_name("ood_depth/residual") == "ood_depth/state_change"
    assert current_name("my/residual") == "my/residual" and current_name("residual") == "residual"
