"""A model as a program of torch.export: puzzles in, logits at one depth out. The program needs torch alone."""

from typing import Any

import torch

from rrm.errors import first_line
from rrm.trial_model import TrialModel

EXAMPLE_ROWS = 2  # torch.export takes a dimension of size 1 for a constant


class NotExportable(Exception):
    """torch.export refuses a model; the text is one line with the reason."""


@torch.no_grad()
def export_program(model: TrialModel[Any]) -> torch.export.ExportedProgram:
    """The model at its trained depth as a program for any number of puzzles. The model is in evaluation mode afterwards.

    Raises:
        NotExportable: with the reason, such as an `if` on the value of a tensor.
    """
    model.eval().requires_grad_(False)
    example = [torch.ones(EXAMPLE_ROWS, model.shape.length, dtype=torch.int64)]
    if model.config.has_puzzle_embedding:
        example.append(torch.zeros(EXAMPLE_ROWS, dtype=torch.int64))
    rows = torch.export.Dim("rows")
    try:
        program = model.fixed_depth(model.config.trained_depth)
        return torch.export.export(program, tuple(example), dynamic_shapes=tuple({0: rows} for _ in example))
    except Exception as error:  # torch.export has many ways to refuse a model
        raise NotExportable(f"{type(error).__name__}: {first_line(error)}") from error
