from pathlib import Path

import pytest
from pydantic import ValidationError

from lightning_modules.config import load_trial, parse_trial
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from tests.conftest import ROOT, tiny_sections, tiny_trial

BAD = {
    "unknown key": ({"model__hiden_size": 16}, "model.hiden_size: unknown key; did you mean 'hidden_size'?"),
    "unknown section": ({"modle": {}}, "modle: unknown key; did you mean 'model'?"),
    "dash for underscore": ({"fit__batch-size": 8}, "fit.batch-size: unknown key; did you mean 'batch_size'?"),
    "upper case": ({"model__Hidden_Size": 8}, "model.Hidden_Size: unknown key; did you mean 'hidden_size'?"),
    "empty key": ({"": 1}, "'': unknown key; choose from: eval, fit"),
    "empty key in a section": ({"model__": 1}, "model.'': unknown key; choose from: hidden_size, num_layers, h_cycles"),
    "key that is a type": ({"model__int": 1}, "model.int: unknown key; choose from: hidden_size, num_layers, h_cycles"),
    "keys that are types": ({"task": {"int": 1, "float": 2, "str": 3}}, "task.int: unknown key; choose from: augment"),
    "key that looks like a type": ({"model__list[int]": 1}, "model.list[int]: unknown key"),
    "key that is a kind": ({"task__sudoku": 1}, "task.sudoku: unknown key"),
    "negative budget": ({"fit__budget__amount": -5}, "fit.budget.amount: must be greater than or equal to 0, got -5"),
    "wrong type": ({"model__hidden_size": "wide"}, "model.hidden_size: must be a valid integer, got 'wide'"),
    "float for int": ({"model__l_cycles": 1.5}, "model.l_cycles: must be a valid integer"),
    "string for number": ({"optim__lr": "1e-4"}, "optim.lr: must be a valid number, got '1e-4'"),
    "unknown kind": (
        {"model__kind": "tmr"},
        "model.kind: must be 'trm', 'hrm', 'direct', 'untied', 'looped' or 'outer_loop', got 'tmr'",
    ),
    "decimal comma": ({"optim__lr": "0,005"}, "optim.lr: must be a valid number, got '0,005'; a number has a decimal point"),
    "infinite": ({"optim__lr": float("inf")}, "optim.lr: must be a finite number"),
    "width without heads": ({"model__hidden_size": 20}, "model: hidden_size must be a multiple of head_size, got hidden_size 20"),
    "short curve": ({"eval__max_depth": 1}, "eval.max_depth must be at least model.supervision_steps, got 1 and 2"),
    "section for value": ({"optim__lr": {"min": 1}}, "optim.lr: must be a valid number"),
    "value for section": ({"optim": 3}, "optim: must be a section of key: value lines, got 3; write optim: {kind: adam_atan2}"),
    "kind for section": ({"model": "hrm"}, "model: must be a section of key: value lines, got 'hrm'; write model: {kind: hrm}"),
    "list for section": ({"task": ["maze"]}, "task: must be a section of key: value lines, got ['maze']; write task: {kind: "),
    "list for value": ({"model__h_cycles": [1, 2]}, "model.h_cycles: must be a valid integer, got [1, 2]"),
    "letter of the papers": ({"model__n_sup": 4}, "model.n_sup: unknown key; did you mean 'supervision_steps' (N_sup, supervision"),
    "name from elsewhere": ({"model__learning_rate": 1e-3}, "unknown key; did you mean 'optim.lr' (learning rate)?"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_field_is_named_with_rule_and_value(change: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_trial(tiny_sections(**change), Path())
    assert message in str(error.value) and "\n" not in str(error.value)


BROKEN_RULES = {
    "width": ({"model__hidden_size": 20}, {"model.hidden_size", "model.head_size"}),
    "another kind's field": ({"model": {"kind": "direct", "l_cycles": 2}}, {"model.l_cycles", "model.kind"}),
    "idle field": ({"model__halting": "fixed", "model__halt_exploration": 0.1}, {"model.halt_exploration", "model.halting"}),
    "prefix": ({"model__puzzle_embedding_size": 4}, {"model.puzzle_embedding_size", "model.prefix_length"}),
    "single state": (
        {"model": {"kind": "looped", "state_reset": "latent"}},
        {"model.state_reset", "model.state", "model.kind"},
    ),
    "sections": ({"eval__max_depth": 1}, {"eval.max_depth", "model.supervision_steps"}),
    "optimizer": ({"optim__puzzle_lr": 0.1}, {"optim.puzzle_lr", "model.prefix_length"}),
    "schedule": ({"optim__min_lr_ratio": 0.1}, {"optim.schedule", "optim.min_lr_ratio"}),
    "task": ({"task": {"kind": "maze", "size": 6, "ood_size": 5}}, {"task.ood_size", "task.size"}),
    "task with a default": ({"task": {"minimal": True, "size": 4, "clues": [4, 8]}}, {"task.clues", "task.minimal"}),
}


@pytest.mark.parametrize(("change", "fields"), BROKEN_RULES.values(), ids=BROKEN_RULES.keys())
def test_an_error_about_several_fields_has_their_paths(change: dict, fields: set[str]) -> None:
    with pytest.raises(UserError) as error:
        parse_trial(tiny_sections(**change), Path(), "trial")
    assert set(error.value.fields) == {f"trial.{field}" for field in fields}


def test_every_rule_of_a_trial_names_its_fields() -> None:
    """Else an error cannot be traced to a value that a sweep varies."""
    files = [*(ROOT / "rrm").glob("*.py"), *(ROOT / "rrm/tasks").glob("*.py"), ROOT / "lightning_modules/config.py"]
    assert [path.name for path in files if "raise ValueError(" in path.read_text(encoding="utf-8")] == []


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        tiny_trial().seed = 1  # type: ignore[misc]


def test_the_fingerprint_covers_every_field_and_no_spelling() -> None:
    trial = tiny_trial()
    assert trial.fingerprint == parse_trial(trial.resolved(), Path()).fingerprint
    changes = [{"seed": 1}, {"optim__lr": 2e-3}, {"model__l_cycles": 3}, {"task__seed": 1}, {"eval__max_depth": 5}]
    fingerprints = {tiny_trial(**change).fingerprint for change in changes}
    assert len(fingerprints) == len(changes) and trial.fingerprint not in fingerprints


def test_what_has_no_effect_is_no_part_of_a_trial() -> None:
    idle = {"optim.puzzle_lr", "optim.puzzle_weight_decay", "optim.ema_warmup", "model.halt_exploration", "model.state_noise_at"}
    assert not idle & tiny_trial(optim__ema_decay=0).flat().keys()
    used = tiny_trial(model__prefix_length=1, model__halting="act", model__state_noise=0.1)
    assert idle <= used.flat().keys() and used.flat() == parse_trial(used.resolved(), Path()).flat()


def test_a_budget_may_be_written_as_a_whole_number() -> None:
    assert tiny_trial(fit__budget__amount=12).fingerprint == tiny_trial(fit__budget__amount=12.0).fingerprint


def test_the_fingerprint_follows_the_data_not_its_path(tmp_path: Path) -> None:
    header = "source,question,answer,rating\n"
    (tmp_path / "a").mkdir()
    for name, text in (("train.csv", "x"), ("test.csv", "y"), ("a/train.csv", "x"), ("a/test.csv", "y"), ("other.csv", "z")):
        (tmp_path / name).write_text(header + text)

    def fingerprint(train: str, test: str, folder: Path) -> str:
        return parse_trial({"task": {"size": 9, "train": train, "test": test}}, folder).fingerprint

    here = fingerprint("train.csv", "test.csv", tmp_path)
    assert here == fingerprint("train.csv", "test.csv", tmp_path / "a")
    assert here != fingerprint("other.csv", "test.csv", tmp_path)


def test_a_sweep_is_refused_with_the_command_to_use(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(write_yaml({"name": "x", "trial": {}, "measure": {}}))
    with pytest.raises(UserError, match="use rrm-sweep run"):
        load_trial(path)


@pytest.mark.parametrize("path", sorted((ROOT / "lightning_modules/trials").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_trial_that_is_shipped_is_valid(path: Path) -> None:
    assert load_trial(path).fingerprint
