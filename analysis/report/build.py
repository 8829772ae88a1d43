"""The content of a report: sentences that answer first, then the tables and figures that support them."""

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from analysis.data.progress import describe_unfinished
from analysis.data.published import published_beside
from analysis.data.tables import Tables
from analysis.figures import draw_all
from analysis.figures.data import ACCURACY, FigureData
from analysis.figures.fronts import fronts_of_sweeps
from analysis.figures.statistics import agreement_figure, effects_figure, importance_figure
from analysis.figures.thinking import Thought, find_thought
from analysis.laws.fit import Fit
from analysis.laws.fit_all import fit_laws, laws_of
from analysis.laws.headline import Headline, find_headlines
from analysis.laws.presentation import draw_laws, state_first, state_further
from analysis.laws.sentence import Sentence
from analysis.report.next_sweep import NextSweep, plan_next_sweep
from analysis.report.sentences import (
    describe_agreements,
    describe_confirmed,
    describe_differences,
    describe_effects,
    describe_search,
    describe_unknown_words,
    describe_word_effects,
    warn,
)
from analysis.report.terms import explain_terms
from analysis.statistics.cells import summarise_cells, summarise_outcomes
from analysis.statistics.confirmation import Confirmed, confirm_settings
from analysis.statistics.effects import (
    Difference,
    Effect,
    Interaction,
    adjust,
    cell_differences,
    is_categorical,
    measure_effects,
    measure_interactions,
)
from analysis.statistics.importance import Importance, anova_shares, ped_anova
from analysis.statistics.records import find_records
from analysis.statistics.task_agreement import Agreement, task_agreements
from lightning_modules.outcome import Outcome
from sweeps.design.axes import TASK

if TYPE_CHECKING:
    from analysis.figures.optuna_plots import OptunaPlot

MAX_ANSWERS = 5  # sentences at the head of a report
MAX_CELLS_COMPARED = 6  # a table with more cells has no differences between pairs of cells


