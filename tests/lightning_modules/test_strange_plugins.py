"""`rrm-trial` with tasks and models of files whose code is valid and unusual, or returns what cannot be used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.__main__ import main
from lightning_modules.config import load_trial
from lightning_modules.datamodule import load_splits
from lightning_modules.record import read_result
from lightning_modules.yaml_file import write_yaml
from rrm.tasks.sudoku import Sudoku, SudokuConfig
from tests.conftest import EXAMPLES, tiny_sections

PUZZLE = '''
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from rrm import BaseTaskConfig, Examples, PuzzleShape, Task
from rrm.config import StrictConfig

if TYPE_CHECKING:
    import absent_at_run_time


class Noise(StrictConfig):
    """Settings within settings."""

    levels: list[float] = [0.5]
    """Levels."""


class ShiftConfig(BaseTaskConfig):
    """Every token is the next one of 299, and then of the first."""

    kind: Literal["shift"] = "shift"
    """Shift."""
    noise: Noise = Noise()
    """Noise."""
    bounds: tuple[int, int] = (1, 300)
    """Bounds."""
    weights: list[float] = []
    """Weights."""

    @property
    def shape(self) -> PuzzleShape:
        return PuzzleShape(6, 300, 1)


class Shift(Task):
    config: ShiftConfig
    kept: absent_at_run_time.Thing | None = None

    def __init__(self, config: ShiftConfig) -> None:
        self.config = config

    @property
    def counts(self):
        return {"train": 20, "validation": 12, "test": 15}

    @property
    def bins(self):
        return {"sum": (0, 900)}

    def make(self, split, count, seed):
        first = 1 + ("train", "validation", "test").index(split)
        inputs = np.random.default_rng([seed, first]).integers(*self.config.bounds, (count, 6))
        inputs[:, 0] = first
        labels = inputs % 299 + 1
        return Examples.single(inputs, labels, labels > 0, {"sum": inputs.sum(1)}, vocabulary=300)

    def score(self, examples, answers):
        return (answers == examples.inputs.astype(int) % 299 + 1).all(1)

    def judge(self, examples, answers, confidence):
        return super().judge(examples, answers, confidence) | {"own_score": np.float32(0.5)}

    def facts(self):
        return {"own_fact": np.int64(7)}


Alias = Shift
'''

Trial = Callable[..., Path]


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """Writes a tiny trial of a file."""

    def write(source: str, **sections: Any) -> Path:
        (tmp_path / "own.py").write_text(source)
        given = tiny_sections(fit__budget={"unit": "steps", "amount": 2}) | {"plugins": ["own.py"]} | sections
        (tmp_path / "trial.yaml").write_text(write_yaml(given))
        return tmp_path / "trial.yaml"

    return write


def test_a_plain_task_with_nested_settings_lists_and_a_large_vocabulary_is_trained_on(trial: Trial, tmp_path: Path) -> None:
    path = trial(PUZZLE, task={"kind": "shift", "noise": {"levels": [1, 2.5]}, "weights": [0.5], "bounds": [1, 299]})
    assert main([str(path), "--out", str(tmp_path / "out")]) == 0
    record = read_result(tmp_path / "out/result.json").record
    assert record["test/own_score"] == 0.5 and record["own_fact"] == 7 and record["task.noise.levels"] == [1, 2.5]
    test = load_splits(load_trial(path).task).splits["test"]
    assert test.inputs.dtype == "uint16" and test.inputs.max() > 255 and test.labels.max() > 255


def test_tokens_of_a_serial_task_are_held_in_the_type_of_its_vocabulary(trial: Trial) -> None:
    wide = EXAMPLES["my_puzzle.py"].replace("le=64", "le=640").replace("dtype=np.uint8)", "dtype=np.uint16)")
    wide = wide.replace(".astype(np.uint8)", "")
    task = {"kind": "reverse", "values": 600, "serial_steps": 6, "ood_serial_steps": 8, "train_examples": 60}
    test = load_splits(load_trial(trial(wide, task=task)).task).splits["test"]
    assert test.inputs.dtype == "uint16" and test.inputs.max() > 255


@pytest.mark.parametrize(("of_page", "to", "line"), [
    ("return PuzzleShape(6, 300, 1)", "return (6, 300, 1)", "task shift: shape must be a PuzzleShape, got (6, 300, 1)"),
    ('"validation": 12, ', "", "task Shift: counts must have train, validation, test, got {'train': 20, 'test': 15}"),
    ('{"sum": (0, 900)}', '["sum"]', "task Shift: bins must have a tuple of smallest values by measure, got list"),
    ('{"sum": (0, 900)}', '{"size": (0,)}', "task Shift: difficulty of train must have the measures of `bins`, lacks size"),
    ("np.int64(7)", "'seven'", "task Shift: facts must have whole numbers by name, got {'own_fact': 'seven'}"),
    ("own_fact", "params", "task Shift: facts must not have 'params', a column of every record: choose another name"),
    ("own_score", "exact_accuracy", "task Shift: judge must not return 'exact_accuracy', a score of every task"),
    ("return Examples.single(", "return tuple((", "task Shift: make('train', ...) must return Examples, got tuple"),
    ("(count, 6))", "(count, 7))", "task Shift: inputs of train must be [N, shape.length] = [20, 6], got [20, 7] of uint16"),
    ("PuzzleShape(6, 300, 1)", "PuzzleShape(6, 200, 1)", "inputs of train must be 0 or more and below the vocabulary"),
    ("labels > 0,", "labels,", "task Shift: unknown of train must be [20, 6] of bool, got [20, 6] of int64"),
    ("inputs.sum(1)}", "inputs.sum(1)[:3]}", "task Shift: sum of train must have a whole number a row, [20], got [3] of int32"),
    (", vocabulary=300", "", "own.py, line 59: make raised OverflowError: inputs must be 0 or more and below vocabulary = 256"),
    ("| {", "and {}.missing | {", "judge raised AttributeError: 'dict' object has no attribute 'missing'"),
    ("np.float32(0.5)", "'much'", "task Shift: judge must return numbers by name"),
])  # fmt: skip
def test_what_a_task_returns_is_refused_in_one_line_where_it_cannot_be_used(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str], of_page: str, to: str, line: str
) -> None:
    source = PUZZLE.replace(of_page, to)
    if to.startswith("return tuple(("):
        source = source.replace('{"sum": inputs.sum(1)}, vocabulary=300)', "0))")
    assert source != PUZZLE and main([str(trial(source, task={"kind": "shift"})), "--out", str(tmp_path / "out")]) == 2
    given = capsys.readouterr().err
    assert given.count("\n") == 1 and line in given
    assert (tmp_path / "out").exists() == ("judge" in line)  # its answers are judged at the end of training


MODEL = EXAMPLES["my_model.py"]


@pytest.mark.parametrize(("of_page", "to", "line"), [
    ("shape: PuzzleShape) -> None", "shape: PuzzleShape, extra: int) -> None",
     "model damped of own.py: does not keep to the interface: TypeError: Damped.__init__() missing 1 required positional argument"),
    ("_update_answer", "answer", "model damped of own.py: does not keep to the interface: TypeError: Damped.answer() missing 2"),
    ("config: DampedConfig, shape: PuzzleShape)", "shape: PuzzleShape, config: DampedConfig)", "own.py, line 23: __init__ raised"),
    ("        self.network = self.build_network(config.num_layers)\n", "", "raised AttributeError: 'Damped' object has no"),
    ("        self.network =", "        self.lm_head = __import__('torch').nn.Linear(16, 2)\n        self.network =",
     "model damped: the logits of one puzzle must be [B, L, V] = (1, 16, 6), got (1, 16, 2)"),
    ("state.z_L + self.config", "state.z_L[:, 1:] + self.config", "own.py, line 32: _update_latent raised RuntimeError"),
])  # fmt: skip
def test_a_model_that_does_not_keep_to_the_interface_is_refused_in_one_line_before_anything_is_written(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str], of_page: str, to: str, line: str
) -> None:
    source = MODEL.replace(of_page, to)
    model = tiny_sections()["model"] | {"kind": "damped"}
    assert source != MODEL and main([str(trial(source, model=model)), "--out", str(tmp_path / "out")]) == 2
    given = capsys.readouterr().err
    assert given.count("\n") == 1 and line in given
    assert not (tmp_path / "out").exists()


def test_a_class_with_the_settings_of_a_built_in_kind_is_refused_and_changes_nothing(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "from rrm.tasks.sudoku import Sudoku, SudokuConfig\n\n\nclass Own(Sudoku):\n    config: SudokuConfig\n"
    assert main([str(trial(source)), "--out", str(tmp_path / "out")]) == 2
    assert "own.py: has a task that cannot be used: Own must have settings of its own, got SudokuConfig" in capsys.readouterr().err
    assert SudokuConfig.built_class is Sudoku
