"""Our TRM computes what the official code computed."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rrm.errors import UserError
from rrm.reference import MAX_TOLERANCE, TOLERANCE, Golden, load_reference, main

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("*.safetensors"))
CALLS = next(path for path in GOLDEN if path.stem == "trm_attention")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_quantity_of_the_golden_file_is_reproduced(path: Path) -> None:
    golden = Golden(path)
    errors, tolerances = golden.check(), golden.tolerances()
    assert len(errors) >= 4
    assert all(errors[quantity] <= tolerances[quantity] for quantity in errors), errors


def test_calls_compare_outputs_losses_carry_and_gradients() -> None:
    errors = Golden(CALLS).check()
    assert {"logits", "q_halt_logits", "loss", "metrics", "carry steps", "carry z_H", "carry z_L", "gradients"} <= errors.keys()


def test_outputs_of_the_first_step_in_bfloat16_are_near_the_golden_ones() -> None:
    exact, rounded = Golden(CALLS).check_first_step(), Golden(CALLS, precision="bfloat16").check_first_step()
    assert exact.keys() == rounded.keys() >= {"logits", "q_halt_logits"}
    assert max(exact.values()) <= TOLERANCE < max(rounded.values()) <= 0.15


def changed_copy(target: Path, weight: str, by: float = 0.01) -> Path:
    """The golden file with one number of one weight changed."""
    with safe_open(CALLS, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(CALLS)
    tensors[weight].view(-1)[0] += by
    save_file(tensors, target, metadata)
    return target


def test_a_changed_weight_makes_the_check_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = changed_copy(tmp_path / "changed.safetensors", "state.lm_head.weight")
    assert main([str(copy)]) == 1
    assert "too large" in capsys.readouterr().out


def test_a_tolerance_grows_only_where_the_last_bit_of_the_weights_moves_a_quantity() -> None:
    golden = Golden(CALLS)
    golden.check()
    golden.errors["logits"] = 2 * TOLERANCE  # as on a processor that rounds differently
    tolerances = golden.tolerances()
    assert tolerances["carry steps"] == tolerances["loss"] == TOLERANCE
    assert TOLERANCE < tolerances["gradients"] <= MAX_TOLERANCE


def test_an_error_that_is_not_a_number_is_kept_when_smaller_ones_follow() -> None:
    golden = Golden(CALLS)
    for value in (float("nan"), 0.0):
        golden.compare("logits", golden.tensors["call0.logits"] + value, "call0.logits")
    assert math.isnan(golden.errors["logits"])


def test_an_error_that_is_not_a_number_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = changed_copy(tmp_path / "changed.safetensors", "state.lm_head.weight", by=float("nan"))
    assert main([str(copy)]) == 1
    assert "nan  too large" in capsys.readouterr().out


def test_the_command_passes_on_the_golden_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path) for path in GOLDEN]) == 0
    assert "every error is within its tolerance" in capsys.readouterr().out


def test_a_file_that_is_not_golden_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.safetensors"
    path.write_text("no tensors")
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_state_that_does_not_fit_the_config_is_refused() -> None:
    golden = Golden(CALLS)
    state = golden.part("state.")
    state["lm_head.weight"] = torch.zeros(3, 3)
    with pytest.raises(UserError, match="does not fit the config"):
        load_reference("trm", golden.config, state)


def test_an_architecture_that_is_not_ours_is_refused() -> None:
    with pytest.raises(UserError, match="must be one of trm"):
        load_reference("unknown", json.loads("{}"), {})
