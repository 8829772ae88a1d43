"""A trial from its config to its record."""

import copy
from pathlib import Path

import pytest
import torch

from lightning_modules.config import Budget, TrialConfig
from lightning_modules.datamodule import TrainingStream, load_splits
from lightning_modules.evaluation import depth_curve
from lightning_modules.fit import fit
from lightning_modules.record import FitResult, Row, step_flops
from lightning_modules.trial_folder import CHECKPOINT, WEIGHTS
from rrm.models import build_model
from tests.conftest import tiny_trial

VOLATILE = {"wall_seconds", "train_seconds", "examples_per_second", "peak_memory_bytes"}
CONFIGS = {
    "fixed": {},
    "act": {"model__halting": "act", "model__supervision_steps": 4},
    "puzzle embedding": {"model__prefix_length": 2, "model__positions": "learned"},
    "adamw": {"optim__kind": "adamw"},
    "muon and cosine": {"optim__kind": "muon", "optim__schedule": "cosine", "optim__min_lr_ratio": 0.1},
    "noise and random states": {"model__state_init": "random", "model__state_noise": 0.2, "model__halting": "act"},
    "tokens": {"model__medium": "tokens", "model__halting": "act"},
    "curriculum": {"fit__curriculum": [{"until": 0.5, "h_cycles": 1, "l_cycles": 1}], "model__h_cycles": 2},
    "single state": {"model__state": "single", "model__halting": "act"},
    "separate networks": {"model__networks": "separate", "model__halting": "act"},
    "mixer": {"model__mixer": "mlp", "model__halting": "act"},
    "hrm": {"model": {"kind": "hrm", "num_layers": 1, "hidden_size": 16, "head_size": 8, "supervision_steps": 4}},
    "looped": {"model": {"kind": "looped", "num_layers": 1, "hidden_size": 16, "head_size": 8, "supervision_steps": 4}},
    "outer_loop": {"model": {"kind": "outer_loop", "num_layers": 1, "hidden_size": 16, "supervision_steps": 4}},
    "untied": {"model": {"kind": "untied", "num_layers": 1, "h_cycles": 1, "l_cycles": 2, "hidden_size": 16}},
    "direct": {"model": {"kind": "direct", "num_layers": 1, "hidden_size": 16}},
}


class Interrupted(Exception):
    pass


def interrupt_after(rows: int):
    """A report that dies at the given row, after the checkpoint was written."""
    seen = []

    def report(row: Row) -> bool:
        seen.append(row)
        if len(seen) == rows:
            raise Interrupted
        return True

    return report


def comparable(result: FitResult) -> tuple[dict, list]:
    record = {key: value for key, value in result.record.items() if key not in VOLATILE}
    return record, [{**point, "time": 0} for point in result.curves]


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_resumed_trial_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, changes: dict) -> None:
    config = tiny_trial(**changes)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    expected = fit(config, whole)
    with pytest.raises(Interrupted):
        fit(config, parts, interrupt_after(2))
    assert comparable(fit(config, parts)) == comparable(expected)
    saved = [torch.load(folder / CHECKPOINT, weights_only=True) for folder in (whole, parts)]
    for name, tensor in saved[0]["state_dict"].items():
        assert torch.equal(tensor, saved[1]["state_dict"][name]), name
    for name in ("z_H", "z_L", "steps", "halted"):
        assert torch.equal(saved[0]["trial"]["carry"][name], saved[1]["trial"]["carry"][name])


