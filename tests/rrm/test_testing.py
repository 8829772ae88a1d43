"""The checks that a user runs on a task or a model of their own: built-in models pass them, and each finds its fault."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rrm.config import BaseModelConfig
from rrm.models import CONFIGS, find_models
from rrm.models.trm import TRM
from rrm.plugins import hold_file, import_plugin
from rrm.tasks.permutations import Permutations, PermutationsConfig
from rrm.tasks.task import Examples, Split
from rrm.testing import check_model, check_task
from rrm.testing.model_checks import MODEL_CHECKS, SHAPE, MadeModel
from tests.conftest import EXAMPLES, EXTENDING
from tests.rrm.decoder import Decoder, DecoderConfig
from tests.rrm.test_reasoner import model_config

PREFIXED = model_config("trm", prefix_length=2, puzzle_embedding_size=16)
RANDOM = model_config("trm", state_init="random")


@pytest.fixture(params=[*CONFIGS, "decoder", "with a prefix", "random states"])
def config(request: pytest.FixtureRequest) -> BaseModelConfig:
    find_models([Decoder])
    others: dict[str, BaseModelConfig] = {"decoder": DecoderConfig(), "with a prefix": PREFIXED, "random states": RANDOM}
    return others[request.param] if request.param in others else model_config(request.param)


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_a_built_in_model_passes_the_checks_that_a_user_runs_on_another(
    config: BaseModelConfig, check: Callable[[MadeModel], None]
) -> None:
    check(MadeModel(config, SHAPE))


# -- the page ---------------------------------------------------------------------------------------------------------


def classes_of_the_page() -> dict[str, Any]:
    """What the tasks and the model of docs/extending.md define."""
    names = ("my_puzzle.py", "my_brackets.py", "my_model.py")
    modules = [import_plugin(hold_file(name, EXAMPLES[name].encode())) for name in names]
    return {name: value for module in modules for name, value in vars(module).items()}


def test_the_tasks_and_the_model_of_the_page_pass() -> None:
    page = classes_of_the_page()
    check_task(page["Reverse"], page["ReverseConfig"](values=8))
    check_task(page["Brackets"], page["BracketsConfig"](length=30))
    config = page["DampedConfig"](hidden_size=16, head_size=8, num_layers=1, l_cycles=1, h_cycles=1, supervision_steps=2)
    assert check_model(page["Damped"], config) is None


def test_the_test_of_the_page_is_short_and_names_these_functions() -> None:
    test = EXTENDING.partition("# test_mine.py")[2].partition("```")[0]
    assert "check_task(" in test and "check_model(" in test and len(test.strip().splitlines()) <= 12
    compile(test, "test_mine.py", "exec")


# -- faults of a model ------------------------------------------------------------------------------------------------


def faulty_model(change: str) -> tuple[Any, BaseModelConfig]:
    """The model of docs/extending.md with another method or a changed one."""
    source = f"import torch\n{EXAMPLES['my_model.py']}\n{change}"
    module: Any = import_plugin(hold_file("my_model.py", source.encode()))
    small = {"hidden_size": 16, "head_size": 8, "num_layers": 1, "l_cycles": 1, "h_cycles": 1, "supervision_steps": 2}
    return module.Damped, module.DampedConfig(**small)


FAULTS = {
    "a weight that is not used": (
        "plain = Damped.__init__\n"
        "def init(self, config, shape):\n"
        "    plain(self, config, shape)\n"
        "    self.spare = torch.nn.Parameter(torch.zeros(3))\n"
        "Damped.__init__ = init\n",
        "every parameter must get a gradient in training, spare get none",
    ),
    "weights from another source of random numbers": (
        "plain = Damped.__init__\n"
        "def init(self, config, shape):\n"
        "    plain(self, config, shape)\n"
        "    import os\n"
        "    self.lm_head.weight.data[0, 0] = int.from_bytes(os.urandom(2), 'big') / 1e5\n"
        "Damped.__init__ = init\n",
        "initial weights must follow torch's random state alone, lm_head.weight differ",
    ),
    "rows that see each other": (
        "plain = Damped._update_answer\n"
        "def update(self, state, x, generator):\n"
        "    new = plain(self, state, x, generator)\n"
        "    return new._replace(z_H=new.z_H + new.z_H.mean(0, keepdim=True))\n"
        "Damped._update_answer = update\n",
        "the answer to a row must not depend on other rows of its batch",
    ),
    "a counter that no checkpoint has": (
        "plain = Damped._update_answer\n"
        "def update(self, state, x, generator):\n"
        "    self.calls_so_far = getattr(self, 'calls_so_far', 0) + self.training\n"
        "    new = plain(self, state, x, generator)\n"
        "    return new._replace(z_H=new.z_H * (1 + self.calls_so_far))\n"
        "Damped._update_answer = update\n",
        "a resumed training must equal an uninterrupted one",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), [
    (' = "damped"', "", "the kind of DampedConfig must have a default"),
    ("    Config = DampedConfig\n", "", "Damped must state its settings in its own class: Config = DampedConfig"),
    ("(Reasoner)", "", "Damped must derive from Reasoner or TrialModel"),
])  # fmt: skip
def test_a_model_that_no_sweep_would_find_is_named(old: str, new: str, message: str) -> None:
    module: Any = import_plugin(hold_file("my_model.py", EXAMPLES["my_model.py"].replace(old, new).encode()))
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_model(module.Damped, module.DampedConfig(kind="damped", hidden_size=16, head_size=8))


def test_a_model_with_the_settings_of_another_one_is_not_taken_for_it() -> None:
    class Faulty(TRM): ...

    with pytest.raises(AssertionError, match="Faulty must state its settings in its own class: Config = TRMConfig"):
        check_model(Faulty, model_config("trm"))


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_a_model_is_named(change: str, message: str) -> None:
    with pytest.raises(AssertionError) as failed:
        check_model(*faulty_model(change))
    assert message in str(failed.value)


def test_a_model_that_reads_a_value_passes_and_the_reason_why_it_is_not_exported_is_named() -> None:
    branch = (
        "plain = Damped._update_answer\n"
        "def update(self, state, x, generator):\n"
        "    new = plain(self, state, x, generator)\n"
        "    return new if float(new.z_H.detach().sum()) > 1e9 else new._replace(z_H=2 * new.z_H)\n"
        "Damped._update_answer = update\n"
    )
    reason = check_model(*faulty_model(branch), skip={"check_counts"})
    assert reason is not None and "\n" not in reason


def test_a_model_with_random_states_cannot_be_exported() -> None:
    assert check_model(type(MadeModel(RANDOM, SHAPE).build()), RANDOM, skip={"check_initial_weights"}) == (
        "it draws random numbers when it answers, which a program cannot repeat"
    )


# -- faults of a task -------------------------------------------------------------------------------------------------

CONFIG = PermutationsConfig()


class Unseeded(Permutations):
    def make(self, split: Split, count: int, seed: int) -> Examples:
        return super().make(split, count, int(np.random.default_rng().integers(1000)))


class TakesAll(Permutations):
    def score(self, examples: Examples, answers: np.ndarray) -> np.ndarray:
        return np.ones(len(examples), dtype=bool)


class Leaking(Permutations):
    def make(self, split: Split, count: int, seed: int) -> Examples:
        return super().make("train" if split == "test" else split, count, seed)


class WrongType(Permutations):
    def make(self, split: Split, count: int, seed: int) -> Examples:
        arrays = super().make(split, count, seed).arrays()
        return Examples.from_arrays(arrays | {"inputs": arrays["inputs"].astype(np.int64)})


class LargeTokens(Permutations):
    def make(self, split: Split, count: int, seed: int) -> Examples:
        arrays = super().make(split, count, seed).arrays()
        return Examples.from_arrays(arrays | {"inputs": arrays["inputs"] + np.uint8(100)})


class NarrowGrid(Permutations):
    @property
    def grid(self) -> tuple[int, int]:
        return 1, 3


def test_a_task_may_have_names_that_type_checkers_alone_import() -> None:
    imports = (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from array import array\n"
    )
    source = EXAMPLES["my_puzzle.py"].replace("    config: ReverseConfig\n", "    config: ReverseConfig\n    kept: array\n")
    module: Any = import_plugin(hold_file("my_puzzle.py", f"{imports}{source}".encode()))
    check_task(module.Reverse, module.ReverseConfig(values=8))


@pytest.mark.parametrize(("old", "message"), [
    ("    config: ReverseConfig\n", "`config` of Reverse must be annotated with ReverseConfig, got SerialConfig"),
    (' = "reverse"', "the kind of ReverseConfig must have a default"),
])  # fmt: skip
def test_a_task_that_no_sweep_would_find_is_named(old: str, message: str) -> None:
    module: Any = import_plugin(hold_file("my_puzzle.py", EXAMPLES["my_puzzle.py"].replace(old, "").encode()))
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_task(module.Reverse, module.ReverseConfig(kind="reverse"))


@pytest.mark.parametrize(("task", "message"), [
    (Unseeded, "make('train') must be a function of its arguments"),
    (TakesAll, "score must refuse an answer with one changed token, takes 100 of 100"),
    (Leaking, "splits must share no question, train and test share 100"),
    (WrongType, "inputs of train must be of uint8"),
    (LargeTokens, "inputs of train must be 0 or more and below the vocabulary, shape.vocabulary = "),
    (NarrowGrid, "grid must have "),
])  # fmt: skip
def test_a_fault_of_a_task_is_named(task: type[Permutations], message: str) -> None:
    with pytest.raises(AssertionError) as failed:
        check_task(task, CONFIG)
    assert message in str(failed.value)
