"""Scoring a split at every inference depth in one pass."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from lightning_modules.datamodule import to_batch
from rrm.losses import is_solved, token_nll
from rrm.reasoner import Reasoner
from rrm.tasks import Examples


@dataclass(frozen=True)
class DepthCurve:
    """Scores after 1 .. D supervision steps, each a list of D values; None where a score is not defined."""

    exact_accuracy: list[float]  # share of rows whose scored tokens are all right, givens included
    token_accuracy: list[float]  # over the tokens that the input does not give away
    nll: list[float]  # mean over those tokens, in nats, under the distribution of the loss
    residual: list[float]  # relative change of the answer state, mean over rows
    token_change_rate: list[float | None]  # share of tokens whose answer changed since the depth before
    ever_correct: list[float]  # share of rows solved at this depth or an earlier one
    q_auroc: list[float | None]  # how well the halting value tells solved rows from others

    def at(self, depth: int) -> dict[str, float]:
        """The scores of a record at one depth."""
        return {name: getattr(self, name)[depth - 1] for name in ("exact_accuracy", "token_accuracy", "nll")}

    @property
    def best_depth(self) -> int:
        """The smallest depth with the highest exact accuracy."""
        return 1 + max(range(len(self.exact_accuracy)), key=lambda depth: (self.exact_accuracy[depth], -depth))


@torch.no_grad()
def depth_curve(reasoner: Reasoner, examples: Examples, depth: int, loss_kind: str, batch_size: int) -> DepthCurve:
    """Run a split through supervision steps 1 .. depth without halting.

    Args:
        reasoner: the weights to score, on the device to use.
        examples: N rows of L tokens.
        depth: largest number of supervision steps D.
        loss_kind: the distribution under which the NLL is taken.
    """
    reasoner.eval()
    parts = [
        _score_batch(reasoner, examples.take(rows.numpy()), depth, loss_kind)
        for rows in torch.arange(len(examples)).split(batch_size)
    ]
    names = parts[0].keys()
    rows = {name: torch.cat([part[name] for part in parts], dim=1).cpu() for name in names}  # each [D, N]
    unknown = rows["unknown_tokens"][0].sum().clamp_min(1)
    solved = rows["solved"]
    auroc = [_auroc(q, right) for q, right in zip(rows["q"], solved, strict=True)]
    return DepthCurve(
        exact_accuracy=solved.double().mean(1).tolist(),
        token_accuracy=(rows["right_tokens"].sum(1) / unknown).tolist(),
        nll=(rows["nll"].sum(1) / unknown).tolist(),
        residual=rows["residual"].double().mean(1).tolist(),
        token_change_rate=[None, *rows["changed"][1:].double().mean(1).tolist()],
        ever_correct=solved.cummax(0).values.double().mean(1).tolist(),
        q_auroc=auroc,
    )


def _score_batch(reasoner: Reasoner, examples: Examples, depth: int, loss_kind: str) -> dict[str, Tensor]:
    """Per-row scores at every depth, each [D, B]."""
    device = reasoner.H_init.device
    batch = {name: rows.to(device) for name, rows in to_batch(examples).items()}
    labels, unknown = batch["labels"], torch.from_numpy(examples.unknown).to(device)
    state_before = reasoner.initial_state(len(labels)).z_H
    answer_before = torch.full_like(labels, -1)
    scores: dict[str, list[Tensor]] = {}
    for state, outputs in reasoner.unroll(batch, depth):
        answer = outputs.logits.argmax(-1)
        nll = token_nll(outputs.logits, labels, loss_kind)
        change = (state.z_H - state_before).flatten(1).norm(dim=1) / state_before.flatten(1).norm(dim=1)
        at_depth = {
            "solved": is_solved(outputs.logits, labels).int(),
            "right_tokens": ((answer == labels) & unknown).sum(1).double(),
            "nll": (nll * unknown).double().sum(1),
            "unknown_tokens": unknown.sum(1),
            "residual": change,
            "changed": (answer != answer_before).double().mean(1),
            "q": outputs.q_halt_logits,
        }
        for name, values in at_depth.items():
            scores.setdefault(name, []).append(values)
        state_before, answer_before = state.z_H, answer
    return {name: torch.stack(values) for name, values in scores.items()}


def _auroc(q: Tensor, solved: Tensor) -> float | None:
    """Area under the ROC curve; not defined where all rows are solved, or none is."""
    if solved.min() == solved.max():
        return None
    return float(binary_auroc(q.double().sigmoid(), solved))
