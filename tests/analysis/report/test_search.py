"""The report of a search: Optuna's plots, the confirm stage, and the measure sweep around the best setting."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from PIL import Image

from analysis.data.tables import Tables, load, load_store
from analysis.figures.optuna_plots import draw_search
from analysis.laws.draft import is_valid
from analysis.report.around_best import measure_around
from analysis.report.build import Report, build_report
from analysis.report.page import write_report
from analysis.report.sections import sections_of
from analysis.statistics.confirmation import confirm_settings
from lightning_modules.yaml_file import parse_yaml
from sweeps.spec.load_spec import parse_stored_spec
from tests.analysis.report.test_page import AXE, OVERLAPS, PHONE
from tests.analysis.searches import FEWER, NLL, SPACE, write_search
from tests.browser import browser_context, needs_browser
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build_report(load_store(write_search(tmp_path_factory.mktemp("runs"), confirm={"top": 2, "seeds": 3})))


def study_of(tables: Tables) -> Any:
    return draw_search(tables)[0].study


# -- the study -----------------------------------------------------------------------------------------------------


def test_the_study_has_each_trial_of_the_search_with_its_state_its_settings_and_its_objective(confirmed: Report) -> None:
    trials = study_of(confirmed.tables).get_trials()
    records = confirmed.tables.trials.set_index("fingerprint")
    states = [trial.state for trial in trials]
    assert [states.count(state) for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)] == [15, 4, 1]
    for trial in trials:
        record = records.loc[trial.user_attrs["fingerprint"]]
        assert trial.params == {"lr": record["optim.lr"], "width": record["model.hidden_size"],
                                "n": record["model.l_cycles"], "positions": record["model.positions"]}  # fmt: skip
        if trial.state == TrialState.COMPLETE:
            assert trial.values == [record["val/nll"]]
    assert trials[0].distributions["lr"].log and trials[0].distributions["width"].step == 8


def test_a_pruned_trial_keeps_its_values_during_training(confirmed: Report) -> None:
    pruned = next(trial for trial in study_of(confirmed.tables).get_trials() if trial.state == TrialState.PRUNED)
    assert list(pruned.intermediate_values) == [20, 40] and pruned.intermediate_values[20] > pruned.intermediate_values[40]


def test_a_search_by_one_objective_has_history_slices_parallel_coordinates_curves_and_importance(confirmed: Report) -> None:
    assert [plot.name for plot in confirmed.search_plots] == [
        "search_history", "slices", "parallel_coordinates", "intermediate_values", "parameter_importance",
    ]  # fmt: skip
    assert "15 completed, 4 pruned, 1 failed" in confirmed.search_plots[0].caption


def test_a_search_by_two_objectives_begins_with_its_pareto_front_and_has_each_plot_for_each_objective(tmp_path: Path) -> None:
    limits = ["val/exact_accuracy >= 0.62"]
    plots = draw_search(load_store(write_search(tmp_path, objectives=[NLL, FEWER], constraints=limits)))
    assert [plot.name for plot in plots] == [
        "pareto_front", "search_history_val_nll", "slices_val_nll", "parallel_coordinates_val_nll",
        "search_history_params", "slices_params", "parallel_coordinates_params", "parameter_importance",
    ]  # fmt: skip
    drawing = plots[0].interactive()
    assert sum(len(trace.x) for trace in drawing.data) == 15 and len(drawing.data) == 3  # outside the limit, inside, the front
    assert [drawing.layout.xaxis.title.text, drawing.layout.yaxis.title.text] == ["val/nll", "params"]


def test_the_plot_of_training_has_no_legend_so_that_its_height_does_not_grow_with_the_number_of_trials(
    confirmed: Report, tmp_path: Path
) -> None:
    plot = next(plot for plot in confirmed.search_plots if plot.name == "intermediate_values")
    study = optuna.create_study()
    trials = study_of(confirmed.tables).get_trials()
    study.add_trials([trial for _ in range(5) for trial in trials])
    replace(plot, study=study).write_static(tmp_path)
    with Image.open(tmp_path / "intermediate_values.png") as picture:
        assert picture.height < 900
    assert plot.interactive().layout.showlegend is False


CONDITIONAL: dict[str, Any] = {
    "space": {"optim.lr": {"log_uniform": [1e-4, 1e-2]}, "optim.kind": {"choice": ["adam_atan2", "adamw"]}},
    "when": [{"if": {"optim.kind": "adamw"}, "space": {"optim.weight_decay": {"uniform": [0.0, 0.2]}}}],
}


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        (CONDITIONAL, {"lr", "kind"}),
        ({"space": {"optim.lr": SPACE["optim.lr"]}}, {"lr"}),
        ({"space": {"optim.lr": SPACE["optim.lr"], "fit.gradient_clip": {"choice": [0.0]}}}, {"lr"}),
        ({"space": {**SPACE, "optim.weight_decay": {"uniform": [0.0, 0.2]}, "optim.warmup": {"uniform": [0.0, 0.2]}}},
         {"lr", "width", "n", "positions", "weight decay", "warmup"}),
    ],
    ids=["conditional", "one parameter", "a constant parameter", "six parameters"],
)  # fmt: skip
def test_every_kind_of_space_is_drawn(tmp_path: Path, changes: dict[str, Any], shown: set[str]) -> None:
    plots = draw_search(load_store(write_search(tmp_path, **changes)))
    assert {name for plot in plots for name in plot.options.get("params", [])} >= shown
    assert all(plot.interactive().data for plot in plots)


def test_a_search_without_a_spec_with_one_completed_trial_or_of_an_older_version_is_drawn_or_left_out(
    confirmed: Report, tmp_path: Path
) -> None:
    few = load_store(write_search(tmp_path, count=1))
    assert draw_search(few) == [] and build_report(few).answer
    assert draw_search(load(ROOT / "tests/fixtures/stores_e399d62/measure")) == []
    old = draw_search(load(ROOT / "tests/fixtures/stores_e399d62/search"))
    assert old[0].name == "search_history"


# -- the confirm stage ---------------------------------------------------------------------------------------------


def test_the_answer_of_a_search_explains_no_cells(confirmed: Report) -> None:
    assert any("95 % CI" in sentence.text for sentence in confirmed.answer)
    assert not any(term.startswith("cell") for term in confirmed.terms)


def test_confirmed_settings_have_means_over_fresh_seeds_with_intervals_and_what_selected_them(confirmed: Report) -> None:
    tables = confirmed.tables
    repeats = tables.completed[tables.completed["stage"] == "confirm"]
    best, other = confirm_settings(tables)
    own = repeats[(repeats[tables.varied] == list(best.settings)).all(axis=1)]
    assert best.seeds == 3 and best.mean == pytest.approx(own["test/exact_accuracy"].mean())
    assert best.low < best.mean < best.high and best.repeated <= other.repeated
    assert best.selected["seed"] == 0 and best.selected_by == tables.searched["val/nll"].min()
    sentence = confirmed.answer[1].text
    assert sentence.startswith("Confirmed over 3 fresh seeds: width 48, n 4, ") and "(the best of 2 by its mean)" in sentence
    assert f"accuracy {best.mean:.3f} on test (95 % CI {best.low:.3f} to {best.high:.3f})" in sentence
    assert f"was {best.selected_by:.4g} in the trial by which the search selected it" in sentence
    table = next(section for section in sections_of(confirmed) if section.name == "search").tables[0].rows
    assert list(table["selected by val/nll"]) == [f"{one.selected_by:.4g}" for one in (best, other)]


def test_a_repeat_of_the_confirm_stage_is_never_the_best_trial_of_the_search(confirmed: Report) -> None:
    assert set(confirmed.tables.searched["seed"]) == {0} and "Best trial by smallest val/nll" in confirmed.answer[0].text


# -- what to run next ----------------------------------------------------------------------------------------------


def test_a_search_suggests_three_sizes_and_recursions_around_the_best_setting_with_seeds_that_selected_nothing(
    confirmed: Report,
) -> None:
    assert confirmed.following is not None
    assert confirmed.following.reason.startswith("What do other values of width and n bring around the best setting of the search?")
    spec = parse_yaml(confirmed.following.spec, "next")
    assert spec["measure"] == {
        "vary": {"model.hidden_size": [24, 48, 96], "model.l_cycles": [2, 4, 8]}, "seeds": 3, "first_seed": 4, "matching": "steps",
    }  # fmt: skip
    best = confirmed.confirmed[0].selected
    assert spec["trial"]["optim"]["lr"] == best["optim.lr"] and spec["trial"]["model"]["positions"] == best["model.positions"]
    assert confirmed.following.cost.startswith("It adds 27 trials: about ") and is_valid(confirmed.following.spec)
    design = parse_stored_spec(confirmed.following.spec, "next", {}).design
    settings = [name for name in SPACE if name not in spec["measure"]["vary"]]
    assert {tuple(trial.flat()[name] for name in settings) for trial in design} == {tuple(best[name] for name in settings)}


def test_the_question_after_a_search_of_models_of_one_pass_names_their_size_alone(tmp_path: Path) -> None:
    space = {"model.kind": {"choice": ["direct"]}, "model.num_layers": {"int": [1, 3]}}
    trial = {"model": {"kind": "direct", "head_size": 8, "hidden_size": 16}}
    following = build_report(load_store(write_search(tmp_path, space=space, count=6, trial=trial))).following
    assert following is not None and following.reason.startswith("What do other values of layers bring around the best setting")


@pytest.mark.parametrize(
    ("space", "vary"),
    [
        ({"model.supervision_steps": {"int": [16, 16]}, "optim.lr": SPACE["optim.lr"]},
         {"model.hidden_size": [64, 128, 256], "model.supervision_steps": [8, 16, 32]}),
        ({"model.hidden_size": {"choice": [8]}, "model.l_cycles": {"choice": [1]}, "model.h_cycles": {"int": [1, 3]}},
         {"model.hidden_size": [8, 16, 32]}),
        ({"model.kind": {"choice": ["direct"]}, "model.num_layers": {"int": [1, 3]}}, {}),
    ],
    ids=["deeper curves", "no half", "one pass"],
)  # fmt: skip
def test_the_suggestion_is_valid_at_the_ends_of_what_a_model_allows(
    tmp_path: Path, space: dict[str, Any], vary: dict[str, list[int]]
) -> None:
    trial = {"model": {"kind": "direct", "head_size": 8, "hidden_size": 16}} if "model.kind" in space else {}
    tables = load_store(write_search(tmp_path, space=space, count=6, trial=trial))
    text = measure_around(tables, tables.searched.iloc[0])
    assert text is not None and is_valid(text)
    varied = parse_yaml(text, "next")["measure"]["vary"]
    assert {path: varied[path] for path in vary} == vary and all(len(levels) == 3 for levels in varied.values())


# -- the page ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(confirmed: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(confirmed, tmp_path_factory.mktemp("report"), "found", ["rrm-analyze found"])


def test_each_plot_is_a_picture_too_and_the_page_has_the_whole_script_in_at_most_6_mb(written: Path, confirmed: Report) -> None:
    files = {path.name for path in written.parent.iterdir()}
    assert {f"{plot.name}.{kind}" for plot in confirmed.search_plots for kind in ("png", "svg")} <= files
    assert 4e6 < written.stat().st_size < 6e6


@needs_browser
@pytest.mark.parametrize("size", [{"width": 1366, "height": 900}, PHONE], ids=["desktop", "phone"])
def test_a_browser_draws_all_plots_without_an_error_and_no_text_lies_over_another(
    written: Path, confirmed: Report, size: dict[str, int]
) -> None:
    errors: list[str] = []
    with browser_context(offline=True) as context:
        page = context.new_page()
        page.set_viewport_size(size)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(written.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        page.wait_for_timeout(1500)
        drawn = page.locator(".js-plotly-plot .main-svg:first-child").count()
        page.add_script_tag(path=str(AXE))
        findings = [one["id"] for one in page.evaluate("axe.run()")["violations"] if one["impact"] in ("serious", "critical")]
        overlaps, fits = page.evaluate(OVERLAPS), page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert findings == []
    assert errors == [] and drawn == len(confirmed.drawn) and overlaps == [] and fits
