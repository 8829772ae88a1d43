"""Data files count by digest: a sweep goes on when they have moved, and is refused when they have changed."""

import shutil
from pathlib import Path

import pytest
import torch

from analysis.data.tables import load
from lightning_modules.__main__ import main as rrm_trial
from lightning_modules.config import TrialConfig
from lightning_modules.yaml_file import parse_yaml, read_yaml, write_yaml
from rrm.errors import UserError
from rrm.models import build_model
from sweeps.cli.status import read_status
from sweeps.driver.ledger import Ledger
from sweeps.driver.reconcile import reconcile
from sweeps.spec.load_spec import load_spec
from sweeps.store.store import Store
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.spool import Spool
from tests.conftest import tiny_sections, tiny_trial
from tests.rrm.tasks.official_folders import write_sudoku
from tests.rrm.tasks.test_arc import task_file
from tests.sweeps.conftest import Sections, ending, measure_sections, run_here, search_sections, stored_trial

PUZZLES = ("12.4341221434321,1234341221434321", ".234341221434321,1234341221434321", "1.34341221434321,1234341221434321")
ARC = {"kind": "arc", "train": ["arc"], "test": "arc", "augmentations": 1, "validation_tasks": 1}


TABLE = {"kind": "table", "train": "data/rows.csv", "test": "data/more.csv", "ood": "data/more.csv"}
FOLDER = {"kind": "official", "path": "data/folder"}


def write_data(folder: Path) -> None:
    """Puzzles, tables, ARC tasks, an official folder and weights, as the specs below name them."""
    (folder / "data").mkdir(parents=True)
    rows = "".join(f"t,{puzzle},0\n" for puzzle in PUZZLES)
    for name in ("train", "test"):
        (folder / f"data/{name}.csv").write_text("source,question,answer,rating\n" + rows * 4)
    for name, last in (("rows", "4"), ("more", "300"), ("other", "5")):  # of two vocabularies
        (folder / f"data/{name}.csv").write_text("input,label\n" + f"1 2 3,2 3 {last}\n" * 12)
    for name in ("a", "b", "c"):
        task_file(folder / "arc", name)
    write_sudoku(folder / "data/folder")
    write_sudoku(folder / "data/larger", copies=3)
    trial = tiny_trial()
    torch.save(build_model(trial.model, trial.task.shape).state_dict(), folder / "weights.pt")


def with_files(sections: Sections) -> Sections:
    files = {"kind": "sudoku", "size": 4, "train": "data/train.csv", "test": "data/test.csv", "validation": 0.3}
    return sections | {"trial": tiny_sections(task=files, fit__start_from="weights.pt")}


def open_in(folder: Path, sections: Sections) -> Ledger:
    """The ledger of a driver that has just started, with spec and storage in one folder."""
    (folder / "sweep.yaml").write_text(write_yaml(sections | {"storage": str(folder / "runs")}))
    spec = load_spec(folder / "sweep.yaml")
    store = Store(spec.location)
    store.create()
    ledger = reconcile(spec, store, EventRecorder(spec, Spool(store.driver_folder / "spool"), store))
    return ledger


def ask(ledger: Ledger) -> TrialConfig:
    config = ledger.ask()
    assert config is not None
    return config


SWEEPS = {
    "measure": with_files(measure_sections()) | {"measure": {"vary": {"model.l_cycles": [1, 2]}, "seeds": 1}},
    "search": with_files(search_sections()),
    "ARC": measure_sections(task=ARC),
    "search of ARC": search_sections(task=ARC),
    "table": measure_sections(task=TABLE),
    "search of a table": search_sections(task=TABLE),
    "official folder": measure_sections(task=FOLDER),
    "several official folders": measure_sections(task={"kind": "official"})
    | {"measure": {"vary": {"task.path": ["data/folder", "data/larger"]}, "seeds": 1}},
    "search of an official folder": search_sections(task=FOLDER),
    "several tables": measure_sections(task={"kind": "table", "test": 0.2})
    | {"measure": {"vary": {"task.train": ["data/rows.csv", "data/more.csv"]}, "seeds": 1}},
    "tied to ARC": measure_sections(task=ARC)
    | {
        "measure": {
            "vary": {"model.l_cycles": [1, 2]},
            "seeds": 1,
            "tie": [{"solve": "model.hidden_size", "so_that": "params", "equals": 20000}],
        }
    },
}


@pytest.mark.parametrize("sections", SWEEPS.values(), ids=SWEEPS.keys())
def test_a_sweep_goes_on_where_its_folder_has_moved(tmp_path: Path, sections: Sections) -> None:
    write_data(tmp_path / "old")
    ledger = open_in(tmp_path / "old", sections)
    done, begun = ask(ledger), ask(ledger)
    ledger.end(done.fingerprint, ending(done))
    ledger.close()
    (tmp_path / "old").rename(tmp_path / "new")
    again = open_in(tmp_path / "new", sections)
    assert list(again.results) == [done.fingerprint]
    for fingerprint in (done.fingerprint, begun.fingerprint):
        assert stored_trial(again, fingerprint).fingerprint == fingerprint
        assert str(tmp_path / "old") not in (again.store.trial(fingerprint) or "")  # where a worker reads it
    resumed = ask(again)
    assert resumed.fingerprint == begun.fingerprint
    assert all(path.startswith(str(tmp_path / "new")) for path in resumed.files_by_digest.values())


