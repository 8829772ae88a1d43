"""Plug-ins: files and installed packages that define tasks and models; the examples are those of docs/extending.md."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.config import TrialConfig, parse_trial
from lightning_modules.yaml_file import write_yaml
from rrm.compute import count_parameters
from rrm.config import Plugin
from rrm.errors import UserError
from rrm.models import model_class
from rrm.models.trm import TRM
from rrm.plugins import fault_of_plugin, import_plugin, parse_plugins, read_file, read_plugins
from rrm.registry import BUILT_IN, registry_of
from rrm.tasks import build_task
from rrm.tasks.cache import load_data
from rrm.tasks.sudoku import Sudoku
from tests.conftest import EXAMPLES, ROOT, plugin_sections, tiny_trial

Install = Callable[..., None]
MODEL, PUZZLE = EXAMPLES["my_model.py"], EXAMPLES["my_puzzle.py"]


@pytest.fixture
def parse(plugin_folder: Path) -> Callable[..., TrialConfig]:
    return lambda **changes: parse_trial(plugin_sections(**changes), plugin_folder)


def refusal(parse: Callable[..., TrialConfig], **changes: Any) -> str:
    """The one line with which a trial is refused."""
    with pytest.raises(UserError) as refused:
        parse(**changes)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_examples_of_the_page_are_short() -> None:
    assert all(EXAMPLES[name].count("\n") <= 40 for name in ("my_puzzle.py", "my_model.py"))


def test_a_trial_has_the_kinds_of_its_files(parse: Callable[..., TrialConfig]) -> None:
    config = parse()
    assert config.flat()["model.rate"] == 0.5 and config.flat()["task.values"] == 4
    assert [plugin.file for plugin in config.plugins or []] == ["my_puzzle.py", "my_model.py"]
    assert not any(path.startswith("plugins") for path in config.flat())
    assert count_parameters(config.model, config.task.shape).recursed > 0


def test_a_task_of_a_file_makes_puzzles_with_right_answers(parse: Callable[..., TrialConfig]) -> None:
    task = build_task(parse().task)
    data = load_data(task)
    test = data.splits["test"]
    assert len(test) == 30 and task.score(test, test.labels).all()
    tokens = test.inputs[0, 4:]
    k = int((tokens > 0).sum())
    assert list(test.labels[0, 4 : 4 + k]) == list(tokens[:k])[::-1]


def test_descriptions_of_fields_are_the_docstrings_of_the_file(parse: Callable[..., TrialConfig]) -> None:
    schema = type(parse()).model_json_schema()["$defs"]
    assert schema["DampedConfig"]["properties"]["rate"]["description"] == "Part of the way that a latent update moves."


@pytest.mark.parametrize(("changes", "line"), [
    ({"task": {"kind": "reverse", "valeus": 3}}, "task.valeus: unknown key; did you mean 'values'?"),
    ({"task": {"kind": "revers"}}, "task.kind: got 'revers'; did you mean 'reverse'?"),
    ({"model": {"kind": "trm", "rate": 0.2}}, "rate has no effect on the kind 'trm': leave it out (it is understood by damped)"),
    ({"model": {"kind": "damped", "rate": 2}}, "model.rate: must be less than 1, got 2"),
    ({"plugins": ["other.py"]}, "other.py: cannot be read: No such file or directory"),
    ({"plugins": ["../my_model.py"]}, "plugins.0: must lie in the folder of the spec or below it, got '../my_model.py'"),
    ({"plugins": ["/etc/hosts"]}, "plugins.0: must lie in the folder of the spec or below it"),
    ({"plugins": "my_model.py"}, "plugins: must be a list of files, got 'my_model.py'; write plugins: [my_model.py]"),
    ({"plugins": [7]}, "plugins.0: must be a section of key: value lines, got 7"),
    ({"plugins": [{"file": "my_model.py"}]}, "plugins.0: must have file and sha256, or package and version, got file"),
    ({"plugins": [{"file": "my_model.py", "sha256": "0" * 64}]}, "plugins.0: my_model.py has changed: its sha256 is"),
    ({"plugins": [{"package": "absent", "version": "1"}]}, "package absent: must be version 1, got none: pip install 'absent==1'"),
])  # fmt: skip
def test_a_mistake_in_a_trial_is_one_line(parse: Callable[..., TrialConfig], changes: dict[str, Any], line: str) -> None:
    assert line in refusal(parse, **changes)


@pytest.mark.parametrize(("code", "line"), [
    ("x = 1\nraise KeyError('size')\n", "bad.py, line 2: cannot be imported: KeyError: 'size'"),
    ("import json\njson.loads('{')\n", "bad.py, line 2: cannot be imported: JSONDecodeError"),
    ("def f(:\n", "bad.py, line 1: cannot be imported: SyntaxError"),
    ("import absent_package\n", "bad.py, line 1: cannot be imported: ModuleNotFoundError: No module named 'absent_package'"),
    ("import sys\nsys.exit(3)\n", "bad.py, line 2: cannot be imported: SystemExit"),
    ("x = 1\n", "plugins.2: bad.py: must define a task"),
    (MODEL.replace('"damped"', '"trm"'), "bad.py: defines the model kind 'trm', which is built in: choose another kind"),
    (MODEL + "\n", "bad.py: defines the model kind 'damped', which my_model.py defines too: choose another kind"),
    ("class Own(BaseException):\n    pass\nraise Own('no')\n", "bad.py, line 3: cannot be imported: Own: no"),
    (MODEL.replace('"damped"', '""'), "the kind of DampedConfig must have a default"),
    (MODEL.replace(' = "damped"', ""), "the kind of DampedConfig must have a default"),
    (MODEL.replace("def calls", "def call"), "bad.py: has a model that cannot be used: Damped must define calls"),
    (MODEL.replace("(Reasoner)", ""), "Damped must derive from Reasoner or TrialModel"),
    (PUZZLE.replace("def shape", "def shapes"), "ReverseConfig must define shape"),
    (PUZZLE.replace("    config: ReverseConfig\n", ""), "must define a task (a Task whose `config` is annotated"),
    (MODEL + "\n\nclass Other(Damped):\n    Config = DampedConfig\n", "Damped and Other have one kind, 'damped'"),
])  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_line(
    parse: Callable[..., TrialConfig], plugin_folder: Path, code: str, line: str
) -> None:
    (plugin_folder / "bad.py").write_text(code)
    assert line in refusal(parse, plugins=["my_puzzle.py", "my_model.py", "bad.py"])


@pytest.mark.parametrize("second", ["my_model.py", "./my_model.py", "copy.py"])
def test_a_file_that_is_named_twice_is_refused(parse: Callable[..., TrialConfig], plugin_folder: Path, second: str) -> None:
    (plugin_folder / "copy.py").write_text(MODEL)
    line = refusal(parse, plugins=["my_model.py", second])
    assert line == f"plugins.1: {Path(second).name}: has the content of my_model.py, which is named too: leave one of them out"


NAMES = ["my-model.py", "2024.py", "json.py", "numpy.py", "rrm.py", "__init__.py", ".hidden.py", "mein é'\".py", "model.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_have_any_name(parse: Callable[..., TrialConfig], plugin_folder: Path, name: str) -> None:
    whole = parse()
    (plugin_folder / "my_model.py").rename(plugin_folder / name)
    assert parse(plugins=["my_puzzle.py", name]).fingerprint == whole.fingerprint


def test_what_a_file_prints_while_it_is_imported_is_no_part_of_the_output_of_a_command(
    plugin_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plugin_folder / "printing.py").write_text(f"print('hello')\n{MODEL}")
    registry_of(read_plugins(["printing.py"], plugin_folder))
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_an_interrupted_import_leaves_no_half_of_a_module(plugin_folder: Path) -> None:
    first_time = "import sys\nif not hasattr(sys, 'was_interrupted'):\n    sys.was_interrupted = 1\n    raise KeyboardInterrupt\n"
    (plugin_folder / "interrupted.py").write_text(first_time + MODEL)
    files = read_plugins(["interrupted.py"], plugin_folder)
    with pytest.raises(KeyboardInterrupt):
        registry_of(files)
    assert "damped" in registry_of(files).models


def test_a_digest_is_part_of_the_fingerprint_of_the_trials_that_use_the_file_alone(
    parse: Callable[..., TrialConfig], plugin_folder: Path
) -> None:
    before, plain = parse(), tiny_trial()
    unused = parse(task=plain.resolved()["task"], model=plain.resolved()["model"])
    assert unused.fingerprint == plain.fingerprint and unused.plugins is None and unused.resolved() == plain.resolved()
    (plugin_folder / "my_model.py").write_text(MODEL.replace("self.config.rate *", "self.config.rate**2 *"))
    after = parse()
    assert before.fingerprint != after.fingerprint and before.training_fingerprint != after.training_fingerprint
    assert parse(model=plain.resolved()["model"]).fingerprint == parse(model=plain.resolved()["model"]).fingerprint
    assert type(before.model) is not type(after.model)  # one process has two versions of one file


def test_the_name_of_a_file_is_no_part_of_a_fingerprint(parse: Callable[..., TrialConfig], plugin_folder: Path) -> None:
    before = parse()
    (plugin_folder / "below").mkdir()
    (plugin_folder / "my_model.py").rename(plugin_folder / "below/renamed.py")
    after = parse(plugins=["my_puzzle.py", "below/renamed.py"])
    assert after.fingerprint == before.fingerprint
    assert [plugin.file for plugin in after.plugins or []] == ["my_puzzle.py", "renamed.py"]


def test_data_is_made_anew_for_a_changed_file(parse: Callable[..., TrialConfig], plugin_folder: Path) -> None:
    before = load_data(build_task(parse().task))
    (plugin_folder / "my_puzzle.py").write_text(PUZZLE.replace("- 1 - np.arange", "- 1 + 0 * np.arange"))
    after = load_data(build_task(parse().task))
    assert before.fingerprint != after.fingerprint


MAPPED = """

    def mapped_splits(self):
        return {split: self.make(split, 9, 0) for split in self.counts}

    def facts(self):
        return {"first": 1}
