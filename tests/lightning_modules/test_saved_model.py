"""A model in a folder says what the trained one said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import load_splits
from lightning_modules.evaluation import score_depths
from lightning_modules.saved_model import PROGRAM, SavedModel, save_model
from rrm.models import build_model
from rrm.reasoner import Reasoner
from tests.conftest import tiny_trial

ROTARY = {"model__positions": "rotary"}  # with it the answers of these untrained models differ between puzzles
MODELS: dict[str, dict[str, Any]] = {
    "trm": {},
    "hrm": {"model__kind": "hrm"},
    "hrm_act": {"model__kind": "hrm", "model__halting": "act_continue"},
    "mixer": {"model__mixer": "mlp"},
    "tokens": {"model__medium": "tokens"},
    "reset": {"model__state_reset": "all"},
    "learned_state": {"model__state_init": "learned", "model__gradient": "full", **ROTARY},
    "damped": {"model__damping": 0.2},
    "prefix": {"model__prefix_length": 2, **ROTARY},
    "one_step": {"model__supervision_steps": 1},
    "deep": {"model__supervision_steps": 12, "eval__max_depth": 12},
    "random_state": {"model__state_init": "random"},
    "noisy": {"model__state_noise": 0.3, "model__state_noise_in_evaluation": True},
}

QUICK = {"trm", "noisy"}  # a program without and one with random draws
PARAMETERS = [pytest.param(MODELS[name], id=name, marks=() if name in QUICK else pytest.mark.more) for name in MODELS]


def shaken(config: TrialConfig) -> Reasoner:
    """A model whose answers differ between puzzles."""
    torch.manual_seed(0)
    reasoner = build_model(config.model, config.task.shape)
    with torch.no_grad():
        for weight in reasoner.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return reasoner.eval()


@pytest.mark.parametrize("changes", PARAMETERS)
def test_program_and_folder_answer_as_the_evaluation_did(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = tiny_trial(eval__batch_size=7, **changes)
    reasoner, data = shaken(config), load_splits(config.task).splits["validation"]
    save_model(tmp_path / "model", config, reasoner.state_dict())
    depth = config.model.trained_depth
    expected = score_depths(reasoner, data, depth, config).answers

    loaded = SavedModel(tmp_path / "model")
    answers = loaded.answer(data.inputs.astype(np.int64))
    assert np.array_equal(answers.answers, expected) and set(answers.depths) == {depth}
    assert len(np.unique(expected, axis=0)) > 1

    if not (tmp_path / "model" / PROGRAM).exists():
        assert config.model.state_init == "random" or config.model.state_noise_in_evaluation
        return
    program = torch.export.load(tmp_path / "model" / PROGRAM).module()
    inputs = torch.from_numpy(data.inputs.astype(np.int64))
    for rows in (slice(0, len(inputs)), slice(0, 1)):
        identifiers = [torch.zeros(len(inputs[rows]), dtype=torch.int64)] if config.model.puzzle_embedding_size else []
        assert np.array_equal(program(inputs[rows], *identifiers).argmax(-1).numpy(), expected[rows])


@pytest.mark.parametrize(
    "kind", ["direct", *(pytest.param(kind, marks=pytest.mark.more) for kind in ("untied", "looped", "outer_loop"))]
)
def test_baselines_have_programs_as_well(tmp_path: Path, kind: str) -> None:
    sections = {"model": {"kind": kind, "hidden_size": 16, "head_size": 8, "num_layers": 1}}
    if kind in {"looped", "outer_loop"}:
        sections["model"] |= {"supervision_steps": 3, "halting": "fixed"}
    config = tiny_trial(**sections)
    reasoner, data = shaken(config), load_splits(config.task).splits["validation"]
    save_model(tmp_path / "model", config, reasoner.state_dict())
    program = torch.export.load(tmp_path / "model" / PROGRAM).module()
    expected = score_depths(reasoner, data, config.model.trained_depth, config).answers
    assert np.array_equal(program(torch.from_numpy(data.inputs.astype(np.int64))).argmax(-1).numpy(), expected)


@pytest.mark.more
def test_a_caller_chooses_depth_and_halting(tmp_path: Path) -> None:
    config = tiny_trial()
    save_model(tmp_path / "model", config, shaken(config).state_dict())
    model, puzzles = SavedModel(tmp_path / "model"), np.ones((3, 16), dtype=np.int64)
    assert set(model.answer(puzzles, depth=7).depths) == {7}
    assert model.answer(puzzles, depth=20, halting="convergence").depths.max() < 20
