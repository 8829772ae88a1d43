"""Foreign tables whose columns have other names than ours, and whose rows lack scores."""

import itertools
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.csv_import import load_csv, notes_on
from analysis.figures import RECIPES, draw_all
from analysis.report.build import Report, build_report
from analysis.report.html import readable_cells, write_report

OURS = ("model.hidden_size", "model.l_cycles", "model.supervision_steps", "seed", "test/exact_accuracy")


def grid(names: tuple[str, ...] = OURS, scale: float = 1.0) -> pd.DataFrame:
    """27 cells of 3 seeds each under these names; width adds to the score."""
    rng = np.random.default_rng(0)
    rows = [
        (width, n, steps, seed, scale * (0.4 + 0.002 * width + 0.01 * rng.standard_normal()))
        for width, n, steps, seed in itertools.product((16, 32, 64), (1, 3, 6), (1, 2, 4), range(3))
    ]
    return pd.DataFrame(rows, columns=names)


def read(path: Path, table: pd.DataFrame, *options: str) -> Report:
    """The report of a table that was written as CSV, read with these options of the command."""
    table.to_csv(path, index=False)
    given = dict(zip(options[::2], options[1::2], strict=True))
    return build_report(load_csv(path, columns=given.get("--columns", ""), percent=given.get("--percent", "")))


@pytest.mark.parametrize(
    ("names", "scale"),
    [
        (("arch.hidden_size", "arch.L_cycles", "arch.halt_max_steps", "config/seed", "accuracy"), 100),
        (("config/d_model", "config/n", "config/n_sup", "random_seed", "eval/exact_accuracy"), 1),
        (("hidden_size", "l_cycles", "N_sup", "Seed", "test_acc"), 1),
        (("cfg.model.width", "cfg.model.lCycles", "cfg.n-sup", "rng_seed", "final exact-match"), 100),
        (("config.arch.hiddenSize", "loops", "args.supervision_steps", "args/seed", "results.accuracy"), 1),
    ],
)
def test_columns_under_other_names_come_with_the_option_that_reads_them(tmp_path: Path, names: tuple, scale: float) -> None:
    report = read(tmp_path / "runs.csv", grid(names, scale))
    (refusal,) = [sentence.text for sentence in report.answer if "nothing is claimed" in sentence.text]
    option = report.tables.columns_option
    assert option in refusal and any(option in note for note in notes_on(report.tables))
    again = read(tmp_path / "runs.csv", grid(names, scale), *shlex.split(option))
    assert len(again.cells) == 27 and set(again.cells["seeds"]) == {3} and not again.tables.columns_option
    assert "width 16 to 64 raises test exact accuracy by 0.09" in " ".join(sentence.text for sentence in again.answer)


@pytest.mark.parametrize("name", ["train/accuracy", "train.loss", "State", "runtime", "params", "max_depth", "note,d_model"])
def test_what_means_something_else_is_not_suggested(tmp_path: Path, name: str) -> None:
    table = grid().assign(**{name: np.linspace(0.1, 0.9, 81) if name != "State" else "done", "d_model": "wide"})
    assert not set(read(tmp_path / "runs.csv", table).tables.lookalikes.values()) & {
        "train/accuracy",
        "train.loss",
        "State",
        "d_model",
    }


def test_a_name_with_a_comma_or_a_space_is_quoted_for_the_shell(tmp_path: Path) -> None:
    names = ("arch, d_model", "L cycles", "n_sup", "seed", "test/exact_accuracy")
    option = read(tmp_path / "runs.csv", grid(names)).tables.columns_option
    again = read(tmp_path / "runs.csv", grid(names), *shlex.split(option))
    assert len(again.cells) == 27


def test_rows_without_a_score_are_no_seeds_and_are_counted_in_a_note(tmp_path: Path) -> None:
    table = grid()
    table.loc[[0, 4, 5], "test/exact_accuracy"] = np.nan
    report = read(tmp_path / "runs.csv", table)
    shown = readable_cells(report)
    assert shown["seeds"].tolist()[:2] == [2, 1] and shown["solved half"][0].startswith("0 of 2")
    assert report.tables.trials["outcome"].value_counts().to_dict() == {"completed": 78, "running": 3}
    note = "3 of 81 rows are left out as unfinished: no outcome, and an empty test/exact_accuracy"
    assert note in notes_on(report.tables)
    assert note in write_report(replace(report, figures=[]), tmp_path / "report", "made", []).read_text()
    kept = read(tmp_path / "kept.csv", table.dropna())
    assert readable_cells(kept).equals(shown) and [s.text for s in kept.answer] == [s.text for s in report.answer]


def test_a_row_that_has_one_of_two_scores_counts_where_it_has_one(tmp_path: Path) -> None:
    table = grid().assign(**{"test/nll": 1.0})
    table.loc[0, "test/exact_accuracy"] = np.nan
    table.loc[1, ["test/exact_accuracy", "test/nll"]] = np.nan
    report = read(tmp_path / "runs.csv", table)
    assert report.tables.trials["outcome"].tolist()[:3] == ["completed", "running", "completed"]
    assert report.cells["seeds"][0] == 1 and report.outcomes["seeds"][0] == 1
    notes = " ".join(report.tables.notes)
    assert "1 of 81 rows is left out as unfinished: no outcome, and an empty test/exact_accuracy and test/nll" in notes
    assert "1 of 81 rows is left out wherever test/exact_accuracy is compared" in notes


def test_a_completed_row_without_a_score_is_no_seed_either(tmp_path: Path) -> None:
    table = grid().assign(outcome="completed")
    table.loc[0, "test/exact_accuracy"] = np.nan
    report = read(tmp_path / "runs.csv", table)
    assert report.outcomes["seeds"][0] == report.cells["seeds"][0] == 2
    assert "1 of 81 rows is left out wherever test/exact_accuracy is compared" in " ".join(report.tables.notes)


def test_each_figure_that_lacks_a_column_names_it_with_the_option_that_gives_it(tmp_path: Path) -> None:
    table = grid().rename(columns={"seed": "random_seed"}).assign(n_params=100 * grid()["model.hidden_size"])
    report = read(tmp_path / "runs.csv", table)
    figures, left_out = draw_all(report.tables)
    lines = {recipe: next((line for line in left_out if f"Left out: {recipe.subject};" in line), "") for recipe in RECIPES}
    assert len(figures) + sum(map(bool, lines.values())) == len(RECIPES)
    for recipe, line in lines.items():
        missing = [name for name in recipe.columns if name not in report.tables.completed]
        assert all(name in line for name in missing) and (not missing or "--columns" in line)
        assert not recipe.curve or f"{recipe.curve} (--curves FILE)" in line
    assert any("(--columns params=n_params)" in line for line in left_out)
    assert any("the recurrence law" in line and "(--columns test/nll=THEIRS,params_recursed=THEIRS)" in line for line in left_out)
    assert any("state between" in line and "(--columns model.state_reset=THEIRS)" in line for line in left_out)
