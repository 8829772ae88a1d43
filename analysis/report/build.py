"""What the analysis says about a sweep: the answer first, then what stands behind it."""

from collections import Counter
from dataclasses import dataclass, field, replace

import pandas as pd

from analysis.data.published import published_beside
from analysis.data.tables import Tables
from analysis.figures import draw_all
from analysis.figures.data import ACCURACY, FigureData
from analysis.figures.statistics import agreement_figure, effects_figure, importance_figure
from analysis.laws.fit import Fit
from analysis.laws.fit_all import find_laws, fit_laws
from analysis.laws.presentation import describe_fits, draw_laws
from analysis.laws.sentence import Sentence
from analysis.report.sentences import (
    describe_agreements,
    describe_differences,
    describe_effects,
    describe_search,
    describe_unknown_words,
    describe_word_effects,
    warn,
)
from analysis.statistics.cells import summarise_cells, summarise_outcomes
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
from analysis.statistics.task_agreement import Agreement, task_agreements
from lightning_modules.outcome import Outcome
from sweeps.design.axes import TASK

MOST_CELLS_COMPARED = 6  # pair by pair


@dataclass(frozen=True)
class Report:
    """What the analysis says about a sweep."""

    tables: Tables
    effects: list[Effect]
    interactions: list[Interaction]  # between settings of words and the other settings
    cells: pd.DataFrame  # one row a cell: settings, params, layers, seeds, mean, low, high
    outcomes: pd.DataFrame  # one row a cell, failed trials counted: see `summarise_outcomes`
    differences: list[Difference]  # between cells, where these are few
    fits: list[Fit]
    importances: list[Importance]
    agreements: list[Agreement]  # between tasks
    published: pd.DataFrame
    figures: list[FigureData] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # figures that the table has no data for, and what would give it

    @property
    def answer(self) -> list[Sentence]:
        """Sentences, each with its interval: settings of words first, then what an axis of depth or a law of it does."""
        if self.tables.kind == "search":
            return describe_search(self.tables)
        laws = describe_fits(self.fits)
        words = describe_word_effects(self.effects, self.interactions, self._matching)
        axes = describe_effects(self.effects, self._matching)
        unknown = self._unknown_words if words or axes else []
        # An effect is one sentence for many pairs of cells; pair by pair is for settings that change together.
        pairwise = unknown or not (words or axes)
        effects = axes + (describe_differences(self.differences, self.tables.varied) if pairwise else [])
        if not words and not effects and not laws:
            # The note on the table has the option, once.
            renamed = (
                " Columns look like ours under other names: a note has the option that reads them."
                if self.tables.lookalikes
                else ""
            )
            effects = [Sentence(f"No axis was varied with at least two seeds a cell: nothing is claimed.{renamed}")]
        # A law that was fitted says more than an effect; a refusal says less.
        fitted = any(fit.fitted_by.is_leading and fit.is_fitted for fit in self.fits)
        said = [*words, *describe_unknown_words(unknown), *(laws + effects if fitted else effects + laws)]
        return said + describe_agreements(self.agreements) + warn(self.tables, self.cells)

    @property
    def _unknown_words(self) -> list[str]:
        """Settings of words that are varied and have no effect."""
        completed, measured = self.tables.completed, {effect.axis for effect in self.effects}
        words = [name for name in self.tables.varied if name != TASK and is_categorical(completed[name])]
        return [name for name in words if name not in measured]

    @property
    def _matching(self) -> str:
        completed = self.tables.completed
        return str(completed["matching"].iloc[0]).replace("_", " ") if "matching" in completed else "budget"


def build_report(tables: Tables, fits: list[Fit] | None = None) -> Report:
    """Effects, cells and figures of everything that completed, and what the laws say (fitted here where absent)."""
    fits = fit_laws(tables) if fits is None else fits
    varied, completed = tables.varied, tables.completed
    keys = [*varied, *(name for name in ("params", "layers_executed") if name in completed)]
    has_accuracy = ACCURACY in completed and bool(completed[ACCURACY].notna().any()) and bool(keys)
    cells = summarise_cells(completed, keys, ACCURACY) if has_accuracy else pd.DataFrame()
    is_design = tables.kind == "measure" and has_accuracy
    effects = measure_effects(completed, varied, ACCURACY) if is_design else []
    interactions = measure_interactions(completed, varied, ACCURACY) if is_design else []
    few = is_design and bool(varied) and 1 < len(cells) <= MOST_CELLS_COMPARED
    differences = adjust(cell_differences(completed, varied, ACCURACY)) if few else []
    outcomes = _outcomes(tables) if is_design and varied else pd.DataFrame()
    importances = _importances(tables)
    agreements = task_agreements(tables, ACCURACY) if is_design else []
    figures, left_out = draw_all(tables, [(law.shows, law.needs) for law in find_laws() if law.shows])
    laws, laws_of_one_axis = draw_laws(fits)
    further = [effects_figure(effects), importance_figure(importances, _ranking_metric(tables)), agreement_figure(agreements)]
    return Report(
        tables, effects, interactions, cells, outcomes, differences, fits, importances, agreements, published_beside(tables),
        _distinct([*laws, *(figure for figure in further if figure is not None), *figures, *laws_of_one_axis]), left_out,
    )  # fmt: skip


def _distinct(figures: list[FigureData]) -> list[FigureData]:
    """Figures with a file name each, where several groups of trials give figures of one name."""
    counts: Counter[str] = Counter()
    renamed = []
    for figure in figures:
        counts[figure.name] += 1
        number = counts[figure.name]
        renamed.append(figure if number == 1 else replace(figure, name=f"{figure.name}_{number}"))
    return renamed


def _outcomes(tables: Tables) -> pd.DataFrame:
    """Success and failure by cell; a setting that a failed trial does not have is that of its kind of model, as in `completed`."""
    scored = tables.completed[tables.completed[ACCURACY].notna()]
    failed = tables.trials[(tables.trials["outcome"] == Outcome.FAILED) & ~tables.trials["outside_spec"]]
    whole = tables.trials.loc[scored.index.union(failed.index)].copy()
    for name in tables.varied:
        numeric = pd.api.types.is_numeric_dtype(tables.completed[name])
        whole[name] = whole[name].fillna(0 if numeric else "").astype(tables.completed[name].dtype)
    return summarise_outcomes(whole, tables.varied, ACCURACY)


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
    return ped_anova(tables.completed, tables.varied, first.metric, first.is_maximized)


def _ranking_metric(tables: Tables) -> str | None:
    """The metric by which importance in a search is measured; None for a design."""
    return tables.objective.goals[0].metric if tables.kind == "search" and tables.objective else None
