"""Tables, figures and report from runs whose effects are known."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from analysis.figures import FIGURES, accuracy_by_depth, accuracy_by_parameters, inference_depth, width_depth_map
from analysis.render import interactive, write_static
from analysis.report import build_report, write_report
from analysis.tables import Tables, load, merge, split_bins
from rrm.errors import UserError
from tests.analysis.conftest import made_tables
from tests.browser import browser_context, needs_browser


def test_the_first_sentence_says_which_axis_of_depth_helps(tables: Tables) -> None:
    answer = build_report(tables).answer
    assert answer[0].startswith("At equal parameters and equal steps, n 1 to 3 raises test exact accuracy by 0.2")
    assert "95 % interval +0.1" in answer[0]
    assert "N_sup 1 to 4 has no clear effect" in answer[1]


def test_harm_is_called_harm() -> None:
    assert "n 1 to 3 lowers test exact accuracy by 0.09" in build_report(made_tables(gain=-0.1)).answer[0]


def test_no_effect_is_called_no_effect() -> None:
    assert "has no clear effect" in build_report(made_tables(gain=0.0, noise=0.05)).answer[0]


def test_cells_at_the_floor_are_pointed_out() -> None:
    assert "4 of 8 cells lie below 5 %" in build_report(made_tables(gain=-0.9)).answer[-1]


def test_one_seed_claims_nothing(tables: Tables) -> None:
    single = Tables(tables.trials[tables.trials["seed"] == 0], tables.curves)
    assert build_report(single).answer == ["No axis was varied with at least two seeds a cell: nothing is claimed."]


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
    assert curves is not None and all(series.x == [1, 2, 3] for series in curves.series)


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_every_figure_is_drawn_by_both_renderers(tables: Tables, tmp_path: Path, draw) -> None:
    figure = draw(tables)
    png, svg = write_static(figure, tmp_path)
    with Image.open(png) as image:
        assert image.size[0] > 800 and len(image.convert("L").getcolors(256) or []) > 3
    assert "<svg" in svg.read_text()
    drawing = interactive(figure)
    assert sum(trace.hoverinfo != "skip" for trace in drawing.data) == len(figure.series) + (figure.heatmap is not None)
    assert json.loads(drawing.to_json())["layout"]["xaxis"]["title"]["text"] == figure.x_label


def test_the_report_is_one_file_that_opens_offline(tables: Tables, tmp_path: Path) -> None:
    path = write_report(build_report(tables), tmp_path, "made", ["rrm-analyze made"])
    html = path.read_text()
    assert "<script src=" not in html and "<link" not in html
    assert html.count('class="plotly-graph-div"') == len(FIGURES) + 1
    written = {file.name for file in tmp_path.iterdir()}
    assert {"report.html", "trials.csv", "trials.parquet", "curves.csv", "cells.csv", "effects.png", "seeds.svg"} <= written
    assert len(pd.read_csv(tmp_path / "trials.csv")) == len(pd.read_parquet(tmp_path / "trials.parquet")) == 24


def test_what_a_spec_says_is_not_taken_for_markup(tables: Tables, tmp_path: Path) -> None:
    path = write_report(build_report(tables), tmp_path, "<script>alert(1)</script>", [])
    assert "<script>alert(1)</script>" not in path.read_text()


def write_store(folder: Path, asked: list[str]) -> None:
    for name in ("a", "b"):
        (folder / "trials" / name).mkdir(parents=True)
        record = {"fingerprint": name, "sweep": "s", "outcome": "completed", "seed": 0, "curves": []}
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
    with pytest.raises(UserError, match="is not the folder of a sweep"):
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
    assert report.answer[0].startswith("A search: its trials are the sampler's choice and are not compared. Best on validation")
    with pytest.raises(UserError, match="cannot be drawn together"):
        merge([tables, search])


def test_unequal_fresh_examples_are_pointed_out(tables: Tables) -> None:
    trials = tables.trials.assign(fresh_examples=8000 // tables.trials["model.supervision_steps"])
    notes = build_report(dataclasses.replace(tables, trials=trials)).answer
    assert "Fresh examples are not equal: N_sup 1 saw 8,000, N_sup 4 saw 2,000 on average." in notes


@needs_browser
def test_the_report_in_a_browser_without_a_network(tables: Tables, tmp_path: Path) -> None:
    """No error in the console, every figure drawn, a table sorts."""
    path = write_report(build_report(tables), tmp_path, "made", ["rrm-analyze made"])
    errors: list[str] = []
    with browser_context(offline=True) as context:
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        figures = page.locator("h2[id]").count()
        page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot .main-svg').length >= {figures}")
        drawn = page.evaluate("[...document.querySelectorAll('.js-plotly-plot')].map(plot => plot.querySelectorAll('path').length)")
        heading = page.locator("table.sortable th", has_text="accuracy").last
        column = heading.evaluate("head => [...head.parentNode.children].indexOf(head)")
        heading.click()
        rows = heading.evaluate(
            "(head, at) => [...head.closest('table').tBodies[0].rows].map(row => parseFloat(row.cells[at].textContent))", column
        )
    assert not errors and len(drawn) == figures >= 6 and min(drawn) > 3
    assert rows == sorted(rows) and len(set(rows)) > 1
