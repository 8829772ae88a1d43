"""Closed forms equal what torch counts."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rrm.compute import count_parameters, inference_flops, train_step_flops
from rrm.config import AnyModelConfig
from rrm.losses import supervision_loss
from rrm.models import build_model, model_config
from rrm.tasks.task import PuzzleShape

SHAPE = PuzzleShape(length=16, vocabulary=6, num_puzzles=3)
SMALL = {"hidden_size": 16, "head_size": 8, "num_layers": 1}
CYCLES = {"h_cycles": 2, "l_cycles": 2, "supervision_steps": 3}
CONFIGS = {
    "trm": SMALL | CYCLES,
    "trm deep": SMALL | CYCLES | {"num_layers": 2, "h_cycles": 3, "l_cycles": 4},
    "trm prefix": SMALL | CYCLES | {"prefix_length": 4, "positions": "none"},
    "trm learned positions": SMALL | CYCLES | {"positions": "learned", "mlp_multiple": 256},
    "trm mixer": SMALL | CYCLES | {"mixer": "mlp"},
    "trm separate": SMALL | CYCLES | {"networks": "separate"},
    "trm single": SMALL | CYCLES | {"state": "single"},
    "trm continue": SMALL | CYCLES | {"halting": "act_continue"},
    "trm fixed": SMALL | CYCLES | {"halting": "fixed"},
    "trm tokens": SMALL | CYCLES | {"medium": "tokens"},
    "trm learned state": SMALL | CYCLES | {"state_init": "learned", "gradient": "full"},
    **{f"trm gradient {k}": SMALL | CYCLES | {"gradient": k} for k in ("one_step", "full", 1, 2, 3, 4, 5)},
    **{f"trm mixer gradient {k}": SMALL | CYCLES | {"gradient": k, "mixer": "mlp"} for k in (1, 4)},
    "hrm": SMALL | CYCLES | {"kind": "hrm"},
    "hrm uneven": SMALL | CYCLES | {"kind": "hrm", "answer_layers": 3, "gradient": 4},
    "trm separate uneven": SMALL | CYCLES | {"networks": "separate", "answer_layers": 2, "gradient": 1},
    "hrm full": SMALL | CYCLES | {"kind": "hrm", "gradient": "full", "mixer": "mlp"},
    "hrm act": SMALL | CYCLES | {"kind": "hrm", "halting": "act", "gradient": 1},
    "looped": SMALL | {"kind": "looped", "l_cycles": 4, "supervision_steps": 3},
    "looped one step": SMALL | {"kind": "looped", "l_cycles": 4, "supervision_steps": 3, "gradient": 1},
    "outer loop": SMALL | {"kind": "outer_loop", "supervision_steps": 3},
    "untied": SMALL | {"kind": "untied", "h_cycles": 2, "l_cycles": 2},
    "direct": SMALL | {"kind": "direct", "num_layers": 3},
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request: pytest.FixtureRequest) -> AnyModelConfig:
    return model_config(**request.param)


def random_batch(rows: int) -> dict[str, torch.Tensor]:
    return {
        "inputs": torch.randint(1, 6, (rows, 16)),
        "labels": torch.randint(1, 6, (rows, 16)),
        "puzzle_identifiers": torch.zeros(rows, dtype=torch.long),
    }


def test_parameters_equal_the_model_s(config: AnyModelConfig) -> None:
    model = build_model(config, SHAPE)
    recursed = sum(p.numel() for name, p in model.named_parameters() if "_level." in name)
    every = sum(p.numel() for name, p in model.named_parameters() if name != "puzzle_emb.weights")
    assert count_parameters(config, SHAPE) == (every - recursed, recursed)


def test_train_step_flops_equal_torch_s(config: AnyModelConfig) -> None:
    model, batch = build_model(config, SHAPE), random_batch(4)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        carry, outputs = model(model.initial_carry(batch), batch)
        supervision_loss(outputs, carry.current["labels"]).total.backward()
    assert train_step_flops(config, SHAPE, batch_size=4) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_inference_flops_equal_torch_s(config: AnyModelConfig) -> None:
    model, batch = build_model(config, SHAPE).eval(), random_batch(1)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        list(model.answer_depths(batch, 5))
    assert inference_flops(config, SHAPE, depth=5) == pytest.approx(counter.get_total_flops(), rel=0.01)


PAPERS = {"hidden_size": 512, "head_size": 64, "mlp_multiple": 256, "prefix_length": 16}
ROTARY = {"positions": "rotary"}


@pytest.mark.parametrize(
    ("changes", "total"),
    [(ROTARY | {"kind": "hrm", "prefix_length": 1}, 27_275_266), (ROTARY, 6_828_034), ({"mixer": "mlp"}, 5_028_866)],
    ids=["hrm", "trm attention", "trm mlp"],
)
def test_the_papers_models_have_their_parameters(changes: dict, total: int) -> None:
    assert count_parameters(model_config(**(PAPERS | changes)), PuzzleShape(81, 11, 1)).total == total


def test_width_follows_the_official_ladder_of_parameters() -> None:
    """The official rounding to 256 makes a staircase (TRM with attention, 2 layers)."""
    ladder = {64: 132_610, 128: 527_362, 192: 889_346, 256: 1_710_082, 768: 14_174_210}
    counted = {
        width: count_parameters(model_config(hidden_size=width, mlp_multiple=256, positions="rotary"), PuzzleShape(81, 11, 1)).total
        for width in ladder
    }
    assert counted == ladder


def test_the_papers_direct_model_and_untied_stack_are_as_deep_as_they_say() -> None:
    assert model_config(kind="direct").layers_per_step == 8
    assert model_config(kind="untied").layers_per_step == 42
    assert model_config(kind="hrm").layers_per_step == 24


@pytest.mark.parametrize(
    ("kind", "recursion"), [("trm", 21 * 16), ("hrm", 3 * 16), ("looped", 6 * 16), ("outer_loop", 16), ("untied", 1), ("direct", 1)]
)
def test_recursion_counts_applications_of_a_recursed_parameter(kind: str, recursion: float) -> None:
    assert model_config(kind=kind).recursion == recursion  # type: ignore[arg-type]


@pytest.mark.parametrize(("t", "n", "depth"), [(1, 2, 6), (2, 4, 20), (3, 6, 42), (4, 8, 72), (6, 6, 84)])
def test_layers_per_step_are_the_paper_s_depth(t: int, n: int, depth: int) -> None:
    assert model_config(num_layers=2, h_cycles=t, l_cycles=n).layers_per_step == depth


def test_two_networks_of_different_depth_are_averaged_by_their_layers() -> None:
    config = model_config(kind="hrm", num_layers=4, answer_layers=2, h_cycles=2, l_cycles=3, supervision_steps=5)
    assert config.layers_per_step == 2 * (3 * 4 + 2)
    assert config.recursion == (3 * 2 * 4 + 2 * 2) / (4 + 2) * 5
