"""A sweep keeps the version of the defaults that its store was begun with; a new store names the newest."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.trial_folder import RESULT
from lightning_modules.yaml_file import parse_yaml, write_yaml
from rrm.defaults import NEWEST_DEFAULTS
from rrm.errors import UserError
from sweeps.cli.submit import submitted_sections
from sweeps.driver.ledger import Ledger, stored_sections
from sweeps.driver.reconcile import reconcile
from sweeps.planning.load_sweep import load_sweep
from sweeps.spec.sweep import SweepSpec, load_spec
from sweeps.store.store import SPEC, Store
from sweeps.tracking.spool import Spool
from sweeps.tracking.tracker import Tracker
from tests.conftest import ROOT
from tests.sweeps.conftest import Sections, measure_sections, record_of, search_sections

FIXTURE = ROOT / "tests/fixtures/stores_e399d62"
KINDS = {  # a sweep over kinds, some fields of which are refused for others
    "name": "kinds",
    "trial": {
        "task": {"kind": "sudoku", "size": 4, "train_examples": 60, "validation_examples": 20, "test_examples": 30},
        "model": {"hidden_size": 16, "head_size": 8, "num_layers": 1},
        "fit": {"batch_size": 8, "budget": {"unit": "steps", "amount": 12}},
        "eval": {"max_depth": 16, "validations": 3},
    },
    "measure": {
        "vary": [
            {"model.kind": ["trm", "hrm", "looped", "outer_loop", "untied", "direct"]},
            {"model.kind": "trm", "model.mixer": ["mlp", "attention"], "model.supervision_steps": 2},
        ],
        "seeds": 1,
        "matching": "steps",
    },
}
KINDS_OF_E399D62 = {  # the fingerprints that commit e399d62 gives its trials
    "16a71d91cd5c1c37", "c6a6f13d16f348d8", "24b4d8186056a9a8", "8f153161fedec399", "2144f59dff741dd2", "07e8e5bd6c295b21",
    "cd7e15e8e778c1f9", "dbae8cb27589d57e",
}  # fmt: skip
NEWER = NEWEST_DEFAULTS + 1


@pytest.fixture
def begin(write_spec: Callable, tmp_path: Path) -> Callable[..., Path]:
    """Stores a spec as if a driver had run it, with `version` in it, or as before there were versions; gives the spec's path."""

    def make(sections: Sections, version: int | None = None, finished: bool = False) -> Path:
        path = write_spec(sections | {"storage": str(tmp_path / "runs")})
        spec = load_spec(path, [f"defaults={version or 1}"])
        store = Store(spec.location)
        store.create()
        stored = {key: value for key, value in stored_sections(spec).items() if key != "defaults"}
        store.write_spec(write_yaml(stored | ({"defaults": version} if version else {})))
        for trial in spec.design if finished and spec.measure else [spec.base] if finished else []:
            store.write_trial(trial.fingerprint, write_yaml(trial.resolved()))
            store.write_result(trial.fingerprint, json.dumps(record_of(trial) | {"curves": []}))
        return path

    return make


def reconciled(spec: SweepSpec) -> Ledger:
    """The ledger of a driver that has just started."""
    store = Store(spec.location)
    store.create()
    ledger = reconcile(spec, store, Tracker(spec, Spool(store.driver_folder / "spool"), store))
    return ledger


def fingerprints(spec: SweepSpec) -> set[str]:
    return {trial.fingerprint for trial in spec.design}


def stored_version(storage: Path, name: str) -> Any:
    return parse_yaml(Store(storage / name).spec() or "", "").get("defaults")


def test_a_store_of_before_versions_is_read_with_the_defaults_of_then(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE / "measure", tmp_path / "runs/measure")
    spec = load_sweep(FIXTURE / "measure.yaml", [f"storage={tmp_path / 'runs'}"])
    assert spec.defaults == 1 and fingerprints(spec) == set(Store(FIXTURE / "measure").design())
    assert not fingerprints(load_spec(FIXTURE / "measure.yaml")) & fingerprints(spec)


def test_a_search_of_before_versions_proposes_with_the_defaults_of_then(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE / "search", tmp_path / "runs/search")
    spec = load_sweep(FIXTURE / "search.yaml", [f"storage={tmp_path / 'runs'}", "tracking.models=0"])
    ledger = reconciled(spec)
    assert len(ledger.results) == 10
    asked = [ledger.ask() for _ in range(2)]  # the trial that was begun, and a new proposal
    assert [trial.model.positions for trial in asked if trial] == ["rotary", "rotary"]
    assert stored_version(tmp_path / "runs", "search") == 1


def test_a_sweep_over_kinds_of_before_versions_has_the_trials_of_then(begin: Callable) -> None:
    spec = load_sweep(begin(KINDS))
    assert fingerprints(spec) == KINDS_OF_E399D62
    ledger = reconciled(spec)
    assert {trial.fingerprint for trial in iter(ledger.ask, None)} == KINDS_OF_E399D62


def test_a_new_store_names_the_newest_version_and_an_old_one_its_own(begin: Callable, write_spec: Callable, tmp_path: Path) -> None:
    for sections in (measure_sections(), search_sections() | {"name": "searched"}):
        reconciled(load_sweep(write_spec(sections | {"storage": str(tmp_path / "runs")})))
        assert stored_version(tmp_path / "runs", sections["name"]) == NEWEST_DEFAULTS
    path = begin(KINDS)
    for _ in range(2):
        reconciled(load_sweep(path))
        assert stored_version(tmp_path / "runs", "kinds") == 1


