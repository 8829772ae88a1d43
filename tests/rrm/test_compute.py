"""Closed forms equal what torch counts."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rrm.compute import count_parameters, inference_flops, train_step_flops
from rrm.config import ModelConfig
from rrm.losses import supervision_loss
from rrm.models import build_reasoner
from rrm.tasks.task import PuzzleShape

SHAPE = PuzzleShape(length=16, vocabulary=6, num_puzzles=3)
CONFIGS = {
    "default": {},
    "deep": {"num_layers": 2, "h_cycles": 3, "l_cycles": 4},
    "prefix": {"prefix_length": 4, "positions": "none"},
    "learned": {"positions": "learned", "mlp_multiple": 256},
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request: pytest.FixtureRequest) -> ModelConfig:
    base = {"hidden_size": 16, "head_size": 8, "num_layers": 1, "h_cycles": 2, "l_cycles": 2, "supervision_steps": 3}
    return ModelConfig(**(base | request.param))


def random_batch(rows: int) -> dict[str, torch.Tensor]:
    return {
        "inputs": torch.randint(1, 6, (rows, 16)),
        "labels": torch.randint(1, 6, (rows, 16)),
        "puzzle_identifiers": torch.zeros(rows, dtype=torch.long),
    }


def test_parameters_equal_the_model_s(config: ModelConfig) -> None:
    model = build_reasoner(config, SHAPE)
    recursed = sum(p.numel() for p in model.L_level.parameters())  # type: ignore[union-attr]
    every = sum(p.numel() for name, p in model.named_parameters() if name != "puzzle_emb.weights")
    assert count_parameters(config, SHAPE) == (every - recursed, recursed)


def test_train_step_flops_equal_torch_s(config: ModelConfig) -> None:
    model, batch = build_reasoner(config, SHAPE), random_batch(4)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        carry, outputs = model(model.initial_carry(batch), batch)
        supervision_loss(outputs, carry.current["labels"]).total.backward()
    assert train_step_flops(config, SHAPE, batch_size=4) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_inference_flops_equal_torch_s(config: ModelConfig) -> None:
    model, batch = build_reasoner(config, SHAPE).eval(), random_batch(1)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        list(model.unroll(batch, 5))
    assert inference_flops(config, SHAPE, depth=5) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_the_paper_s_trm_has_its_parameters() -> None:
    paper = ModelConfig(hidden_size=512, head_size=64, num_layers=2, mlp_multiple=256, prefix_length=16)
    assert count_parameters(paper, PuzzleShape(81, 11, 1)).total == 6_828_034


@pytest.mark.parametrize(("t", "n", "depth"), [(1, 2, 6), (2, 4, 20), (3, 6, 42), (4, 8, 72), (6, 6, 84)])
def test_layers_per_step_are_the_paper_s_depth(t: int, n: int, depth: int) -> None:
    assert ModelConfig(num_layers=2, h_cycles=t, l_cycles=n).layers_per_step == depth
