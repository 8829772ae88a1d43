"""Losses of one supervision step, summed over the slots as the official loss head does (HRM `losses.py`).

Shapes: B slots, L grid length, V vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rrm.config import LossConfig
from rrm.outputs import Outputs
from rrm.tasks.task import IGNORED


@dataclass(frozen=True)
class SupervisionLoss:
    """Scalars, summed over the batch; divide `total` by the batch size before the backward pass."""

    lm: Tensor
    halt: Tensor
    total: Tensor


def log_stablemax(x: Tensor) -> Tensor:
    """Log of the stablemax distribution over the last axis: s(x) = x + 1 above zero, 1 / (1 - x) below."""
    s = torch.where(x < 0, 1 / (1 - x + 1e-30), x + 1)
    return (s / s.sum(-1, keepdim=True)).log()


def log_distribution(logits: Tensor, config: LossConfig) -> Tensor:
    """Log probabilities [..., V] of the distribution that the loss scores."""
    x = logits.double() if config.precision == "float64" else logits.float()
    return log_stablemax(x) if config.kind == "stablemax" else F.log_softmax(x, dim=-1)


def token_nll(logits: Tensor, labels: Tensor, config: LossConfig) -> Tensor:
    """Negative log likelihood of each label in nats, [B, L]; 0 where the label is not scored."""
    scored = labels != IGNORED
    index = torch.where(scored, labels, 0).long()[..., None]
    chosen = log_distribution(logits, config).gather(-1, index)[..., 0]
    return torch.where(scored, -chosen, 0.0)


def is_solved(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether all scored tokens of a row are right, [B]."""
    return ((logits.argmax(-1) == labels) | (labels == IGNORED)).all(-1)


def supervision_loss(outputs: Outputs, labels: Tensor, config: LossConfig | None = None) -> SupervisionLoss:
    """Loss of one supervision step on labels [B, L]: each row's mean over its scored tokens, plus the halting losses."""
    config = config or LossConfig()
    scored_tokens = (labels != IGNORED).sum(-1).clamp_min(1)
    lm = (token_nll(outputs.logits, labels, config) / scored_tokens[:, None]).sum()
    solved = is_solved(outputs.logits.detach(), labels).to(outputs.q_halt_logits.dtype)
    halt = F.binary_cross_entropy_with_logits(outputs.q_halt_logits, solved, reduction="sum")
    q_continue = torch.zeros((), device=lm.device)
    if outputs.q_continue_logits is not None and outputs.target_q_continue is not None:
        q_continue = F.binary_cross_entropy_with_logits(outputs.q_continue_logits, outputs.target_q_continue, reduction="sum")
    return SupervisionLoss(lm, halt, lm + config.q_weight * (halt + q_continue))
