"""`measure.reuse`: completed trials of other sweeps are copied instead of run."""

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.data.tables import load_store
from lightning_modules.outcome import Outcome
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.driver.ledger import Ledger
from sweeps.driver.run import run_sweep
from sweeps.planning.plan import print_plan
from sweeps.spec.load_spec import load_spec
from sweeps.store.attempts import note_losses
from sweeps.worker.messages import Lost
from tests.conftest import ROOT
from tests.sweeps.conftest import assert_refused, ending, measure_sections, run_here, search_sections
from tests.sweeps.driver.test_plugins import end_all, sweep_sections
from tests.sweeps.driver.test_plugins import open_ledger as open_plugins

FIRST = {"vary": {"model.hidden_size": [16, 24], "model.l_cycles": [1]}, "seeds": 1}
WIDER = {"vary": {"model.hidden_size": [16, 24, 32], "model.l_cycles": [1]}, "seeds": 1}


def sections(name: str, **measure: Any) -> dict[str, Any]:
    return measure_sections() | {"name": name, "measure": measure, "tracking": {"kind": "memory"}}


@pytest.fixture
def first(open_ledger: Callable[..., Ledger]) -> Ledger:
    """A sweep of two trained trials."""
    ledger = open_ledger(sections("first", **FIRST))
    run_here(ledger)
    return ledger


def test_equal_trials_of_another_sweep_are_not_run_again(first: Ledger, open_ledger: Callable[..., Ledger]) -> None:
    ledger = open_ledger(sections("second", **WIDER, reuse=["first"]))
    assert ledger.results.keys() == first.results.keys()
    assert ledger.queue.notes == [f"2 finished trials taken over from {first.store.location}"]
    begun = ledger.ask()
    assert begun is not None and begun.fingerprint not in first.results
    for name in first.results:
        for file in ("weights.pt", "trial.yaml", "items.parquet"):
            assert ledger.store.file(name, file) == first.store.file(name, file) is not None
    ledger.end(begun.fingerprint, ending(begun))
    assert ledger.ask() is None
    tables = load_store(ledger.store)
    assert len(tables.completed) == 3 and set(tables.trials["sweep"]) == {"second"}
    taken, original = ledger.store.results(), first.store.results()
    assert {name: taken[name] | {"sweep": "first"} for name in original} == original


def test_a_second_driver_takes_nothing_over_again(first: Ledger, open_ledger: Callable[..., Ledger]) -> None:
    open_ledger(sections("second", **WIDER, reuse=["first"]))
    assert list(open_ledger(sections("second", **WIDER, reuse=["first"])).queue.notes) == []


def test_a_failed_trial_is_not_taken_over(open_ledger: Callable[..., Ledger]) -> None:
    ledger = open_ledger(sections("first", **FIRST))
    failed, completed = ledger.ask(), ledger.ask()
    assert failed is not None and completed is not None
    ledger.end(failed.fingerprint, ending(failed, outcome=Outcome.FAILED, reason="diverged"))
    ledger.end(completed.fingerprint, ending(completed))
    assert open_ledger(sections("second", **WIDER, reuse=["first"])).results.keys() == {completed.fingerprint}


def test_a_lost_trial_that_a_run_would_try_again_is_taken_over(first: Ledger, open_ledger: Callable[..., Ledger]) -> None:
    second = open_ledger(sections("second", **FIRST))
    lost = second.ask()
    assert lost is not None
    second.end(lost.fingerprint, Lost("its process died", losses=1))
    again = open_ledger(sections("second", **FIRST, reuse=["first"]))
    assert {record["outcome"] for record in again.results.values()} == {Outcome.COMPLETED} and again.ask() is None


def test_reuse_is_no_part_of_a_trial_and_may_be_added_later(first: Ledger, open_ledger: Callable[..., Ledger]) -> None:
    plain = open_ledger(sections("second", **WIDER))
    one = plain.ask()
    assert one is not None
    plain.end(one.fingerprint, ending(one))
    later = open_ledger(sections("second", **WIDER, reuse=["first"]))
    assert [trial.fingerprint for trial in later.spec.design] == [trial.fingerprint for trial in plain.spec.design]
    assert later.results.keys() == {one.fingerprint, *first.results}