@pytest.mark.parametrize("step", [1, 5, 7, 11])
def test_a_trial_stopped_at_any_step_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Between two checkpoints too: what was done since the last one is done again, to the same numbers."""
    config = tiny_trial(model__halting="act", model__supervision_steps=3)
    expected = fit(config)
    plain = TrainingStream.batch

    def batch(stream: TrainingStream, number: int):
        if number == step:
            raise Interrupted
        return plain(stream, number)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(TrainingStream, "batch", batch)
        fit(config, tmp_path)
    assert comparable(fit(config, tmp_path)) == comparable(expected)


def test_a_trial_killed_after_its_last_checkpoint_is_only_scored(tmp_path: Path) -> None:
    config = tiny_trial()
    expected = fit(config)
    with pytest.raises(Interrupted):
        fit(config, tmp_path, interrupt_after(config.eval.validations))
    assert comparable(fit(config, tmp_path)) == comparable(expected)


def test_the_scored_weights_are_the_saved_weights(tmp_path: Path) -> None:
    config = tiny_trial()
    result = fit(config, tmp_path)
    model = build_model(config.model, config.task.shape)
    model.load_state_dict(torch.load(tmp_path / WEIGHTS, weights_only=True))
    splits = load_splits(config.task).splits
    curve = depth_curve(model, splits["test"], config.eval.max_depth, config)
    assert curve.at(config.model.supervision_steps)["nll"] == result.record["test/nll"]


def test_the_record_has_identity_costs_and_scores() -> None:
    config = tiny_trial()
    record = fit(config).record
    assert record["outcome"] == "completed" and record["fingerprint"] == config.fingerprint
    assert record["steps"] == 12 and record["model.hidden_size"] == 16 and record["recursion"] == 1 * 3 * 2
    assert record["train_flops"] > 0 and record["inference_flops"] > 0 and record["peak_memory_bytes"] > 0
    assert 0 <= record["test/exact_accuracy"] <= 1 and record["test/examples"] == 30
    assert 1 <= record["chosen_depth"] <= 4


def test_curves_reach_every_step_and_every_depth() -> None:
    curves = fit(tiny_trial()).curves
    by_metric: dict[str, list[int]] = {}
    for point in curves:
        by_metric.setdefault(point["metric"], []).append(point["at"])
    assert by_metric["val_curve/exact_accuracy"] == by_metric["train_curve/loss"] == [4, 8, 12]
    assert by_metric["depth/exact_accuracy"] == by_metric["val_depth/exact_accuracy"] == [1, 2, 3, 4]
    assert by_metric["depth/token_change_rate"] == [2, 3, 4]


def used_of(changes: dict) -> dict:
    return fit(tiny_trial(**changes)).record


def test_every_budget_ends_the_training_at_its_amount() -> None:
    steps = used_of({})
    assert steps["steps"] == 12
    by_flops = used_of({"fit__budget": {"unit": "train_flops", "amount": steps["train_flops"] / 2}})
    assert by_flops["steps"] == 6
    by_examples = used_of({"fit__budget": {"unit": "fresh_examples", "amount": 40}})
    assert 40 <= by_examples["fresh_examples"] < 40 + 8
    by_seconds = used_of({"fit__budget": {"unit": "seconds", "amount": 0.2}})
    assert 0.2 <= by_seconds["train_seconds"] < 2


@pytest.mark.parametrize(("unit", "per_step"), [("fresh_examples", 8), ("train_flops", None)])
def test_the_unit_of_an_equal_budget_changes_nothing(unit: str, per_step: int | None) -> None:
    """With N_sup = 1 a step is so many examples and so many FLOPs: the same training, learning rates included."""
    steps = tiny_trial(model__supervision_steps=1, optim__warmup=0.5)
    amount = 12 * (per_step or step_flops(steps))
    other = steps.model_copy(update={"fit": steps.fit.model_copy(update={"budget": Budget(unit=unit, amount=amount)})})  # type: ignore[arg-type]
    assert fit(steps).record["test/nll"] == fit(other).record["test/nll"]


def test_fixed_halting_consumes_examples_evenly() -> None:
    """Slots start staggered: with N_sup = 4 a quarter of them is renewed at every step."""
    record = used_of({"model__supervision_steps": 4})
    assert record["fresh_examples"] == 8 + 2 * 11
    assert record["mean_supervision_steps"] == 4


def test_a_stopped_trial_is_pruned_and_never_sees_the_test_split() -> None:
    record = fit(tiny_trial(), report=lambda row: row["step"] < 8).record
    assert record["outcome"] == "pruned" and record["steps"] == 8
    assert not any(name.startswith("test/") for name in record)


def test_a_diverging_trial_fails_with_its_reason() -> None:
    record = fit(tiny_trial(optim__lr=1e30, optim__kind="adamw", loss__kind="softmax")).record
    assert record["outcome"] == "failed" and "training loss is" in record["reason"]


def test_different_seeds_give_different_trials() -> None:
    records = [fit(tiny_trial(seed=seed)).record for seed in (0, 1)]
    assert records[0]["test/nll"] != records[1]["test/nll"]


def stream(config: TrialConfig, first_step: int = 0) -> TrainingStream:
    data = load_splits(config.task)
    task, splits = data.task, data.splits
    return TrainingStream(task, splits["train"], config, first_step)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    config = tiny_trial()
    iterator = iter(stream(config))
    batches = [next(iterator) for _ in range(5)]
    resumed = next(iter(stream(config, first_step=4)))
    assert torch.equal(batches[4]["inputs"], resumed["inputs"])
    assert not torch.equal(batches[0]["inputs"], batches[1]["inputs"])
    assert not torch.equal(batches[0]["inputs"], next(iter(stream(tiny_trial(seed=1))))["inputs"])


def test_a_pass_offers_every_training_row_once() -> None:
    config = tiny_trial(task__augment=False, task__train_examples=24)
    offered = torch.cat([stream(config).batch(step)["inputs"] for step in range(3)])
    splits = load_splits(config.task).splits
    assert sorted(map(tuple, offered.tolist())) == sorted(map(tuple, splits["train"].inputs.tolist()))


def test_scoring_leaves_the_training_state_alone(tmp_path: Path) -> None:
    """A trial that validates more often trains to the same weights."""
    results = []
    for validations in (1, 4):
        folder = tmp_path / str(validations)
        folder.mkdir()
        fit(tiny_trial(eval__validations=validations, model__halting="act"), folder)
        results.append(copy.deepcopy(torch.load(folder / WEIGHTS, weights_only=True)))
    for name, tensor in results[0].items():
        assert torch.equal(tensor, results[1][name]), name