@dataclass(frozen=True)
class Report:
    """All results of an analysis."""

    tables: Tables
    effects: list[Effect]
    interactions: list[Interaction]  # interactions of categorical settings with the other settings
    cells: pd.DataFrame  # one row per cell: settings, params, layers, seeds, mean, low, high
    outcomes: pd.DataFrame  # one row per cell, failed trials included; columns of `summarise_outcomes`
    differences: list[Difference]  # one per pair of cells; empty with more than `MAX_CELLS_COMPARED` cells
    fits: list[Fit]
    importances: list[Importance]
    agreements: list[Agreement]  # one per pair of tasks
    published: pd.DataFrame
    figures: list[FigureData] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # one sentence per figure without data, with the data that it needs
    records: pd.DataFrame = field(default_factory=pd.DataFrame)  # of several sweeps, what `find_records` gives
    confirmed: list[Confirmed] = field(default_factory=list)  # what the confirm stage of a search repeated, the best first
    search_plots: "list[OptunaPlot]" = field(default_factory=list)  # empty for a search whose spec is not known

    @property
    def drawn(self) -> "list[FigureData | OptunaPlot]":
        """All figures, those of Optuna first."""
        return [*self.search_plots, *self.figures]

    @cached_property
    def findings(self) -> list[Sentence]:
        """All sentences: effects of categorical settings, effects of axes and laws, then limits of these claims."""
        if self.tables.kind == "search":
            return [*describe_search(self.tables), *describe_confirmed(self.confirmed, self.tables.varied)]
        has_effects = bool(self._word_effects or self._axis_effects)
        unknown = self._unknown_words if has_effects else []
        claims = [*self._word_effects, *describe_unknown_words(unknown), *self._axis_effects]
        # One effect summarises many pairs of cells. Pairs are listed only if settings change together.
        if unknown or not has_effects:
            claims += describe_differences(self.differences, self.tables.varied)
        first, further = state_first(self.fits, self.headlines), state_further(self.fits, self.headlines)
        if not claims and not first and not further:
            claims = [self._nothing_claimed]
        # Headlines with a rate stand before the effects, any other after them.
        ordered = [*first, *claims] if self._has_headline else [*claims, *first]
        return [*ordered, *further, *describe_agreements(self.agreements), *self._limits]

    @cached_property
    def answer(self) -> list[Sentence]:
        """What is missing, the first findings, and the first limit of the claims as the last sentence."""
        limits, missing = self._limits[:1], self.missing
        claims = [sentence for sentence in self.findings if sentence not in self._limits and not sentence.is_detail]
        return [*missing, *claims[: MAX_ANSWERS - len(limits) - len(missing)], *limits]

    @property
    def terms(self) -> list[str]:
        """An explanation of each term of the answer that a reader may not know."""
        has_cells = self.tables.kind != "search"
        return explain_terms(self.answer, self.tables.completed, self.cells if has_cells else pd.DataFrame())

    @property
    def missing(self) -> list[Sentence]:
        """A sentence on the trials that unfinished sweeps lack; none where all have ended."""
        text = describe_unfinished(self.tables.unfinished, self.tables.trials["sweep"].nunique())
        return [Sentence(text)] if text else []

    @cached_property
    def thought(self) -> Thought | None:
        """The answers of one trial of the best cell by depth; None where no file of them is known."""
        return find_thought(self.tables)

    @cached_property
    def following(self) -> NextSweep | None:
        """What to run next; None for a table without the spec of its sweep."""
        accuracies = self.cells["mean"].tolist() if len(self.cells) else []
        return plan_next_sweep(self.tables, self.fits, self.headlines, self.confirmed, accuracies)

    @cached_property
    def _word_effects(self) -> list[Sentence]:
        return describe_word_effects(self.effects, self.interactions, self._matching)

    @cached_property
    def _axis_effects(self) -> list[Sentence]:
        return describe_effects(self.effects, self._matching)

    @cached_property
    def _limits(self) -> list[Sentence]:
        return warn(self.tables, self.cells) if self.tables.kind != "search" else []

    @property
    def _has_headline(self) -> bool:
        return any(headline.rates for headline in self.headlines)

    @property
    def _nothing_claimed(self) -> Sentence:
        # A note on the table names the option, so that this sentence does not repeat it.
        renamed = " Some columns resemble those of this project under other names: a note has the option that reads them."
        reason = (
            "no axis was varied with at least two seeds per cell" if _has_scores(self.tables) else f"the table has no {ACCURACY}"
        )
        return Sentence(f"No effect is claimed: {reason}.{renamed if self.tables.lookalikes else ''}")

    @cached_property
    def headlines(self) -> list[Headline]:
        """What a doubling of recursion is worth in each group of trials, with axes in the order in which the specs vary them."""
        blocks = [spec["measure"].get("vary", {}) for spec in self.tables.specs if "measure" in spec]
        order = [str(path) for vary in blocks for block in (vary if isinstance(vary, list) else [vary]) for path in block]
        return find_headlines(self.fits, order)

    @property
    def _unknown_words(self) -> list[str]:
        """Varied categorical settings whose effect cannot be measured."""
        completed, measured = self.tables.completed, {effect.axis for effect in self.effects}
        words = [name for name in self.tables.varied if name != TASK and is_categorical(completed[name])]
        return [name for name in words if name not in measured]

    @property
    def _matching(self) -> str:
        completed = self.tables.completed
        return str(completed["matching"].iloc[0]).replace("_", " ") if "matching" in completed else "budget"


