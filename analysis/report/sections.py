"""The sections of a report's page: which sentences, tables and figures stand under which heading, and in which order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures.data import FigureData
from analysis.figures.thinking import draw_steps
from analysis.laws.fit import Fit
from analysis.laws.sentence import Sentence
from analysis.report.build import Report
from analysis.report.readable import (
    published_table,
    readable_cells,
    readable_confirmed,
    readable_differences,
    readable_effects,
    readable_importances,
    readable_interactions,
    readable_laws,
    readable_records,
    readable_runs,
)
from analysis.statistics.records import CHOSEN_ON

if TYPE_CHECKING:
    from analysis.figures.optuna_plots import OptunaPlot

    Drawn = FigureData | OptunaPlot

MAX_LEADING = 3  # figures that stand before any table
# Figures that answer, most direct first; a name stands for all figures whose name begins with it.
LEADING = ("fronts_of_sweeps", "pareto_front", "search_history", "slices", "parallel_coordinates",
           "accuracy_by_data", "exchange_rate", "axis_rates", "accuracy_by_depth", "width_depth_map", "effects", "state_reset",
           "accuracy_by_parameters", "law_", "importance", "inference_depth", "training_curves")  # fmt: skip
FIGURES = {
    "records": ("fronts_of_sweeps",),
    "search": (
        "pareto_front",
        "search_history",
        "slices",
        "parallel_coordinates",
        "intermediate_values",
        "parameter_importance",
    ),
    "effects": ("effects", "state_reset", "recursion_split"),
    "cells": (
        "accuracy_by_data",
        "accuracy_by_depth",
        "accuracy_by_parameters",
        "width_depth_map",
        "accuracy_by_training_flops",
        "seeds",
        "training_curves",
    ),
    "inference": ("inference_depth", "train_inference_matrix", "inference_frontier", "breadth_depth"),
    "halting": ("halting_calibration", "state_change_correctness"),
    "difficulty": ("accuracy_by_difficulty", "required_depth"),
    "statistics": ("importance", "task_agreement"),
}  # a figure that is not listed belongs to a law


@dataclass(frozen=True)
class ReportTable:
    """A table with its heading and what a reader must know of it."""

    title: str
    rows: pd.DataFrame
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the page, folded at first."""

    name: str  # its anchor in the page is `part-NAME`: a figure may have the same name
    title: str
    sentences: Sequence[Sentence] = ()
    lines: Sequence[str] = ()  # a list below the sentences
    tables: Sequence[ReportTable] = ()
    figures: "Sequence[Drawn]" = field(default=())

    @property
    def is_empty(self) -> bool:
        return not (self.sentences or self.lines or self.tables or self.figures)


def leading_figures(figures: "Sequence[Drawn]") -> "list[Drawn]":
    """At most three figures, the most direct answers first."""
    ranked = [figure for start in LEADING for figure in figures if figure.name.startswith(start)]
    return list({figure.name: figure for figure in ranked}.values())[:MAX_LEADING]


def sections_of(report: Report) -> list[Section]:
    """The folded sections that this report has anything for; a figure that leads the page stands in none of them."""
    leading = {figure.name for figure in leading_figures(report.drawn)}
    figures: dict[str, list[Drawn]] = {}
    for figure in report.drawn:
        if figure.name not in leading:
            figures.setdefault(_section_of(figure.name), []).append(figure)
    further = [sentence for sentence in report.findings if sentence not in report.answer]
    sections = [
        Section("records", "Several sweeps", tables=_filled(_records(report)), figures=figures.get("records", ())),
        Section("search", "Search", tables=_filled(_confirmed(report)), figures=figures.get("search", ())),
        Section("effects", "Effects", further, (), _effect_tables(report), figures.get("effects", ())),
        Section("cells", "Cells", (), (), _filled(_cells(report)), figures.get("cells", ())),
        Section("laws", "Laws", (), describe_refusals(report.fits), _filled(_laws(report)), figures.get("laws", ())),
        Section("inference", "Inference depth", figures=figures.get("inference", ())),
        Section("thinking", "Watch a model think", figures=[draw_steps(report.thought)] if report.thought else []),
        Section("halting", "Halting", figures=figures.get("halting", ())),
        Section("difficulty", "Difficulty", figures=figures.get("difficulty", ())),
        Section("statistics", "Statistics", (), report.left_out, _statistics(report), figures.get("statistics", ())),
        Section("runs", "Runs", (), (), _filled(ReportTable("Every trial", readable_runs(report.tables)))),
    ]
    return [section for section in sections if not section.is_empty]


