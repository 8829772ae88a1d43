"""Scores of a split at every inference depth from one pass, with halting at inference and several rollouts as options."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import to_batch
from lightning_modules.record import DepthCurve
from rrm.losses import is_solved, token_nll
from rrm.tasks import Examples, Task
from rrm.tasks.task import bin_of
from rrm.trial_model import DepthAnswer, TrialModel

SHOWN_ROWS = 3  # first rows of a split whose answers are kept at every depth
EVALUATION_SEED = 0  # seed of noise and random states; rollout k has seed k


@dataclass(frozen=True)
class RowScores:
    """Scores of single rows: [B] at one depth, [D, N] for a split on the CPU."""

    solved: Tensor  # 1 where all scored tokens are right
    right_tokens: Tensor  # unknown tokens that are right
    fixed_tokens: Tensor  # unknown tokens that became right with this step; before the first step none is right
    broken_tokens: Tensor  # unknown tokens that became wrong with this step
    unknown_tokens: Tensor  # tokens that the input does not give away
    nll: Tensor  # sum over the unknown tokens, in nats
    state_change: Tensor  # norm of the change of the answer state in this step, relative to the norm of the state before
    token_change: Tensor  # share of tokens whose answer changed in this step
    q: Tensor  # halting logit, trained to be above 0 where the answer is right
    steps: Tensor  # supervision steps that the row has had

    @classmethod
    def join(cls, parts: list["RowScores"], join: Callable[[list[Tensor]], Tensor]) -> "RowScores":
        """Scores of which each tensor is `join` of the parts' tensors."""
        return cls(**{field.name: join([getattr(part, field.name) for part in parts]) for field in fields(cls)})


@dataclass(frozen=True)
class Rollout:
    """One pass of a model over a split of N rows of L tokens at depths 1 .. D, on the CPU."""

    rows: RowScores  # [D, N]
    # Answers have the type of the tokens (`rrm.tasks.task.token_type`).
    trained_answers: Tensor  # [N, L], at the trained depth
    shown_answers: Tensor  # [D, up to SHOWN_ROWS, L], of the first rows
    answers: Tensor | None  # [D, N, L]; None for a single rollout: answers of large grids do not fit in memory


@dataclass(frozen=True)
class Scores:
    """Scores of every row of a split of N rows at depths 1 .. D."""

    rollouts: list[Rollout]  # the first gives the scores
    trained_depth: int  # N_sup of the model, at most D
    combined: dict[str, list[float]]  # exact accuracy at every depth by rule of `combine_rollouts`; empty for one rollout

    @property
    def rows(self) -> RowScores:
        return self.rollouts[0].rows

    @property
    def answers(self) -> np.ndarray:
        """[N, L] tokens, at the trained depth."""
        return self.rollouts[0].trained_answers.numpy()

    @property
    def confidence(self) -> np.ndarray:
        """[N] halting probability (sigmoid of q), at the trained depth."""
        probability: np.ndarray = self.rows.q[self.trained_depth - 1].double().sigmoid().numpy()
        return probability

    def curve(self) -> DepthCurve:
        """Means over all rows."""
        rows, unknown = self.rows, self.rows.unknown_tokens[0].sum().clamp_min(1)
        return DepthCurve(
            exact_accuracy=_means(rows.solved),
            token_accuracy=(rows.right_tokens.sum(1) / unknown).tolist(),
            nll=(rows.nll.sum(1) / unknown).tolist(),
            state_change=_means(rows.state_change),
            token_change_rate=[None, *_means(rows.token_change[1:])],  # no answer precedes that at depth 1
            ever_correct=_means(rows.solved.cummax(0).values),
            q_auroc=[_auroc(q, solved) for q, solved in zip(rows.q, rows.solved, strict=True)],
            steps_used=_means(rows.steps),
            rollouts=self.combined,
        )

    def by_bin(self, difficulty: dict[str, np.ndarray], bins: dict[str, tuple[int, ...]]) -> dict[str, list[float]]:
        """Exact accuracy at every depth in each bin that has rows, by its measure and its lower edge: `k4`, `guesses16`."""
        accuracy = {}
        for measure, edges in bins.items():
            edge_of_row = bin_of(difficulty[measure], edges)
            for edge in sorted(set(edge_of_row.tolist())):
                accuracy[f"{measure}{edge}"] = _means(self.rows.solved[:, torch.from_numpy(edge_of_row == edge)])
        return accuracy


def depth_curve(
    model: TrialModel[Any], examples: Examples, depth: int, config: TrialConfig, halting: str | None = None
) -> DepthCurve:
    """The curve of `score_depths` over all rows, from one rollout."""
    return score_depths(model, examples, depth, config, halting).curve()


@torch.no_grad()
def score_depths(
    model: TrialModel[Any],
    examples: Examples,
    depth: int,
    config: TrialConfig,
    halting: str | None = None,
    rollouts: int = 1,
) -> Scores:
    """Score a split at depths 1 .. depth.

    Args:
        model: the weights to score, on the device to use.
        examples: N rows of L tokens.
        depth: largest number of supervision steps D.
        config: the trial's loss and evaluation settings.
        halting: `fixed`, `q` or `convergence`; None takes the config's. A row that halted keeps its answer at later depths.
        rollouts: passes with different noise; the first gives the scores.
    """
    model.eval()
    trained_depth = min(depth, config.model.trained_depth)
    plan = _Pass(config, depth, trained_depth, halting or config.eval.halting, keeps_answers=rollouts > 1)
    done = [_roll_out(model, examples, plan, EVALUATION_SEED + number) for number in range(rollouts)]
    return Scores(done, trained_depth, combine_rollouts(done) if rollouts > 1 else {})


