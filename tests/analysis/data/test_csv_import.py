"""Tables that somebody else wrote."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.cli import main
from analysis.data.csv_import import load_csv, notes_on
from tests.analysis.laws.test_fit_all import table


@pytest.fixture
def analyze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Types `rrm-analyze`; gives the exit code and what it said on stderr."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["rrm-analyze", *arguments])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


def test_columns_of_others_are_read_under_our_names(analyze: Callable, tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    theirs = trials.rename(columns={"test/nll": "eval_loss", "model.hidden_size": "width"})
    theirs["R"] = 3 * theirs.pop("model.supervision_steps")
    keep = ["eval_loss", "width", "R", "params_recursed", "seed"]
    theirs[keep].to_csv(tmp_path / "runs.csv", index=False)
    code, said = analyze("--csv", "runs.csv", "--columns", "test/nll=eval_loss,model.hidden_size=width,recursion=R",
                         "--fits-only", "--out", "out")  # fmt: skip
    assert code == 0, said
    entries = json.loads((tmp_path / "out/fits.json").read_text())
    (one,) = [entry for entry in entries if entry["form"] == "one_exponent"]
    alpha = one["estimates"]["alpha"]
    assert one["status"] == "fitted" and alpha["low"] < 0.3 < alpha["high"] and abs(alpha["estimate"] - 0.3) < 0.05
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"fits.json"}


def test_csv_and_parquet_give_the_same_fits(analyze: Callable, tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    trials.to_csv(tmp_path / "runs.csv", index=False)
    trials.to_parquet(tmp_path / "runs.parquet")
    for kind in ("csv", "parquet"):
        assert analyze("--csv", f"runs.{kind}", "--fits-only", "--out", kind)[0] == 0
    assert (tmp_path / "csv/fits.json").read_text() == (tmp_path / "parquet/fits.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "nowhere.csv", "--out", "out"], "nowhere.csv: is not there"),
        (["--csv", "runs.csv"], "--out: is needed"),
        (["--csv", "runs.csv", "runs/demo", "--out", "out"], "needs either sweeps or --csv FILE"),
        ([], "Missing argument 'SWEEP...', or --csv FILE"),
        (["runs/demo", "--columns", "a=b"], "have no effect without --csv"),
        (["--csv", "runs.csv", "--columns", "test/nll", "--out", "out"], "--columns: must be OURS=THEIRS"),
        (["--csv", "runs.csv", "--columns", "test/nll=gone", "--out", "out"], "--columns: 'gone' is not a column"),
        (["--csv", "words.csv", "--out", "out"], "words.csv: test/nll: must be a number or empty, got 'low' in row 4"),
        (["--csv", "zero.csv", "--out", "out"], "zero.csv: test/nll: must be above 0, got 0"),
        (["--csv", "states.csv", "--out", "out"], "states.csv: outcome: must be one of completed"),
        (["--csv", "runs.csv", "--curves", "runs.csv", "--out", "out"], "runs.csv: must have the columns"),
        (
            ["--csv", "runs.csv", "--columns", "test/nl=seed", "--out", "out"],
            "'test/nl' is not a name of ours (docs/formats.md); did you mean",
        ),
        (["--csv", "semicolons.csv", "--out", "out"], "semicolons.csv: must have its columns separated by commas"),
        (["--csv", "ragged.csv", "--out", "out"], "ragged.csv: cannot be read as CSV: Expected 2 fields in line 3, saw 3"),
        (["--csv", "runs.csv", "--out", "out", "--train-flops", "1e9"], "--train-flops: needs the column train_flops"),
        (["runs.csv"], "runs.csv: is a table of runs: rrm-analyze --csv FILE reads it"),
    ],
)
def test_a_mistake_is_one_line(analyze: Callable, tmp_path: Path, arguments: list[str], message: str) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    trials.to_csv(tmp_path / "runs.csv", index=False)
    trials.assign(**{"test/nll": np.where(trials.index == 3, "low", "1.0")}).to_csv(tmp_path / "words.csv", index=False)
    trials.assign(**{"test/nll": 0.0}).to_csv(tmp_path / "zero.csv", index=False)
    trials.assign(outcome="done").to_csv(tmp_path / "states.csv", index=False)
    trials.to_csv(tmp_path / "semicolons.csv", index=False, sep=";")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n1,2,3\n")
    code, said = analyze(*arguments)
    assert code == 2 and message in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_table_without_accuracy_has_a_report_of_its_laws(analyze: Callable, tmp_path: Path) -> None:
    trials = table([16, 32, 64, 128], [1, 2, 4, 8]).trials
    columns = ["model.hidden_size", "model.supervision_steps", "params_recursed", "seed", "test/nll"]
    trials[columns].to_csv(tmp_path / "runs.csv", index=False)
    assert analyze("--csv", "runs.csv", "--out", "out")[0] == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "one doubling of recursion is worth" in page and "The recurrence law" in page
    assert "Left out: exact accuracy against parameters" in page and "it takes a table with test/exact_accuracy" in page
    assert (tmp_path / "out/law_one_exponent.png").exists() and (tmp_path / "out/residuals_one_exponent.svg").exists()


def test_trials_without_a_loss_are_left_out_and_the_fit_says_so(analyze: Callable, tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    trials.loc[[0, 5], "test/nll"] = np.nan
    trials.to_csv(tmp_path / "runs.csv", index=False)
    assert analyze("--csv", "runs.csv", "--out", "out")[0] == 0
    (one,) = [entry for entry in json.loads((tmp_path / "out/fits.json").read_text()) if entry["form"] == "one_exponent"]
    assert one["status"] == "fitted" and one["trials"] == 25 and "survivors_only" in one["flags"]


@pytest.mark.parametrize("kept", [["test/exact_accuracy"], ["test/nll", "seed"], ["recursion", "test/nll"], ["model.hidden_size"]])
def test_a_table_of_few_columns_has_a_report_too(analyze: Callable, tmp_path: Path, kept: list[str]) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    trials.assign(recursion=3 * trials["model.supervision_steps"])[kept].to_csv(tmp_path / "runs.csv", index=False)
    assert analyze("--csv", "runs.csv", "--out", "out")[0] == 0
    assert (tmp_path / "out/report.html").exists()


@pytest.mark.parametrize("budget", ["0", "-1", "inf", "nan"])
def test_a_budget_must_be_a_number_of_flops(analyze: Callable, tmp_path: Path, budget: str) -> None:
    table([16, 32, 64], [1, 2, 4]).trials.to_csv(tmp_path / "runs.csv", index=False)
    code, said = analyze("--csv", "runs.csv", "--out", "out", "--inference-flops", budget)
    assert code == 2 and "--inference-flops: must be a number of FLOPs above 0" in said


def test_a_recursion_of_one_column_is_an_axis_of_cells_and_effects_too(analyze: Callable, tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    trials = trials.assign(recursion=3 * trials["model.supervision_steps"])
    kept = ["recursion", "params_recursed", "test/nll", "test/exact_accuracy", "seed"]
    trials[kept].to_csv(tmp_path / "runs.csv", index=False)
    assert analyze("--csv", "runs.csv", "--out", "out")[0] == 0
    cells = pd.read_csv(tmp_path / "out/cells.csv")
    assert len(cells) == 9 and set(cells["seeds"]) == {3} and set(cells["recursion"]) == {3, 6, 12}


def test_states_of_weights_and_biases_are_understood(tmp_path: Path) -> None:
    trials = table([16, 32], [1, 2]).trials
    trials["outcome"] = ["finished"] * 9 + ["crashed", "killed", "running"]
    trials.to_csv(tmp_path / "runs.csv", index=False)
    assert load_csv(tmp_path / "runs.csv").trials["outcome"].value_counts().to_dict() == {"completed": 9, "failed": 2, "running": 1}


def test_what_a_table_lacks_and_what_is_not_used_is_said(tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials.drop(columns=["task.kind"])
    trials["task"] = ["maze", "sudoku", "maze"] * 9
    trials.drop(columns=["seed", "params_recursed"]).to_csv(tmp_path / "runs.csv", index=False)
    law, seed, unused = notes_on(load_csv(tmp_path / "runs.csv"))
    assert "the table has no params_recursed" in law and "no seed" in seed and "not used: task, which differ within cells" in unused
    table([16, 32, 64], [1, 2, 4]).trials.to_csv(tmp_path / "whole.csv", index=False)
    assert notes_on(load_csv(tmp_path / "whole.csv")) == []