def test_a_plan_counts_what_is_taken_over(first: Ledger, write_spec: Callable, tmp_path: Path) -> None:
    given = sections("second", **WIDER, reuse=["first"]) | {"storage": str(tmp_path / "runs")}
    printed = io.StringIO()
    print_plan(load_spec(write_spec(given)), Console(file=printed))
    assert "2 trials of these come from the sweeps in measure.reuse" in printed.getvalue()
    assert "2 of 3 trials" in printed.getvalue()


def test_a_trial_that_is_taken_over_names_files_of_plug_ins_as_its_new_sweep_does(plugin_folder: Path, tmp_path: Path) -> None:
    def opened(name: str, model: str, **measure: Any) -> Ledger:
        design = {"vary": {"model.kind": ["damped"]}, "seeds": 1} | measure
        given = sweep_sections(name=name, storage=str(tmp_path / "runs"), plugins=["my_puzzle.py", model], measure=design)
        (plugin_folder / "sweep.yaml").write_text(write_yaml(given))
        return open_plugins(load_spec(plugin_folder / "sweep.yaml"))

    end_all(opened("first", "my_model.py"))
    (plugin_folder / "my_model.py").rename(plugin_folder / "renamed.py")
    (fingerprint,) = opened("second", "renamed.py", reuse=["first"]).results
    (plugin_folder / "renamed.py").unlink()
    code = "import sys; from pathlib import Path; from lightning_modules.config import load_trial; load_trial(Path(sys.argv[1]))"
    trial = tmp_path / f"runs/second/trials/{fingerprint}/trial.yaml"
    ended = subprocess.run([sys.executable, "-c", code, trial], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_attempts_at_a_trial_that_is_taken_over_stay_where_they_were_made(
    first: Ledger, open_ledger: Callable[..., Ledger]
) -> None:
    for name in first.results:
        note_losses(first.store, name, losses=2)
    second = open_ledger(sections("second", **FIRST, reuse=["first"]))
    assert [second.store.attempts(name) for name in first.results] == [[], []]


@pytest.mark.parametrize(("reuse", "line"), [
    (["absent"], "measure.reuse.0: must name a sweep that was run, got 'absent'"),
    (["first", "second"], "measure.reuse.1: must name other sweeps, got 'second', this one"),
    (["searched"], "measure.reuse.0: must name measure sweeps, got the search 'searched'"),
])  # fmt: skip
def test_a_wrong_sweep_is_one_line(first: Ledger, open_ledger: Callable[..., Ledger], reuse: list[str], line: str) -> None:
    open_ledger(search_sections() | {"name": "searched", "tracking": {"kind": "memory"}})
    with pytest.raises(UserError) as refused:
        open_ledger(sections("second", **WIDER, reuse=reuse))
    assert line in str(refused.value)


def test_a_run_with_a_wrong_sweep_writes_nothing(typed: Callable[..., Any], write_spec: Callable, tmp_path: Path) -> None:
    write_spec(sections("second", **WIDER, reuse=["absent"]))
    assert_refused(typed("run", "sweep.yaml"), "measure.reuse.0: must name a sweep that was run, got 'absent'", tmp_path)


def test_a_finished_sweep_does_not_need_the_sweeps_that_it_took_trials_from(
    first: Ledger, open_ledger: Callable[..., Ledger], write_spec: Callable, tmp_path: Path
) -> None:
    open_ledger(sections("second", **FIRST, reuse=["first"]))
    shutil.rmtree(first.store.location)
    assert open_ledger(sections("second", **FIRST, reuse=["first"])).finished
    spec = load_spec(write_spec(sections("second", **FIRST, reuse=["first"]) | {"storage": str(tmp_path / "runs")}))
    printed = Console(file=io.StringIO())
    assert run_sweep(spec, printed, "again") == 0


@pytest.mark.parametrize("text", [None, "seed: 5\n"])
def test_a_trial_whose_file_is_absent_or_was_edited_is_not_taken_over(
    first: Ledger, open_ledger: Callable[..., Ledger], text: str | None, tmp_path: Path
) -> None:
    name = min(first.results)
    path = Path(first.store.location) / "trials" / name / "trial.yaml"
    path.unlink() if text is None else path.write_text(path.read_text().replace("seed: 0\n", text))
    with pytest.raises(UserError, match=rf"first/trials/{name}/trial.yaml: (is absent|was edited)"):
        open_ledger(sections("second", **WIDER, reuse=["first"]))
    assert not (tmp_path / "runs/second/trials").exists()
