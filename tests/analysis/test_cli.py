"""Which sweeps `rrm-analyze` reads."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from analysis.cli import main
from analysis.data.tables import Tables
from analysis.report.build import build_report
from analysis.report.into_mlflow import place_of, put_into_mlflow
from analysis.report.readable import readable_cells
from analysis.report.terminal import lay_out
from rrm.errors import UserError
from sweeps.store.find_store import find_store
from sweeps.tracking.mlflow import IDENTITY, SWEEP
from sweeps.tracking.mlflow.reports import log_report
from tests.analysis.conftest import made_tables


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Types `rrm-analyze` in the test's folder; gives the exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["rrm-analyze", *arguments])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


@pytest.fixture
def storage(tmp_path: Path) -> list[str]:
    """What `runs/*` names: two sweeps, and what lies beside sweeps."""
    trials = made_tables().trials.drop(columns="outside_spec")
    for number, name in enumerate(("even", "odd")):
        for record in trials[trials.index % 2 == number].assign(sweep=name).to_dict("records"):
            folder = tmp_path / "runs" / name / "trials" / record["fingerprint"]
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(json.dumps(record | {"curves": []}), encoding="utf-8")
        (tmp_path / "runs" / name / "spec.yaml").write_text("measure: {}\n", encoding="utf-8")
    (tmp_path / "runs/mlartifacts/even").mkdir(parents=True)
    (tmp_path / "runs/mlflow.db").write_bytes(b"SQLite format 3\x00\xff\xfe")
    (tmp_path / "runs/started").mkdir()
    (tmp_path / "runs/started/spec.yaml").write_text("measure: {}\n", encoding="utf-8")
    (tmp_path / "runs/table.csv").write_text("seed\n1\n", encoding="utf-8")
    return sorted(f"runs/{path.name}" for path in (tmp_path / "runs").iterdir())


def test_what_lies_beside_sweeps_in_a_storage_is_skipped_with_a_line(typed: Callable, storage: list[str], tmp_path: Path) -> None:
    code, printed, errors = typed(*storage, "--fits-only", "--out", "all")
    assert code == 0, errors
    assert [line.split(": ")[0] for line in printed.splitlines() if line.startswith("skipped")] == [
        "skipped runs/mlartifacts", "skipped runs/mlflow.db", "skipped runs/started", "skipped runs/table.csv",
    ]  # fmt: skip
    assert "skipped runs/started: has no finished trials yet" in printed
    assert typed("runs/odd", "runs/even", "--fits-only", "--out", "two")[0] == 0
    assert (tmp_path / "all/fits.json").read_text() == (tmp_path / "two/fits.json").read_text()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["runs/mlartifacts"], "runs/mlartifacts: is not a sweep: there is no spec.yaml in it; sweeps in runs: even, odd, started"),
        (["runs/mlflow.db"], "runs/mlflow.db: is not text in UTF-8"),
        (["runs/even", "runs/evne"], "runs/evne: is not a sweep: there is no such file or folder; sweeps in runs: even, odd"),
        (["runs/mlartifacts", "runs/mlflow.db"], "runs/mlartifacts, runs/mlflow.db: none of these is a sweep with finished trials"),
    ],
)
def test_a_target_that_is_asked_for_and_is_no_sweep_is_one_line(
    typed: Callable, storage: list[str], targets: list[str], message: str
) -> None:
    code, _, errors = typed(*targets, "--fits-only", "--out", "out")
    assert code == 2 and message in errors and errors.count("\n") == 1


def test_a_report_is_written_where_the_database_of_mlflow_cannot_be_read(
    typed: Callable, storage: list[str], tmp_path: Path
) -> None:
    code, printed, errors = typed("runs/odd", "--out", "out")
    assert code == 0 and printed.count("not in MLflow: ") == 1, errors
    assert "<title>odd</title>" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert len(pd.read_csv(tmp_path / "out/trials.csv")) == 12


# -- whose report it is ---------------------------------------------------------------------------------------------


def test_a_report_of_several_sweeps_is_in_no_run_and_in_no_folder_of_one(
    typed: Callable, storage: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page itself takes seconds to draw and is left out: what is stored of it is one file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/team.db")
    client = MlflowClient(f"sqlite:///{tmp_path}/team.db")
    runs = {}
    for name in ("even", "odd"):
        experiment = client.create_experiment(name, artifact_location=(tmp_path / "artifacts" / name).as_uri())
        runs[name] = client.create_run(experiment, tags={SWEEP: name}).info.run_id
    for folder in ("own", "both"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "report.html").write_text(folder, encoding="utf-8")
    put_into_mlflow([place_of(find_store("runs/even"))], Path("own"))
    put_into_mlflow([place_of(find_store(name)) for name in ("even", "odd")], Path("both"))
    kept = client.download_artifacts(runs["even"], "report/report.html", str(tmp_path))
    assert Path(kept).read_text(encoding="utf-8") == "own"
    assert client.list_artifacts(runs["odd"]) == []
    code, _, errors = typed("runs/even", "runs/odd", "--fits-only")
    assert code == 2 and errors.splitlines()[-1].startswith("--out: is needed for several sweeps")
    assert not list((tmp_path / "runs").glob("*/report"))
    client.set_experiment_tag(client.get_experiment_by_name("odd").experiment_id, IDENTITY, "theirs")
    with pytest.raises(UserError, match="holds another sweep named 'odd'"):
        log_report(f"sqlite:///{tmp_path}/team.db", "odd", tmp_path / "own", identity="ours")
    assert client.list_artifacts(runs["odd"]) == []


def test_a_sweep_that_is_named_twice_is_one(typed: Callable, storage: list[str], tmp_path: Path) -> None:
    (tmp_path / "even.yaml").write_text("name: even\n", encoding="utf-8")
    assert typed("runs/even", "runs/even/", "even.yaml", "--fits-only")[0] == 0
    assert (tmp_path / "runs/even/report/fits.json").exists()


# -- the table of cells ---------------------------------------------------------------------------------------------


@functools.cache
def cells_of_two_sweeps() -> pd.DataFrame:
    trials = made_tables().trials
    other = trials.assign(**{"task.kind": "maze", "fingerprint": trials["fingerprint"] + "m", "task.validation_examples": 200})
    both = pd.concat([trials.assign(**{"task.validation_examples": 100}), other], ignore_index=True)
    return readable_cells(build_report(Tables(both, made_tables().curves)), brief=True)


@pytest.mark.parametrize("width", [200, 120, 80, 70, 60, 40])
def test_a_terminal_of_any_width_shows_every_number_whole_and_names_what_it_leaves_out(width: int) -> None:
    cells = cells_of_two_sweeps()
    lines = lay_out(cells, width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for name in cells.columns:
        named = f"left out at this width: {name}" in text or f"and {name}; the report has" in text
        assert named or all(str(value) in text for value in cells[name]), name
        assert all(word in text for word in name.split())


def test_what_is_no_terminal_has_the_table_in_full_width() -> None:
    cells = cells_of_two_sweeps().assign(**{"a setting of a long name": 0.123456789, "another setting of a long name": "rotary"})
    header, rule, *rows = lay_out(cells, None)
    assert all(name in header for name in cells.columns) and len(rows) == len(cells) and len(header) > 100
    assert {len(row) for row in rows} == {len(header)} == {len(rule)}