def test_run_and_plan_of_an_old_sweep_state_its_defaults_and_train_nothing_anew(typed: Callable, tmp_path: Path) -> None:
    store = shutil.copytree(FIXTURE / "measure", tmp_path / "runs/measure")
    shutil.rmtree(store / "spool")
    for result in (FIXTURE / "continued/measure").iterdir():  # the fourth of four trials
        shutil.copy(result, store / "trials" / result.stem / RESULT)
    begun = sorted(path.name for path in (store / "trials").iterdir())
    ran = typed("run", str(FIXTURE / "measure.yaml"), "tracking.models=0")
    assert ran.returncode == 0 and "measure is finished: 4 trials, nothing to run" in ran.stdout, ran.stdout + ran.stderr
    line = "runs/measure was begun with defaults 1 (model.positions: rotary) and keeps them"
    assert line in ran.stdout.splitlines()[0]
    assert sorted(path.name for path in (store / "trials").iterdir()) == begun
    planned = typed("plan", str(FIXTURE / "measure.yaml"))
    assert planned.returncode == 0 and line in planned.stdout.splitlines()[0], planned.stdout + planned.stderr


def test_nothing_is_stated_where_the_older_defaults_change_nothing(begin: Callable) -> None:
    sections = measure_sections(model__positions="learned")
    assert load_sweep(begin(sections)).kept_defaults is None
    varied = measure_sections()
    varied["measure"]["vary"]["model.positions"] = ["learned", "none"]
    assert load_sweep(begin(varied | {"name": "varied"})).kept_defaults is None
    assert load_sweep(begin(measure_sections() | {"name": "newest"}, NEWEST_DEFAULTS)).kept_defaults is None
    some = measure_sections() | {"name": "some"}
    some["measure"]["vary"] = [{"model.positions": "none"}, {"model.l_cycles": [1, 2]}]
    assert "model.positions: rotary" in str(load_sweep(begin(some)).kept_defaults)


def test_another_version_over_finished_trials_is_refused_with_what_differs(begin: Callable) -> None:
    path = begin(measure_sections(), finished=True)
    with pytest.raises(UserError) as error:
        reconciled(load_sweep(path, ["defaults=2"]))
    assert "trial.model.positions was 'rotary' and is 'learned'" in str(error.value)
    assert "it was begun with defaults 1 (model.positions: rotary)" in str(error.value)
    assert "name=NEW" in str(error.value) and "\n" not in str(error.value)


def test_another_version_is_refused_also_where_only_some_cells_differ(begin: Callable) -> None:
    """The first value of each path gives a model without a difference, as the mlp mixer has no positions in any version."""
    sections = measure_sections()
    sections["measure"]["vary"] = {"model.mixer": ["mlp", "attention"]}
    path = begin(sections, finished=True)
    with pytest.raises(UserError, match=r"model\.positions was 'rotary' and is 'learned'"):
        reconciled(load_sweep(path, ["defaults=2"]))


def test_another_version_goes_on_where_all_trials_are_the_same(begin: Callable, write_spec: Callable, tmp_path: Path) -> None:
    """As for a shipped spec that stated `positions: learned` and now names the version in which that is the default."""
    begin(measure_sections(model__positions="learned"), finished=True)
    path = write_spec(measure_sections() | {"storage": str(tmp_path / "runs"), "defaults": 2})
    ledger = reconciled(load_sweep(path))
    assert ledger.finished and len(ledger.results) == 4
    assert stored_version(tmp_path / "runs", "tiny") == 2


def test_another_version_before_any_trial_has_finished_leads_to_other_trials(begin: Callable, tmp_path: Path) -> None:
    ledger = reconciled(load_sweep(begin(measure_sections()), ["defaults=2"]))
    assert {trial.model.positions for trial in iter(ledger.ask, None)} == {"learned"}
    assert stored_version(tmp_path / "runs", "tiny") == 2


def test_a_version_of_later_code_is_one_line_in_a_file_and_in_a_store(begin: Callable, typed: Callable, tmp_path: Path) -> None:
    path = begin(measure_sections())
    refused = typed("plan", str(path), f"defaults={NEWER}")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith(f"defaults: is {NEWER}, written by a newer rrm-sweeps: this version has the defaults 1 to")
    store = Store(tmp_path / "runs/tiny")
    store.write_spec((store.spec() or "") + f"defaults: {NEWER}\n")
    for command in (["plan", str(path)], ["run", str(path)], ["run", str(path), "defaults=1"]):
        refused = typed(*command)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert f"{SPEC}: defaults: is {NEWER}, written by a newer rrm-sweeps" in refused.stderr


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"just a word", b"a: [1", None])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_stored_spec_that_is_damaged_is_one_line(
    begin: Callable, typed: Callable, tmp_path: Path, command: str, damage: bytes | None
) -> None:
    path, stored = begin(measure_sections()), tmp_path / "runs/tiny" / SPEC
    stored.unlink()
    if damage is None:
        stored.mkdir()
    else:
        stored.write_bytes(damage)
    refused = typed(command, str(path))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert f"runs/tiny/{SPEC}" in refused.stderr and any(word in refused.stderr for word in ("damaged", "YAML", "cannot be read"))


def test_a_submitted_spec_leaves_the_version_to_the_job_that_sees_the_storage(write_spec: Callable) -> None:
    path = write_spec(measure_sections())
    assert "defaults" not in submitted_sections(load_spec(path))
    assert submitted_sections(load_spec(path, ["defaults=1"]))["defaults"] == 1
