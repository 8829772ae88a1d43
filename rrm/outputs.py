"""What a supervision step returns to the loss."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """Logits of one supervision step, for the rows in the slots."""

    logits: Tensor  # [B, L, V]
    q_halt_logits: Tensor  # [B] above 0: the model takes its answer to be right
    q_continue_logits: Tensor | None = None  # [B]
    target_q_continue: Tensor | None = None  # [B], only in training and where a model learns to continue
