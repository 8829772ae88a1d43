import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from rrm.config import LossConfig
from rrm.losses import is_solved, log_stablemax, supervision_loss, token_nll
from rrm.outputs import Outputs
from rrm.tasks.task import IGNORED


@given(st.lists(st.integers(-500, 500).map(lambda tenths: tenths / 10), min_size=2, max_size=8, unique=True))
def test_stablemax_is_a_distribution_that_keeps_the_order(logits: list[float]) -> None:
    probabilities = log_stablemax(torch.tensor(logits).double()).exp()
    assert math.isclose(float(probabilities.sum()), 1.0, rel_tol=1e-9)
    assert int(probabilities.argmax()) == int(torch.tensor(logits).double().argmax())


def test_stablemax_by_hand() -> None:
    assert torch.allclose(log_stablemax(torch.tensor([1.0, -1.0]).double()).exp(), torch.tensor([2.0, 0.5]).double() / 2.5)


def test_ignored_labels_are_neither_scored_nor_counted() -> None:
    logits = torch.zeros(1, 3, 4)
    labels = torch.tensor([[1, IGNORED, 2]])
    nll = token_nll(logits, labels, LossConfig(kind="softmax"))
    assert torch.allclose(nll, torch.tensor([[math.log(4), 0.0, math.log(4)]]))
    assert float(supervision_loss(Outputs(logits, torch.zeros(1)), labels, LossConfig(kind="softmax")).lm) == nll.sum() / 2


def test_a_row_is_solved_when_all_scored_tokens_are_right() -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([[1, 2, 3], [1, 2, 0]]), 4).float()
    labels = torch.tensor([[1, 2, IGNORED], [1, 3, IGNORED]])
    assert is_solved(logits, labels).tolist() == [True, False]


def test_the_halting_loss_is_weighted_into_the_total() -> None:
    outputs, labels = Outputs(torch.randn(2, 3, 4), torch.tensor([1.0, -1.0])), torch.ones(2, 3, dtype=torch.long)
    for weight in (0.0, 0.5, 2.0):
        loss = supervision_loss(outputs, labels, LossConfig(q_weight=weight))
        assert torch.isclose(loss.total, loss.lm + weight * loss.halt)


def test_float32_and_float64_agree_to_single_precision() -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(4, 5, 6), torch.randint(0, 6, (4, 5))
    for kind in ("stablemax", "softmax"):
        single, double = (token_nll(logits, labels, LossConfig(kind=kind, precision=p)) for p in ("float32", "float64"))  # type: ignore[arg-type]
        assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
        assert torch.allclose(single.double(), double, atol=1e-5)
    assert (LossConfig().precision, LossConfig(kind="softmax").precision) == ("float64", "float32")
