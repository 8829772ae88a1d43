"""Weights survive a file, lose the prefixes of wrappers, and are refused where they do not fit."""

from pathlib import Path

import pytest
import torch

from rrm.errors import UserError
from rrm.models import build_model, model_config
from rrm.reasoner import Reasoner
from rrm.tasks.task import PuzzleShape
from rrm.weights import load_weights, read_weights, write_weights


def tiny_model(seed: int, num_puzzles: int = 1) -> Reasoner:
    torch.manual_seed(seed)
    return build_model(model_config(hidden_size=16, num_layers=1, prefix_length=1), PuzzleShape(16, 5, num_puzzles))


def test_weights_in_a_file_make_another_model_equal(tmp_path: Path) -> None:
    first, second = tiny_model(0), tiny_model(1)
    write_weights(tmp_path / "weights.safetensors", first.state_dict())
    load_weights(second, read_weights(tmp_path / "weights.safetensors"))
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_weights_replace_a_file_in_one_step(tmp_path: Path) -> None:
    path, opened = tmp_path / "weights.safetensors", tmp_path / "as_opened.safetensors"
    write_weights(path, {"a": torch.zeros(1)})
    opened.hardlink_to(path)
    write_weights(path, {"a": torch.ones(1)})
    assert read_weights(opened)["a"] == 0 and read_weights(path)["a"] == 1
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, opened.name}


def test_prefixes_of_wrappers_and_compilation_are_dropped() -> None:
    first, second = tiny_model(0), tiny_model(1)
    load_weights(second, {f"_orig_mod.model.inner.{name}": value for name, value in first.state_dict().items()})
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_a_table_of_other_puzzles_becomes_its_mean_in_every_row() -> None:
    first, second = tiny_model(0, num_puzzles=3), tiny_model(1, num_puzzles=2)
    state = first.state_dict()
    state["puzzle_emb.weights"] = torch.arange(48.0).view(3, 16)
    load_weights(second, state)
    assert torch.equal(second.state_dict()["puzzle_emb.weights"], state["puzzle_emb.weights"].mean(0).expand(2, 16))


@pytest.mark.parametrize("content", [{"a": 1}, [torch.zeros(1)]])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="must hold tensors by name and nothing else"):
        read_weights(tmp_path / "weights.pt")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_an_empty_file_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"{name}: is empty, and must be a file of weights"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("form", ["safetensors", "zip", "pickle"])
def test_a_file_that_is_cut_off_anywhere_is_refused_in_a_line(tmp_path: Path, form: str) -> None:
    path, state = tmp_path / f"weights.{form}", tiny_model(0).state_dict()
    if form == "safetensors":
        write_weights(path, state)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    for share in range(1, 50):
        path.write_bytes(whole[: len(whole) * share // 50])
        with pytest.raises(UserError, match=r"is not a file of weights: \S") as error:
            read_weights(path)
        assert "\n" not in str(error.value)


def test_weights_of_another_width_are_refused() -> None:
    state = tiny_model(0).state_dict() | {"lm_head.weight": torch.zeros(5, 24)}
    with pytest.raises(UserError, match="does not fit the config"):
        load_weights(tiny_model(1), state)
