"""Foreign tables whose columns have other names than ours, and whose rows lack scores."""

import itertools
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.csv_import import load_csv
from analysis.data.csv_notes import notes_on
from analysis.figures import RECIPES, draw_all
from analysis.laws.fit_all import find_laws
from analysis.report.build import Report, build_report
from analysis.report.page import write_report
from analysis.report.readable import readable_cells
from rrm.errors import UserError

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
    (refusal,) = [sentence.text for sentence in report.findings if "No effect is claimed" in sentence.text]
    option = report.tables.columns_option
    assert "under other names: a note has the option" in refusal
    assert [option in text for text in (*notes_on(report.tables), *map(str, report.findings))].count(True) == 1
    again = read(tmp_path / "runs.csv", grid(names, scale), *shlex.split(option))
    assert len(again.cells) == 27 and set(again.cells["seeds"]) == {3} and not again.tables.columns_option
    assert "width 16 to 64 raises test exact accuracy by 0.09" in " ".join(sentence.text for sentence in again.findings)


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
    assert readable_cells(kept).equals(shown) and [s.text for s in kept.findings] == [s.text for s in report.findings]


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
    figures, left_out = draw_all(report.tables, [(law.shows, law.needs) for law in find_laws() if law.shows])
    lines = {recipe: next((line for line in left_out if f"Left out: {recipe.subject};" in line), "") for recipe in RECIPES}
    assert len(figures) + sum(map(bool, lines.values())) == len(RECIPES)
    for recipe, line in lines.items():
        missing = [name for name in recipe.columns if name not in report.tables.completed]
        assert all(name in line for name in missing) and (not missing or "--columns" in line)
        assert not recipe.curve or f"{recipe.curve} (--curves FILE)" in line
    assert any("(--columns params=n_params)" in line for line in left_out)
    assert any("the recurrence law" in line and "(--columns test/nll=THEIRS,params_recursed=THEIRS)" in line for line in left_out)
    assert any("state between" in line and "(--columns model.state_reset=THEIRS)" in line for line in left_out)


@pytest.mark.parametrize("name", ["status", "state", "result", "Run state", "run_status"])
def test_a_column_of_states_is_read_as_the_outcome_with_a_note(tmp_path: Path, name: str) -> None:
    table = grid().assign(**{name: ["finished"] * 77 + ["crashed", "FAILED", "running", "killed"]})
    report = read(tmp_path / "runs.csv", table)
    assert report.tables.trials["outcome"].value_counts().to_dict() == {"completed": 77, "failed": 3, "running": 1}
    (note,) = [note for note in notes_on(report.tables) if "outcome" in note]
    assert note.startswith(f"{name} is read as outcome: 77 completed, 3 failed, 1 running; --columns outcome=")


@pytest.mark.parametrize(("name", "last"), [("ended", "crashed"), ("how it went", "failed"), ("status", "exploded")])
def test_states_under_another_name_or_with_an_unknown_one_come_with_the_option(tmp_path: Path, name: str, last: str) -> None:
    table = grid().assign(**{name: ["finished"] * 79 + ["killed", last]})
    report = read(tmp_path / "runs.csv", table)
    (note,) = [note for note in notes_on(report.tables) if "outcome" in note]
    assert f"outcome={name}" in note and set(report.tables.trials["outcome"]) == {"completed"}
    if last == "exploded":
        with pytest.raises(UserError, match=r"must be one of .* got 'exploded' in row 81"):
            read(tmp_path / "runs.csv", table, *shlex.split(report.tables.columns_option))
    else:
        again = read(tmp_path / "runs.csv", table, *shlex.split(report.tables.columns_option))
        assert again.tables.trials["outcome"].value_counts().to_dict() == {"completed": 79, "failed": 2}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("rng", "seed"), ("random_state", "seed"), ("seed_id", "seed"), ("core_params", "params_recursed"),
        ("n_params", "params"), ("num_params", "params"), ("flops", "train_flops"), ("compute", "train_flops"),
        ("train/flops", "train_flops"), ("eval/flops", None), ("model.flops", None),
    ],
)  # fmt: skip
def test_common_names_of_seeds_sizes_and_compute_are_suggested(tmp_path: Path, theirs: str, ours: str | None) -> None:
    table = grid().drop(columns="seed").assign(**{theirs: np.arange(81) % 3 + 1})
    assert read(tmp_path / "runs.csv", table).tables.lookalikes == ({ours: theirs} if ours else {})


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"state_mode": ["carry", "reset", "reset"]},
            "state_mode (carry, reset) as if these were seeds: --settings state_mode takes it",
        ),
        ({"sigma": [0.1, 0.5, 0.5]}, "sigma (0.1, 0.5) as if these were seeds: --settings sigma takes it"),
        (
            {"a, b": ["x", "y", "z"], "c": [1, 2, 2]},
            "a, b (x, y, z), c (1, 2) as if these were seeds: --settings '\"a, b\",c' takes them",
        ),
    ],
)
def test_cells_that_mix_rows_of_different_settings_say_so(tmp_path: Path, columns: dict[str, list], words: str) -> None:
    table = grid().assign(**{name: values * 27 for name, values in columns.items()})
    (note,) = [note for note in notes_on(read(tmp_path / "runs.csv", table).tables) if "settings" in note]
    assert note.startswith(f"cells mix rows of different {words}")
    option = shlex.split(note.split("seeds: ")[1].split(" takes")[0])[1]
    assert not any("cells mix" in note for note in notes_on(load_csv(tmp_path / "runs.csv", settings=option)))