def describe_refusals(fits: Sequence[Fit]) -> list[str]:
    """One line for each reason, with the laws that are refused for it and how often."""
    counts: dict[str, Counter[str]] = {}
    for fit in fits:
        if fit.reason is not None:
            counts.setdefault(fit.reason.sentence, Counter())[fit.name] += 1
    return [f"Not fitted, because {reason}: {', '.join(map(_name_count, laws.items()))}." for reason, laws in counts.items()]


def _name_count(law: tuple[str, int]) -> str:
    name, count = law
    return f"{name} ({count} groups)" if count > 1 else name


def _section_of(figure: str) -> str:
    return next((section for section, names in FIGURES.items() if figure.startswith(names)), "laws")


def _filled(*tables: ReportTable) -> list[ReportTable]:
    return [table for table in tables if not table.rows.empty]


def _effect_tables(report: Report) -> list[ReportTable]:
    return _filled(
        ReportTable(
            "Effects of single settings", readable_effects(report),
            "Each cell is compared with the cell that differs in this axis alone: within each common seed (paired), "
            "or by the means of both cells where too few seeds are common or differ (independent). "
            "p (Holm) is adjusted for all comparisons over the same cells; an effect is called clear if it is below 0.05.",
        ),
        ReportTable(
            "Interactions", readable_interactions(report),
            "The effect of a level against its base level at each level of another setting, "
            "and the p value against equal effects at all of these levels.",
        ),
        ReportTable("Differences between cells", readable_differences(report)),
    )  # fmt: skip


def _cells(report: Report) -> ReportTable:
    return ReportTable(
        "Accuracy of each cell", readable_cells(report),
        "Exact accuracy on test at D = N_sup. T: cycles per supervision step, n: latent updates per cycle, "
        "N_sup: supervision steps in training. solved half: seeds that reach 50 %, of all seeds that were run, "
        "with Wilson's 95 % CI; a failed seed counts as one that does not. Accuracies and laws use completed trials alone.",
    )  # fmt: skip


def _records(report: Report) -> ReportTable:
    return ReportTable(
        "Best cell for each task and budget", readable_records(report),
        "Exact accuracy on test: mean over seeds with 95 % CI, variance pooled over the cells of the task and budget. "
        f"Each cell is {_chosen_on(report)}. The best of many cells is a little too good.",
    )  # fmt: skip


def _chosen_on(report: Report) -> str:
    """By which scores the cells of the records are the best."""
    splits = set(report.records[CHOSEN_ON]) if len(report.records) else set()
    if "test" not in splits:
        return "chosen on validation"
    if "val" not in splits:
        return "chosen on test: optimistic"
    return "chosen on validation, or where a cell of its task and budget has no validation score, chosen on test: optimistic"


def _confirmed(report: Report) -> ReportTable:
    return ReportTable(
        "Confirmed settings", readable_confirmed(report),
        "The best settings of the search, trained again with seeds that the search did not use; the best mean of the objective "
        "comes first. Exact accuracy on test: mean over these seeds, variance pooled over settings.",
    )  # fmt: skip


def _laws(report: Report) -> ReportTable:
    return ReportTable(
        "Fitted laws", readable_laws([fit for fit in report.fits if fit.is_fitted]),
        "Estimates with 95 % CI. held-out error: error of predictions at scales that were held out of the fit. "
        "docs/laws.md defines each law and each reason for a refusal; fits.json has all fields.",
    )  # fmt: skip


def _statistics(report: Report) -> list[ReportTable]:
    return _filled(
        ReportTable(
            "What each parameter accounts for", readable_importances(report),
            "95 % CI over resamples; the caption of the figure states what is resampled.",
        ),
        ReportTable(
            "Tasks", pd.DataFrame([vars(one) for one in report.agreements]).round(3),
            "Spearman's rank correlation of mean scores, over the settings that two tasks have in common.",
        ),
        ReportTable(
            "Published beside ours", published_table(report),
            "Published results on the same official files. `ours` is the best cell on validation.",
        ),
    )  # fmt: skip
