"""No option does nothing: every numeric field changes a result, every named choice trains."""

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import torch
from pydantic import BaseModel

from lightning_modules.config import TrialConfig, parse_trial
from lightning_modules.fit import fit
from lightning_modules.record import FitResult
from rrm.config import sections_in
from rrm.errors import UserError
from rrm.models import CONFIGS
from rrm.reference import Golden
from tests.conftest import GOLDEN, ROOT, tiny_sections, tiny_trial

Changes = dict[str, Any]
VOLATILE = {"wall_seconds", "train_seconds", "examples_per_second", "peak_memory_bytes", "fingerprint"}
NOISY: Changes = {"model__state_noise": 0.3, "model__state_noise_in_evaluation": True}
PREFIX: Changes = {"model__prefix_length": 2}
ACT: Changes = {"model__halting": "act", "model__supervision_steps": 4}
HALTS: Changes = {"model__halting": "act_continue", "model__supervision_steps": 4, "model__positions": "rotary", "optim__lr": 0.5}
STAGE = {"until": 0.5, "h_cycles": 1, "l_cycles": 1}

FITTED: dict[str, FitResult] = {}
EXAMPLES = {"train_examples": 60, "validation_examples": 20, "test_examples": 30}
SERIAL = EXAMPLES | {"serial_steps": 2, "ood_serial_steps": 5, "ood_examples": 15}
TASKS: dict[str, Changes] = {
    "sudoku": EXAMPLES | {"size": 4},
    "maze": EXAMPLES | {"size": 5, "ood_size": 6, "ood_examples": 15},
    "arc": {"tasks": 4, "validation_tasks": 2, "augmentations": 2, "views": 2},
    "table": {
        "train": str(ROOT / "lightning_modules/trials/table.csv"),
        "test": 0.2,
        "alphabet": "0123456789",
        "train_examples": 60,
    },
    "official": {"path": str(ROOT / "lightning_modules/trials/official"), "validation": 0.05},
    "prefix_sum": SERIAL | {"serial_steps": 7, "ood_serial_steps": 9},
    **{kind: SERIAL for kind in ("pointer_chasing", "permutations", "automaton", "addition", "reachability", "neighbours")},
}
AUTOMATON, MAZE, POINTERS, ARC = ({"kind": kind, **TASKS[kind]} for kind in ("automaton", "maze", "pointer_chasing", "arc"))
TABLE, FOLDER = ({"kind": kind, **TASKS[kind]} for kind in ("table", "official"))
ON_ARC: Changes = {"task": ARC, "fit__batch_size": 2}  # its grids are large
FEW = {"train_examples": 16, "validation_examples": 4, "test_examples": 8}
MINIMAL = {"size": 9, "minimal": True, "fewest_guesses": 1, **FEW}

