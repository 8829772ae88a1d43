"""A trained model as files that somebody else can load and ask.

<folder>/trial.yaml            what it is
<folder>/weights.safetensors   the scored weights
<folder>/model.pt2             the same as one program of torch.export: puzzles in, logits at D = N_sup out; not of a model
                               that draws random numbers when it answers, which no program can repeat
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch._higher_order_ops import scan

from lightning_modules.atomic_write import write_atomically
from lightning_modules.config import TrialConfig, validate_trial
from lightning_modules.evaluation import EVALUATION_SEED, think_through
from lightning_modules.trial_folder import TRIAL
from lightning_modules.yaml_file import read_yaml, write_yaml
from rrm.models import build_reasoner
from rrm.reasoner import Batch, Reasoner
from rrm.weights import load_weights, read_weights, write_weights

SAVED_WEIGHTS, PROGRAM = "weights.safetensors", "model.pt2"
EXAMPLE_ROWS = 2  # torch.export takes a dimension of size 1 for a constant


class Answers(NamedTuple):
    """What a model says about N puzzles of L tokens."""

    answers: np.ndarray  # [N, L] int64
    depths: np.ndarray  # [N] int64: supervision steps until the row halted
    confidence: np.ndarray  # [N] halting probability


class FixedDepth(nn.Module):
    """A reasoner run for D supervision steps, nobody halting early."""

    def __init__(self, reasoner: Reasoner, depth: int) -> None:
        super().__init__()
        self.reasoner, self.depth = reasoner, depth

    def forward(self, inputs: Tensor, puzzle_identifiers: Tensor | None = None) -> Tensor:
        """Logits [N, L, V] for puzzles [N, L], and the identifiers [N] of those that a model has embeddings for.

        The steps are a scan: one step is traced, however many there are (unrolled, a model of the papers' depth takes
        torch.export more than ten minutes).
        """
        batch = _batch(inputs, puzzle_identifiers)
        first = self.reasoner.enter(self.reasoner.initial_carry(batch), batch)

        def step(state: tuple[Tensor, ...], number: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            latest: dict[str, Any] = dict(zip(("z_H", "z_L", "steps", "answer"), state, strict=False))
            carry, outputs = self.reasoner.think(replace(first, **latest))
            refined = (carry.z_H, carry.z_L, carry.steps, carry.answer, outputs.logits)
            return tuple(tensor.clone() for tensor in refined), number.clone()  # a scan may not hand out what it was given

        silent = first.z_H.new_zeros(*inputs.shape, self.reasoner.shape.vocabulary)
        last, _ = scan(step, (first.z_H, first.z_L, first.steps, first.answer, silent), torch.arange(self.depth))
        return last[-1]


def _batch(inputs: Tensor, puzzle_identifiers: Tensor | None) -> Batch:
    blank = torch.zeros_like(inputs[:, 0]) if puzzle_identifiers is None else puzzle_identifiers
    return {
        "inputs": inputs.to(torch.int32),
        "labels": torch.zeros_like(inputs, dtype=torch.int32),
        "puzzle_identifiers": blank.to(torch.int32),
    }


class SavedModel:
    """A model loaded from its folder; no data file that the trial names is needed."""

    def __init__(self, folder: Path) -> None:
        self.config = validate_trial(read_yaml(folder / TRIAL))
        self.shape = self.config.task.shape
        self.reasoner = build_reasoner(self.config.model, self.shape)
        load_weights(self.reasoner, read_weights(folder / SAVED_WEIGHTS))
        self.reasoner.eval()

    @torch.no_grad()
    def answer(
        self,
        puzzles: np.ndarray,
        puzzle_identifiers: np.ndarray | None = None,
        depth: int | None = None,
        halting: str | None = None,
    ) -> Answers:
        """Answer puzzles.

        Args:
            puzzles: [N, L] tokens.
            puzzle_identifiers: [N], 0 where absent.
            depth: largest number of supervision steps; N_sup where absent.
            halting: `fixed`, `q` or `convergence`; the trial's own (`eval.halting`) where absent.
        """
        depth, halting = depth or self.config.model.trained_depth, halting or self.config.eval.halting
        # In the batches of an evaluation, so that noise falls on the rows of a split as it fell then.
        self.reasoner.random = torch.Generator(self.reasoner.device).manual_seed(EVALUATION_SEED)
        parts = []
        for start in range(0, len(puzzles), self.config.eval.batch_size):
            rows = slice(start, start + self.config.eval.batch_size)
            identifiers = None if puzzle_identifiers is None else torch.from_numpy(puzzle_identifiers[rows])
            *_, last = think_through(self.reasoner, _batch(torch.from_numpy(puzzles[rows]), identifiers), depth, halting)
            parts.append((last.logits.argmax(-1), last.steps.to(torch.int64), last.q.double().sigmoid()))
        return Answers(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def save_model(folder: Path, config: TrialConfig, state: dict[str, Tensor]) -> None:
    """Write a trial's model into a folder.

    Args:
        state: the scored weights, as in `weights.pt`.
    """
    folder.mkdir(parents=True)
    write_atomically(folder / TRIAL, write_yaml(config.resolved()))
    write_weights(folder / SAVED_WEIGHTS, state)
    reasoner = build_reasoner(config.model, config.task.shape)
    load_weights(reasoner, state)
    if not draws(config):
        torch.export.save(export_program(reasoner, config.model.trained_depth), folder / PROGRAM)


def draws(config: TrialConfig) -> bool:
    """Whether a model draws random numbers when it answers."""
    return config.model.state_init == "random" or bool(config.model.state_noise_in_evaluation)


@torch.no_grad()
def export_program(reasoner: Reasoner, depth: int) -> torch.export.ExportedProgram:
    """`FixedDepth` as a program for any number of puzzles; it needs torch alone."""
    reasoner.eval().requires_grad_(False)
    example = [torch.ones(EXAMPLE_ROWS, reasoner.shape.length, dtype=torch.int64)]
    if reasoner.config.puzzle_embedding_size:
        example.append(torch.zeros(EXAMPLE_ROWS, dtype=torch.int64))
    rows = torch.export.Dim("rows")
    return torch.export.export(FixedDepth(reasoner, depth), tuple(example), dynamic_shapes=tuple({0: rows} for _ in example))
