"""The interface of models: every model passes the contract, a plain one without a carry too, from `fit` to a served answer."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import rrm.models
from lightning_modules.datamodule import load_splits
from lightning_modules.evaluation import score_depths
from lightning_modules.fit import fit
from lightning_modules.saved_model import PROGRAM, SavedModel, save_model
from lightning_modules.steps import BareTraining
from lightning_modules.trial_folder import CHECKPOINT, WEIGHTS
from rrm.config import LossConfig
from rrm.losses import token_nll
from rrm.models import build_reasoner
from rrm.tasks.task import PuzzleShape
from rrm.trial_model import Batch, Cycles, DepthAnswer, TrainingStart, TrainingStep, TrialModel, puzzle_batch
from sweeps.tracking.mlflow.pyfunc import ServedModel
from tests.conftest import tiny_trial
from tests.lightning_modules.test_fit import Interrupted, comparable, interrupt_after

PLAIN = {"model": {"kind": "direct", "num_layers": 1, "hidden_size": 16, "head_size": 8}}


class Decoder(TrialModel[None]):
    """A plain model: an embedding and a linear map over the whole grid; depth d scales its logits by d, and no carry exists."""

    depth_name = "repetitions"
    trained_depth = 1
    halting_rules = ("fixed",)
    has_puzzle_embedding = answers_at_random = False

    def __init__(self, config: object, shape: PuzzleShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocabulary, 8)
        self.head = nn.Linear(8 * shape.length, shape.length * shape.vocabulary)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.embed(inputs.long()).flatten(1)).unflatten(1, (self.shape.length, self.shape.vocabulary))

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def start_training(self, batch: Batch) -> TrainingStart[None]:
        return TrainingStart(None, entered=0)

    def training_step(self, carry: None, batch: Batch, loss: LossConfig, cycles: Cycles | None = None) -> TrainingStep[None]:
        rows = len(batch["inputs"])
        nll = token_nll(self(batch["inputs"]), batch["labels"], loss).mean()
        return TrainingStep(None, nll, entered=rows, left=torch.tensor([rows, rows]))

    def carry_state(self, carry: None) -> dict[str, Any]:
        return {}

    def load_carry(self, state: Mapping[str, Any]) -> None:
        return None

    def answer_depths(
        self, batch: Batch, depth: int, halting: str = "fixed", generator: torch.Generator | None = None
    ) -> Iterator[DepthAnswer]:
        logits = self(batch["inputs"])
        zero = logits.new_zeros(len(logits))
        for step in range(1, depth + 1):
            yield DepthAnswer(step * logits, zero, zero, zero.double(), torch.full((len(logits),), step))

    def fixed_depth(self, depth: int) -> nn.Module:
        return Scaled(self, depth)


class Scaled(nn.Module):
    def __init__(self, decoder: Decoder, depth: int) -> None:
        super().__init__()
        self.decoder, self.depth = decoder, depth

    def forward(self, inputs: Tensor) -> Tensor:
        return self.depth * self.decoder(inputs)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder takes the place of the kind `direct`, whose config has no recursion."""
    classes = rrm.models.reasoner_class
    monkeypatch.setattr(rrm.models, "reasoner_class", lambda kind: Decoder if kind == "direct" else classes(kind))


@pytest.fixture
def model(kind: str, plain: None) -> TrialModel[Any]:
    config = tiny_trial(**(PLAIN if kind == "decoder" else {"model__halting": kind}))
    torch.manual_seed(0)
    return build_reasoner(config.model, config.task.shape)


