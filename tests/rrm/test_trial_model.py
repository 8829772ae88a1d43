"""The interface of models: every model passes the contract, a plain one without a carry too, from its file to a served answer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lightning_modules.config import TrialConfig
from lightning_modules.fit import fit
from lightning_modules.memory import training_bytes
from lightning_modules.saved_model import SavedModel
from lightning_modules.steps import BareTraining
from lightning_modules.trial_folder import CHECKPOINT
from lightning_modules.yaml_file import write_yaml
from rrm.compute import count_parameters, inference_flops, train_step_flops
from rrm.config import Cycles, LossConfig
from rrm.measure import measure_model
from rrm.models import build_model, find_models
from rrm.trial_model import Batch, TrainingStep, TrialModel, puzzle_batch
from sweeps.tracking.mlflow.pyfunc import ServedModel
from tests.conftest import ROOT, tiny_sections, tiny_trial
from tests.lightning_modules.test_fit import Interrupted, comparable, interrupt_after
from tests.rrm.decoder import Decoder, DecoderConfig


@pytest.fixture
def plain() -> TrialConfig:
    """A trial of the decoder, as if its file were in `rrm/models`."""
    find_models([Decoder])
    return tiny_trial().model_copy(update={"model": DecoderConfig()})


@pytest.fixture
def model(kind: str, plain: TrialConfig) -> TrialModel[Any]:
    config = plain if kind == "decoder" else tiny_trial(model__halting=kind)
    torch.manual_seed(0)
    return build_model(config.model, config.task.shape)


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
        for halting in model.config.halting_rules:
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


class TestADecoderThroughATrial:
    """A model without a carry is trained, continued, timed, counted and served by the code that serves recursive models."""

    def test_it_is_trained_and_an_interrupted_trial_ends_the_same(self, plain: TrialConfig, tmp_path: Path) -> None:
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        whole.mkdir(), parts.mkdir()
        expected = fit(plain, whole)
        assert expected.record["outcome"] == "completed" and expected.record["fresh_examples"] == 12 * 8
        with pytest.raises(Interrupted):
            fit(plain, parts, interrupt_after(2))
        assert comparable(fit(plain, parts)) == comparable(expected)
        assert torch.load(whole / CHECKPOINT, weights_only=True)["trial"]["carry"] == {}

    def test_it_is_timed_for_a_plan(self, plain: TrialConfig) -> None:
        training = BareTraining(plain, torch.device("cpu"))
        training.step()
        assert training.steps == 1

    def test_its_costs_are_counted_through_the_interface(self, plain: TrialConfig) -> None:
        shape, width = plain.task.shape, 8
        grid = shape.length * shape.vocabulary
        head = width * shape.length * grid + grid
        assert count_parameters(plain.model, shape) == (shape.vocabulary * width, head)
        assert inference_flops(plain.model, shape) == 2 * width * shape.length * grid
        assert train_step_flops(plain.model, shape, 4) == 4 * 3 * inference_flops(plain.model, shape)
        assert 0 < training_bytes(plain) < training_bytes(plain.model_copy(update={"fit": tiny_trial(fit__batch_size=512).fit}))

    def test_a_model_that_reads_values_is_counted_too(self, plain: TrialConfig) -> None:
        class Reading(Decoder):
            def training_step(
                self, carry: None, batch: Batch, loss: LossConfig, cycles: Cycles | None = None
            ) -> TrainingStep[None]:
                assert batch["inputs"].max().item() == 0
                return super().training_step(carry, batch, loss, cycles)

        class ReadingConfig(DecoderConfig):
            kind: str = "reading"

        ReadingConfig.built_class = Reading
        assert measure_model(ReadingConfig(), plain.task.shape) == measure_model(plain.model, plain.task.shape)

    @pytest.mark.parametrize(("params", "message"), [
        ({"depth": 0}, "depth must be 1 to 1024 repetitions, got 0"),
        ({"halting": "q"}, "halting must be one of fixed for the kind decoder, got 'q'"),
    ])  # fmt: skip
    def test_a_request_is_refused_in_the_words_of_the_model(self, plain: TrialConfig, params: dict, message: str) -> None:
        served = ServedModel.__new__(ServedModel)
        served.model = SavedModel.__new__(SavedModel)
        served.model.config, served.model.shape = plain, plain.task.shape
        served.model.model = build_model(plain.model, plain.task.shape)
        with pytest.raises(Exception, match=message):
            served.predict(pd.DataFrame({"grid": [[1] * 16]}), params)


SAVED = """
import sys
from pathlib import Path
import numpy as np, pandas as pd, torch
from lightning_modules.config import load_trial
from lightning_modules.datamodule import load_splits
from lightning_modules.evaluation import score_depths
from lightning_modules.saved_model import PROGRAM, SavedModel, save_model
from sweeps.tracking.mlflow.pyfunc import ServedModel

