"""The spec in the README and every spec that is shipped are run as they are written, at a tiny budget."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules.fit import fit
from rrm.defaults import NEWEST_DEFAULTS
from sweeps.spec.load_spec import load_spec
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from tests.conftest import ROOT

SPECS = sorted((ROOT / "sweeps/specs").glob("**/*.yaml"))
TINY = ["trial.fit.budget.amount=4", "trial.fit.batch_size=2", "trial.eval.validations=2"]
FEW = [f"trial.task.{split}_examples=20" for split in ("train", "validation", "test")]
QUESTION = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"


def template() -> str:
    """The YAML of the README's own sweep."""
    found = re.search(r"^```yaml\n(name: .*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture
def load_tiny(tmp_path: Path) -> Callable[[Path], SweepSpec]:
    """Loads a spec with a budget of four steps, and with three rows of data where it names files."""

    def load(path: Path) -> SweepSpec:
        if "train:" not in path.read_text():
            return load_spec(path, [*TINY, *FEW])
        files = {"train": tmp_path / "train.csv", "test": tmp_path / "test.csv"}
        for file in files.values():
            file.write_text("source,question,answer,rating\n" + f"x,{QUESTION},{ANSWER},0\n" * 3)
        return load_spec(path, [*TINY, *(f"trial.task.{split}={file}" for split, file in files.items()), "trial.eval.max_depth=16"])

    return load


@pytest.fixture(params=["README", *(str(path.relative_to(ROOT / "sweeps/specs")) for path in SPECS)])
def spec(request: pytest.FixtureRequest, load_tiny: Callable, tmp_path: Path) -> SweepSpec:
    if request.param == "README":
        (tmp_path / "my.yaml").write_text(template())
        return load_tiny(tmp_path / "my.yaml")
    return load_tiny(ROOT / "sweeps/specs" / request.param)


def test_a_spec_that_is_shipped_is_valid_and_has_the_positions_that_its_recipe_needs(spec: SweepSpec) -> None:
    trials = spec.design if spec.measure else [spec.base]
    expected = "rotary" if spec.name == "sudoku_hard" else "learned"  # the papers' size, and small models
    assert {trial.model.positions for trial in trials} == {expected}


@pytest.mark.more
def test_the_most_expensive_cell_of_a_spec_trains_as_it_is_written(spec: SweepSpec, tmp_path: Path) -> None:
    trial = spec.design[0] if spec.measure else spec.base
    record = fit(trial, tmp_path / "trial").record
    assert record["outcome"] == "completed", record


@pytest.mark.more
@pytest.mark.ray
def test_the_spec_in_the_readme_is_planned_run_and_goes_on_as_a_user_types_it(typed: Callable, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(template())
    shorter = [*TINY, *FEW, "measure.seeds=1", "tracking.models=0"]
    planned = typed("plan", "my.yaml")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    trials = len(load_spec(tmp_path / "my.yaml", shorter).design)
    ran = typed("run", "my.yaml", *shorter)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    store = Store(tmp_path / "runs/wider_or_deeper")
    assert [result["outcome"] for result in store.results().values()] == ["completed"] * trials
    assert f"defaults: {NEWEST_DEFAULTS}\n" in (store.spec() or "")
    again = typed("run", "my.yaml", *shorter)
    assert again.returncode == 0 and f"is finished: {trials} trials, nothing to run" in again.stdout
