"""Optimizers of the papers: AdamAtan2, sign-SGD for puzzle embeddings, warm-up, and the moving average of the weights."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.swa_utils import AveragedModel

from rrm.config import OptimConfig
from rrm.trial_model import TrialModel

PUZZLE_EMBEDDING = "puzzle_emb.weights"


class AdamAtan2(Optimizer):
    """Adam with atan2 in place of the division, so that no epsilon is needed (official kernel `adam-atan2`).

    p *= 1 - lr wd; m, v moving averages; p -= lr / (1 - b1^t) * atan2(m, sqrt(v) / sqrt(1 - b2^t)).
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = _evaluate(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(parameter.grad, 1 - beta1)
        square.mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
        correction1, correction2 = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(torch.atan2(mean, square.sqrt() / math.sqrt(correction2)), alpha=-group["lr"] / correction1)


class SignSGD(Optimizer):
    """Puzzle embeddings: p <- p (1 - lr wd) - lr sign(g), only for the rows that the batch used (official `sparse_embedding.py`).

    A row is taken as used when its gradient is not all zero.
    """

    def __init__(self, params: Any, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = _evaluate(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                used = (parameter.grad != 0).any(dim=1, keepdim=True)
                updated = parameter * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * parameter.grad.sign()
                parameter.copy_(torch.where(used, updated, parameter))
        return loss


class JoinedOptimizer(Optimizer):
    """Optimizers over disjoint parameters that step as one, so that a supervision step is one optimizer step."""

    def __init__(self, optimizers: list[Optimizer]) -> None:
        self.optimizers = optimizers
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        # One list of groups, shared with the parts: a schedule that sets `lr` here sets it there.
        groups = iter(self.param_groups)
        for optimizer in optimizers:
            optimizer.param_groups = [next(groups) for _ in optimizer.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = _evaluate(closure)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]


def build_optimizer(reasoner: nn.Module, config: OptimConfig) -> Optimizer:
    """The optimizer of all trained parameters, each group with its full rate as `peak_lr`.

    Weight decay acts on all of them, embeddings, heads and the Q bias included, as in the papers.
    """
    parameters = dict(reasoner.named_parameters())
    puzzles = [parameters.pop(PUZZLE_EMBEDDING)] if PUZZLE_EMBEDDING in parameters else []
    matrices = [p for name, p in parameters.items() if ".layers." in name] if config.kind == "muon" else []
    rest = [p for p in parameters.values() if not any(p is matrix for matrix in matrices)]

    def group(members: list[nn.Parameter], peak_lr: float) -> list[dict[str, Any]]:
        return [{"params": members, "peak_lr": peak_lr}]

    lr, decay = config.lr, config.weight_decay
    main = AdamAtan2 if config.kind == "adam_atan2" else AdamW
    optimizers: list[Optimizer] = [main(group(rest, lr), lr=lr, betas=config.betas, weight_decay=decay)]
    if matrices:
        optimizers.append(Muon(group(matrices, lr), lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    if puzzles:
        puzzle_lr = config.puzzle_lr
        optimizers.append(SignSGD(group(puzzles, puzzle_lr), lr=puzzle_lr, weight_decay=config.puzzle_weight_decay))
    return optimizers[0] if len(optimizers) == 1 else JoinedOptimizer(optimizers)


def set_learning_rates(optimizer: Optimizer, config: OptimConfig, progress: float) -> None:
    """Linear warm-up, then constant or cosine; `progress` is the share of the budget, the step to be taken included."""
    factor = 1.0
    if progress < config.warmup:
        factor = progress / config.warmup
    elif config.min_lr_ratio is not None:
        behind = min(1.0, (progress - config.warmup) / (1 - config.warmup))
        factor = config.min_lr_ratio + (1 - config.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * behind))
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


class WeightAverage(AveragedModel):
    """Exponential moving average of a model's weights: the copy that is scored and saved.

    Starts at the initial weights, without bias correction (official `ema.py`). With a warm-up the decay is
    min(decay, (1 + t) / (10 + t)) at step t, so that a short run forgets its start. The puzzle embedding is copied.
    """

    def __init__(self, reasoner: TrialModel[Any], config: OptimConfig) -> None:
        def average(shadow: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
            t = int(steps)
            decay = min(config.ema_decay, (1 + t) / (10 + t)) if config.ema_warmup else config.ema_decay
            return torch.lerp(shadow, current, 1 - decay)

        super().__init__(reasoner, avg_fn=average)
        self.requires_grad_(False)
        self.eval()
        self.n_averaged.fill_(1)  # the initial weights count, else the first update would copy

    @property
    def reasoner(self) -> TrialModel[Any]:
        """The averaged weights as a model."""
        assert isinstance(self.module, TrialModel)
        return self.module

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        super().update_parameters(model)
        current = dict(model.named_parameters()).get(PUZZLE_EMBEDDING)
        if current is not None:
            self.module.get_parameter(PUZZLE_EMBEDDING).copy_(current)


def _evaluate(closure: Callable[[], float] | None) -> float | None:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