# Every numeric field: what else must be set for it to matter, and another value.
NUMERIC: dict[str, tuple[Changes, Any]] = {
    "seed": ({}, 1),
    "task.size": ({"task__clues": [12, 16]}, 6),
    "task.seed": ({}, 1),
    "task.train_examples": ({}, 40),
    "task.validation_examples": ({}, 30),
    "task.test_examples": ({}, 20),
    "task.ood_examples": ({"task": AUTOMATON}, 25),
    "task.clues": ({}, [6, 8]),
    "task.fewest_guesses": ({"task": MINIMAL}, 2),
    "task.ood_size": ({"task": MAZE}, 7),
    "task.path_length": ({"task": MAZE}, [4, 9]),
    "task.serial_steps": ({"task": AUTOMATON}, 3),
    "task.ood_serial_steps": ({"task": AUTOMATON}, 7),
    "task.cells": ({"task": AUTOMATON}, 11),
    "task.rule": ({"task": AUTOMATON}, 30),
    "task.nodes": ({"task": POINTERS}, 11),
    "task.test": ({"task": TABLE}, 0.4),
    "task.difficulty": ({"task": TABLE}, {"swaps": [1, 9]}),
    "task.grid": ({"task": TABLE}, [2, 3]),
    "task.vocabulary": ({"task": TABLE}, 20),
    "task.test_groups": ({"task": FOLDER}, 20),
    "task.operand_digits": ({"task": {"kind": "addition", **SERIAL}}, 2),
    "task.tasks": (ON_ARC, 5),
    "task.validation_tasks": (ON_ARC, 1),
    "task.augmentations": (ON_ARC, 3),
    "task.views": (ON_ARC, 1),
    "model.hidden_size": ({}, 24),
    "model.head_size": ({}, 16),
    "model.num_layers": ({}, 2),
    "model.answer_layers": ({"model__networks": "separate"}, 2),
    "model.expansion": ({}, 2.0),
    "model.mlp_multiple": ({}, 64),
    "model.prefix_length": ({}, 2),
    "model.puzzle_embedding_size": (PREFIX, 24),
    "model.h_cycles": ({}, 2),
    "model.l_cycles": ({}, 3),
    "model.gradient": ({"model__gradient": 1}, 2),
    "model.supervision_steps": ({}, 3),
    # A large step and rotary positions, so that some rows want to halt within twelve steps.
    "model.halt_exploration": (HALTS, 1.0),
    "model.state_noise": (NOISY, 0.6),
    "model.damping": ({}, 0.5),
    "loss.q_weight": ({}, 2.0),
    "optim.lr": ({}, 3e-3),
    "optim.betas": ({}, [0.5, 0.6]),
    "optim.weight_decay": ({}, 5.0),
    "optim.warmup": ({}, 0.8),
    "optim.min_lr_ratio": ({"optim__schedule": "cosine", "optim__min_lr_ratio": 0.0}, 0.9),
    "optim.puzzle_lr": (PREFIX, 0.5),
    "optim.puzzle_weight_decay": (PREFIX | {"optim__puzzle_lr": 0.1}, 5.0),
    "optim.ema_decay": ({}, 0.1),
    "fit.batch_size": ({}, 6),
    "fit.budget.amount": ({}, 9),
    "fit.gradient_clip": ({"optim__kind": "adamw"}, 1e-9),
    "fit.curriculum.until": ({"model__l_cycles": 3, "fit__curriculum": [STAGE]}, [STAGE | {"until": 0.9}]),
    "fit.curriculum.h_cycles": ({"model__l_cycles": 3, "fit__curriculum": [STAGE]}, [STAGE | {"h_cycles": 2}]),
    "fit.curriculum.l_cycles": ({"model__l_cycles": 3, "fit__curriculum": [STAGE]}, [STAGE | {"l_cycles": 2}]),
    "eval.validations": ({}, 4),
    "eval.max_depth": ({}, 6),
    "eval.batch_size": (NOISY | {"eval__batch_size": 30}, 7),
    "eval.rollouts": (NOISY, 3),
}  # fmt: skip

# Every named choice: what else must be set for the value to be allowed.
NEEDS: dict[tuple[str, Any], Changes] = {
    ("model.kind", "hrm"): {},
    ("model.mixer", "mlp"): {},
    ("model.positions", "rotary"): {},
    ("model.state_reset", "all"): {},
    ("model.state_init", "learned"): {"model__gradient": "full"},
    ("model.state_noise_at", "carry"): NOISY,
    ("model.state_noise_at", "call"): NOISY,
    ("model.state_noise_in_evaluation", True): NOISY,
    ("model.state_noise_in_evaluation", False): NOISY,
    ("model.halting", "act"): ACT,
    ("optim.schedule", "cosine"): {"optim__min_lr_ratio": 0.1},
    ("fit.budget.unit", "fresh_examples"): {"fit__budget__amount": 30},
    ("fit.budget.unit", "train_flops"): {"fit__budget__amount": 1e8},
    ("fit.budget.unit", "seconds"): {"fit__budget__amount": 0.05},
    ("task.size", 6): {"task__clues": [26, 30]},
    ("task.size", 9): {"task__clues": [60, 70]},
    ("task.minimal", True): {"task": EXAMPLES | {"size": 4}},
    ("task.translate", True): ON_ARC,
    ("task.translate", False): ON_ARC,
    **{("task.kind", kind): {"task": settings} for kind, settings in TASKS.items()},
}


