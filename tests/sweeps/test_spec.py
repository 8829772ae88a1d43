"""A spec is checked as a whole before anything is spent; every mistake is one line that names the field."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.spec import load_spec
from tests.conftest import ROOT
from tests.sweeps.conftest import Sections, measure_sections, run_command, search_sections


def changed(sections: Sections, path: str, value: Any) -> Sections:
    """Set one field; `path` is split at slashes, since keys may hold dots."""
    sections = copy.deepcopy(sections)
    *parents, last = path.split("/")
    section = sections
    for parent in parents:
        section = section[parent]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return sections


MEASURE, SEARCH = measure_sections(), search_sections()
BAD: dict[str, tuple[Sections, str]] = {
    "unknown key": (changed(MEASURE, "mesure", {}), "mesure: unknown key; did you mean 'measure'?"),
    "unknown key in a trial": (changed(MEASURE, "trial/model/depth", 3), "trial.model.depth: unknown key"),
    "no name": (changed(MEASURE, "name", ...), "name: is required"),
    "name with a slash": (changed(MEASURE, "name", "a/b"), "name: "),
    "no design": (changed(MEASURE, "measure", ...), "exactly one of the sections measure and search"),
    "two designs": (MEASURE | {"search": SEARCH["search"]}, "exactly one of the sections measure and search"),
    "misspelt path": (
        changed(MEASURE, "measure/vary/model.hiden_size", [16]),
        "measure.vary.model.hiden_size: is not a field of a trial; did you mean 'model.hidden_size'?",
    ),
    "path of a section": (changed(MEASURE, "measure/vary/model", [16]), "measure.vary.model: is not a field of a trial"),
    "seed varied": (
        changed(MEASURE, "measure/vary/seed", [1, 2]),
        "measure.vary.seed: cannot be varied: measure.seeds says how many",
    ),
    "budget varied": (
        changed(MEASURE, "measure/vary/fit.budget.amount", [10, 20]),
        "measure.vary.fit.budget.amount: cannot be varied: trials of one sweep have equal budgets",
    ),
    "reserved name": (changed(MEASURE, "name", "trials"), "name must not be one of mlartifacts, mlflow.db, trials"),
    "date": (changed(MEASURE, "trial/model/num_layers", "2024-01-01"), "trial.model.num_layers: must be a valid integer"),
    "betas": (changed(MEASURE, "trial/optim", {"betas": [1.5, 2]}), "trial.optim.betas.0: must be less than 1, got 1.5"),
    "folder": (changed(MEASURE, "folder", "/x"), "folder: unknown key"),
    "bad level": (
        changed(MEASURE, "measure/vary/model.hidden_size", [16, 20]),
        "measure.vary.model.hidden_size: the value 20 is not valid: trial.model: hidden_size must be a multiple of head_size",
    ),
    "level of a wrong type": (
        changed(MEASURE, "measure/vary/model.l_cycles", [1, "two"]),
        "measure.vary.model.l_cycles: the value 'two' is not valid: trial.model.l_cycles: must be a valid integer",
    ),
    "level twice": (changed(MEASURE, "measure/vary/model.l_cycles", [1, 1]), "must be a list of different values"),
    "no levels": (changed(MEASURE, "measure/vary/model.l_cycles", []), "must be a list of different values"),
    "empty vary": (changed(MEASURE, "measure/vary", {}), "measure.vary.0: must have at least 1, got {}"),
    "no seeds": (changed(MEASURE, "measure/seeds", 0), "measure.seeds: must be greater than or equal to 1, got 0"),
    "matching another unit": (
        changed(MEASURE, "measure/matching", "train_flops"),
        "measure.matching: must equal trial.fit.budget.unit, got 'train_flops' and 'steps'",
    ),
    "negative budget": (
        changed(MEASURE, "trial/fit/budget/amount", -5),
        "trial.fit.budget.amount: must be greater than or equal to 0, got -5",
    ),
    "seed of the trial": (changed(MEASURE, "trial/seed", 3), "trial.seed: is set by the sweep"),
    "misspelt search path": (
        changed(SEARCH, "search/space/optim.rate", {"choice": [1]}),
        "search.space.optim.rate: is not a field of a trial",
    ),
    "end of a range": (
        changed(SEARCH, "search/space/model.num_layers", {"int": [0, 2]}),
        "search.space.model.num_layers: the value 0 is not valid: trial.model.num_layers: must be greater than or equal to 1",
    ),
    "middle of a range": (
        changed(SEARCH, "search/space/model.hidden_size", {"int": [16, 32]}),
        "search.space.model.hidden_size: the value 17 is not valid",
    ),
    "range upside down": (
        changed(SEARCH, "search/space/optim.lr", {"uniform": [1, 0.1]}),
        "uniform must be [low, high] with low <= high",
    ),
    "log of zero": (
        changed(SEARCH, "search/space/optim.lr", {"log_uniform": [0, 1]}),
        "log_uniform must be [low, high] with 0 < low",
    ),
    "unknown domain": (
        changed(SEARCH, "search/space/optim.lr", {"lognormal": [0, 1]}),
        "search.space.optim.lr.lognormal: unknown key",
    ),
    "two domains": (
        changed(SEARCH, "search/space/optim.lr", {"uniform": [0.1, 1], "choice": [1]}),
        "exactly one of choice, int, log_int, uniform, log_uniform",
    ),
    "unknown metric": (
        changed(SEARCH, "search/objectives", [{"metric": "val/accuracy", "goal": "maximize"}]),
        "metric must be a recorded metric other than test/..., got 'val/accuracy'",
    ),
    "test metric": (
        changed(SEARCH, "search/objectives", [{"metric": "test/nll", "goal": "minimize"}]),
        "metric must be a recorded metric other than test/..., got 'test/nll'",
    ),
    "unknown goal": (
        changed(SEARCH, "search/objectives", [{"metric": "val/nll", "goal": "down"}]),
        "search.objectives.0.goal: must be 'maximize' or 'minimize', got 'down'",
    ),
    "asha on a cost": (
        SEARCH
        | {"search": SEARCH["search"] | {"scheduler": {"kind": "asha"}, "objectives": [{"metric": "params", "goal": "minimize"}]}},
        "scheduler asha needs a first objective that is measured during training, got 'params'",
    ),
    "unknown sampler": (changed(SEARCH, "search/sampler", {"kind": "bayes"}), "search.sampler.kind: must be 'tpe', 'gp'"),
    "no trials": (changed(SEARCH, "search/num_trials", 0), "search.num_trials: must be greater than or equal to 1"),
    "no cpus": (MEASURE | {"resources": {"cpus": 0}}, "resources.cpus: must be greater than 0"),
    "empty section": (MEASURE | {"resources": None}, "resources: is empty; null is not a value"),
    "data that is not there": (
        changed(MEASURE, "trial/task", {"size": 9, "train": "no.csv", "test": "no.csv"}),
        "no.csv: cannot be read: No such file or directory",
    ),
}


@pytest.mark.parametrize(("sections", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_spec_is_one_line_that_names_the_field(write_spec: Callable, sections: Sections, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_spec(write_spec(sections))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["name: [", "", "- a\n- b\n", "\t- x: 1"], ids=["malformed", "empty", "list", "tab"])
def test_what_is_no_spec_at_all_ends_with_exit_code_2_and_nothing_on_disk(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    ended = run_command("run", "sweep.yaml", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and ended.stderr.startswith("sweep.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_a_bad_row_of_data_ends_the_command_at_once(write_spec: Callable, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("source,question,answer,rating\nx,123,456,0\n")
    sections = changed(MEASURE, "trial/task", {"size": 9, "train": "test.csv", "test": "test.csv"})
    ended = run_command("run", str(write_spec(sections)), cwd=tmp_path)
    assert ended.returncode == 2
    assert "test.csv, line 2: question must have 81 characters, got 3" in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_trial_is_refused_with_the_command_to_use(write_spec: Callable) -> None:
    with pytest.raises(UserError, match="use rrm-trial"):
        load_spec(write_spec(MEASURE["trial"]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trial.optim.lr", "must be dotted.path=value"),
        ("trial.optim.lt=1", "trial.optim.lt: unknown key"),
        ("trial.optim.lr=", "trial.optim.lr: is empty"),
        ("trial.optim.lr=[1", "trial.optim.lr, line 1: is not valid YAML"),
        ("name.x=1", "name is a value, not a section"),
        ("trial.model.num_layers=2024-01-01", "must be a valid integer, got '2024-01-01'"),
    ],
)
def test_a_bad_override_is_one_line(write_spec: Callable, override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_spec(write_spec(MEASURE), [override])
    assert message in str(error.value)


def test_overrides_reach_any_field(write_spec: Callable) -> None:
    spec = load_spec(write_spec(MEASURE), ["trial.optim.lr=3e-4", "measure.seeds=2", "measure.vary.model.l_cycles=[1, 3]"])
    assert spec.base.optim.lr == 3e-4
    assert {(trial.model.l_cycles, trial.seed) for trial in spec.design()} == {(1, 0), (3, 0), (1, 1), (3, 1)}


def test_a_design_is_every_combination_times_seeds(write_spec: Callable) -> None:
    design = load_spec(write_spec(changed(MEASURE, "measure/seeds", 3))).design()
    assert len(design) == len({trial.fingerprint for trial in design}) == 2 * 2 * 3


def test_the_trial_section_need_not_be_valid_without_what_is_varied(write_spec: Callable) -> None:
    sections = changed(MEASURE, "trial/model/supervision_steps", ...)  # 16, beyond eval.max_depth
    sections["measure"]["vary"] = {"model.supervision_steps": [1, 2]}
    assert len(load_spec(write_spec(sections)).design()) == 2


@pytest.mark.parametrize("name", ["demo", "sudoku4_search"])
def test_every_spec_that_is_shipped_is_valid(name: str) -> None:
    spec = load_spec(ROOT / f"sweeps/specs/{name}.yaml")
    assert spec.name == name


def test_the_9x9_spec_is_valid_with_data(tmp_path: Path) -> None:
    question = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
    answer = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
    data = tmp_path / "data.csv"
    data.write_text("source,question,answer,rating\n" + f"x,{question},{answer},0\n" * 5)
    path = ROOT / "sweeps/specs/sudoku_hard.yaml"
    spec = load_spec(path, [f"trial.task.train={data}", f"trial.task.test={data}"])
    spec.check_data()
    assert spec.base.task.train == data


def test_paths_start_at_the_spec(write_spec: Callable, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train", "test"):
        (tmp_path / f"data/{name}.csv").write_text("source,question,answer,rating\n")
    task = {"size": 9, "train": "data/train.csv", "test": "data/test.csv"}
    spec = load_spec(write_spec(changed(MEASURE, "trial/task", task)))
    assert spec.base.task.train == tmp_path / "data/train.csv"


def test_plan_prints_the_design_and_writes_nothing(write_spec: Callable, tmp_path: Path) -> None:
    path = write_spec(MEASURE)
    ended = run_command("plan", str(path), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "4 cells x 1 seeds" in ended.stdout and "4 trials, about" in ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_plan_of_models_of_several_kinds_leaves_out_what_one_does_not_have(write_spec: Callable, tmp_path: Path) -> None:
    blocks = [
        {"model.kind": "trm", "model.l_cycles": [1, 2]},
        {"model.kind": "looped", "model.l_cycles": 2},
        {"model.kind": "direct"},
    ]
    sections = changed(MEASURE, "measure/vary", blocks)
    sections["trial"]["model"] = {"hidden_size": 16, "head_size": 8, "num_layers": 1}
    sections["trial"]["eval"] = {"max_depth": 16, "validations": 1}
    ended = run_command("plan", str(write_spec(sections)), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "4 cells x 1 seeds" in ended.stdout and "direct  -" in ended.stdout


def test_a_sweep_may_go_over_tasks(write_spec: Callable) -> None:
    sections = changed(
        MEASURE, "measure/vary", [{"task.kind": ["automaton", "neighbours"]}, {"task.kind": "maze", "task.size": [5, 7]}]
    )
    del sections["trial"]["task"]
    design = load_spec(write_spec(sections)).design()
    assert sorted(trial.task.kind for trial in design) == ["automaton", "maze", "maze", "neighbours"]  # type: ignore[attr-defined]


def test_plan_of_a_search_prints_its_corners(write_spec: Callable, tmp_path: Path) -> None:
    ended = run_command("plan", str(write_spec(SEARCH)), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "6 trials by tpe" in ended.stdout and "at most about" in ended.stdout


def test_yaml_survives_the_store(write_spec: Callable, tmp_path: Path) -> None:
    """What the store keeps is a spec that gives the same trials."""
    spec = load_spec(write_spec(MEASURE))
    copy_ = tmp_path / "copy.yaml"
    copy_.write_text(write_yaml(spec.model_dump(mode="json", exclude_none=True, by_alias=True)))
    assert [t.fingerprint for t in load_spec(copy_).design()] == [t.fingerprint for t in spec.design()]


def test_blocks_are_a_union_and_a_cell_named_twice_counts_once(write_spec: Callable) -> None:
    blocks = [
        {"model.kind": "trm", "model.supervision_steps": [1, 2]},
        {"model.kind": "trm", "model.supervision_steps": [2], "model.hidden_size": [16, 24]},
        {"model.kind": "hrm", "model.num_layers": 1},
    ]
    design = load_spec(write_spec(changed(MEASURE, "measure/vary", blocks))).design()
    assert [(t.model.kind, t.model.supervision_steps, t.model.hidden_size) for t in design] == [
        ("trm", 2, 24), ("trm", 1, 16), ("trm", 2, 16), ("hrm", 2, 16),
    ]  # fmt: skip


def test_a_mistake_in_a_block_names_the_block(write_spec: Callable) -> None:
    blocks = [{"model.l_cycles": [1]}, {"model.l_cycles": [1, 0]}]
    with pytest.raises(UserError, match=r"measure.vary.1.model.l_cycles: the value 0 is not valid"):
        load_spec(write_spec(changed(MEASURE, "measure/vary", blocks)))
