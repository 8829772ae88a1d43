import copy
import math

import pytest
import torch
from torch import nn

from rrm.config import OptimConfig
from rrm.models import build_model, model_config
from rrm.optim import AdamAtan2, SignSGD, WeightAverage, build_optimizer, set_learning_rates
from rrm.tasks.task import PuzzleShape

SHAPE = PuzzleShape(length=16, vocabulary=6, num_puzzles=3)


def reasoner(prefix_length: int = 2):
    torch.manual_seed(0)
    return build_model(model_config(hidden_size=16, head_size=8, num_layers=1, prefix_length=prefix_length), SHAPE)


def test_adam_atan2_equals_its_formula_in_float64() -> None:
    parameter = nn.Parameter(torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64))
    optimizer = AdamAtan2([parameter], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    weights, mean, square = parameter.tolist(), [0.0] * 3, [0.0] * 3
    for step, gradient in enumerate([[0.3, -0.2, 1e-9], [0.1, 0.4, -5.0], [-0.6, 0.0, 2.0]], 1):
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        for i, g in enumerate(gradient):
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.95 * square[i] + 0.05 * g * g
            weights[i] *= 1 - 0.01 * 0.1
            second = math.sqrt(square[i]) / math.sqrt(1 - 0.95**step)
            weights[i] -= 0.01 / (1 - 0.9**step) * math.atan2(mean[i], second)
        assert parameter.tolist() == pytest.approx(weights, abs=1e-15)


def test_sign_sgd_moves_only_the_rows_that_the_batch_used() -> None:
    table = nn.Parameter(torch.ones(3, 2))
    table.grad = torch.tensor([[0.2, -0.1], [0.0, 0.0], [0.0, 3.0]])
    SignSGD([table], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(table, torch.tensor([[0.85, 1.05], [1.0, 1.0], [0.95, 0.85]]))


def test_every_parameter_is_in_exactly_one_group() -> None:
    model = reasoner()
    optimizer = build_optimizer(model, OptimConfig())
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(map(id, model.parameters()))


def test_warm_up_is_a_share_of_the_budget() -> None:
    config = OptimConfig(lr=1e-3, puzzle_lr=1e-2, warmup=0.2)
    optimizer = build_optimizer(reasoner(), config)
    rates = []
    for progress in (0.1, 0.2, 0.9):
        set_learning_rates(optimizer, config, progress)
        rates.append([group["lr"] for group in optimizer.param_groups])
    assert rates == [[5e-4, 5e-3], [1e-3, 1e-2], [1e-3, 1e-2]]


@pytest.mark.parametrize("kind", ["adam_atan2", "adamw"])
def test_a_joined_optimizer_is_restored_as_it_was(kind: str) -> None:
    config = OptimConfig(kind=kind)  # type: ignore[arg-type]
    first, second = reasoner(), reasoner()
    optimizers = [build_optimizer(model, config) for model in (first, second)]

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()

    step(first, optimizers[0], seed=1)
    second.load_state_dict(first.state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for model, optimizer in zip((first, second), optimizers, strict=True):
        set_learning_rates(optimizer, config, progress=0.02)
        step(model, optimizer, seed=2)
    for ours, restored in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, restored)


def average_after(decay: float, warmup: bool, steps: int) -> float:
    """Where the average of a weight stands that jumped from 0 to 1 at the start."""
    model = reasoner()
    nn.init.zeros_(model.lm_head.weight)
    average = WeightAverage(model, OptimConfig(ema_decay=decay, ema_warmup=warmup))
    nn.init.ones_(model.lm_head.weight)
    for _ in range(steps):
        average.update_parameters(model)
    return float(average.reasoner.lm_head.weight[0, 0])


def test_without_warm_up_the_average_starts_at_the_initial_weights() -> None:
    assert average_after(0.9, warmup=False, steps=2) == pytest.approx(1 - 0.9**2)


def test_with_warm_up_a_short_run_forgets_its_start() -> None:
    assert average_after(0.999, warmup=False, steps=100) < 0.1
    assert average_after(0.999, warmup=True, steps=100) > 0.99


def test_decay_zero_is_off() -> None:
    assert average_after(0.0, warmup=True, steps=1) == 1.0


def test_the_puzzle_embedding_is_copied_not_averaged() -> None:
    model = reasoner()
    average = WeightAverage(model, OptimConfig(ema_decay=0.9))
    nn.init.ones_(model.puzzle_emb.weights)
    average.update_parameters(model)
    assert torch.equal(average.reasoner.puzzle_emb.weights, model.puzzle_emb.weights)
