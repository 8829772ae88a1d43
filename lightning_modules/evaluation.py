"""Scoring a split at every inference depth in one pass, with halting at inference and several rollouts as options."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import to_batch
from lightning_modules.record import DepthCurve
from rrm.losses import is_solved, token_nll
from rrm.reasoner import Batch, Carry, Outputs, Reasoner
from rrm.tasks import Examples
from rrm.tasks.task import bin_of

EVALUATION_SEED = 0  # of noise and random states; rollout k has seed k


@dataclass(frozen=True)
class Scores:
    """How every row of a split fared after 1 .. D supervision steps; N rows."""

    rows: dict[str, Tensor]  # each [D, N] on the CPU
    answers: np.ndarray  # [N, L] uint8, at the trained depth
    confidence: np.ndarray  # [N] halting probability, at the trained depth
    rollouts: dict[str, list[float]]  # exact accuracy at every depth of mode, best_q and oracle over rollouts
    runs: list[dict[str, Tensor]]  # `rows` of every rollout, the first included

    def curve(self, chosen: np.ndarray | None = None) -> DepthCurve:
        """Means over all rows, or over chosen ones [N] bool."""
        scores = self.rows if chosen is None else {name: rows[:, torch.from_numpy(chosen)] for name, rows in self.rows.items()}
        solved, unknown = scores["solved"], scores["unknown_tokens"][0].sum().clamp_min(1)
        return DepthCurve(
            exact_accuracy=solved.double().mean(1).tolist(),
            token_accuracy=(scores["right_tokens"].sum(1) / unknown).tolist(),
            nll=(scores["nll"].sum(1) / unknown).tolist(),
            residual=scores["residual"].double().mean(1).tolist(),
            token_change_rate=[None, *scores["changed"][1:].double().mean(1).tolist()],
            ever_correct=solved.cummax(0).values.double().mean(1).tolist(),
            q_auroc=[_auroc(q, right) for q, right in zip(scores["q"], solved, strict=True)],
            steps_used=scores["steps"].double().mean(1).tolist(),
            rollouts=self.rollouts if chosen is None else {},
        )

    def by_bin(self, difficulty: dict[str, np.ndarray], bins: dict[str, tuple[int, ...]]) -> dict[str, list[float]]:
        """Exact accuracy at every depth in each bin that has rows, by its name: `k4`, `guesses16`."""
        accuracy = {}
        for measure, edges in bins.items():
            own = bin_of(difficulty[measure], edges)
            for edge in sorted(set(own.tolist())):
                accuracy[f"{measure}{edge}"] = self.curve(own == edge).exact_accuracy
        return accuracy


def depth_curve(
    reasoner: Reasoner, examples: Examples, depth: int, config: TrialConfig, halting: str | None = None, rollouts: int = 1
) -> DepthCurve:
    """The curve of `score_depths` over all rows."""
    return score_depths(reasoner, examples, depth, config, halting, rollouts).curve()


@torch.no_grad()
def score_depths(
    reasoner: Reasoner, examples: Examples, depth: int, config: TrialConfig, halting: str | None = None, rollouts: int = 1
) -> Scores:
    """Run a split through supervision steps 1 .. depth.

    Args:
        reasoner: the weights to score, on the device to use.
        examples: N rows of L tokens.
        depth: largest number of supervision steps D.
        config: the trial's loss and evaluation settings.
        halting: `fixed`, `q` or `convergence`; the config's where absent. A row that halted keeps its answer.
        rollouts: runs with other noise, of which the first gives the scores.
    """
    reasoner.eval()
    halting = halting or config.eval.halting
    # Answers of all depths are kept only where rollouts are compared: on a large canvas they do not fit in memory.
    runs = [
        _run(reasoner, examples, depth, config, halting, EVALUATION_SEED + number, keep_answers=rollouts > 1)
        for number in range(rollouts)
    ]
    trained = min(depth, config.model.trained_depth) - 1
    trained_answers = [run.pop("trained_answer")[0].numpy() for run in runs]
    confidence = runs[0]["q"][trained].double().sigmoid().numpy()
    combined = _combine_rollouts(runs) if rollouts > 1 else {}
    return Scores(runs[0], trained_answers[0], confidence, combined, runs)


def _run(
    reasoner: Reasoner, examples: Examples, depth: int, config: TrialConfig, halting: str, seed: int, keep_answers: bool
) -> dict[str, Tensor]:
    """Scores of every row at every depth, each [D, N] on the CPU; answers are [D, N, L], those of the trained depth [1, N, L]."""
    reasoner.random = torch.Generator(reasoner.device).manual_seed(seed)
    trained = min(depth, config.model.trained_depth) - 1
    parts = []
    for rows in torch.arange(len(examples)).split(config.eval.batch_size):
        part = examples.take(rows.numpy())
        batch = {name: values.to(reasoner.device) for name, values in to_batch(part).items()}
        unknown = torch.from_numpy(part.unknown).to(reasoner.device)
        depths = []
        for at, step in enumerate(think_through(reasoner, batch, depth, halting)):
            depths.append(_score(step, batch["labels"], unknown, config))
            answer = depths[-1].pop("answer").to(torch.uint8).cpu()
            if at == trained:
                trained_answer = answer
            if keep_answers:
                depths[-1]["answer"] = answer
        parts.append({name: torch.stack([scores[name] for scores in depths]).cpu() for name in depths[0]})
        parts[-1]["trained_answer"] = trained_answer[None]
    reasoner.random = None
    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}


@dataclass(frozen=True)
class Thought:
    """Where every row of a batch stands after some supervision steps."""

    logits: Tensor  # [B, L, V]
    q: Tensor  # [B]
    residual: Tensor  # [B] relative change of the answer state in this step; 0 for a row that had halted
    changed: Tensor  # [B] share of tokens whose answer changed in this step
    steps: Tensor  # [B] supervision steps that the row has had


def think_through(reasoner: Reasoner, batch: Batch, depth: int, halting: str) -> Iterator[Thought]:
    """Supervision steps 1 .. depth; rows that halted leave the batch and keep their last answer."""
    rows = torch.arange(len(batch["inputs"]), device=reasoner.device)  # those that still think
    carry = reasoner.enter(reasoner.initial_carry(batch), batch)
    said = torch.full_like(batch["inputs"], -1)
    thought: Thought | None = None
    for _ in range(depth):
        if len(rows):
            before = carry.z_H
            carry, outputs = reasoner.think(carry)
            answer = outputs.logits.argmax(-1)
            changed = (answer != said[rows]).double().mean(1)
            thought = _update(thought, rows, carry, outputs, before, changed)
            said = said.index_copy(0, rows, answer.to(said.dtype))
            goes_on = ~_halts(reasoner, outputs, changed, halting)
            carry, rows = carry.apply(lambda tensor, keep=goes_on: tensor[keep]), rows[goes_on]  # type: ignore[misc]
        else:
            assert thought is not None
            thought = Thought(thought.logits, thought.q, 0 * thought.residual, 0 * thought.changed, thought.steps)
        yield thought


def _halts(reasoner: Reasoner, outputs: Outputs, changed: Tensor, halting: str) -> Tensor:
    """Which rows are content with their answer, [B]."""
    if halting == "q":
        return reasoner.wants_to_halt(outputs)
    if halting == "convergence":
        return changed == 0
    return torch.zeros_like(changed, dtype=torch.bool)


def _update(thought: Thought | None, rows: Tensor, carry: Carry, outputs: Outputs, before: Tensor, changed: Tensor) -> Thought:
    """The thoughts of the rows that went on, laid over those of the rows that had halted."""
    norms = before.float().flatten(1).norm(dim=1).clamp_min(1e-12)
    residual = (carry.z_H - before).float().flatten(1).norm(dim=1) / norms
    fresh = Thought(outputs.logits, outputs.q_halt_logits, residual, changed, carry.steps)
    if thought is None:
        return fresh
    return Thought(
        logits=thought.logits.index_copy(0, rows, fresh.logits),
        q=thought.q.index_copy(0, rows, fresh.q),
        residual=torch.zeros_like(thought.residual).index_copy(0, rows, fresh.residual),
        changed=torch.zeros_like(thought.changed).index_copy(0, rows, fresh.changed),
        steps=thought.steps.index_copy(0, rows, fresh.steps),
    )


def _score(thought: Thought, labels: Tensor, unknown: Tensor, config: TrialConfig) -> dict[str, Tensor]:
    """Scores of each row at one depth, [B]; answers [B, L]."""
    answer = thought.logits.argmax(-1)
    nll = token_nll(thought.logits, labels, config.loss)
    return {
        "answer": answer,
        "solved": is_solved(thought.logits, labels).int(),
        "right_tokens": ((answer == labels) & unknown).sum(1).double(),
        "nll": (nll * unknown).double().sum(1),
        "unknown_tokens": unknown.sum(1),
        "residual": thought.residual,
        "changed": thought.changed,
        "q": thought.q,
        "steps": thought.steps,
    }


def _combine_rollouts(runs: list[dict[str, Tensor]]) -> dict[str, list[float]]:
    """Exact accuracy at every depth of the most frequent answer, of the one with the highest q, and of any."""
    solved = torch.stack([run["solved"] for run in runs])  # [K, D, N]
    answers = torch.stack([run["answer"] for run in runs])  # [K, D, N, L]
    votes = (answers[:, None] == answers[None]).all(-1).sum(1)  # [K, D, N] rollouts that gave the same answer
    q = torch.stack([run["q"] for run in runs])
    chosen = {"mode": votes.argmax(0), "best_q": q.argmax(0)}
    accuracy = {name: solved.gather(0, which[None])[0] for name, which in chosen.items()}
    accuracy["oracle"] = solved.amax(0)
    return {name: right.double().mean(1).tolist() for name, right in accuracy.items()}


def _auroc(q: Tensor, solved: Tensor) -> float | None:
    """Area under the ROC curve; not defined where all rows are solved, or none is."""
    if solved.min() == solved.max():
        return None
    return float(binary_auroc(q.double().sigmoid(), solved))
