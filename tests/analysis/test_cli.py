"""Which sweeps `rrm-analyze` reads."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.cli import main
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
        (["runs/mlartifacts"], "runs/mlartifacts: is not the folder of a sweep"),
        (["runs/mlflow.db"], "runs/mlflow.db: is not text in UTF-8"),
        (["runs/even", "runs/evne"], "runs/evne: is not the folder of a sweep"),
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
    code, printed, errors = typed("runs/odd", "runs/even", "--out", "out")
    assert code == 0 and printed.count("not in MLflow: ") == 2, errors
    assert "<title>even and odd</title>" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert len(pd.read_csv(tmp_path / "out/trials.csv")) == 24
