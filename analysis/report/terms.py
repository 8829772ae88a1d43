"""What the terms of an answer mean, for a reader who does not know them."""

import re
from collections.abc import Sequence

import pandas as pd

from analysis.laws.sentence import Sentence
from sweeps.design.axes import CYCLES, LATENT_UPDATES, SUPERVISION_STEPS
from sweeps.design.short_names import axis_name, count_of

R = "R: how often the recursed parameters are applied for one answer"
R_OF_SETTINGS = (
    "R = T (n + 1) N_sup: how often the recursed parameters are applied for one answer "
    "(T cycles of n latent updates and one update of the answer, in each of N_sup supervision steps)"
)
AXES = {
    CYCLES: "T: cycles a supervision step",
    LATENT_UPDATES: "n: latent updates a cycle",
    SUPERVISION_STEPS: "N_sup: supervision steps",
}
RECURSED = "recursed parameters: those that recursion applies R times; others, such as embeddings, are applied once"
NLL = "test NLL: negative log-likelihood of the right answers on test; less is better"
ACCURACY = "exact accuracy: share of items whose answer is right as a whole"


def explain_terms(sentences: Sequence[Sentence], completed: pd.DataFrame, cells: pd.DataFrame) -> list[str]:
    """An explanation of each term that occurs in the sentences, R first.

    Args:
        completed: the trials that the sentences are about.
        cells: one row per cell, with its `seeds`; empty where trials are not compared by cells.
    """
    text = " ".join(map(str, sentences))
    terms = []
    if _has(text, "R"):
        terms.append(R_OF_SETTINGS if set(AXES) <= set(completed) else R)
    if terms != [R_OF_SETTINGS]:
        terms += [meaning for axis, meaning in AXES.items() if _has(text, axis_name(axis))]
    terms += [RECURSED] if _has(text, "recursed parameters") else []
    terms += [NLL] if _has(text, "test NLL") else []
    terms += [ACCURACY] if _has(text, "exact accuracy") else []
    if _has(text, "95 % CI") and "seeds" in cells:
        fewest, most = int(cells["seeds"].min()), int(cells["seeds"].max())
        seeds = count_of(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
        terms.append(f"cell: one combination of settings, run with {seeds}; 95 % CI of effects and rates are over seeds")
    return terms


def _has(text: str, term: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(term)}(?!\w)", text) is not None
