"""Tables, figures and report from runs whose effects are known."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.data.tables import Tables, load, merge, split_bins
from analysis.figures import RECIPES, Recipe
from analysis.figures.data import FigureData, chosen_cell
from analysis.figures.inference import inference_frontier
from analysis.figures.recursion import inference_depth
from analysis.figures.render import interactive, write_static
from analysis.figures.scaling import accuracy_by_depth, accuracy_by_parameters, width_depth_map
from analysis.laws.fit_all import fit_laws
from analysis.report.build import Report, build_report
from analysis.report.into_mlflow import place_of
from analysis.report.page import write_report
from analysis.report.readable import published_table, readable_cells
from analysis.report.sentences import warn
from benchmarks.coverage import compute_optimal
from rrm.errors import UserError
from sweeps.design.axes import TRAIN_EXAMPLES
from sweeps.store.find_store import find_store
from tests.analysis.conftest import made_tables


def said(report: Report) -> list[str]:
    return [sentence.text for sentence in report.findings]


def test_the_first_sentence_says_which_axis_of_depth_helps(tables: Tables) -> None:
    answer = said(build_report(tables))
    assert answer[0].startswith("At equal parameters and equal steps, n 1 to 3 raises test exact accuracy by 0.2")
    assert "95 % CI +0.1" in answer[0]
    assert "N_sup 1 to 4 has no clear effect" in answer[1]


def test_a_setting_of_words_comes_first_with_its_base_and_with_what_it_depends_on(rich: Tables) -> None:
    narrow = rich.trials[(rich.trials["model.l_cycles"] == 5) & (rich.trials["model.supervision_steps"] == 4)]
    answer = said(build_report(Tables(narrow, rich.curves)))
    effect, dependence = answer[:2]
    assert effect.startswith("At equal steps, state reset all instead of carry lowers test exact accuracy by 0.0")
    assert dependence.startswith("The effect of state reset all instead of carry does not clearly depend on width (adjusted p = ")
    assert "at width 16" in dependence and "at width 32" in dependence
    assert not any(" against " in sentence for sentence in answer)  # cells pair by pair


@pytest.fixture(scope="module")
def rich_answer(rich: Tables) -> list[str]:
    return said(build_report(rich))


def test_settings_that_an_effect_does_not_depend_on_share_a_sentence(rich_answer: list[str]) -> None:
    sentences = [text for text in rich_answer if "depend" in text]
    assert len(sentences) == 1 and "does not clearly depend on width, T, n or N_sup (adjusted p = " in sentences[0]


def test_a_sentence_on_a_law_names_the_group_that_it_is_of(rich_answer: list[str]) -> None:
    (refusal,) = [text for text in rich_answer if "recurrence law is not fitted" in text]
    groups = "On pointer_chasing (trm, state reset all); pointer_chasing (trm, state reset carry), the recurrence law"
    assert refusal.startswith(groups)


def test_cells_that_differ_in_two_settings_at_once_are_compared_pair_by_pair(tables: Tables) -> None:
    diagonal = (tables.trials["model.l_cycles"] == 3) == (tables.trials["model.hidden_size"] == 32)
    answer = said(build_report(Tables(tables.trials[diagonal & (tables.trials["model.supervision_steps"] == 1)], tables.curves)))
    assert answer[0].startswith("width 32, n 3 against width 16, n 1: +0.")


def test_a_setting_of_words_that_changes_with_another_is_not_claimed(tables: Tables) -> None:
    reset = tables.trials["model.hidden_size"].map({16: "carry", 32: "all"})
    trials = tables.trials.assign(**{"model.state_reset": reset})
    answer = said(build_report(Tables(trials, tables.curves)))
    assert answer[0] == "The effect of state reset is not known: no two cells differ in it alone."
    assert not any("width" in text and "raises" in text for text in answer)


def test_harm_is_called_harm() -> None:
    assert "n 1 to 3 lowers test exact accuracy by 0.09" in said(build_report(made_tables(gain=-0.1)))[0]


def test_no_effect_is_called_no_effect() -> None:
    assert "has no clear effect" in said(build_report(made_tables(gain=0.0, noise=0.05)))[0]


def test_cells_at_the_floor_are_pointed_out() -> None:
    assert "4 of 8 cells lie below 5 % exact accuracy" in said(build_report(made_tables(gain=-0.9)))[-1]


def test_one_seed_claims_nothing(tables: Tables) -> None:
    single = Tables(tables.trials[tables.trials["seed"] == 0], tables.curves)
    assert said(build_report(single)) == ["No effect is claimed: no axis was varied with at least two seeds per cell."]


def test_a_table_without_accuracy_claims_nothing_for_that_reason(tables: Tables) -> None:
    unscored = Tables(tables.trials.drop(columns="test/exact_accuracy"), tables.curves)
    assert said(build_report(unscored, [])) == ["No effect is claimed: the table has no test/exact_accuracy."]


def test_a_cell_for_a_figure_is_chosen_by_a_measure_that_has_values(tables: Tables) -> None:
    empty = Tables(tables.trials.assign(**{"val/exact_accuracy": np.nan}), tables.curves)
    without = Tables(tables.trials.drop(columns="val/exact_accuracy"), tables.curves)
    assert chosen_cell(empty) == chosen_cell(without)


def test_trials_that_did_not_complete_are_not_compared(tables: Tables) -> None:
    trials = tables.trials.copy()
    trials.loc[trials["seed"] == 2, ["outcome", "test/exact_accuracy"]] = ["failed", None]
    report = build_report(Tables(trials, tables.curves))
    assert report.cells["seeds"].tolist() == [2] * 8
    assert not report.cells["mean"].isna().any()


def test_lines_and_maps_hold_what_was_measured(tables: Tables) -> None:
    parameters, depth = accuracy_by_parameters(tables), accuracy_by_depth(tables)
    assert parameters is not None and depth is not None
    assert [series.label for series in parameters.series] == ["n 1, N_sup 1", "n 1, N_sup 4", "n 3, N_sup 1", "n 3, N_sup 4"]
    assert all(series.x == [1600, 3200] for series in parameters.series)
    assert {tuple(series.x) for series in depth.series} == {(2, 4), (8, 16)}
    drawn = width_depth_map(tables)
    assert drawn is not None and drawn.heatmap is not None
    assert drawn.heatmap.values[0][0] == pytest.approx(0.2, abs=0.02)
    assert drawn.heatmap.rows[0].endswith("2 layers") and drawn.heatmap.rows[-1].endswith("16 layers")
    curves = inference_depth(tables)
    assert curves is not None and all(series.x == [1, 2, 3] for series in curves.series[:-1])


@pytest.mark.more
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.draw.__name__)
def test_every_figure_is_drawn_by_both_renderers(rich: Tables, tmp_path: Path, recipe: Recipe) -> None:
    figure = recipe.draw(over_puzzles(rich) if TRAIN_EXAMPLES in recipe.axes else rich)
    assert figure is not None
    check_drawn(figure, tmp_path)


def test_a_figure_that_is_left_out_names_a_sweep_that_has_it(tables: Tables) -> None:
    lines = [recipe.explain_absence(tables) for recipe in RECIPES]
    assert all("; it needs a sweep " in line or "; it needs a table with " in line for line in lines), lines


def over_puzzles(tables: Tables) -> Tables:
    """The same trials after 500 and after 1,000 puzzles."""
    return Tables(pd.concat([tables.trials.assign(**{TRAIN_EXAMPLES: puzzles}) for puzzles in (500, 1000)]), tables.curves)


def check_drawn(figure: FigureData, folder: Path) -> None:
    png, svg = write_static(figure, folder)
    with Image.open(png) as image:
        assert image.size[0] > 800 and len(image.convert("L").getcolors(256) or []) > 3
    assert "<svg" in svg.read_text()
    drawing = interactive(figure)
    lines = len(figure.series) + (1 + len(figure.heatmap.lines) if figure.heatmap else 0)
    assert sum(trace.hoverinfo != "skip" for trace in drawing.data) == lines
    assert json.loads(drawing.to_json())["layout"]["xaxis"]["title"]["text"] == figure.x_label


@pytest.mark.more
def test_figures_of_laws_effects_and_tasks_are_drawn(rich: Tables, tmp_path: Path) -> None:
    other = rich.trials.assign(**{"task.kind": "maze", "fingerprint": rich.trials["fingerprint"] + "m"})
    both = Tables(pd.concat([rich.trials, other], ignore_index=True), rich.curves)
    report = build_report(both, fit_laws(Tables(compute_optimal(np.random.default_rng(0)).tables.trials, rich.curves)))
    names = {figure.name for figure in report.figures}
    assert {"law_one_exponent", "misfit_one_exponent", "exchange_rate", "law_power_params",
            "misfit_power_depth", "effects", "importance", "task_agreement"} <= names  # fmt: skip
    assert sum(name.startswith("compute_optimal_inference_flops_") for name in names) == 1
    for figure in report.figures:
        check_drawn(figure, tmp_path)


def test_figures_say_what_was_measured(rich: Tables) -> None:
    drawn = {recipe.draw.__name__: recipe.draw(rich) for recipe in RECIPES}
    matrix = drawn["train_inference_matrix"].heatmap
    assert matrix.rows == ["N_sup = 1", "N_sup = 4"] and matrix.columns == ["1", "2", "4", "8"]
    assert matrix.values[0][2] - matrix.values[0][0] == pytest.approx(0.2)  # two doublings of D
    split = {series.label: series.x for series in drawn["recursion_split"].series}
    assert set(map(tuple, split.values())) == {(1, 2)} and all(name.startswith("T(n+1) = 6") for name in split)
    reset = drawn["state_reset"]
    assert [name for _, name in reset.x_marks] == ["state reset carry", "state reset all"]  # the base level first
    assert all(series.y[0] > series.y[1] and series.style == "points" for series in reset.series)
    half, most = drawn["required_depth"].series
    assert half.x == sorted(half.x) and half.y == sorted(half.y) and len(most.x) <= len(half.x)
    rows = drawn["accuracy_by_difficulty"].heatmap
    assert rows.rows == ["1", "2", "4", "8"] and rows.values[0][0] > rows.values[3][0]


def test_the_frontier_is_chosen_on_validation_and_rises(rich: Tables) -> None:
    figure = inference_frontier(rich)
    assert figure is not None and "chosen on validation" in figure.caption
    fixed, adaptive, *widths = figure.series
    assert (
        fixed.x == sorted(fixed.x)
        and fixed.y == sorted(fixed.y)
        and fixed.texts
        and fixed.texts[0] == "width 16, state reset carry, D 1"
    )
    assert adaptive.label == "halting by q" and {series.label for series in widths} == {"width 16, any D", "width 32, any D"}
    without = Tables(rich.trials, rich.curves[rich.curves["metric"] != "val_depth/exact_accuracy"])
    assert "optimistic" in inference_frontier(without).caption


def test_a_figure_without_data_says_what_would_give_it(tables: Tables) -> None:
    left_out = build_report(tables).left_out
    assert any("state between supervision steps" in line and "varies model.state_reset" in line for line in left_out)
    assert any("rollouts against inference depth" in line and "eval.rollouts above 1" in line for line in left_out)


def test_cells_count_seeds_that_succeeded_failed_and_diverged(tables: Tables) -> None:
    lost = tables.trials.head(2).assign(outcome="failed", reason=["diverged: loss is nan", "out of memory"], fingerprint=["x", "y"])
    lost["test/exact_accuracy"] = np.nan
    report = build_report(Tables(pd.concat([tables.trials, lost], ignore_index=True), tables.curves))
    first = report.outcomes.iloc[0]
    assert (first["seeds"], first["completed"], first["failed"], first["diverged"]) == (5, 3, 2, 1)
    shown = readable_cells(report)
    assert shown["failed"].iloc[0] == "2 (1 diverged)" and shown["solved half"].iloc[0].startswith("0 of 5")
    assert "2 of 26 trials failed: all statements above are about completed trials." in said(report)


def test_cells_of_arc_have_the_shares_that_the_first_votes_solve(tables: Tables) -> None:
    accuracy = tables.trials["test/exact_accuracy"]
    votes = tables.trials.assign(**{"test/pass_at_1": accuracy / 2, "test/pass_at_2": accuracy})
    shown = readable_cells(build_report(Tables(votes, tables.curves)), brief=True)
    assert shown["pass@2"].tolist() == shown["accuracy"].tolist() and "pass@1" in shown
    assert "pass@2" not in readable_cells(build_report(tables))


def test_published_numbers_stand_beside_the_same_benchmark_only(tables: Tables) -> None:
    assert build_report(tables).published.empty  # generated 4x4 Sudoku is no benchmark
    official = Tables(tables.trials.assign(**{"task.hub": "sudoku-extreme", "test/examples": 1000}), tables.curves)
    shown = published_table(build_report(official))
    assert shown["model"].iloc[0] == "ours" and "1,000 test examples" in shown["variant"].iloc[0]
    assert set(shown["benchmark"]) == {"sudoku-extreme"} and len(shown) > 20


def test_the_report_is_one_file_that_opens_offline(tables: Tables, tmp_path: Path) -> None:
    report = build_report(tables)
    path = write_report(report, tmp_path, "made", ["rrm-analyze made"])
    html = path.read_text()
    assert "<script src=" not in html and "<link" not in html
    assert html.count('class="plotly-graph-div"') == len(report.figures) >= 8
    assert path.stat().st_size < 6e6
    written = {file.name for file in tmp_path.iterdir()}
    assert {"report.html", "trials.csv", "trials.parquet", "curves.csv", "cells.csv", "effects.png", "seeds.svg"} <= written
    assert len(pd.read_csv(tmp_path / "trials.csv")) == len(pd.read_parquet(tmp_path / "trials.parquet")) == 24


@pytest.mark.more
def test_what_a_spec_says_is_not_taken_for_markup(tables: Tables, tmp_path: Path) -> None:
    path = write_report(build_report(tables), tmp_path, "<script>alert(1)</script>", [])
    assert "<script>alert(1)</script>" not in path.read_text()


def write_store(folder: Path, asked: list[str]) -> None:
    for name in ("a", "b"):
        (folder / "trials" / name).mkdir(parents=True)
        record = {"fingerprint": name, "sweep": "s", "outcome": "completed", "seed": 0, "params": 1, "curves": []}
        (folder / "trials" / name / "result.json").write_text(json.dumps(record))
    (folder / "design.json").write_text(json.dumps(asked))
    (folder / "spec.yaml").write_text("measure: {}\n")


def test_trials_that_the_spec_no_longer_asks_for_are_left_out(tmp_path: Path) -> None:
    write_store(tmp_path, asked=["a"])
    loaded = load(tmp_path)
    assert loaded.trials["outside_spec"].tolist() == [False, True]
    assert loaded.completed["fingerprint"].tolist() == ["a"]


def test_the_bin_of_a_metric_is_a_column_of_its_own() -> None:
    names = ["depth/exact_accuracy", "depth/exact_accuracy/k4", "ood_depth/exact_accuracy/path_length12", "val_curve/nll"]
    curves = split_bins(pd.DataFrame({"metric": names}))
    assert curves["metric"].tolist() == [names[0], names[0], "ood_depth/exact_accuracy", "val_curve/nll"]
    assert curves["binned_by"].fillna("").tolist() == ["", "k", "path_length", ""]
    assert curves["difficulty"].fillna(-1).tolist() == [-1, 4, 12, -1]


def test_a_trial_in_two_sweeps_counts_once(tables: Tables) -> None:
    other = dataclasses.replace(tables, trials=tables.trials.assign(sweep="other"))
    assert len(merge([tables, other]).trials) == len(tables.trials)


@pytest.mark.parametrize("target", ["nowhere", "empty"])
def test_what_is_no_sweep_is_one_line(tmp_path: Path, target: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is not a sweep: there is no"):
        load(tmp_path / target)


def test_a_store_without_results_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "spec.yaml").write_text("measure: {}\n")
    with pytest.raises(UserError, match="has no finished trials yet"):
        load(tmp_path)


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    write_store(tmp_path, asked=["a"])
    (tmp_path / "trials/b/result.json").write_text("{")
    with pytest.raises(UserError, match=r"trials/b/result.json: is damaged"):
        load(tmp_path)


def test_a_search_is_not_compared_as_a_design(tables: Tables) -> None:
    search = dataclasses.replace(tables, kind="search")
    report = build_report(search)
    assert report.effects == [] and report.differences == []
    assert said(report)[0].startswith(
        "A search: the sampler chose its trials, so that they are not compared. Best trial by largest val/"
    )
    with pytest.raises(UserError, match="cannot be analyzed together"):
        merge([tables, search])


def test_unequal_fresh_examples_are_pointed_out(tables: Tables) -> None:
    trials = tables.trials.assign(fresh_examples=8000 // tables.trials["model.supervision_steps"])
    notes = said(build_report(dataclasses.replace(tables, trials=trials)))
    assert "Fresh examples per trial are not equal (mean): 8,000 at N_sup = 1, 2,000 at N_sup = 4." in notes


@pytest.mark.parametrize(
    ("settings", "is_noted"),
    [
        ({"model.state_reset": "all"}, True),
        ({"model.state_reset": "all", "model.medium": "latent"}, True),
        ({"model.state_reset": "all", "model.medium": "tokens"}, False),
        ({"model.state_reset": "latent"}, False),
        ({"model.state_reset": "all", "model.supervision_steps": 1}, False),
    ],
)
def test_supervision_steps_that_repeat_the_first_are_pointed_out(tables: Tables, settings: dict, is_noted: bool) -> None:
    notes = [sentence.text for sentence in warn(Tables(tables.trials.assign(**settings), tables.curves), pd.DataFrame())]
    note = "State reset all: in 12 of 24 trials each supervision step repeats the first"
    assert any(text.startswith(note) for text in notes) == is_noted
    assert is_noted or not any(text.startswith("State reset all") for text in notes)


@pytest.mark.parametrize("typed", ["runs/demo", "runs/demo/", "./runs/demo", "demo"])
def test_a_sweep_s_place_in_mlflow_follows_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    write_store(tmp_path / "runs/demo", asked=[])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert place_of(find_store(typed))[:2] == (f"sqlite:///{tmp_path.resolve()}/runs/mlflow.db", "demo")
