"""The headline: what is printed about recursion, by the rule of docs/laws.md."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.tables import Tables
from analysis.laws.compute_optimal import ComputeOptimal
from analysis.laws.fit import Fit
from analysis.laws.fit_all import fit_laws
from analysis.laws.headline import Headline, find_headlines
from analysis.laws.recurrence import Recurrence
from analysis.report.build import build_report
from benchmarks.coverage import ALONE, FULL, AxesDesign
from sweeps.design.axes import CYCLES, LATENT_UPDATES, SUPERVISION_STEPS, WIDTH
from sweeps.design.reasons import Reason

FREE_STEPS = {"inference_flops": ("params_recursed", "recursion"), "train_flops": ("params_recursed", LATENT_UPDATES)}
PAID_STEPS = {"inference_flops": ("params_recursed", "recursion"), "train_flops": ("params_recursed", "recursion")}


def draw(design: AxesDesign, costs: dict[str, tuple[str, str]] | None = None, **columns: Any) -> Tables:
    tables, _ = design.draw(np.random.default_rng(1))
    for name, (size, recursion) in (costs or {}).items():
        tables.trials[name] = 6.0 * tables.trials[size] * (tables.trials[recursion] + (recursion == LATENT_UPDATES))
    return Tables(tables.trials.assign(**columns), tables.curves)


def fits_of(tables: Tables) -> list[Fit]:
    return fit_laws(tables, laws=[Recurrence(), ComputeOptimal()])


def headline(tables: Tables, order: tuple[str, ...] = ()) -> Headline:
    (one,) = find_headlines(fits_of(tables), order)
    return one


def test_one_varied_axis_is_called_recursion_with_its_worth_and_the_better_buy() -> None:
    one = headline(draw(AxesDesign({LATENT_UPDATES: 0.15}, ALONE), PAID_STEPS))
    assert one.text.startswith("One doubling of recursion is worth 1.") and set(one.rates) == {"recursion"}
    assert "(95 % CI 1." in one.text and "over R 2 to 9 and 3,072 to 27,648 recursed parameters." in one.text
    question = "Wider, or more recursion? At equal training FLOPs and at equal FLOPs of an answer, wider is better than"
    traded = "a doubling of recursion, paid for with fewer parameters, changes test NLL by +"
    assert one.equal_cost.startswith(f"{question} more recursion: {traded}") and "95 % CI" in one.equal_cost
    assert one.equal_cost.endswith("; break-even is a doubling worth 2 times the recursed parameters.") and not one.is_cost_open
    assert [sentence.text for sentence in one.sentences] == [one.text, one.equal_cost]


def test_a_curved_axis_also_has_its_rates_at_both_ends() -> None:
    one = headline(draw(AxesDesign({LATENT_UPDATES: 0.3}, ALONE, bend=0.15, noises=(0.03,))))
    assert "from about" in one.text and " at R 2 to about " in one.text and " at R 9" in one.text
    first, last = (float(one.text.split(words)[1].split(" ")[0]) for words in ("from about ", " to about "))
    assert first > one.rates["recursion"].estimate > last and bool(one.ended) == (last <= 1)


def test_a_curved_axis_ends_where_its_last_rate_is_at_most_one() -> None:
    design = AxesDesign({LATENT_UPDATES: 0.1, SUPERVISION_STEPS: 0.4}, bend=0.1, noises=(0.01,))
    one = headline(draw(design))
    assert set(one.ended) == {"l_cycles_plus_1"} and set(one.rates) == {"l_cycles_plus_1", "supervision_steps"}


def test_axes_that_differ_have_their_own_rates_in_the_order_of_the_spec() -> None:
    tables = draw(AxesDesign({LATENT_UPDATES: 0.2, SUPERVISION_STEPS: -0.15}), FREE_STEPS)
    one = headline(tables, (WIDTH, SUPERVISION_STEPS, LATENT_UPDATES))
    assert list(one.rates) == ["supervision_steps", "l_cycles_plus_1"] and "doubling of recursion" not in one.text
    assert one.text.index("along N_sup") < one.text.index("along n + 1")
    assert "recursion as a whole has no rate" in one.text and "a factor below 1 means harm" in one.text
    assert list(headline(tables).rates) == ["l_cycles_plus_1", "supervision_steps"]
    assert one.equal_cost.index("doubling of N_sup, paid for") < one.equal_cost.index("doubling of n + 1, paid for")


def test_the_order_of_a_report_is_that_of_the_stored_spec() -> None:
    tables = draw(AxesDesign({LATENT_UPDATES: 0.2, SUPERVISION_STEPS: -0.15}))
    spec = {"measure": {"vary": [{WIDTH: [16]}, {SUPERVISION_STEPS: [1, 2], LATENT_UPDATES: [1]}]}}
    report = build_report(Tables(tables.trials, tables.curves, specs=(spec,)), fits_of(tables))
    (one,) = report.headlines
    assert list(one.rates) == ["supervision_steps", "l_cycles_plus_1"] and report.answer[0].text == one.text


def test_a_budget_belongs_to_the_answer_only_where_it_was_asked_for() -> None:
    tables = draw(AxesDesign({LATENT_UPDATES: 0.15}, ALONE), PAID_STEPS)
    usual = build_report(tables, fits_of(tables))
    assert any(sentence.is_detail for sentence in usual.findings) and not any(sentence.is_detail for sentence in usual.answer)
    asked = build_report(tables, fit_laws(tables, {"inference_flops": [1e5]}, laws=[Recurrence(), ComputeOptimal()]))
    assert any(sentence.text.startswith("At 1e+05 FLOPs an answer") for sentence in asked.answer)


def test_axes_that_may_be_alike_are_recursion_and_each_is_compared_where_flops_do_not_follow_from_r() -> None:
    one = headline(draw(AxesDesign({LATENT_UPDATES: 0.15, SUPERVISION_STEPS: 0.15}), FREE_STEPS))
    assert one.text.startswith("One doubling of recursion is worth") and set(one.rates) == {"recursion"}
    training, answer = one.equal_cost.split(" At equal FLOPs of an answer, ")
    assert "At equal training FLOPs" in training and "more N_sup is better than wider: a doubling of N_sup" in training
    assert answer.startswith(
        "wider is better than more recursion: a doubling of recursion, paid for with fewer parameters, changes test NLL by +"
    )


def test_nothing_is_preferred_where_neither_is_clearly_better() -> None:
    one = headline(draw(AxesDesign({LATENT_UPDATES: 0.3}, ALONE), PAID_STEPS))
    assert "neither wider nor more recursion is clearly better" in one.equal_cost and one.is_cost_open


def test_flops_that_do_not_follow_from_size_and_recursion_give_no_answer() -> None:
    tables = draw(AxesDesign({LATENT_UPDATES: 0.15}, ALONE))
    noise = np.exp(np.random.default_rng(0).standard_normal(len(tables.trials)))
    one = headline(Tables(tables.trials.assign(train_flops=1e6 * noise), tables.curves))
    assert "At equal training FLOPs, it is not known which is better" in one.equal_cost


def test_axes_that_rise_together_say_nothing_about_recursion() -> None:
    tables = draw(
        AxesDesign({CYCLES: 0.2, LATENT_UPDATES: 0.1}, {WIDTH: FULL[WIDTH], CYCLES: (1, 2, 4), LATENT_UPDATES: (1, 3, 7)})
    )
    together = tables.trials[LATENT_UPDATES] == 2 * tables.trials[CYCLES] - 1
    one = headline(Tables(tables.trials[together], tables.curves))
    assert one.reason == Reason.CONFOUNDED and not one.rates and not one.equal_cost
    assert "rise together" in one.text and "cells in which one axis differs" in one.text


def test_an_axis_without_a_rate_is_named_and_keeps_r_from_being_said() -> None:
    tables = draw(AxesDesign({LATENT_UPDATES: 0.15, SUPERVISION_STEPS: 0.15}))
    at_one = (tables.trials[SUPERVISION_STEPS] == 1) | (tables.trials[WIDTH] == 24)
    one = headline(Tables(tables.trials[at_one], tables.curves))
    assert set(one.rates) == {"l_cycles_plus_1"} and "the rate along N_sup is not known: it varies in too few cells" in one.text


def test_two_values_of_the_only_axis_are_called_two_values() -> None:
    one = headline(draw(AxesDesign({LATENT_UPDATES: 0.15}, {**ALONE, LATENT_UPDATES: (1, 3)})))
    assert "along recursion" in one.text and "(two values of R)" in one.text and set(one.rates) == {"recursion"}


@pytest.mark.parametrize("size_slope", [0.0, -0.3])
def test_recursion_has_no_price_where_more_parameters_do_not_help(size_slope: float) -> None:
    tables = draw(AxesDesign({LATENT_UPDATES: 0.15}, ALONE))
    loss = tables.trials["test/nll"] * tables.trials["params_recursed"] ** (0.3 - size_slope)
    one = headline(Tables(tables.trials.assign(**{"test/nll": loss}), tables.curves))
    assert (
        "what a doubling of recursion is worth cannot be stated in parameters" in one.text
        and not one.rates
        and "each doubling changes test NLL by -" in one.text
    )


def test_groups_of_trials_have_a_headline_each_and_refusals_of_one_reason_share_one() -> None:
    known = draw(AxesDesign({LATENT_UPDATES: 0.15}, ALONE)).trials.assign(**{"task.kind": "maze"})
    small = known[known[WIDTH] < 32]
    others = [small.assign(**{"task.kind": kind, "fingerprint": small["fingerprint"] + kind}) for kind in ("sudoku", "sort")]
    tables = draw(AxesDesign({LATENT_UPDATES: 0.15}, ALONE))
    first, second = find_headlines(fits_of(Tables(pd.concat([known, *others], ignore_index=True), tables.curves)))
    assert first.text.startswith("On maze, one doubling of recursion") and first.reason is None
    assert second.reason == Reason.TOO_FEW_SCALES and "On sort; sudoku, the recurrence law is not fitted" in second.text


def test_interactions_are_said_to_make_the_rate_an_average() -> None:
    tables = draw(AxesDesign({LATENT_UPDATES: 0.15, SUPERVISION_STEPS: -0.15}, noises=(0.03,)))
    trials = tables.trials
    product = np.log(trials[SUPERVISION_STEPS]) * np.log(trials["params_recursed"] / trials["params_recursed"].mean())
    one = headline(Tables(trials.assign(**{"test/nll": trials["test/nll"] * np.exp(0.03 * product)}), tables.curves))
    assert "each rate is an average: it changes with size and the other axes (p " in one.text