def build_report(tables: Tables, fits: list[Fit] | None = None) -> Report:
    """The report on all completed trials.

    Args:
        fits: fitted laws; None fits them here.
    """
    fits = fit_laws(tables) if fits is None else fits
    varied, completed = tables.varied, tables.completed
    keys = [*varied, *(name for name in ("params", "layers_executed") if name in completed)]
    has_accuracy = _has_scores(tables) and bool(keys)
    cells = summarise_cells(completed, keys, ACCURACY) if has_accuracy else pd.DataFrame()
    is_design = tables.kind == "measure" and has_accuracy
    effects = measure_effects(completed, varied, ACCURACY) if is_design else []
    interactions = measure_interactions(completed, varied, ACCURACY) if is_design else []
    few = is_design and bool(varied) and 1 < len(cells) <= MAX_CELLS_COMPARED
    differences = adjust(cell_differences(completed, varied, ACCURACY)) if few else []
    outcomes = _outcomes(tables) if is_design and varied else pd.DataFrame()
    importances = _importances(tables)
    agreements = task_agreements(tables, ACCURACY) if is_design else []
    figures, left_out = draw_all(tables, [(law.shows, law.needs) for law in laws_of(tables) if law.shows])
    laws, laws_of_one_axis = draw_laws(fits)
    further = [effects_figure(effects), importance_figure(importances, _ranking_metric(tables)), agreement_figure(agreements)]
    further.append(fronts_of_sweeps(tables))
    confirmed = confirm_settings(tables)
    return Report(
        tables, effects, interactions, cells, outcomes, differences, fits, importances, agreements, published_beside(tables),
        _distinct([*laws, *(figure for figure in further if figure is not None), *figures, *laws_of_one_axis]), left_out,
        find_records(tables), confirmed, _search_plots(tables),
    )  # fmt: skip


def _has_scores(tables: Tables) -> bool:
    """Whether any completed trial has an exact accuracy on test."""
    return ACCURACY in tables.completed and bool(tables.completed[ACCURACY].notna().any())


def _search_plots(tables: Tables) -> "list[OptunaPlot]":
    if tables.kind != "search":
        return []
    from analysis.figures.optuna_plots import draw_search  # optuna takes a second to import

    return draw_search(tables)


def _distinct(figures: list[FigureData]) -> list[FigureData]:
    """The figures with distinct names: a repeated name gets a number, such as `law_2`."""
    counts: Counter[str] = Counter()
    renamed = []
    for figure in figures:
        counts[figure.name] += 1
        number = counts[figure.name]
        renamed.append(figure if number == 1 else replace(figure, name=f"{figure.name}_{number}"))
    return renamed


def _outcomes(tables: Tables) -> pd.DataFrame:
    """Outcomes by cell. A setting that the model of a trial does not have is filled in, as in `Tables.completed`."""
    scored = tables.completed[tables.completed[ACCURACY].notna()]
    failed = tables.trials[(tables.trials["outcome"] == Outcome.FAILED) & ~tables.trials["outside_spec"]]
    ended = tables.trials.loc[scored.index.union(failed.index)].copy()
    for name in tables.varied:
        numeric = pd.api.types.is_numeric_dtype(tables.completed[name])
        ended[name] = ended[name].fillna(0 if numeric else "").astype(tables.completed[name].dtype)
    return summarise_outcomes(ended, tables.varied, ACCURACY)


def _importances(tables: Tables) -> list[Importance]:
    completed, varied = tables.completed, tables.varied
    if tables.kind == "search":
        return _search_importances(tables)
    response = next((name for name in (ACCURACY, "test/nll") if name in completed), None)
    return anova_shares(completed, varied, response) if response else []


def _search_importances(tables: Tables) -> list[Importance]:
    """Importance of each parameter for the first objective of a search."""
    if tables.objective is None or tables.objective.goals[0].metric not in tables.completed:
        return []
    first = tables.objective.goals[0]
    return ped_anova(tables.searched, tables.varied, first.metric, first.is_maximized)


def _ranking_metric(tables: Tables) -> str | None:
    """The metric by which importance in a search is measured; None for a design."""
    return tables.objective.goals[0].metric if tables.kind == "search" and tables.objective else None