@pytest.mark.parametrize("kind", ["decoder", "act", "fixed"])
class TestTrialModelContract:
    """What a trial relies on, for every implementation."""

    def batch(self, model: TrialModel[Any], rows: int = 5) -> Batch:
        tokens = torch.randint(1, 5, (2, rows, model.shape.length), generator=torch.Generator().manual_seed(0))
        return puzzle_batch(tokens[0], None) | {"labels": tokens[1].int()}

    def test_every_row_that_leaves_has_entered(self, model: TrialModel[Any], kind: str) -> None:
        batch = self.batch(model)
        start = model.train().start_training(batch)
        carry, entered, left = start.carry, start.entered, 0
        for _ in range(6):
            step = model.training_step(carry, batch, LossConfig())
            carry, entered, left = step.carry, entered + step.entered, left + int(step.left[0])
            assert left <= entered <= left + 5

    def test_the_loss_is_a_mean_with_a_gradient_for_the_weights(self, model: TrialModel[Any], kind: str) -> None:
        batch = self.batch(model)
        step = model.train().training_step(model.start_training(batch).carry, batch, LossConfig())
        step.loss.backward()
        assert step.loss.ndim == 0 and any(weight.grad is not None for weight in model.parameters())

    def test_a_saved_carry_continues_to_the_same_loss(self, model: TrialModel[Any], kind: str) -> None:
        batch = self.batch(model)
        carry = model.train().training_step(model.start_training(batch).carry, batch, LossConfig()).carry
        losses = []
        for loaded in (carry, model.load_carry(model.carry_state(carry))):
            torch.manual_seed(1)
            losses.append(model.training_step(loaded, batch, LossConfig()).loss.item())
        assert losses[0] == losses[1]

    def test_an_answer_has_a_row_for_each_puzzle_at_every_depth(self, model: TrialModel[Any], kind: str) -> None:
        for halting in model.halting_rules:
            answers = list(model.eval().answer_depths(self.batch(model), 3, halting))
            assert len(answers) == 3
            for answer in answers:
                assert answer.logits.shape == (5, model.shape.length, model.shape.vocabulary)
                for values in (answer.confidence_logits, answer.state_change, answer.token_change, answer.steps):
                    assert values.shape == (5,)

    def test_a_fixed_depth_answers_as_the_depths_do(self, model: TrialModel[Any], kind: str) -> None:
        batch = self.batch(model)
        with torch.no_grad():
            *_, last = model.eval().answer_depths(batch, 3)
            assert torch.equal(model.fixed_depth(3)(batch["inputs"].long()).argmax(-1), last.logits.argmax(-1))


@pytest.mark.usefixtures("plain")
class TestADecoderThroughATrial:
    """A model without a carry is trained, continued, scored, saved and served by the code that serves recursive models."""

    def test_it_is_trained_and_an_interrupted_trial_ends_the_same(self, tmp_path: Path) -> None:
        config = tiny_trial(**PLAIN)
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        whole.mkdir(), parts.mkdir()
        expected = fit(config, whole)
        assert expected.record["outcome"] == "completed" and expected.record["fresh_examples"] == 12 * 8
        with pytest.raises(Interrupted):
            fit(config, parts, interrupt_after(2))
        assert comparable(fit(config, parts)) == comparable(expected)
        assert torch.load(whole / CHECKPOINT, weights_only=True)["trial"]["carry"] == {}

    def test_it_is_timed_for_a_plan(self) -> None:
        training = BareTraining(tiny_trial(**PLAIN), torch.device("cpu"))
        training.step()
        assert training.steps == 1

    def test_it_is_saved_exported_and_served(self, tmp_path: Path) -> None:
        config = tiny_trial(**PLAIN)
        fit(config, tmp_path)
        save_model(tmp_path / "model", config, torch.load(tmp_path / WEIGHTS, weights_only=True))
        loaded, data = SavedModel(tmp_path / "model"), load_splits(config.task).splits["test"]
        expected = score_depths(loaded.model, data, 1, config).answers
        puzzles = data.inputs.astype(np.int64)
        assert np.array_equal(loaded.answer(puzzles).answers, expected)
        program = torch.export.load(tmp_path / "model" / PROGRAM).module()
        assert np.array_equal(program(torch.from_numpy(puzzles)).argmax(-1).numpy(), expected)
        served = ServedModel(loaded).predict(pd.DataFrame({"grid": puzzles[:2].tolist()}), {"depth": 3})
        assert served["depth"].tolist() == [3, 3] and len(served["answer"][0]) == 16

    @pytest.mark.parametrize(("params", "message"), [
        ({"depth": 0}, "depth must be 1 to 1024 repetitions, got 0"),
        ({"halting": "q"}, "halting must not be q"),
    ])  # fmt: skip
    def test_a_request_is_refused_in_the_words_of_the_model(self, tmp_path: Path, params: dict, message: str) -> None:
        served = ServedModel.__new__(ServedModel)
        config = tiny_trial(**PLAIN)
        served.model = SavedModel.__new__(SavedModel)
        served.model.config, served.model.shape = config, config.task.shape
        served.model.model = build_reasoner(config.model, config.task.shape)
        with pytest.raises(Exception, match=message):
            served.predict(pd.DataFrame({"grid": [[1] * 16]}), params)
