import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_modules.evaluation import DepthCurve, depth_curve
from rrm.config import ModelConfig
from rrm.models import build_reasoner
from rrm.reasoner import Batch, State
from rrm.tasks import Examples
from rrm.tasks.task import PuzzleShape

SHAPE = PuzzleShape(length=4, vocabulary=5, num_puzzles=1)


def examples() -> Examples:
    labels = np.array([[1, 2, 3, 4], [4, 3, 2, 1], [2, 2, 3, 3]], dtype=np.int32)
    unknown = np.array([[True, False, False, True], [False, True, False, False], [True, True, True, True]])
    return Examples(np.where(unknown, 0, labels).astype(np.int32), labels, unknown, np.zeros(3, dtype=np.int32))


class Scripted:
    """Answers that are known: row r is solved from depth r + 1 on, so every score can be worked out by hand."""

    H_init = torch.zeros(2)

    def eval(self) -> None:
        pass

    def initial_state(self, slots: int) -> State:
        return State(torch.ones(slots, 4, 2), torch.ones(slots, 4, 2))

    def unroll(self, batch: Batch, depth: int):
        from rrm.reasoner import Outputs

        for step in range(1, depth + 1):
            answer: Tensor = batch["labels"].clone().long()
            solved = torch.arange(len(answer)) < step
            answer[~solved, 0] = 0
            logits = 20.0 * torch.nn.functional.one_hot(answer, 5).float()
            state = torch.full((len(answer), 4, 2), float(step + 1))
            yield State(state, state), Outputs(logits, torch.where(solved, 1.0, -1.0))


def test_scores_by_hand() -> None:
    curve = depth_curve(Scripted(), examples(), 3, "softmax", batch_size=10)  # type: ignore[arg-type]
    assert curve.exact_accuracy == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert curve.ever_correct == curve.exact_accuracy
    # 7 unknown tokens; at depth 1 the first token of row 2 is wrong (row 1's first token is given).
    assert curve.token_accuracy == pytest.approx([6 / 7, 6 / 7, 1.0])
    assert curve.residual == pytest.approx([1.0, 1 / 2, 1 / 3])
    assert curve.token_change_rate == [None, pytest.approx(1 / 12), pytest.approx(1 / 12)]
    assert curve.q_auroc == [1.0, 1.0, None]
    assert curve.nll[0] == pytest.approx(20 / 7, rel=1e-3)
    assert curve.best_depth == 3


def test_the_batch_size_changes_nothing() -> None:
    torch.manual_seed(0)
    model = build_reasoner(ModelConfig(hidden_size=16, head_size=8, num_layers=1, h_cycles=1, l_cycles=1), SHAPE)
    whole, single = (depth_curve(model, examples(), 3, "stablemax", batch_size=size) for size in (10, 1))
    assert whole.nll == pytest.approx(single.nll)
    assert whole.residual == pytest.approx(single.residual)


def test_the_best_depth_is_the_smallest_of_equals() -> None:
    scores = [0.1, 0.5, 0.5, 0.2]
    assert DepthCurve(scores, scores, scores, scores, [None] * 4, scores, [None] * 4).best_depth == 2


def test_nll_is_finite_for_an_untrained_model() -> None:
    model = build_reasoner(ModelConfig(hidden_size=16, head_size=8, num_layers=1, h_cycles=1, l_cycles=1), SHAPE)
    assert all(map(math.isfinite, depth_curve(model, examples(), 2, "stablemax", batch_size=2).nll))
