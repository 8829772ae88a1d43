import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from lightning_modules.config import EvalConfig, TrialConfig
from lightning_modules.evaluation import Rollout, RowScores, combine_rollouts, depth_curve, score_depths
from lightning_modules.record import DepthCurve
from rrm.config import LossConfig
from rrm.models import build_model, model_config
from rrm.outputs import Outputs
from rrm.reasoner import Carry, Reasoner, State
from rrm.tasks import Examples
from rrm.tasks.task import PuzzleShape

SHAPE = PuzzleShape(length=4, vocabulary=5, num_puzzles=3)


def examples() -> Examples:
    labels = np.array([[1, 2, 3, 4], [4, 3, 2, 1], [2, 2, 3, 3]], dtype=np.int32)
    unknown = np.array([[True, False, False, True], [False, True, False, False], [True, True, True, True]])
    plain = Examples.single(np.where(unknown, 0, labels), labels, unknown, {"k": np.array([1, 2, 2])})
    return replace(plain, puzzle_identifiers=np.arange(3, dtype=np.int32))


class Scripted(Reasoner):
    """Answers that are known: row r is solved from depth r + 1 on, so every score can be worked out by hand."""

    def calls(self, cycles):
        raise AssertionError("`think` is scripted")

    def think(self, carry: Carry, cycles=None, generator=None) -> tuple[Carry, Outputs]:
        labels = carry.current["labels"].long()
        step = int(carry.steps[0]) + 1
        solved = carry.current["puzzle_identifiers"] < step
        answer = labels.clone()
        answer[~solved, 0] = 0
        logits = 20.0 * torch.nn.functional.one_hot(answer, 5).float()
        state = torch.full((len(answer), 4, 2), float(step + 1))
        outputs = Outputs(logits, torch.where(solved, 1.0, -1.0))
        return replace(carry, z_H=state, z_L=state, steps=carry.steps + 1), outputs

    def initial_state(self, slots: int, generator=None) -> State:
        return State(torch.ones(slots, 4, 2), torch.ones(slots, 4, 2))


def scripted() -> Scripted:
    return Scripted(model_config(hidden_size=2, head_size=2), SHAPE)


def settings(**evaluation: object) -> TrialConfig:
    return TrialConfig(loss=LossConfig(kind="softmax"), eval=EvalConfig(**evaluation))  # type: ignore[arg-type]


def test_bins_are_scored_each_on_its_own() -> None:
    scores = score_depths(scripted(), examples(), 3, settings())
    # Bins begin at 1 and 2; nothing is as hard as 5. Row 0 is solved at depth 1, rows 1 and 2 at depths 2 and 3.
    bins = scores.by_bin(examples().difficulty, {"k": (1, 2, 5)})
    assert bins == {"k1": [1, 1, 1], "k2": [0, 0.5, 1]}


def test_answers_and_confidence_are_those_of_the_trained_depth() -> None:
    config = TrialConfig(model=model_config(supervision_steps=2), loss=LossConfig(kind="softmax"))
    scores = score_depths(scripted(), examples(), 3, config)
    right = (scores.answers == examples().labels).all(axis=1)
    assert right.tolist() == [True, True, False]
    assert scores.confidence == pytest.approx([1 / (1 + math.exp(-q)) for q in (1, 1, -1)])


def test_scores_by_hand() -> None:
    curve = depth_curve(scripted(), examples(), 3, settings())
    assert curve.exact_accuracy == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert curve.ever_correct == curve.exact_accuracy
    # 7 unknown tokens; at depth 1 the first token of row 2 is wrong (row 1's first token is given).
    assert curve.token_accuracy == pytest.approx([6 / 7, 6 / 7, 1.0])
    assert curve.state_change == pytest.approx([1.0, 1 / 2, 1 / 3])
    assert curve.token_change_rate == [None, pytest.approx(1 / 12), pytest.approx(1 / 12)]
    assert curve.q_auroc == [1.0, 1.0, None]
    assert curve.nll[0] == pytest.approx(20 / 7, rel=1e-3)
    assert curve.best_depth == 3


def small_model(**changes: object) -> Reasoner:
    torch.manual_seed(0)
    return build_model(model_config(hidden_size=16, head_size=8, num_layers=1, h_cycles=1, l_cycles=1, **changes), SHAPE)  # type: ignore[arg-type]


def test_the_batch_size_changes_nothing() -> None:
    whole, single = (depth_curve(small_model(), examples(), 3, settings(batch_size=size)) for size in (10, 1))
    assert whole.nll == pytest.approx(single.nll)
    assert whole.state_change == pytest.approx(single.state_change)


def test_rows_that_halt_by_q_leave_and_keep_their_answer() -> None:
    curve = depth_curve(scripted(), examples(), 4, settings(halting="q"))
    assert curve.exact_accuracy == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert curve.steps_used == pytest.approx([1.0, 5 / 3, 2.0, 2.0])  # row r halts after r + 1 steps


def test_rows_that_halt_by_convergence_leave_when_the_answer_stays() -> None:
    curve = depth_curve(scripted(), examples(), 5, settings(halting="convergence"))
    # Row 0 says the same at depth 2; rows 1 and 2 say the same (wrong) thing at depth 2 or stay so until solved.
    assert curve.steps_used[0] == 1.0 and curve.steps_used[-1] <= 3.0
    assert curve.exact_accuracy[-1] >= 1 / 3


def test_halted_rows_cost_nothing_more_and_change_nothing() -> None:
    """Early halting gives each row the answer that it had under fixed halting when it halted."""
    fixed = depth_curve(scripted(), examples(), 4, settings())
    early = depth_curve(scripted(), examples(), 4, settings(halting="q"))
    assert early.exact_accuracy == fixed.exact_accuracy and early.state_change[-1] == 0.0


def test_rollouts_give_mode_best_by_q_and_oracle() -> None:
    model = small_model(state_init="random")
    curve = score_depths(model, examples(), 2, settings(), rollouts=5).curve()
    assert set(curve.rollouts) == {"mode", "best_q", "oracle"}
    for depth in range(2):
        assert curve.rollouts["oracle"][depth] >= max(curve.rollouts[name][depth] for name in ("mode", "best_q"))
        assert curve.rollouts["oracle"][depth] >= curve.exact_accuracy[depth]


def test_the_mode_is_the_answer_given_most_often() -> None:
    def rollout(tokens: list[int], q: list[float]) -> Rollout:
        answers = torch.tensor(tokens)[None, :, None]  # [D, N, L]
        rows = RowScores(*[torch.zeros(1, 2)] * len(fields(RowScores)))
        return Rollout(replace(rows, solved=(answers[..., 0] == 1).int(), q=torch.tensor(q)[None]), answers[0], answers, answers)

    rollouts = [rollout([1, 2], [0.0, 0.0]), rollout([1, 2], [0.0, 0.0]), rollout([3, 1], [1.0, 1.0])]
    assert combine_rollouts(rollouts) == {"mode": [0.5], "best_q": [0.5], "oracle": [1.0]}


def test_the_best_depth_is_the_smallest_of_equals() -> None:
    scores = [0.1, 0.5, 0.5, 0.2]
    assert DepthCurve(scores, scores, scores, scores, [None] * 4, scores, [None] * 4, scores).best_depth == 2


def test_nll_is_finite_for_an_untrained_model() -> None:
    assert all(map(math.isfinite, depth_curve(small_model(), examples(), 2, TrialConfig()).nll))