folder = Path(sys.argv[1])
config = load_trial(folder / "trial.yaml")
save_model(folder / "model", config, torch.load(folder / "weights.pt", weights_only=True))
loaded, data = SavedModel(folder / "model"), load_splits(config.task).splits["test"]
expected = score_depths(loaded.model, data, config.model.trained_depth, config).answers
puzzles = data.inputs.astype(np.int64)
assert np.array_equal(loaded.answer(puzzles).answers, expected)
program = torch.export.load(folder / "model" / PROGRAM).module()
assert np.array_equal(program(torch.from_numpy(puzzles)).argmax(-1).numpy(), expected)
served = ServedModel(loaded).predict(pd.DataFrame({"grid": puzzles[:2].tolist()}), {"depth": 3})
assert served["depth"].tolist() == [3, 3] and len(served["answer"][0]) == 16
"""


REFUSED = """
import json, sys
from lightning_modules.config import validate_trial
from rrm.errors import UserError
for sections in json.load(open(sys.argv[1])):
    try:
        validate_trial(sections)
    except UserError as error:
        print(error)
"""


SWEPT = """
from pathlib import Path
from sweeps.driver.reconcile import reconcile
from sweeps.spec.load_spec import load_spec
from sweeps.store.store import Store
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.spool import Spool
from tests.sweeps.conftest import run_here

spec = load_spec(Path("sweep.yaml"))
store = Store(spec.location)
store.create()
run_here(reconcile(spec, store, EventRecorder(spec, Spool(store.driver_folder / "spool"), store)))
"""


class TestADecoderAsAFile:
    """The file alone, laid into `rrm/models` of a copy of the package, makes the kind one that can be chosen."""

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        place = tmp_path_factory.mktemp("copy")
        shutil.copytree(ROOT / "rrm", place / "rrm", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "tests/rrm/decoder.py", place / "rrm/models")
        return place

    def call(self, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python in a folder whose `rrm` has the file."""
        environment = os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}
        return subprocess.run([sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True, timeout=120)

    def trial(self, place: Path, name: str = "trial.yaml", **changes: Any) -> str:
        path = place / name
        path.write_text(write_yaml(tiny_sections(**({"model": {"kind": "decoder", "repetitions": 2}} | changes))))
        return str(path)

    @pytest.mark.more
    def test_a_trial_is_run_saved_exported_and_served(self, place: Path) -> None:
        ran = self.call(place, "-m", "lightning_modules", self.trial(place), "--out", "out")
        assert ran.returncode == 0, ran.stderr
        record = json.loads((place / "out/result.json").read_text())
        assert record["outcome"] == "completed" and record["model.kind"] == "decoder" and record["recursion"] == 2
        assert record["train_flops"] == 12 * 8 * 3 * record["inference_flops"] / 2
        saved = self.call(place, "-c", SAVED, "out")
        assert saved.returncode == 0, saved.stderr

    @pytest.mark.more
    def test_a_sweep_over_it_is_planned_run_and_reported(self, place: Path) -> None:
        vary = [{"model.repetitions": [1, 2], "model.token_size": [4, 8]}]
        sweep = {"name": "plain", "trial": tiny_sections(model={"kind": "decoder"}), "measure": {"vary": vary, "seeds": 2}}
        (place / "sweep.yaml").write_text(write_yaml(sweep))
        planned = self.call(place, "-m", "sweeps.cli.main", "plan", "sweep.yaml")
        assert planned.returncode == 0 and "8 trials" in planned.stdout, planned.stderr
        swept = self.call(place, "-c", SWEPT)
        assert swept.returncode == 0, swept.stderr
        reported = self.call(place, "-m", "analysis.cli", "runs/plain", "--out", "report")
        assert reported.returncode == 0 and "repetitions" in reported.stdout, reported.stderr

    def test_a_mistake_in_its_settings_is_one_line(self, place: Path) -> None:
        plain = {"kind": "decoder"}
        lines = {
            "eval.max_depth must be at least model.repetitions, got 4 and 9": {"model": plain | {"repetitions": 9}},
            "hidden_size has no effect on the kind 'decoder': leave it out": {"model": plain | {"hidden_size": 9}},
            "model.token_sise: unknown key; did you mean 'token_size'": {"model": plain | {"token_sise": 9}},
            "eval.halting must be one of fixed for the kind 'decoder', got 'q'": {"model": plain, "eval__halting": "q"},
        }
        (place / "bad.json").write_text(json.dumps([tiny_sections(**changes) for changes in lines.values()]))
        refused = self.call(place, "-c", REFUSED, "bad.json").stdout.splitlines()
        assert len(refused) == len(lines) and all(map(str.__contains__, refused, lines))
