"""A leading `~` is the home folder wherever a user may write a path: in specs, options, variables and arguments."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules.__main__ import main as rrm_trial
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from rrm.files import expand_home
from rrm.tasks.cache import cache_folder
from sweeps.cli.doctor import examine
from sweeps.planning.warm_start import warm_results
from sweeps.spec.load_spec import load_spec
from sweeps.store.find_store import find_store
from sweeps.store.store import Store
from sweeps.tracking.mlflow.address import local_root, tracking_uri
from tests.conftest import tiny_sections
from tests.rrm.tasks.test_arc import task_file
from tests.sweeps.conftest import measure_sections, search_sections

SUDOKU = "source,question,answer,rating\n" + "t,12.4341221434321,1234341221434321,0\n" * 3
FILES = {"kind": "sudoku", "size": 4}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and another one to work in."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_only_a_leading_tilde_is_a_home(home: Path) -> None:
    assert expand_home("~/a") == str(home / "a") and expand_home("~") == str(home)
    for other in ("a~", "a/~/b", "s3://bucket/~", "./~"):
        assert expand_home(other) == other


def test_a_home_that_nobody_has_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^~nobody-of-this-name/runs/tiny: begins with a home folder that is not known here"):
        Store("~nobody-of-this-name/runs/tiny")


def test_a_storage_lies_in_the_home_folder(home: Path, write_spec: Callable) -> None:
    spec = load_spec(write_spec(measure_sections() | {"storage": "~/sweeps"}))
    assert spec.location == str(home / "sweeps/tiny") and local_root(spec.storage) == home / "sweeps"
    assert Store("~/sweeps/tiny").location == str(home / "sweeps/tiny") and local_root("~/sweeps") == home / "sweeps"
    assert f"storage {home / 'sweeps'}, " in "".join(map(str, examine("~/sweeps")))


@pytest.mark.parametrize("given", ["option", "variable"])
def test_a_storage_of_the_command_line_is_taken_as_it_is(
    home: Path, write_spec: Callable, typed: Callable, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """`~` alone and `12` would be null and a number in YAML."""
    path = str(write_spec(search_sections() | {"search": search_sections()["search"] | {"warm_start": ["other"]}}))
    for storage, location in (("~", home), ("~/sweeps", home / "sweeps"), ("12", home.parent / "12")):
        if given == "variable":
            monkeypatch.setenv("RRM_STORAGE", storage)
        ended = typed("plan", path, *(["--storage", storage] if given == "option" else []))
        assert ended.returncode == 2 and f"no completed trials: {location}/other" in ended.stderr, ended.stderr


def test_variables_name_folders_in_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RRM_DATA_CACHE", "~/data")
    monkeypatch.setenv("RRM_DRIVER_FOLDER", "~/drivers")
    assert cache_folder() == home / "data"
    assert Store("s3://bucket/tiny").driver_folder.parent == home / "drivers"
    monkeypatch.delenv("RRM_DATA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
    assert cache_folder() == home / "caches/rrm-sweeps/data"


def test_a_tracking_database_lies_in_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/mlflow.db")
    assert tracking_uri(Path("runs")) == f"sqlite:///{home}/mlflow.db"


def test_data_and_weights_lie_in_the_home_folder(home: Path, write_spec: Callable) -> None:
    for name in ("train.csv", "test.csv", "weights.pt"):
        (home / name).write_text(SUDOKU)
    sections = measure_sections(task=FILES | {"train": "~/train.csv", "test": "~/test.csv"}, fit__start_from="~/weights.pt")
    for overrides in ([], ["trial.task.train=~/test.csv", "trial.fit.start_from=~/weights.pt"]):
        base = load_spec(write_spec(sections), overrides).base
        assert base.task.files == (home / ("test.csv" if overrides else "train.csv"), home / "test.csv")  # type: ignore[attr-defined]
        assert base.fit.start_from == home / "weights.pt"


def test_tables_lie_in_the_home_folder_and_overrides_start_at_the_current_one(home: Path, write_spec: Callable) -> None:
    for path in (home / "rows.csv", Path("rows.csv")):
        path.write_text("input,label\n" + "1 2,2 3\n" * 9)
    sections = measure_sections(task={"kind": "table", "train": "~/rows.csv", "test": 0.2})
    assert load_spec(write_spec(sections)).base.task.files == {"train": home / "rows.csv"}  # type: ignore[attr-defined]
    overrides = [
        "trial.task.train=rows.csv",
        "trial.task.test=~/rows.csv",
        "trial.task.validation=rows.csv",
        "trial.task.ood=rows.csv",
    ]
    here = Path("rows.csv").resolve()
    files = load_spec(write_spec(sections), overrides).base.task.files  # type: ignore[attr-defined]
    assert files == {"train": here, "test": home / "rows.csv", "validation": here, "ood": here}


def test_arc_tasks_lie_in_the_home_folder(home: Path, write_spec: Callable) -> None:
    for name in ("a", "b", "c"):
        task_file(home, name)
    sections = measure_sections(task={"kind": "arc", "train": ["~"], "test": "~", "augmentations": 0, "validation_tasks": 1})
    assert load_spec(write_spec(sections)).base.task.sources == (str(home), str(home))  # type: ignore[attr-defined]


def test_a_sweep_is_found_by_its_folder_or_spec_in_the_home_folder(home: Path) -> None:
    store = Store("~/sweeps/tiny")
    store.create()
    store.write_spec(write_yaml(measure_sections()))
    (home / "sweep.yaml").write_text(write_yaml(measure_sections() | {"storage": "~/sweeps"}))
    for target in ("~/sweeps/tiny", "~/sweep.yaml"):
        assert find_store(target).location == store.location


def test_a_warm_start_lies_in_the_home_folder(home: Path, write_spec: Callable) -> None:
    sections = search_sections()
    Store("~/sweeps/other").create()
    Store("~/sweeps/other").write_result("a", '{"fingerprint": "a", "outcome": "completed", "params": 1}')
    sections["search"]["warm_start"] = ["~/sweeps/other"]
    assert list(warm_results(load_spec(write_spec(sections)))) == ["a"]


def test_a_trial_is_read_from_and_written_to_the_home_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "trial.yaml").write_text(write_yaml(tiny_sections(fit__budget__amount=1, eval__validations=1)))
    assert rrm_trial(["~/trial.yaml", "--out", "~/out"]) == 0, capsys.readouterr().err
    assert (home / "out/result.json").exists() and not list((home.parent / "here").iterdir())
