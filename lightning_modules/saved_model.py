"""A trained model as files that another program can load.

<folder>/trial.yaml            the resolved config
<folder>/plugins/              files with the task or the model, where they are not built in
<folder>/weights.safetensors   the scored weights
<folder>/model.pt2             a program of torch.export: puzzles in, logits at D = N_sup out; absent where the model draws
                               random numbers when it answers, because a program cannot repeat them
<folder>/format.json           the version of this format; absent in format 1
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_modules.atomic_write import write_atomically
from lightning_modules.config import TrialConfig, read_trial, write_trial
from lightning_modules.evaluation import EVALUATION_SEED
from lightning_modules.trial_folder import TRIAL
from rrm.errors import UserError
from rrm.export import export_program
from rrm.format_version import check_format
from rrm.models import build_model
from rrm.trial_model import TrialModel, puzzle_batch
from rrm.weights import load_weights, read_weights, write_weights

SAVED_WEIGHTS, PROGRAM, FORMAT = "weights.safetensors", "model.pt2", "format.json"
SAVED_FORMAT = 1  # version of the folder's format


class Answers(NamedTuple):
    """The answers of a model to N puzzles of L tokens."""

    answers: np.ndarray  # [N, L] int64
    depths: np.ndarray  # [N] int64: supervision steps until the row halted
    confidence: np.ndarray  # [N] halting probability


class SavedModel:
    """A model loaded from its folder; the trial's data files are not needed.

    Raises:
        UserError: a later version wrote the folder, or a file in it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        _check_folder(folder)
        self.config = read_trial(folder / TRIAL)
        self.shape = self.config.task.shape
        self.model: TrialModel[Any] = build_model(self.config.model, self.shape)
        load_weights(self.model, read_weights(folder / SAVED_WEIGHTS))
        self.model.eval()

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
            halting: `fixed`, `q` or `convergence`; the trial's `eval.halting` where absent.
        """
        depth, halting = depth or self.config.model.trained_depth, halting or self.config.eval.halting
        # Batches as in an evaluation, so that the rows of a split get the same noise as in that evaluation.
        generator = torch.Generator(self.model.device).manual_seed(EVALUATION_SEED)
        parts = []
        for start in range(0, len(puzzles), self.config.eval.batch_size):
            rows = slice(start, start + self.config.eval.batch_size)
            identifiers = None if puzzle_identifiers is None else torch.from_numpy(puzzle_identifiers[rows])
            batch = puzzle_batch(torch.from_numpy(puzzles[rows]), identifiers)
            *_, last = self.model.answer_depths(batch, depth, halting, generator)
            parts.append((last.logits.argmax(-1), last.steps.to(torch.int64), last.confidence_logits.double().sigmoid()))
        return Answers(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def save_model(folder: Path, config: TrialConfig, state: dict[str, Tensor]) -> None:
    """Write a trial's model into a folder.

    Args:
        state: the scored weights, as in `weights.pt`.

    Raises:
        NotExportable: torch.export refuses the model.
    """
    folder.mkdir(parents=True)
    write_trial(folder, config)
    write_weights(folder / SAVED_WEIGHTS, state)
    write_atomically(folder / FORMAT, json.dumps({"format": SAVED_FORMAT}))
    model: TrialModel[Any] = build_model(config.model, config.task.shape)
    load_weights(model, state)
    if not config.model.answers_at_random:
        torch.export.save(export_program(model), folder / PROGRAM)


def _check_folder(folder: Path) -> None:
    """Refuse a folder of a later format."""
    path = folder / FORMAT
    if not path.exists():
        return
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(str(path), "must state the format of the model's folder as JSON") from None
    check_format(stated, SAVED_FORMAT, str(path))
