"""The data term: constants come back, designs that cannot tell are refused with one that can, and overfitting is flagged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.tables import Tables, split_bins
from analysis.figures.scaling import accuracy_by_data
from analysis.laws.data_term import DataTerm
from analysis.laws.fit import Fit
from analysis.laws.fit_all import fit_laws
from analysis.laws.headline import find_headlines
from analysis.laws.presentation import describe_fits, draw_laws
from analysis.laws.recurrence import Recurrence
from benchmarks.coverage import data_term
from sweeps.spec.load_spec import load_spec

DATA = "task.train_examples"


def drawn(keep: object = None, curves: pd.DataFrame | None = None, **columns: object) -> Tables:
    """Runs of the law as a sweep of this project would have them; `keep` chooses rows."""
    trials = data_term(np.random.default_rng(3)).tables.trials
    trials = trials.assign(**{
        "task.kind": "sudoku", "task.size": 4, "model.kind": "trm", "model.head_size": 8, "model.halting": "fixed",
        "fit.budget.unit": "steps", "fit.budget.amount": 100.0, "matching": "steps", "eval.max_depth": 16,
        "model.num_layers": 1, **columns,
    })  # fmt: skip
    trials = trials[keep(trials)] if callable(keep) else trials
    return Tables(trials, pd.DataFrame(columns=split_bins(pd.DataFrame()).columns) if curves is None else curves)


def fits_of(tables: Tables) -> dict[str | None, Fit]:
    return {fit.form: fit for fit in fit_laws(tables, laws=[DataTerm()])}


def validation_nll(trials: pd.DataFrame, last: float) -> pd.DataFrame:
    """Curves of three validations: the lowest NLL is that of the second one, and `last` times it comes behind."""
    points = [
        {"fingerprint": name, "metric": "val_curve/nll", "axis": "step", "at": step, "value": factor * (1 - accuracy)}
        for name, accuracy in zip(trials["fingerprint"], trials["test/exact_accuracy"], strict=True)
        for step, factor in ((10, 1.5), (20, 1.0), (30, last))
    ]
    return split_bins(pd.DataFrame(points))


def test_the_error_and_the_lowest_validation_nll_have_a_fit_each() -> None:
    tables = drawn()
    fits = fits_of(Tables(tables.trials, validation_nll(tables.trials, last=1.02)))
    assert set(fits) == {"error", "nll"} and not any("overfitted" in fit.flags for fit in fits.values())
    for fit in fits.values():
        beta, worth = fit.estimates["beta"], fit.estimates["data_exchange_rate"]
        assert beta.low < 0.5 < beta.high and worth.low > 1
        assert fit.fitted_range["train_puzzles"] == [125.0, 2000.0]
    assert fits["nll"].estimates["beta"].estimate == pytest.approx(fits["error"].estimates["beta"].estimate, rel=1e-3)


def test_what_a_report_says_and_draws_names_these_puzzles() -> None:
    fit = fits_of(drawn())["error"]
    (sentence,) = describe_fits([fit])
    assert "twice the puzzles lower the error as much as" in str(sentence)
    assert "for these puzzles, which the seeds of a cell share" in str(sentence)
    leading, _ = draw_laws([fit])
    (lines, misfit) = leading
    assert lines.x_label == "puzzles in training, with their augmented copies"
    assert {x for series in lines.series for x in series.x} == {125, 250, 500, 1000, 2000}
    assert sentence.figure == lines.name and misfit.name == "misfit_error"


def test_a_validation_nll_that_turned_up_in_a_cell_is_flagged() -> None:
    tables = drawn()
    few = tables.trials[tables.trials[DATA] == 125]
    curves = pd.concat([validation_nll(few, last=1.3), validation_nll(tables.trials.drop(few.index), last=1.0)])
    fits = fits_of(Tables(tables.trials, curves))
    assert all("overfitted" in fit.flags for fit in fits.values())
    assert "validation NLL turned up" in str(describe_fits([fits["error"]])[0])


def test_one_seed_that_turned_up_is_noise() -> None:
    tables = drawn()
    one = tables.trials.head(1)
    curves = pd.concat([validation_nll(one, last=1.3), validation_nll(tables.trials.drop(one.index), last=1.0)])
    assert not any("overfitted" in fit.flags for fit in fits_of(Tables(tables.trials, curves)).values())


def have(name: str, *values: int):  # type: ignore[no-untyped-def]
    return lambda trials: trials[name].isin(values)


def on_the_diagonal(trials: pd.DataFrame) -> pd.Series:
    """Each number of puzzles has three widths and three n, which rise together."""
    ranks = trials["model.hidden_size"].map({16: 0, 24: 1, 32: 2, 48: 3}), trials["model.l_cycles"].map({1: 0, 3: 1, 7: 2})
    return ranks[0] == ranks[1]


def sparse(trials: pd.DataFrame) -> pd.Series:
    """All puzzles at one width; two widths at the other numbers of puzzles."""
    return (trials[DATA] == 500) | trials["model.hidden_size"].isin([16, 48])


REFUSED = {
    "three numbers of puzzles": (have(DATA, 125, 500, 2000), "too_few_scales"),
    "two widths": (have("model.hidden_size", 16, 48), "too_few_scales"),
    "two values of n": (have("model.l_cycles", 1, 7), "too_few_scales"),
    "not crossed": (sparse, "too_few_scales"),
    "one seed": (have("seed", 0), "too_few_seeds"),
    "size rises with recursion": (on_the_diagonal, "too_few_scales"),
}


@pytest.mark.parametrize("design", REFUSED)
def test_a_design_that_cannot_tell_is_refused_and_a_larger_one_is_suggested(design: str, tmp_path: Path) -> None:
    keep, reason = REFUSED[design]
    fit = fits_of(drawn(keep))["error"]
    assert fit.reason == reason and not fit.estimates
    (sentence,) = describe_fits([fit])
    assert str(sentence).startswith("On sudoku (trm), what more training puzzles bring has no law: ")
    assert fit.suggestion
    (tmp_path / "more.yaml").write_text(fit.suggestion)
    trials = load_spec(tmp_path / "more.yaml").design
    assert len({trial.flat()[DATA] for trial in trials}) >= 4 and len({trial.seed for trial in trials}) >= 2
    assert len({trial.model.hidden_size for trial in trials}) >= 3
    assert len({trial.model.l_cycles for trial in trials}) >= 3  # type: ignore[attr-defined]


def test_a_table_in_which_data_does_not_vary_has_no_data_term() -> None:
    assert fits_of(drawn(have(DATA, 500))) == {}


def test_other_laws_are_fitted_at_each_number_of_puzzles_under_names_of_their_own() -> None:
    tables = drawn(have(DATA, 125, 250))
    tables.trials["test/nll"] = 1 - tables.trials["test/exact_accuracy"]
    fits = [fit for fit in fit_laws(tables, laws=[Recurrence()]) if fit.form == "one_exponent"]
    assert [fit.group[DATA] for fit in fits] == [125, 250] and len({fit.suffix for fit in fits}) == 2


def test_the_report_begins_with_the_data_term_and_its_groups_rise_with_the_number_of_puzzles() -> None:
    tables = drawn(have("model.l_cycles", 1, 3, 7))
    tables.trials["test/nll"] = 1 - tables.trials["test/exact_accuracy"]
    fits = fit_laws(tables, laws=[Recurrence(), DataTerm()])
    first, second, *others = map(str, describe_fits(fits, find_headlines(fits)))
    assert "twice the puzzles" in first and second.startswith("On sudoku (trm, train examples 125), one doubling")
    assert others[0].startswith("On sudoku (trm, train examples 250), one doubling")


def l_shaped(trials: pd.DataFrame) -> pd.Series:
    """Three widths at one n, and three n at one width."""
    return (trials["model.hidden_size"] == 24) | (trials["model.l_cycles"] == 3)


def test_sizes_and_recursions_must_be_crossed_at_each_number_of_puzzles() -> None:
    assert fits_of(drawn(l_shaped))["error"].reason == "too_few_scales"


def test_numbers_that_follow_from_augmentations_do_not_split_an_arc_sweep() -> None:
    trials = drawn().trials.rename(columns={DATA: "task.augmentations"})
    trials = trials.assign(**{"task.kind": "arc", "task.views": 1 + trials["task.augmentations"]})
    fit = fits_of(Tables(trials, drawn().curves))["error"]
    assert fit.is_fitted and fit.fitted_range["train_puzzles"] == [126.0, 2001.0]
    assert "twice the augmented copies lower the error" in str(describe_fits([fit])[0])
    figure = accuracy_by_data(Tables(trials, drawn().curves))
    assert figure is not None and len(figure.series) == 12 and all(len(line.x) == 5 for line in figure.series)


def test_a_trial_without_a_number_of_puzzles_is_left_out_beside_others() -> None:
    whole = drawn().trials.assign(fingerprint=lambda trials: trials["fingerprint"] + "x", **{DATA: float("nan")})
    tables = Tables(pd.concat([drawn().trials, whole], ignore_index=True), drawn().curves)
    fit = fits_of(tables)["error"]
    assert fit.is_fitted and fit.trials == len(drawn().trials)


def test_data_that_brings_nothing_or_harm_is_not_said_to_help() -> None:
    trials, rng = drawn().trials, np.random.default_rng(0)
    error = 0.3 * (trials["params_recursed"] / 5000) ** -0.3 * np.exp(0.03 * rng.standard_normal(len(trials)))
    for power, text in ((0.0, "does not clearly change with"), (0.02, "more puzzles do not lower the error: log changes by")):
        tables = Tables(trials.assign(**{"test/exact_accuracy": 1 - error * (trials[DATA] / 500) ** power}), drawn().curves)
        fit = fits_of(tables)["error"]
        assert text in str(describe_fits([fit])[0]) and "beta" not in fit.estimates


def test_bins_of_difficulty_are_no_validation_curve() -> None:
    tables = drawn()
    bins = validation_nll(tables.trials, last=3.0).assign(difficulty=1.0, binned_by="k")
    curves = pd.concat([validation_nll(tables.trials, last=1.0), bins])
    assert not any("overfitted" in fit.flags for fit in fits_of(Tables(tables.trials, curves)).values())


def test_a_law_that_does_not_fit_gets_a_larger_design_and_one_that_cannot_be_fitted_gets_none() -> None:
    tables = drawn()
    uneven = np.exp(np.sin(tables.trials[DATA] * tables.trials["params_recursed"]))
    fit = fits_of(Tables(tables.trials.assign(**{"test/exact_accuracy": 1 - 0.1 * uneven}), tables.curves))["error"]
    assert fit.reason == "lack_of_fit" and fit.suggestion is not None and "4000" in fit.suggestion
    accuracy = tables.trials["test/exact_accuracy"]
    perfect = tables.trials.assign(**{"test/exact_accuracy": accuracy.where(accuracy.index > 0, 1)})
    fit = fits_of(Tables(perfect, tables.curves))["error"]
    assert fit.reason == "not_positive" and fit.suggestion is None
    assert "a trial makes no error on test" in str(describe_fits([fit])[0])