def fields(model: type[BaseModel] = TrialConfig, prefix: str = "") -> dict[str, list[Any]]:
    """Annotations of every field by dotted path, several where kinds of tasks share a name; items of lists have the list's path."""
    found: dict[str, list[Any]] = {}
    for name, field in model.model_fields.items():
        path = f"{prefix}.{name}" if prefix else name
        nested = [inner for section in sections_in(field.annotation) for inner in fields(section, path).items()]
        for inner, annotations in nested or [(path, [field.annotation])]:
            found.setdefault(inner, []).extend(annotations)
    return found


def parts(annotation: Any) -> list[Any]:
    """The plain types and literals of which an annotation consists."""
    if get_origin(annotation) is Literal:
        return [annotation]
    arguments = get_args(annotation) if get_origin(annotation) not in (None,) else ()
    if get_origin(annotation) in (Union, types.UnionType) or arguments:
        return [part for argument in arguments for part in parts(argument)]
    return [annotation]


def is_numeric(annotations: list[Any]) -> bool:
    return any(part in (int, float) for annotation in annotations for part in parts(annotation))


def choices() -> list[tuple[str, Any]]:
    """Every value of every named choice, booleans included."""
    found = []
    for path, annotations in fields().items():
        for part in (part for annotation in annotations for part in parts(annotation)):
            if get_origin(part) is Literal:
                found += [(path, value) for value in get_args(part)]
            elif part is bool:
                found += [(path, value) for value in (True, False)]
    return list(dict.fromkeys(found))


def outcome(result: FitResult, without: str) -> tuple[dict, list]:
    """All that a trial says, but for times and the column of the field itself."""
    record = {name: value for name, value in result.record.items() if name not in VOLATILE and not name.startswith(without)}
    return record, [(point["metric"], point["at"], point["value"]) for point in result.curves]


def test_every_numeric_field_is_in_the_table() -> None:
    checked = {"task.length", "task.puzzles", "task.identifiers"}  # they must be as in the files
    numeric = {path for path, annotations in fields().items() if is_numeric(annotations)}
    assert numeric == set(NUMERIC) | {"task.validation"} | checked


def fit_once(config: TrialConfig) -> FitResult:
    """Many fields are compared with the same trial."""
    if config.fingerprint not in FITTED:
        FITTED[config.fingerprint] = fit(config)
    return FITTED[config.fingerprint]


@pytest.mark.more
@pytest.mark.parametrize("path", NUMERIC)
def test_changing_a_number_changes_a_result(path: str) -> None:
    base, value = NUMERIC[path]
    field = "fit.curriculum" if path.startswith("fit.curriculum") else path
    results = [fit_once(tiny_trial(**changes)) for changes in (base, base | {field.replace(".", "__"): value})]
    assert [result.record["outcome"] for result in results] == ["completed"] * 2
    assert outcome(results[0], field) != outcome(results[1], field)


def sections_for(path: str, value: Any) -> Changes:
    """A tiny trial of two steps in which a field has a value."""
    changes: Changes = {"fit__budget__amount": 2} | NEEDS.get((path, value), {})
    sections = tiny_sections(**changes)
    if path == "model.kind":
        sections["model"] = {name: setting for name, setting in sections["model"].items() if name in CONFIGS[value].model_fields}
    *parents, last = path.split(".")
    section = sections
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    return sections


@pytest.mark.more
@pytest.mark.parametrize(("path", "value"), choices(), ids=lambda part: str(part))
def test_every_named_choice_trains(path: str, value: Any) -> None:
    result = fit(parse_trial(sections_for(path, value), Path()))
    assert result.record["outcome"] == "completed"
    assert result.record["steps"] >= 1