"""


def test_data_that_lies_in_files_has_another_digest_and_other_facts_for_a_changed_file(
    parse: Callable[..., TrialConfig], plugin_folder: Path
) -> None:
    mapped = PUZZLE + MAPPED
    (plugin_folder / "my_puzzle.py").write_text(mapped)
    before = load_data(build_task(parse().task))
    (plugin_folder / "my_puzzle.py").write_text(mapped.replace('"first": 1', '"first": 2'))
    after = load_data(build_task(parse().task))
    assert before.facts == {"first": 1} and after.facts == {"first": 2} and before.fingerprint != after.fingerprint


def test_an_import_that_was_interrupted_is_begun_anew(plugin_folder: Path) -> None:
    first = "from pathlib import Path\nif not Path(__file__).with_suffix('.begun').exists():\n"
    begin = "    Path(__file__).with_suffix('.begun').touch()\n    raise KeyboardInterrupt\n"
    (plugin_folder / "slow.py").write_text(f"{first}{begin}DONE = True\n")
    plugin = read_file(plugin_folder / "slow.py")
    with pytest.raises(KeyboardInterrupt):
        import_plugin(plugin)
    assert import_plugin(plugin).DONE


def test_a_file_is_imported_once(plugin_folder: Path) -> None:
    (plugin_folder / "counted.py").write_text(f"import sys\nsys.counted = getattr(sys, 'counted', 0) + 1\n{MODEL}")
    for _ in range(2):
        registry_of.cache_clear()
        registry_of(read_plugins(["counted.py"], plugin_folder))
    assert sys.counted == 1  # type: ignore[attr-defined]


def test_a_file_that_is_not_at_hand_is_named_with_its_digest() -> None:
    with pytest.raises(UserError, match=f"my_model.py: is needed and absent: put the file with the sha256 {'1' * 64}"):
        registry_of(parse_plugins([{"file": "my_model.py", "sha256": "1" * 64}]))


def test_kinds_of_an_installed_package_need_no_line(install: Install) -> None:
    install()
    config = parse_trial(plugin_sections(plugins=[], model={"kind": "trm"}, eval={"max_depth": 16}), Path())
    assert config.plugins == [Plugin(package="my-puzzles", version="1.0")]
    assert config.identity()["code"] == {"task": "my-puzzles 1.0"}
    again = parse_trial(config.resolved(), Path())
    assert again.fingerprint == config.fingerprint
    install("1.1")
    assert parse_trial(config.resolved() | {"plugins": []}, Path()).fingerprint != config.fingerprint
    with pytest.raises(UserError, match=r"package my-puzzles: must be version 1.0, got 1.1: pip install 'my-puzzles==1.0'"):
        parse_trial(config.resolved(), Path())


@pytest.mark.parametrize(("points", "line"), [
    ({"tasks": "reverse = my_puzzles:Absent"}, "package my-puzzles 1.0: its entry point my_puzzles:Absent cannot be imported"),
    ({"tasks": "reverse = my_puzzles"}, "its entry point my_puzzles must be a class, such as my_package.puzzles:Reverse"),
    ({"models": "reverse = my_puzzles:ReverseConfig"}, "must define a task or a model by its entry point, got ReverseConfig"),
])  # fmt: skip
def test_an_installed_package_that_cannot_be_used_is_one_line(install: Install, points: dict[str, str], line: str) -> None:
    install(**points)
    (problem,) = registry_of(()).broken.values()
    assert line in str(problem)
    with pytest.raises(UserError) as refused:
        parse_trial(plugin_sections(plugins=[]), Path())
    assert str(refused.value) == str(problem)


def test_a_file_and_a_package_with_one_kind_are_refused(install: Install, parse: Callable[..., TrialConfig]) -> None:
    install()
    assert "my_puzzle.py: defines the task kind 'reverse', which my-puzzles defines too" in refusal(parse)


def test_without_plug_ins_all_kinds_are_built_in() -> None:
    assert registry_of(()) is BUILT_IN


def test_the_public_names_are_loaded_on_first_use() -> None:
    code = (
        "import sys, rrm; assert 'torch' not in sys.modules and 'pydantic' not in sys.modules;"
        "from rrm import SerialTask, RecursiveConfig; assert 'torch' not in sys.modules;"
        "from rrm import *; assert Reasoner and State and FIRST == 3; print(sorted(rrm.__all__))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0 and "'Reasoner'" in ended.stdout, ended.stderr


def test_a_broken_package_refuses_a_trial_of_its_kind_and_no_other(install: Install) -> None:
    install(tasks="reverse = my_puzzles:Absent")
    plain = tiny_trial()
    assert parse_trial(plain.resolved(), Path()).fingerprint == plain.fingerprint
    with pytest.raises(UserError, match=r"package my-puzzles 1.0: its entry point my_puzzles:Absent cannot be imported"):
        parse_trial(plugin_sections(plugins=[]), Path())


@pytest.mark.parametrize(("group", "source", "line"), [
    (
        "tasks",
        "from rrm.tasks.sudoku import Sudoku\n\nclass Reverse(Sudoku): ...\n",
        "must have settings of its own, got SudokuConfig, those of Sudoku",
    ),
    (
        "models",
        "from rrm.models.trm import TRM, TRMConfig\n\nclass Reverse(TRM):\n    Config = TRMConfig\n",
        "must have settings of its own, got TRMConfig, those of TRM",
    ),
])  # fmt: skip
def test_a_package_with_the_settings_of_a_built_in_kind_does_not_take_its_place(
    install: Install, tmp_path: Path, group: str, source: str, line: str
) -> None:
    install(**{group: "reverse = my_puzzles:Reverse"})
    (tmp_path / "site-1.0/my_puzzles.py").write_text(source)
    plain = tiny_trial()
    assert type(build_task(plain.task)) is Sudoku and issubclass(model_class(type(plain.model)), TRM)
    assert "Reverse" not in {type(build_task(plain.task)).__name__, model_class(type(plain.model)).__name__}
    (problem,) = registry_of(()).broken.values()
    assert line in str(problem)


FAULT = "{}['absent']"
RAISING = {
    "a validator": PUZZLE.replace(
        "    @property\n", f"    def model_post_init(self, context):\n        {FAULT}\n\n    @property\n", 1
    ),
    "the shape": PUZZLE.replace("        return self.shaped(", f"        {FAULT}\n        return self.shaped("),
    "the puzzles": PUZZLE.replace("        source = k", f"        {FAULT}\n        source = k"),
}


@pytest.mark.parametrize("code", RAISING.values(), ids=RAISING)
@pytest.mark.parametrize("program", ["sweeps.cli.main", "lightning_modules"])
def test_an_exception_in_a_file_is_one_line_with_its_place(plugin_folder: Path, code: str, program: str) -> None:
    (plugin_folder / "my_puzzle.py").write_text(code)
    trial = plugin_sections()
    sweep = {"name": "tiny", "plugins": trial["plugins"], "trial": {name: trial[name] for name in trial if name != "plugins"}}
    sections = trial if program == "lightning_modules" else sweep | {"measure": {"vary": {"model.rate": [0.5]}}}
    (plugin_folder / "given.yaml").write_text(write_yaml(sections))
    command = [program, "given.yaml"] if program == "lightning_modules" else [program, "plan", "given.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RRM_DATA_CACHE": str(plugin_folder / "cache")}
    ended = subprocess.run([sys.executable, "-m", *command], cwd=plugin_folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1, ended.stderr
    place = code[: code.index(FAULT)].count("\n") + 1
    assert f"my_puzzle.py, line {place}: " in ended.stderr and "raised KeyError: 'absent'" in ended.stderr
    assert not (plugin_folder / "runs").exists()


def test_an_exception_in_an_installed_package_is_one_line_with_its_place(install: Install, tmp_path: Path) -> None:
    install()
    (tmp_path / "site-1.0/my_puzzles.py").write_text(RAISING["the puzzles"])
    task = parse_trial(plugin_sections(plugins=[], model={"kind": "trm"}, eval={"max_depth": 16}), Path()).task
    with pytest.raises(KeyError) as raised:
        load_data(build_task(task))
    place = RAISING["the puzzles"][: RAISING["the puzzles"].index(FAULT)].count("\n") + 1
    assert f"my_puzzles.py, line {place}: solve raised KeyError: 'absent'" in str(fault_of_plugin(raised.value))
