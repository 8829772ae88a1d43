"""Tables that somebody else wrote."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.cli import main
from analysis.data.csv_import import load_csv
from analysis.data.csv_notes import notes_on
from analysis.laws.fit_all import fit_laws
from analysis.report.build import build_report
from lightning_modules.config import validate_trial
from rrm.errors import UserError
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
        (["--csv", "nowhere.csv", "--out", "out"], "nowhere.csv: does not exist"),
        (["--csv", "runs.csv"], "--out: is needed"),
        (["--csv", "runs.csv", "runs/demo", "--out", "out"], "needs either sweeps or --csv FILE"),
        (["--csv", "runs.csv", "--tracking-uri", "sqlite:///m.db", "--out", "out"], "--tracking-uri: has no effect with --csv"),
        ([], "Missing argument 'SWEEP...', or --csv FILE"),
        (["runs/demo", "--columns", "a=b"], "have no effect without --csv"),
        (["--csv", "runs.csv", "--columns", "test/nll", "--out", "out"], "--columns: must be OURS=THEIRS"),
        (
            ["--csv", "runs.csv", "--columns", "test/nll=gone", "--out", "out"],
            "--columns: must name a column of the table, got 'gone'; the columns",
        ),
        (["--csv", "words.csv", "--out", "out"], "words.csv: test/nll: must be a number or empty, got 'low' in row 4"),
        (["--csv", "zero.csv", "--out", "out"], "zero.csv: test/nll: must be above 0, got 0"),
        (["--csv", "states.csv", "--out", "out"], "states.csv: outcome: must be one of completed"),
        (["--csv", "runs.csv", "--curves", "runs.csv", "--out", "out"], "runs.csv: must have the columns"),
        (
            ["--csv", "runs.csv", "--columns", "test/nl=seed", "--out", "out"],
            "--columns: OURS must be a column of docs/formats.md, got 'test/nl'; did you mean test/nll?",
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


@pytest.mark.more
def test_a_table_without_accuracy_has_a_report_of_its_laws(analyze: Callable, tmp_path: Path) -> None:
    trials = table([16, 32, 64, 128], [1, 2, 4, 8]).trials
    columns = ["model.hidden_size", "model.supervision_steps", "params_recursed", "seed", "test/nll"]
    trials[columns].to_csv(tmp_path / "runs.csv", index=False)
    assert analyze("--csv", "runs.csv", "--out", "out")[0] == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "one doubling of recursion is worth" in page and "The recurrence law" in page
    assert "Left out: exact accuracy against parameters" in page and "it needs a table with test/exact_accuracy" in page
    assert (tmp_path / "out/law_one_exponent.png").exists() and (tmp_path / "out/misfit_one_exponent.svg").exists()


def test_trials_without_a_loss_are_left_out_and_the_fit_says_so(analyze: Callable, tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    trials.loc[[0, 5], "test/nll"] = np.nan
    trials.to_csv(tmp_path / "runs.csv", index=False)
    assert analyze("--csv", "runs.csv", "--fits-only", "--out", "out")[0] == 0
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


@pytest.mark.more
def test_a_recursion_of_one_column_is_an_axis_of_cells_and_effects_too(analyze: Callable, tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    trials = trials.assign(recursion=3 * trials["model.supervision_steps"])
    kept = ["recursion", "params_recursed", "test/nll", "test/exact_accuracy", "seed"]
    trials[kept].to_csv(tmp_path / "runs.csv", index=False)
    assert analyze("--csv", "runs.csv", "--out", "out")[0] == 0
    cells = pd.read_csv(tmp_path / "out/cells.csv")
    assert len(cells) == 9 and set(cells["seeds"]) == {3} and set(cells["recursion"]) == {3, 6, 12}


@pytest.mark.parametrize("column", ["outcome", "State"])
def test_states_of_weights_and_biases_and_mlflow_are_understood(tmp_path: Path, column: str) -> None:
    trials = table([16, 32], [1, 2]).trials.drop(columns="outcome").assign(Name="run")
    trials[column] = ["finished"] * 4 + ["FINISHED", "crashed", "killed", "KILLED", "preempted", "FAILED", "pending", "SCHEDULED"]
    trials.to_csv(tmp_path / "runs.csv", index=False)
    assert load_csv(tmp_path / "runs.csv").trials["outcome"].value_counts().to_dict() == {"completed": 5, "failed": 5, "running": 2}


@pytest.mark.parametrize("missing", ["'NaN'", "'nan'", "None", "float_nan", "''", "'N/A'"])
def test_what_is_missing_in_a_dictionary_of_weights_and_biases_is_missing(tmp_path: Path, missing: str) -> None:
    rows = [
        {"name": f"run{row}", "config": "{'seed': 1, 'model': {'hidden_size': 16}}", "summary": "{'test/nll': 1.5}"}
        for row in range(3)
    ]
    rows[1]["summary"] = f"{{'test/nll': {missing.removeprefix('float_')}}}"
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    assert load_csv(tmp_path / "runs.csv").trials["test/nll"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["metrics.x", "summary.x", "params.x", "tags.x", "config.x"])
def test_a_prefix_before_an_unknown_name_makes_no_export(tmp_path: Path, name: str) -> None:
    table([16, 32], [1, 2]).trials.drop(columns="outcome").assign(**{name: 1, "status": "ok"}).to_csv(
        tmp_path / "runs.csv", index=False
    )
    assert set(load_csv(tmp_path / "runs.csv").trials["outcome"]) == {"completed"}


def test_what_a_table_lacks_and_what_is_not_used_is_said(tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials.drop(columns=["task.kind"])
    trials["puzzles"] = ["maze", "sudoku", "maze"] * 9
    trials.drop(columns=["seed", "params_recursed"]).to_csv(tmp_path / "runs.csv", index=False)
    law, seed, unused = notes_on(load_csv(tmp_path / "runs.csv"))
    assert (
        "the table has no params_recursed" in law
        and "no seed" in seed
        and "cells mix rows of different puzzles (maze, sudoku)" in unused
    )
    table([16, 32, 64], [1, 2, 4]).trials.to_csv(tmp_path / "whole.csv", index=False)
    assert notes_on(load_csv(tmp_path / "whole.csv")) == []


# -- files --------------------------------------------------------------------------------------------------------


def fits_of(path: Path, **options: Any) -> str:
    return json.dumps([fit.to_json() for fit in fit_laws(load_csv(path, **options))])


def shown(trials: pd.DataFrame) -> list[str]:
    return trials.to_csv(index=False).splitlines()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda lines: [lines[0], *(f"{line}," for line in lines[1:])],
            "Expected 22 fields in line 2, saw 23, as in 27 of 27 rows",
        ),
        (lambda lines: [*lines[:4], f"{lines[4]},1", *lines[5:]], "Expected 22 fields in line 5, saw 23: a row must have"),
        (lambda lines: ["# by hand", *lines], "line 1 is a comment: remove it, or its #"),
        (lambda lines: [f"# made, by me{',' * 20}", *lines], "line 1 is a comment: remove it, or its #"),
        (lambda lines: ["# made by me,", "test/nll,seed", "1.5,0"], "line 1 is a comment: remove it, or its #"),
        (lambda lines: ["sep=,", "test/nll,seed", "1.5,0"], "line 1 is the separator for Excel: remove it"),
        (lambda lines: ["", "16,0.5", "32,0.4"], "line 2 has only numbers: add a line with the names before it"),
        (lambda lines: ["-1", "0.5"], "line 1 has only numbers"),
        (lambda lines: ["", *lines[:2], "", lines[2].rpartition(",")[0]], "Expected 22 fields in line 5, saw 21"),
        (lambda lines: [line.replace(",", "\t") for line in lines], "separated by commas, got tabs"),
        (lambda lines: ["note, by me;test/nll;seed", "a, b;1.5;0"], "separated by commas, got semicolons"),
        (lambda lines: ["loss|optim.lr, note", "1.5|0.1, a"], "separated by commas, got bars"),
        (lambda lines: [line.replace(",", " ") for line in lines], "separated by commas, got blanks"),
        (
            lambda lines: [lines[0].replace("task.size", "seed"), *lines[1:]],
            "must have each column once, got 'seed' as columns 5, 7",
        ),
        (lambda lines: [lines[0].replace("task.size", ""), *lines[1:]], "column 7 has no name"),
        (lambda lines: ['[{"seed": 1}]'], "is JSON: pandas.read_json"),
        (lambda lines: ["PK\x03\x04"], "is an Excel workbook or a zip archive: save its sheet as CSV"),
        (lambda lines: ["SQLite format 3"], "is a database; a database of MLflow is read by rrm-analyze SWEEP --tracking-uri"),
        (lambda lines: [], "is empty"),
    ],
)
def test_what_is_no_table_of_trials_is_one_line(analyze: Callable, tmp_path: Path, change: Callable, message: str) -> None:
    lines = change(shown(table([16, 32, 64], [1, 2, 4]).trials))
    (tmp_path / "runs.csv").write_text("\n".join(lines), encoding="utf-8")
    code, said = analyze("--csv", "runs.csv", "--out", "out")
    assert code == 2 and said.startswith("runs.csv: ") and message in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_curves_whose_rows_end_with_a_comma_are_refused(tmp_path: Path) -> None:
    table([16, 32], [1, 2]).trials.to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "curves.csv").write_text("fingerprint,metric,axis,at,value\nt0,depth/nll,depth,1,0.5,\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"curves.csv: .* Expected 5 fields in line 2, saw 6: remove the comma"):
        load_csv(tmp_path / "runs.csv", tmp_path / "curves.csv")


@pytest.mark.parametrize(
    "write",
    [
        lambda trials, path: trials.to_csv(path),  # row names in a first column without a name
        lambda trials, path: path.write_text("".join(f"{line},\n" for line in shown(trials))),  # header and rows end with a comma
        lambda trials, path: path.write_text("\n\n".join(line.replace(",", " , ") for line in shown(trials))),
        lambda trials, path: trials.assign(note='two\nlines, "quoted"').to_csv(path, index=False),
        lambda trials, path: trials.to_csv(path, index=False, encoding="utf-8-sig", lineterminator="\r\n"),
        lambda trials, path: trials.to_csv(path, index=False, compression="gzip"),
        lambda trials, path: trials.astype(str).to_parquet(path),
    ],
)
def test_other_notations_of_a_table_give_the_same_values(tmp_path: Path, write: Callable) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    trials.to_csv(tmp_path / "plain.csv", index=False)
    write(trials, tmp_path / "runs.csv")
    plain, other = (load_csv(tmp_path / name).trials.drop(columns="sweep") for name in ("plain.csv", "runs.csv"))
    pd.testing.assert_frame_equal(other[list(plain)], plain)


def test_a_home_folder_is_that_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    table([16, 32], [1, 2]).trials.to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "curves.csv").write_text("fingerprint,metric,axis,at,value\nt0,depth/nll,depth,1,2.5\n", encoding="utf-8")
    tables = load_csv(Path("~/runs.csv"), Path("~/curves.csv"))
    assert len(tables.trials) == 12 and len(tables.curves) == 1


def test_lists_of_numbers_in_a_parquet_file_are_those_of_a_csv(tmp_path: Path) -> None:
    trials = table([16, 32], [1, 2]).trials
    trials["task.sizes"] = [[4, 6]] * 12
    trials.to_parquet(tmp_path / "runs.parquet")
    trials.to_csv(tmp_path / "runs.csv", index=False)
    read = [load_csv(tmp_path / f"runs.{form}", settings="task.sizes").trials["task.sizes"] for form in ("csv", "parquet")]
    assert read[0].tolist() == read[1].tolist() == ["[4, 6]"] * 12


def test_fingerprints_keep_every_digit(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("fingerprint,test/nll\n0012,1.0\n12,1.1\n1e5,1.2\n100000,1.3\n", encoding="utf-8")
    assert load_csv(tmp_path / "runs.csv").trials["fingerprint"].tolist() == ["0012", "12", "1e5", "100000"]


def test_a_column_id_of_a_table_that_is_no_export_is_no_fingerprint(tmp_path: Path) -> None:
    table([16, 32], [1, 2]).trials.drop(columns="fingerprint").assign(id="same").to_csv(tmp_path / "runs.csv", index=False)
    assert load_csv(tmp_path / "runs.csv").trials["fingerprint"].nunique() == 12


# -- names --------------------------------------------------------------------------------------------------------


def with_foreign_columns() -> pd.DataFrame:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    names = ("_wandb.runtime", "system.gpu.0.memory", "eval.loss", "model.note", "params.remark", "metrics.top.5")
    return trials.assign(**{name: np.arange(len(trials)) for name in names}, data=["x", "y", "z"] * 9)


def test_dotted_names_that_are_no_settings_are_left_out_with_one_note(tmp_path: Path) -> None:
    with_foreign_columns().to_csv(tmp_path / "runs.csv", index=False)
    tables = load_csv(tmp_path / "runs.csv")
    assert tables.varied == ["model.hidden_size", "model.supervision_steps"]
    (note,) = tables.notes
    for name in ("_wandb.runtime", "system.gpu.0.memory", "eval.loss", "model.note", "top.5"):
        assert name in note and name not in tables.trials
    table([16, 32, 64], [1, 2, 4]).trials.to_csv(tmp_path / "plain.csv", index=False)
    assert fits_of(tmp_path / "runs.csv") == fits_of(tmp_path / "plain.csv")


def test_every_setting_of_a_trial_is_known(tmp_path: Path) -> None:
    kinds = [
        {
            "task": {"kind": "maze"},
            "model": {"kind": "hrm", "state_noise": 0.1},
            "optim": {"schedule": "cosine", "min_lr_ratio": 0.1},
        },
        {"task": {"kind": "automaton"}, "model": {"prefix_length": 4}, "loss": {"kind": "softmax"}},
        {"task": {"kind": "arc"}, "fit": {"curriculum": [{"until": 0.5, "h_cycles": 1, "l_cycles": 1}]}},
    ]
    rows = [validate_trial(sections).flat() for sections in kinds]
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    assert {name for row in rows for name in row} <= set(load_csv(tmp_path / "runs.csv").trials)


@pytest.mark.parametrize("names", ["data,eval.loss", ["data", "eval.loss"], '"data","eval.loss"'])
def test_columns_that_are_named_as_settings_tell_cells_apart(tmp_path: Path, names: str | list[str]) -> None:
    with_foreign_columns().to_csv(tmp_path / "runs.csv", index=False)
    tables = load_csv(tmp_path / "runs.csv", settings=names)
    assert tables.varied == ["model.hidden_size", "model.supervision_steps", "data", "eval.loss"]


def test_a_column_that_is_named_as_a_setting_tells_groups_of_laws_apart(tmp_path: Path) -> None:
    with_foreign_columns().to_csv(tmp_path / "runs.csv", index=False)
    groups = {fit.group["data"] for fit in fit_laws(load_csv(tmp_path / "runs.csv", settings="data"))}
    assert groups == {"x", "y", "z"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("daat", "--settings: must name a column of the table, got 'daat'; the columns are: sweep"),
        ("test/nll", "--settings: must name settings, got 'test/nll', a column of the record"),
    ],
)
def test_a_setting_that_is_none_is_one_line(analyze: Callable, tmp_path: Path, names: str, message: str) -> None:
    with_foreign_columns().to_csv(tmp_path / "runs.csv", index=False)
    code, said = analyze("--csv", "runs.csv", "--settings", names, "--out", "out")
    assert code == 2 and message in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "columns",
    [
        'test/nll="loss, nats",params_recursed="a=b",recursion="a=b"',
        ["test/nll=loss, nats", "params_recursed=a=b,recursion=a=b"],
        '"test/nll=loss, nats",params_recursed=a=b,recursion=a=b',
    ],
)
def test_names_of_theirs_may_have_commas_and_serve_twice(tmp_path: Path, columns: str | list[str]) -> None:
    trials = table([16, 32], [1, 2]).trials.rename(columns={"test/nll": "loss, nats", "params_recursed": "a=b"})
    trials.to_csv(tmp_path / "runs.csv", index=False)
    read = load_csv(tmp_path / "runs.csv", columns=columns).trials
    assert read["test/nll"].tolist() == trials["loss, nats"].tolist()
    assert read["params_recursed"].tolist() == read["recursion"].tolist() == trials["a=b"].tolist()


def test_a_name_of_ours_is_given_once(tmp_path: Path) -> None:
    table([16, 32], [1, 2]).trials.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(UserError, match=r"--columns: 'recursion' is given twice, as 'seed' and as 'task.size'"):
        load_csv(tmp_path / "runs.csv", columns="recursion=seed,recursion=task.size")


# -- values -------------------------------------------------------------------------------------------------------


def test_shares_in_percent_are_refused_with_the_option_that_divides_them(analyze: Callable, tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    trials.to_csv(tmp_path / "plain.csv", index=False)
    trials.assign(**{"test/exact_accuracy": 43.55, "val/exact_accuracy": 43.55}).to_csv(tmp_path / "runs.csv", index=False)
    code, said = analyze("--csv", "runs.csv", "--out", "out")
    assert code == 2 and said.count("\n") == 1
    assert (
        "test/exact_accuracy: must be a share between 0 and 1, got 43.55 in row 1: if it is in percent, add --percent test/" in said
    )
    options = (["--percent", "test/exact_accuracy,val/exact_accuracy"],
               ["--percent", "test/exact_accuracy", "--percent", "val/exact_accuracy"])  # fmt: skip
    for number, percent in enumerate(options):
        assert analyze("--csv", "runs.csv", *percent, "--out", f"out{number}", "--fits-only")[0] == 0
    read = load_csv(tmp_path / "runs.csv", percent="test/exact_accuracy,val/exact_accuracy").trials
    assert np.allclose(read["test/exact_accuracy"], 0.4355)
    trials.assign(**{"test/exact_accuracy": "43.55 %"}).to_csv(tmp_path / "signs.csv", index=False)
    assert np.allclose(load_csv(tmp_path / "signs.csv", percent="test/exact_accuracy").trials["test/exact_accuracy"], 0.4355)


@pytest.mark.parametrize(("value", "remedy"), [(-0.1, False), (4355.0, False), (100.0, True)])
def test_a_share_that_cannot_be_percent_has_no_such_remedy(tmp_path: Path, value: float, remedy: bool) -> None:
    trials = table([16, 32], [1, 2]).trials
    trials.assign(**{"ood/exact_accuracy": value}).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(UserError, match="ood/exact_accuracy: must be a share") as raised:
        load_csv(tmp_path / "runs.csv")
    assert ("--percent" in str(raised.value)) is remedy


def test_curves_in_percent_are_refused_and_divided_too(tmp_path: Path) -> None:
    table([16, 32], [1, 2]).trials.to_csv(tmp_path / "runs.csv", index=False)
    lines = ["t0,depth/exact_accuracy,depth,1,40", "t0,depth/exact_accuracy/k4,depth,1,30", "t0,depth/nll,depth,1,2.5"]
    (tmp_path / "curves.csv").write_text("\n".join(["fingerprint,metric,axis,at,value", *lines]), encoding="utf-8")
    with pytest.raises(UserError, match=r"curves.csv: depth/exact_accuracy: must be a share .* --percent depth/exact_accuracy"):
        load_csv(tmp_path / "runs.csv", tmp_path / "curves.csv")
    curves = load_csv(tmp_path / "runs.csv", tmp_path / "curves.csv", percent="depth/exact_accuracy").curves
    assert curves["value"].tolist() == [0.4, 0.3, 2.5]


@pytest.mark.parametrize(
    ("percent", "point"),
    [
        (["test/exact_accuracy"] * 2, "0.3"),
        ("acc,test/exact_accuracy", "0.3"),
        ("depth/exact_accuracy/k4,depth/exact_accuracy,acc", "30 %"),
    ],
)
def test_what_two_names_have_in_percent_is_divided_once(tmp_path: Path, percent: str | list[str], point: str) -> None:
    table([16, 32], [1, 2]).trials.assign(acc="40%").to_csv(tmp_path / "runs.csv", index=False)
    lines = ["fingerprint,metric,axis,at,value", f"t0,depth/exact_accuracy/k4,depth,1,{point}"]
    (tmp_path / "curves.csv").write_text("\n".join(lines), encoding="utf-8")
    tables = load_csv(tmp_path / "runs.csv", tmp_path / "curves.csv", columns="test/exact_accuracy=acc", percent=percent)
    assert set(tables.trials["test/exact_accuracy"]) == {0.4} and tables.curves["value"].tolist() == [0.3]


@pytest.mark.parametrize("name", ["test/nll", "seed", "depth/nll"])
def test_what_is_no_share_cannot_be_in_percent(tmp_path: Path, name: str) -> None:
    table([16, 32], [1, 2]).trials.to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "curves.csv").write_text("fingerprint,metric,axis,at,value\nt0,depth/nll,depth,1,2.5\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"--percent: must name shares, got '{name}'"):
        load_csv(tmp_path / "runs.csv", tmp_path / "curves.csv", percent=name)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("at", "", "at: must not be empty, got an empty cell in row 2"),
        ("at", "inf", "at: must be finite, got inf in row 2"),
        ("at", "deep", "at: must be a number or empty, got 'deep' in row 2"),
        ("metric", "", "metric: must not be empty, got an empty cell in row 2"),
        ("axis", "NaN", "axis: must not be empty, got an empty cell in row 2"),
        ("fingerprint", "", "fingerprint: must not be empty, got an empty cell in row 2"),
        ("difficulty", "-inf", "difficulty: must be finite, got -inf in row 2"),
        ("examples", "inf", "examples: must be finite, got inf in row 2"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_point_without_a_place_is_named_with_its_row(tmp_path: Path, form: str, column: str, value: str, message: str) -> None:
    table([16, 32], [1, 2]).trials.to_csv(tmp_path / "runs.csv", index=False)
    point = {
        "fingerprint": "t0",
        "metric": "depth/nll",
        "axis": "depth",
        "at": "1",
        "value": "2.5",
        "difficulty": "",
        "examples": "9",
    }
    points = pd.DataFrame([point, point | {column: value}])
    points.to_csv(tmp_path / "curves.csv", index=False) if form == "csv" else points.to_parquet(tmp_path / "curves.parquet")
    with pytest.raises(UserError, match=f"curves.{form}: {message}"):
        load_csv(tmp_path / "runs.csv", tmp_path / f"curves.{form}")


def test_a_sign_of_percent_is_refused_with_the_option_that_reads_it(tmp_path: Path) -> None:
    trials = table([16, 32], [1, 2]).trials
    trials.assign(**{"val/exact_accuracy": "50 %"}).to_csv(tmp_path / "signs.csv", index=False)
    with pytest.raises(UserError, match=r"exact_accuracy: must be .*, got '50 %' in row 1: .* add --percent val/exact_accuracy"):
        load_csv(tmp_path / "signs.csv")
    trials.to_csv(tmp_path / "runs.csv", index=False)
    lines = ["fingerprint,metric,axis,at,value", "t0,depth/nll,depth,1,2.5", "t0,depth/exact_accuracy,depth,1,50%"]
    (tmp_path / "curves.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match=r"value: must be .*, got '50%' in row 2: .* add --percent depth/exact_accuracy"):
        load_csv(tmp_path / "runs.csv", tmp_path / "curves.csv")
    (tmp_path / "curves.csv").write_text("\n".join(lines).replace("2.5", "25%"), encoding="utf-8")
    with pytest.raises(UserError, match=r"value: must be a number or empty, got '25%' in row 1$"):  # no share
        load_csv(tmp_path / "runs.csv", tmp_path / "curves.csv", percent="depth/exact_accuracy")


def test_a_share_that_float32_raised_above_one_is_one(tmp_path: Path) -> None:
    trials = table([16, 32], [1, 2]).trials.assign(**{"test/exact_accuracy": 1 + 5e-7})
    trials.to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "curves.csv").write_text(
        "fingerprint,metric,axis,at,value\nt0,depth/exact_accuracy,depth,1,1.0000005\nt0,depth/nll,depth,1,1.5\n", encoding="utf-8"
    )
    tables = load_csv(tmp_path / "runs.csv", tmp_path / "curves.csv")
    assert set(tables.trials["test/exact_accuracy"]) == {1.0} and tables.curves["value"].tolist() == [1.0, 1.5]
    trials.assign(**{"test/exact_accuracy": 1 + 2e-6}).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(UserError, match="must be a share between 0 and 1"):
        load_csv(tmp_path / "runs.csv")


@pytest.mark.parametrize(
    ("column", "value"), [("test/exact_accuracy", 50), ("params_recursed", 0), ("outcome", 7), ("outside_spec", 5)]
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_wrong_number_is_shown_as_it_is_written(tmp_path: Path, form: str, column: str, value: int) -> None:
    trials = table([16, 32], [1, 2]).trials.assign(**{column: value})
    trials.to_csv(tmp_path / "runs.csv", index=False) if form == "csv" else trials.to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(UserError, match=f"runs.{form}: {column}: must be .* got '?{value}'? in row 1"):
        load_csv(tmp_path / f"runs.{form}")


def test_infinite_scores_count_as_missing_with_a_note(
    analyze: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials.assign(**{"test/exact_accuracy": 0.5})
    trials.loc[[1, 2, 9], "test/exact_accuracy"] = [0.4, np.inf, -np.inf]
    trials.assign(**{"test/nll": trials["test/nll"].mask(trials.index == 3, np.inf)}).to_csv(tmp_path / "runs.csv", index=False)
    tables = load_csv(tmp_path / "runs.csv")
    assert tables.notes[:2] == (
        "test/nll: 1 infinite value counts as missing", "test/exact_accuracy: 2 infinite values count as missing",
    )  # fmt: skip
    cells = build_report(tables).cells
    assert cells["seeds"].tolist() == [2, 3, 3, 2, 3, 3, 3, 3, 3] and cells["mean"].iloc[0] == pytest.approx(0.45)


def test_an_infinite_setting_is_refused(tmp_path: Path) -> None:
    trials = table([16, 32], [1, 2]).trials
    trials.assign(**{"optim.lr": np.where(trials.index == 2, np.inf, 0.1)}).to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(UserError, match=r"runs.csv: optim.lr: must be finite, got inf in row 3"):
        load_csv(tmp_path / "runs.csv")


@pytest.mark.parametrize(
    ("value", "meaning"),
    [("", False), ("no", False), ("No", False), ("0", False), ("FALSE", False), ("yes", True), ("1", True), ("true", True)],
)
def test_outside_spec_is_read_as_yes_or_no(tmp_path: Path, value: str, meaning: bool) -> None:
    trials = table([16, 32], [1, 2]).trials.assign(outside_spec="no")
    trials.loc[2, "outside_spec"] = value
    trials.to_csv(tmp_path / "runs.csv", index=False)
    assert load_csv(tmp_path / "runs.csv").trials["outside_spec"].tolist() == [place == 2 and meaning for place in range(12)]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("outside_spec", "maybe", "outside_spec: must be one of yes, true, 1, no, false, 0, or empty, got 'maybe' in row 3"),
        ("fingerprint", "t1", "fingerprint: must differ between rows, got 't1' in rows 2, 3"),
        (
            "outcome",
            "done",
            "outcome: must be one of completed, pruned, failed, running, or a state of W&B or MLflow; got 'done' in row 3",
        ),
        ("outcome", "", "outcome: .* got an empty cell in row 3"),
        ("val/exact_accuracy", "high", "val/exact_accuracy: must be a number or empty, got 'high' in row 3"),
    ],
)
def test_a_value_that_a_column_cannot_have_is_named_with_its_row(tmp_path: Path, column: str, value: str, message: str) -> None:
    trials = table([16, 32], [1, 2]).trials.assign(**{"val/exact_accuracy": 0.5}).astype(str)
    trials.loc[2, column] = value
    trials.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(UserError, match=f"runs.csv: {message}"):
        load_csv(tmp_path / "runs.csv")


@pytest.mark.more
def test_words_of_a_table_make_file_names_that_any_system_takes(tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    kinds = ["a/b", "a b", "x" * 300, "Größe", "sudoku"]
    both = [trials.assign(**{"task.kind": kind, "fingerprint": trials["fingerprint"] + kind, "sweep": "s/1"}) for kind in kinds]
    pd.concat(both).to_csv(tmp_path / "runs.csv", index=False)
    tables = load_csv(tmp_path / "runs.csv")
    fits = fit_laws(tables)
    names = [figure.name for figure in build_report(tables, fits).figures]
    assert len(names) == len(set(names)) and all(re.fullmatch(r"[A-Za-z0-9_.-]{1,120}", name) for name in names)
    rates = [name for name in names if name.startswith("exchange_rate_")]
    assert len(rates) == len(kinds) and "exchange_rate_sudoku_trm" in rates
    refused = [fit for fit in fits if fit.suggestion]
    assert refused and all("name: s/1" not in str(fit.suggestion) for fit in refused)


def test_groups_with_one_task_and_one_kind_of_model_have_figures_of_their_own(tmp_path: Path) -> None:
    trials = table([16, 32, 64], [1, 2, 4]).trials
    other = trials.assign(**{"fingerprint": trials["fingerprint"] + "x", "optim.kind": "muon"})
    pd.concat([trials.assign(**{"optim.kind": "adamw"}), other]).to_csv(tmp_path / "runs.csv", index=False)
    names = [figure.name for figure in build_report(load_csv(tmp_path / "runs.csv")).figures]
    assert {f"exchange_rate_sudoku_trm_optim_kind_{kind}" for kind in ("adamw", "muon")} <= set(names) and len(names) == len(
        set(names)
    )