def depth_accuracies(result: FitResult) -> list[float]:
    return [point["value"] for point in result.curves if point["metric"] == "depth/nll"]


def test_independent_supervision_steps_give_a_flat_depth_curve() -> None:
    flat = depth_accuracies(fit(tiny_trial(model__state_reset="all")))
    assert len(flat) == 4 and len(set(flat)) == 1
    assert len(set(depth_accuracies(fit(tiny_trial())))) == 4


def test_a_curriculum_is_cheaper_and_ends_with_the_model_s_own_cycles() -> None:
    plain = fit(tiny_trial(model__l_cycles=3)).record
    stages = [{"until": 0.5, "h_cycles": 1, "l_cycles": 1}]
    staged = fit(tiny_trial(model__l_cycles=3, fit__curriculum=stages)).record
    # Half of the steps make 2 calls (all differentiated) in the place of 4.
    assert 0.7 < staged["train_flops"] / plain["train_flops"] < 0.8
    assert staged["inference_flops"] == plain["inference_flops"]


def golden_checkpoint(folder: Path, prefix: str = "_orig_mod.model.inner.") -> Path:
    """The golden TRM as an official checkpoint: compiled, wrapped, with a table of five puzzle embeddings."""
    golden = Golden(next(path for path in GOLDEN if path.stem == "trm_attention"))
    path = folder / "step_100"
    torch.save({prefix + name: value for name, value in golden.part("state.").items()}, path)
    return path


OFFICIAL: Changes = {
    "model": {
        "kind": "trm", "hidden_size": 32, "head_size": 16, "num_layers": 2, "h_cycles": 2, "l_cycles": 3,
        "supervision_steps": 3, "prefix_length": 4, "mlp_multiple": 256, "positions": "rotary",
    }
}  # fmt: skip


def test_a_trial_starts_from_an_official_checkpoint_and_scores_it(tmp_path: Path) -> None:
    path = golden_checkpoint(tmp_path)
    config = tiny_trial(**OFFICIAL, fit__start_from=str(path), fit__budget__amount=0)
    result = fit(config, tmp_path)
    assert result.record["outcome"] == "completed" and result.record["steps"] == 0
    scored = torch.load(tmp_path / "weights.pt", weights_only=True)
    golden = Golden(next(path for path in GOLDEN if path.stem == "trm_attention")).part("state.")
    assert torch.equal(scored["lm_head.weight"], golden["lm_head.weight"])
    assert torch.allclose(scored["puzzle_emb.weights"], golden["puzzle_emb.weights"].mean(0, keepdim=True))


def test_a_checkpoint_counts_by_digest(tmp_path: Path) -> None:
    path = golden_checkpoint(tmp_path)
    other = path.rename(tmp_path / "moved")
    settings = OFFICIAL | {"fit__budget__amount": 0}
    first, plain = tiny_trial(**settings, fit__start_from=str(other)), tiny_trial(**settings)
    assert first.fingerprint != plain.fingerprint
    (tmp_path / "copy").write_bytes(other.read_bytes())
    assert tiny_trial(**settings, fit__start_from=str(tmp_path / "copy")).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no weights", "is not a file of weights"), (None, "cannot be read: No such file"), ("other", "does not fit the config")],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(tmp_path: Path, content: bytes | str | None, message: str) -> None:
    path = tmp_path / "weights"
    if content == "other":
        torch.save({"lm_head.weight": torch.zeros(2, 2)}, path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        fit(tiny_trial(fit__start_from=str(path), fit__budget__amount=0))
    assert "\n" not in str(error.value)


def test_a_file_that_executes_code_is_not_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "executed").touch, ())

    torch.save({"weights": Evil()}, tmp_path / "evil")
    with pytest.raises(UserError, match="is not a file of weights"):
        fit(tiny_trial(fit__start_from=str(tmp_path / "evil"), fit__budget__amount=0))
    assert not (tmp_path / "executed").exists()