@dataclass(frozen=True)
class _Pass:
    """Settings of one pass over a split."""

    config: TrialConfig
    depth: int
    trained_depth: int
    halting: str
    keeps_answers: bool  # at all depths


def _roll_out(model: TrialModel[Any], examples: Examples, plan: _Pass, seed: int) -> Rollout:
    """Score all rows of a split in batches. One generator serves all: scores with noise depend on the batch size."""
    generator = torch.Generator(model.device).manual_seed(seed)
    size = plan.config.eval.batch_size
    starts = range(0, len(examples), size)
    batches = [examples.take(np.arange(at, min(at + size, len(examples)))) for at in starts]
    parts = [
        _roll_out_batch(model, batch, plan, generator, max(0, SHOWN_ROWS - at)) for at, batch in zip(starts, batches, strict=True)
    ]
    answers = [part.answers for part in parts if part.answers is not None]
    return Rollout(
        RowScores.join([part.rows for part in parts], lambda tensors: torch.cat(tensors, dim=1)),
        torch.cat([part.trained_answers for part in parts]),
        torch.cat([part.shown_answers for part in parts], dim=1),
        torch.cat(answers, dim=1) if answers else None,
    )


def _roll_out_batch(model: TrialModel[Any], part: Examples, plan: _Pass, generator: torch.Generator, shown: int) -> Rollout:
    """Score the rows of one batch, and keep the answers to the first `shown` of them at every depth."""
    batch = {name: values.to(model.device) for name, values in to_batch(part).items()}
    unknown = torch.from_numpy(part.unknown).to(model.device)
    kept_type = torch.from_numpy(part.inputs).dtype
    scores, answers, shown_answers, before = [], {}, [], torch.zeros_like(unknown)
    for depth, step in enumerate(model.answer_depths(batch, plan.depth, plan.halting, generator), 1):
        answer = step.logits.argmax(-1)
        right = (answer == batch["labels"]) & unknown
        scores.append(_score(step, batch["labels"], unknown, (before, right), plan.config))
        before = right
        shown_answers.append(answer[:shown].to(kept_type).cpu())
        if plan.keeps_answers or depth == plan.trained_depth:
            answers[depth] = answer.to(kept_type).cpu()
    return Rollout(
        RowScores.join(scores, lambda tensors: torch.stack(tensors).cpu()),
        answers[plan.trained_depth],
        torch.stack(shown_answers),
        torch.stack(list(answers.values())) if plan.keeps_answers else None,
    )


def _score(step: DepthAnswer, labels: Tensor, unknown: Tensor, right: tuple[Tensor, Tensor], config: TrialConfig) -> RowScores:
    """Scores of each row at one depth, [B].

    Args:
        right: which unknown tokens are right at the depth before and at this one, [B, L] each.
    """
    before, now = right
    return RowScores(
        solved=is_solved(step.logits, labels).int(),
        right_tokens=now.sum(1).double(),
        fixed_tokens=(now & ~before).sum(1),
        broken_tokens=(before & ~now).sum(1),
        unknown_tokens=unknown.sum(1),
        nll=(token_nll(step.logits, labels, config.loss) * unknown).double().sum(1),
        state_change=step.state_change,
        token_change=step.token_change,
        q=step.confidence_logits,
        steps=step.steps,
    )


def thinking_arrays(scores: Scores, examples: Examples, task: Task) -> dict[str, np.ndarray]:
    """The content of `thinking.npz`.

    Args:
        scores: of a split of N examples of L tokens at depths 1 .. D.

    Returns:
        `answers` [rows, D, L] of the first rows; `inputs`, `labels` [rows, L] and `unknown` [rows, L] bool of the same rows, as
        in `Examples`; `grid` [2], rows and columns of the canvas; `kind` of the task; over all N rows, `fixed`
        [D] int64, unknown tokens that became right with this step, and `broken` [D] int64, those that became wrong. Before the
        first step none is right.
    """
    shown = scores.rollouts[0].shown_answers.numpy()
    rows = examples.take(slice(0, shown.shape[1]))
    return {
        "answers": shown.swapaxes(0, 1),
        "inputs": rows.inputs,
        "labels": rows.labels,
        "unknown": rows.unknown,
        "grid": np.array(task.grid),
        "kind": np.array(task.config.identity()["kind"]),
        "fixed": scores.rows.fixed_tokens.sum(1).numpy(),
        "broken": scores.rows.broken_tokens.sum(1).numpy(),
    }


def combine_rollouts(rollouts: Iterable[Rollout]) -> dict[str, list[float]]:
    """Exact accuracy at every depth of the most frequent answer, of the one with the highest q, and of any."""
    kept = [(rollout.rows, rollout.answers) for rollout in rollouts if rollout.answers is not None]
    solved = torch.stack([rows.solved for rows, _ in kept])  # [K, D, N]
    answers = torch.stack([answers for _, answers in kept])  # [K, D, N, L]
    votes = (answers[:, None] == answers[None]).all(-1).sum(1)  # [K, D, N] rollouts that gave the same answer
    q = torch.stack([rows.q for rows, _ in kept])
    chosen = {"mode": votes.argmax(0), "best_q": q.argmax(0)}
    accuracy = {name: solved.gather(0, which[None])[0] for name, which in chosen.items()}
    accuracy["oracle"] = solved.amax(0)
    return {name: _means(right) for name, right in accuracy.items()}


def _means(rows: Tensor) -> list[float]:
    """Mean over the rows [D, N] at each depth."""
    means: list[float] = rows.double().mean(1).tolist()
    return means


def _auroc(q: Tensor, solved: Tensor) -> float | None:
    """Area under the ROC curve; not defined where all rows are solved, or no row is."""
    if solved.min() == solved.max():
        return None
    return float(binary_auroc(q.double().sigmoid(), solved))