def test_a_resumed_trial_trains_on_the_files_at_their_new_place(tmp_path: Path) -> None:
    write_data(tmp_path / "old")
    ledger = open_in(tmp_path / "old", SWEEPS["measure"])
    ask(ledger)
    ledger.close()
    (tmp_path / "old").rename(tmp_path / "new")
    again = open_in(tmp_path / "new", SWEEPS["measure"])
    run_here(again)
    assert [record["outcome"] for record in again.results.values()] == ["completed"] * 2


def test_a_design_over_tables_of_several_vocabularies_goes_on_with_other_tables(tmp_path: Path) -> None:
    write_data(tmp_path)
    sections = SWEEPS["several tables"]
    ledger = open_in(tmp_path, sections)
    done = ask(ledger)
    ledger.end(done.fingerprint, ending(done))
    ledger.close()
    stored = read_yaml(Path(ledger.store.location) / "spec.yaml")["trial"]["task"]
    assert stored.keys() == {"kind", "test"}  # what differs between trials is in the design alone
    assert {trial.task.shape.vocabulary for trial in ledger.spec.design} == {5, 301}
    for path in (tmp_path / "data/rows.csv", tmp_path / "data/more.csv"):
        path.rename(path.with_suffix(".txt"))
    moved = sections | {
        "measure": sections["measure"] | {"vary": {"task.train": ["data/other.csv", "data/rows.txt", "data/more.txt"]}}
    }
    again = open_in(tmp_path, moved)
    assert list(again.results) == [done.fingerprint] and len(again.spec.design) == 3


@pytest.mark.parametrize("name", ["train.csv", "weights.pt"])
@pytest.mark.parametrize("kind", ["measure", "search"])
def test_files_with_other_content_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    write_data(tmp_path)
    ledger = open_in(tmp_path, SWEEPS[kind])
    done = ask(ledger)
    ledger.end(done.fingerprint, ending(done))
    (path,) = tmp_path.rglob(name)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(UserError, match=rf"under other settings \(trial\.\w+\.{name[:5].replace('weigh', 'start')}\w*_sha256 was"):
        open_in(tmp_path, SWEEPS[kind])


def test_other_weights_are_refused_where_the_stored_spec_has_no_digest_of_them(tmp_path: Path) -> None:
    """As in a store of commit e399d62, whose spec.yaml has the path alone."""
    write_data(tmp_path)
    ledger = open_in(tmp_path, SWEEPS["search"])
    done = ask(ledger)
    ledger.end(done.fingerprint, ending(done))
    stored = parse_yaml(ledger.store.spec() or "", "")
    stored["trial"]["fit"] |= {"start_from": "weights.pt"}
    del stored["trial"]["fit"]["start_from_sha256"]
    ledger.store.write_spec(write_yaml(stored))
    assert list(open_in(tmp_path, SWEEPS["search"]).results) == [done.fingerprint]
    ledger.store.write_spec(write_yaml(stored))
    (tmp_path / "weights.pt").write_bytes(b"other")
    with pytest.raises(UserError, match=r"trial\.fit\.start_from_sha256 was"):
        open_in(tmp_path, SWEEPS["search"])


def test_a_store_without_its_data_is_read(tmp_path: Path) -> None:
    write_data(tmp_path / "old")
    ledger = open_in(tmp_path / "old", SWEEPS["measure"])
    run_here(ledger)
    ledger.close()
    shutil.copytree(tmp_path / "old/runs", tmp_path / "there")
    shutil.rmtree(tmp_path / "old")
    assert "2 of 2 trials have ended" in read_status(Store(tmp_path / "there/tiny")).lines()[0]
    assert len(load(tmp_path / "there/tiny").completed) == 2


def test_the_stored_spec_of_a_sweep_names_its_files_from_anywhere(tmp_path: Path) -> None:
    write_data(tmp_path)
    ledger = open_in(tmp_path, SWEEPS["measure"])
    stored = load_spec(Path(ledger.store.location) / "spec.yaml")
    assert [trial.fingerprint for trial in stored.design] == ledger.store.design()
    assert read_yaml(Path(ledger.store.location) / "spec.yaml")["trial"]["fit"]["start_from"] == str(tmp_path / "weights.pt")


def test_weights_that_a_design_varies_may_move(tmp_path: Path) -> None:
    write_data(tmp_path / "old")
    (tmp_path / "old/other.pt").write_bytes((tmp_path / "old/weights.pt").read_bytes() + b" ")
    sections = measure_sections()
    sections["measure"]["vary"] = {"fit.start_from": ["weights.pt", "other.pt"]}
    ledger = open_in(tmp_path / "old", sections)
    done = ask(ledger)
    ledger.end(done.fingerprint, ending(done))
    ledger.close()
    (tmp_path / "old").rename(tmp_path / "new")
    sections["measure"]["vary"] = {"fit.start_from": ["other.pt", "weights.pt"]}
    assert list(open_in(tmp_path / "new", sections).results) == [done.fingerprint]


def test_a_trial_of_its_own_goes_on_where_its_files_have_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path / "old")
    (tmp_path / "old/trial.yaml").write_text(write_yaml(SWEEPS["measure"]["trial"]))
    assert rrm_trial([str(tmp_path / "old/trial.yaml"), "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    (tmp_path / "out/result.json").unlink()  # as an interrupted trial leaves its folder
    (tmp_path / "old").rename(tmp_path / "new")
    assert rrm_trial([str(tmp_path / "new/trial.yaml"), "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    assert str(tmp_path / "new/weights.pt") in (tmp_path / "out/trial.yaml").read_text()
