"""Terms of an answer are explained where they occur, and nowhere else."""

import pandas as pd
import pytest

from analysis.laws.sentence import Sentence
from analysis.report.terms import NLL, R_OF_SETTINGS, RECURSED, R, explain_terms
from sweeps.design.axes import CYCLES, LATENT_UPDATES, SUPERVISION_STEPS

OURS = pd.DataFrame(columns=[CYCLES, LATENT_UPDATES, SUPERVISION_STEPS])
CELL = "cell: one combination of settings, run with {}; 95 % CI of effects and rates are over seeds"
SEEDS = pd.DataFrame({"seeds": [3, 3]})


def explained(text: str, completed: pd.DataFrame = OURS, cells: pd.DataFrame = SEEDS) -> list[str]:
    return explain_terms([Sentence(text)], completed, cells)


def test_r_is_explained_by_the_settings_that_it_follows_from() -> None:
    worth = "One doubling is worth 2.00 (95 % CI 1.50 to 2.50) times the recursed parameters over R 2 to 6; n 1 to 5 raises it."
    assert explained(worth) == [R_OF_SETTINGS, RECURSED, CELL.format("3 seeds")]


def test_a_table_without_these_settings_has_r_alone() -> None:
    assert explained("over R 2 to 6", pd.DataFrame(columns=["recursion"])) == [R]


@pytest.mark.parametrize(
    ("text", "term"), [("T 1 to 2 lowers it", "T: "), ("n 1 to 2 lowers it", "n: "), ("N_sup 1 to 4 raises it", "N_sup: ")]
)
def test_an_axis_is_explained_alone_where_r_does_not_occur(text: str, term: str) -> None:
    (one,) = explained(text)
    assert one.startswith(term)


def test_a_letter_within_a_word_is_no_term() -> None:
    assert explained("Recursion on Titan at N_suppose, width 16 to 48") == []


def test_nll_and_unequal_seeds_are_explained() -> None:
    cells = pd.DataFrame({"seeds": [2, 3]})
    assert explained("test NLL falls (95 % CI 0 to 1)", cells=cells) == [NLL, CELL.format("2 to 3 seeds")]


def test_intervals_without_cells_have_no_count_of_seeds() -> None:
    assert explained("(95 % CI 0 to 1)", cells=pd.DataFrame()) == []
