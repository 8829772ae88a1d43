"""What `rrm-sweep run` refuses on the finished trials of a store, a plan says before."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from rrm.errors import UserError
from sweeps.driver.run import run_sweep
from sweeps.planning.load_sweep import load_sweep
from sweeps.planning.plan import print_plan
from tests.conftest import ROOT

FIXTURE = ROOT / "tests/fixtures/stores_e399d62"


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a measure sweep and a search in its storage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for sweep in ("measure", "search"):
        shutil.copytree(FIXTURE / sweep, tmp_path / "runs" / sweep)
        shutil.copy(FIXTURE / f"{sweep}.yaml", tmp_path)
    return tmp_path


def planned(sweep: str, *overrides: str) -> list[str]:
    file = io.StringIO()
    print_plan(load_sweep(Path(f"{sweep}.yaml"), list(overrides)), Console(file=file))
    return [line for line in file.getvalue().splitlines() if line.startswith("warning")]


@pytest.mark.parametrize(
    ("sweep", "override", "change"),
    [
        ("measure", "defaults=2", "trial.model.positions was 'rotary' and is 'learned'"),
        ("measure", "trial.optim.lr=0.5", "trial.optim.lr was "),
        ("measure", "trial.task.train_examples=61", "trial.task.train_examples was 60 and is 61"),
        ("search", "search.sampler={kind: random}", "sampler.kind was "),
        ("search", "trial.fit.batch_size=4", "trial.fit.batch_size was 8 and is 4"),
    ],
)
def test_a_plan_warns_of_changed_settings_with_the_line_by_which_run_refuses(
    begun: Path, sweep: str, override: str, change: str
) -> None:
    with pytest.raises(UserError) as refusal:
        run_sweep(load_sweep(Path(f"{sweep}.yaml"), [override]), Console(), "again")
    assert f"has finished trials under other settings ({change}" in str(refusal.value)
    assert planned(sweep, override) == [f"warning: rrm-sweep run refuses this sweep: {refusal.value}"]


@pytest.mark.parametrize("overrides", [[], ["measure.seeds=2"], ["name=other", "trial.optim.lr=0.5"]])
def test_a_plan_of_the_same_settings_a_larger_design_or_another_name_warns_of_nothing(begun: Path, overrides: list[str]) -> None:
    assert planned("measure", *overrides) == []


def test_a_plan_leaves_the_store_as_it_is(begun: Path) -> None:
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    planned("measure", "defaults=2")
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before
