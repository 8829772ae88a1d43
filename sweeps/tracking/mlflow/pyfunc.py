"""The `python_function` flavour of a logged model, which `mlflow models serve` calls: answers puzzles, refuses other requests."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from lightning_modules.config import EvalConfig
from lightning_modules.saved_model import SavedModel

GRID, PUZZLE = "grid", "puzzle"  # columns of a request
MAX_DEPTH = 1024  # largest depth of a request, in supervision steps
HALTING = get_args(EvalConfig.model_fields["halting"].annotation)


class ServedModel:
    """Answers puzzles with a saved model."""

    def __init__(self, model: SavedModel) -> None:
        self.model = model

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer puzzles.

        Args:
            data: one row per puzzle: `grid`, its L tokens, and `puzzle`, its identifier, for models with puzzle embeddings.
            params: `depth`, the largest number of supervision steps; `halting`, as in `eval.halting`.

        Returns:
            `answer` (L tokens), `depth` (supervision steps used) and `confidence` (halting probability) of each.

        Raises:
            MlflowException: a row is not a puzzle of this model, or a parameter is invalid; status 400 over HTTP.
        """
        depth, halting = self._checked_params(params or {})
        grids = np.array([self._checked_grid(number, grid) for number, grid in enumerate(data[GRID])], dtype=np.int64)
        if not len(grids):
            raise _refused("there must be at least one puzzle, got none")
        puzzles = data[PUZZLE].to_numpy(dtype=np.int64) if PUZZLE in data else None
        if puzzles is not None and not ((puzzles >= 0) & (puzzles < self.model.shape.num_puzzles)).all():
            raise _refused(f"puzzle must be 0 to {self.model.shape.num_puzzles - 1}, got {puzzles.tolist()}")
        answers, depths, confidence = self.model.answer(grids, puzzles, depth, halting)
        return pd.DataFrame({"answer": answers.tolist(), "depth": depths, "confidence": confidence})

    def _checked_params(self, params: dict[str, Any]) -> tuple[int, str]:
        model, config = self.model.config.model, self.model.config
        depth, halting = params.get("depth", model.trained_depth), params.get("halting", config.eval.halting)
        if not 1 <= depth <= MAX_DEPTH:
            raise _refused(f"depth must be 1 to {MAX_DEPTH} {model.depth_name}, got {depth}")
        if halting not in HALTING:
            raise _refused(f"halting must be one of {', '.join(HALTING)}, got {halting!r}")
        if halting not in model.halting_rules:
            raise _refused(f"halting must be one of {', '.join(model.halting_rules)} for the kind {model.kind}, got {halting!r}")
        return int(depth), halting

    def _checked_grid(self, number: int, grid: Any) -> np.ndarray:
        length, largest = self.model.shape.length, self.model.shape.vocabulary - 1
        values = np.asarray(grid, dtype=np.float64).ravel()
        if len(values) != length:
            raise _refused(f"grid {number} must have {length} tokens, got {len(values)}")
        wrong = values[~((values >= 0) & (values <= largest) & (values % 1 == 0))]
        if len(wrong):
            raise _refused(f"grid {number} must hold whole numbers from 0 to {largest}, got {wrong[0]:g}")
        return values


def _refused(sentence: str) -> MlflowException:
    return MlflowException(sentence, error_code=INVALID_PARAMETER_VALUE)


def _load_pyfunc(path: str) -> ServedModel:
    """Loads the flavour; MLflow calls it by this name."""
    return ServedModel(SavedModel(Path(path)))
