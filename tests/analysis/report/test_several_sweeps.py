"""A report of several sweeps: the best cell for each task and budget, and the Pareto front of each sweep."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.tables import Tables, load_store, merge
from analysis.figures.fronts import fronts_of_sweeps
from analysis.report.build import Report, build_report
from analysis.report.page import write_report
from analysis.report.readable import readable_records
from analysis.report.sections import leading_figures, sections_of
from analysis.statistics.records import find_records
from tests.analysis.conftest import made_tables
from tests.analysis.searches import write_search


def other_sweep(name: str, gain: float = 0.2, suffix: str = "o", **columns: object) -> Tables:
    """A made-up sweep under another name, with other fingerprints."""
    tables = made_tables(gain=gain)
    trials = tables.trials.assign(sweep=name, fingerprint=tables.trials["fingerprint"] + suffix, **columns)
    return replace(tables, trials=trials, curves=tables.curves.assign(fingerprint=tables.curves["fingerprint"] + suffix))


@pytest.fixture(scope="module")
def several() -> Report:
    """The made-up sweep, the same task with twice the budget and a smaller effect, and another task."""
    short = made_tables()
    trials = short.trials.assign(**{"fit.budget.amount": 100.0})
    longer = other_sweep("longer", 0.1, "l", **{"fit.budget.amount": 200.0})
    maze = other_sweep("maze", 0.3, "m", **{"fit.budget.amount": 100.0, "task.kind": "maze"})
    return build_report(merge([replace(short, trials=trials), longer, maze]))


def test_the_records_name_the_best_cell_for_each_task_and_budget_with_its_costs_its_interval_and_its_sweep(several: Report) -> None:
    records = readable_records(several)
    assert list(records.columns) == [
        "task", "budget", "best cell", "params", "FLOPs of an answer", "training FLOPs", "accuracy", "95 % CI", "seeds", "sweep",
    ]  # fmt: skip
    assert records[["task", "budget", "sweep", "seeds"]].values.tolist() == [
        ["maze", "100 steps", "maze", "3"], ["sudoku", "100 steps", "made", "3"], ["sudoku", "200 steps", "longer", "3"],
    ]  # fmt: skip
    assert all(cell.startswith("width 32, n 3") for cell in records["best cell"]) and set(records["params"]) == {"3,200"}
    means = several.tables.completed.groupby(["sweep", *several.tables.varied])["test/exact_accuracy"].mean()
    assert float(records["accuracy"][2]) == pytest.approx(means["longer"].max(), abs=5e-4)
    low, high = map(float, records["95 % CI"][2].split(" .. "))
    assert low < float(records["accuracy"][2]) < high < low + 0.05


def test_the_best_cell_is_chosen_on_validation_and_not_on_test() -> None:
    one, other = made_tables(), other_sweep("other", 0.2)
    wide = other.trials["model.hidden_size"] == 16
    trials = other.trials.assign(**{"val/exact_accuracy": other.trials["val/exact_accuracy"] + 0.6 * wide})
    records = find_records(merge([one, replace(other, trials=trials)]))
    assert len(records) == 1 and records["model.hidden_size"][0] == 16 and records["sweeps"][0] == "made, other"
    assert records["chosen_on"][0] == "val"


def test_the_note_on_the_records_says_that_a_cell_without_validation_scores_is_chosen_on_test(several: Report) -> None:
    def note(report: Report) -> str:
        return sections_of(report)[0].tables[0].note

    tables = several.tables
    untested = tables.trials.drop(columns="val/exact_accuracy")
    partly = tables.trials.copy()
    partly.loc[partly["task.kind"] == "maze", "val/exact_accuracy"] = float("nan")
    assert "Each cell is chosen on validation. " in note(several)
    assert "Each cell is chosen on test: optimistic. " in note(build_report(replace(tables, trials=untested)))
    mixed = note(build_report(replace(tables, trials=partly)))
    assert "chosen on validation, or " in mixed and "chosen on test: optimistic" in mixed


def test_a_front_joins_the_cells_that_no_cheaper_one_of_the_same_sweep_beats(several: Report) -> None:
    figure = next(figure for figure in several.figures if figure.name == "fronts_of_sweeps")
    assert [series.label for series in figure.series] == [
        f"{sweep}: {cost}" for sweep in ("longer", "made", "maze") for cost in ("an answer", "training")
    ]
    assert [series.color for series in figure.series] == [0, 0, 1, 1, 2, 2]
    training = figure.series[3]
    cells = several.tables.completed.query("sweep == 'made'").groupby([*several.tables.varied, "train_flops"])
    means = cells["test/exact_accuracy"].mean().reset_index()
    for cost, accuracy in zip(training.x, training.y, strict=True):
        assert means[means["train_flops"] <= cost]["test/exact_accuracy"].max() == pytest.approx(accuracy)
    assert training.x == sorted(training.x) and training.y == sorted(training.y) and len(training.x) >= 2
    assert leading_figures(several.drawn)[0].name == "fronts_of_sweeps" and sections_of(several)[0].name == "records"


def test_a_trial_of_two_sweeps_is_on_the_front_of_both() -> None:
    one = made_tables()
    again = replace(one, trials=one.trials[one.trials["model.hidden_size"] == 32].assign(sweep="again"))
    figure = fronts_of_sweeps(merge([one, again]))
    assert figure is not None
    best = {series.label: max(series.y) for series in figure.series}
    assert best["again: training"] == best["made: training"]
    assert find_records(merge([one, again]))["sweeps"][0] == "again, made"


def test_a_single_sweep_has_neither_records_nor_fronts_of_sweeps(tables: Tables) -> None:
    assert find_records(tables).empty and fronts_of_sweeps(tables) is None


def test_a_table_without_costs_and_validation_scores_has_records_without_them() -> None:
    dropped = ["params", "train_flops", "inference_flops", "val/exact_accuracy", "matching"]
    one, other = (replace(made, trials=made.trials.drop(columns=dropped)) for made in (made_tables(), other_sweep("other")))
    merged = merge([one, other])
    report = build_report(merged)
    assert list(readable_records(report).columns) == ["task", "budget", "best cell", "accuracy", "95 % CI", "seeds", "sweep"]
    assert fronts_of_sweeps(merged) is None


def test_searches_are_compared_too_and_the_records_are_a_file(tmp_path: Path) -> None:
    one, other = (load_store(write_search(tmp_path / name, count=6, space=space)) for name, space in (
        ("a", None), ("b", {"model.hidden_size": {"int": [64, 80], "step": 8}})))  # fmt: skip
    other = replace(other, trials=other.trials.assign(sweep="wide"))
    report = build_report(merge([one, other]))
    assert report.search_plots == [] and readable_records(report)["sweep"].tolist() == ["wide"]
    report.figures.clear()
    write_report(report, tmp_path / "out", "both", [])
    assert len(pd.read_csv(tmp_path / "out/records.csv")) == 1
