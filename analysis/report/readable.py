"""Tables as people read them: short names, rounded numbers, intervals."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.published import COLUMNS as PUBLISHED
from analysis.data.tables import Tables, is_parameter, label
from analysis.figures.data import ACCURACY, VALIDATION, as_tuple
from analysis.figures.ticks import number_label
from analysis.laws.fit import Fit
from analysis.report.build import Report
from analysis.report.sentences import signed
from analysis.statistics.cells import wilson
from analysis.statistics.effects import describe_step, name_level
from analysis.statistics.records import BUDGET, SWEEPS, task_settings
from sweeps.design.axes import TASK
from sweeps.design.short_names import axis_name

VOTES = {"pass@1": "test/pass_at_1", "pass@2": "test/pass_at_2"}  # shares of ARC tasks that the first answers by votes solve
RUN_COLUMNS = [
    "fingerprint", "outcome", "reason", "seed", "params", "layers_executed", "train_flops", "inference_flops",
    "fresh_examples", VALIDATION, ACCURACY, "test/token_accuracy", "test/nll", "chosen_depth", "train_seconds",
]  # fmt: skip


def readable_cells(report: Report, *, brief: bool = False) -> pd.DataFrame:
    """The table of cells with short names and rounded numbers. `brief` leaves out counts of outcomes, for a terminal."""
    cells = report.cells
    if cells.empty:
        return cells
    shown = cells[report.tables.varied].rename(columns=axis_name)
    shown = shown.map(lambda value: f"{value:.3g}" if isinstance(value, float) else value)
    shown = shown.replace(0, "-")  # 0 stands for a setting that the model does not have
    if "params" in cells:
        shown["params"] = cells["params"].map("{:,}".format)
    if "layers_executed" in cells:
        shown["layers"] = cells["layers_executed"]
    shown["seeds"] = cells["seeds"]
    shown["accuracy"] = cells["mean"].map("{:.3f}".format)
    shown["95 % CI"] = _intervals(report)
    for name, column in VOTES.items():
        means = _means_by_cell(report, column)
        if means is not None:
            shown[name] = [f"{mean:.3f}" for mean in means]
    if not brief and not report.outcomes.empty and len(report.outcomes) == len(cells):
        counts = cells[report.tables.varied].merge(report.outcomes, on=report.tables.varied, how="left")
        shares = zip(counts["successes"], counts["seeds"], counts["success_low"], counts["success_high"], strict=True)
        shown["solved half"] = [f"{solved} of {seeds} ({low:.2f} .. {high:.2f})" for solved, seeds, low, high in shares]
        if counts["failed"].any():
            failures = zip(counts["failed"], counts["diverged"], strict=True)
            shown["failed"] = [f"{failed} ({diverged} diverged)" for failed, diverged in failures]
    return shown


def _intervals(report: Report) -> list[str]:
    """The 95 % CI of each cell over seeds; with one seed, Wilson's over the items of that model, which is marked."""
    cells = report.cells
    if not cells["low"].isna().any():
        return [f"{low:.3f} .. {high:.3f}" for low, high in zip(cells["low"], cells["high"], strict=True)]
    items = _means_by_cell(report, "test/examples")
    if items is None:
        return ["one seed"] * len(cells)
    ends = [wilson(mean * count, count) for mean, count in zip(cells["mean"], items, strict=True)]
    return [f"{low:.3f} .. {high:.3f} (items, one model)" for low, high in ends]


def _means_by_cell(report: Report, column: str) -> np.ndarray | None:
    """The mean over the trials of each cell, [cells]; None where the trials lack the column, or it does not have all cells."""
    completed = report.tables.completed
    if column not in completed:
        return None
    means = completed.groupby(report.tables.varied or ["sweep"], sort=True)[column].mean().to_numpy()
    return means if len(means) == len(report.cells) else None


def readable_records(report: Report) -> pd.DataFrame:
    """The best cell for each task and budget, with what it costs; empty for a single sweep."""
    tasks = task_settings(report.tables)
    return pd.DataFrame([_record(record, tasks, report.tables.varied) for record in report.records.to_dict("records")])


def _record(record: Mapping[Hashable, Any], tasks: list[str], varied: list[str]) -> dict[str, str]:
    """A row of the table of records; a cost that no trial has is left out."""
    others = [name for name in tasks if name != TASK]
    rest = [name for name in varied if name not in tasks and name not in BUDGET]
    words = str(record.get("matching", "")).replace("_", " ")
    amount = record.get("fit.budget.amount")
    costs = {"params": "params", "inference_flops": "FLOPs of an answer", "train_flops": "training FLOPs"}
    return (
        {"task": ", ".join(filter(None, (str(record.get(TASK, "")), label(others, tuple(record[name] for name in others))))),
         "budget": words if amount is None else f"{amount:,.10g} {words}",
         "best cell": label(rest, tuple(map(_short, (record[name] for name in rest))))}
        | {name: number_label(record[column]) for column, name in costs.items() if column in record}
        | {"accuracy": f"{record['mean']:.3f}",
           "95 % CI": "one seed" if math.isnan(record["low"]) else f"{record['low']:.3f} .. {record['high']:.3f}",
           "seeds": str(record["seeds"]), "sweep": str(record[SWEEPS])}
    )  # fmt: skip


def readable_confirmed(report: Report) -> pd.DataFrame:
    """The settings of the confirm stage, with the value by which the search selected each."""
    rows = []
    for one in report.confirmed:
        settings = dict(zip(map(axis_name, report.tables.varied), map(_short, one.settings), strict=True))
        interval = "one seed" if math.isnan(one.low) else f"{one.low:.3f} .. {one.high:.3f}"
        failed = f" ({one.failed} failed)" if one.failed else ""
        rows.append(
            settings | {"seeds": f"{one.seeds}{failed}", "accuracy": f"{one.mean:.3f}", "95 % CI": interval}
            | {f"selected by {one.metric}": f"{one.selected_by:.4g}", f"{one.metric} over fresh seeds": f"{one.repeated:.4g}"}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _short(value: object) -> object:
    return f"{value:.3g}" if isinstance(value, float) else value


def readable_effects(report: Report) -> pd.DataFrame:
    rows = [
        {
            "axis": describe_step(effect),
            "where": effect.where,
            "pairs of cells": effect.pairs,
            "seeds": "paired" if effect.is_blocked else "independent",
        }
        | _change(effect.change, effect.p_holm)
        for effect in report.effects
    ]
    return pd.DataFrame(rows)


def readable_interactions(report: Report) -> pd.DataFrame:
    rows = [
        {"axis": describe_step(one), "at": name_level(one.other, level), "change of test exact accuracy": signed(change.estimate),
         "low": _end(change.low), "high": _end(change.high), "p (equal)": f"{one.p:.2g}", "p (Holm)": f"{one.p_holm:.2g}"}
        for one in report.interactions
        for level, change in one.changes
    ]  # fmt: skip
    return pd.DataFrame(rows)


def readable_differences(report: Report) -> pd.DataFrame:
    names = report.tables.varied
    rows = [
        {"cell": label(names, d.cell), "against": label(names, d.other)} | _change(d.change, d.p_holm) for d in report.differences
    ]
    return pd.DataFrame(rows)


def _change(change: Any, p_holm: float) -> dict[str, str]:
    return {
        "change of test exact accuracy": signed(change.estimate), "low": _end(change.low), "high": _end(change.high),
        "p": f"{change.p:.2g}", "p (Holm)": f"{p_holm:.2g}",
    }  # fmt: skip


def _end(value: float) -> str:
    """One end of an interval; empty if the noise is not known."""
    return signed(value) if math.isfinite(value) else ""


def readable_importances(report: Report) -> pd.DataFrame:
    rows = [
        {"parameter": axis_name(one.parameter) if is_parameter(one.parameter) else one.parameter,
         "share": f"{one.share:.3f}", "low": f"{one.low:.3f}", "high": f"{one.high:.3f}"}
        for one in report.importances
    ]  # fmt: skip
    return pd.DataFrame(rows)


def published_table(report: Report) -> pd.DataFrame:
    """Published results of the benchmark, below the best cell of this report."""
    if report.published.empty:
        return pd.DataFrame()
    shown = report.published[["benchmark", *PUBLISHED]].astype(object).fillna("")
    completed, names = report.tables.completed, report.tables.varied
    score = "test/pass_at_2" if "test/pass_at_2" in completed else ACCURACY
    means = completed.groupby(names or ["sweep"])[[VALIDATION, score, "params"]].mean()
    row = int(means[VALIDATION].to_numpy().argmax())
    best, key = means.iloc[row], as_tuple(means.index[row])
    examples = f", {completed['test/examples'].max():,.0f} test examples" if "test/examples" in completed else ""
    ours = {"benchmark": shown["benchmark"].iloc[0], "model": "ours", "variant": (label(names, key) if names else "") + examples,
            "params": f"{best['params']:.0f}", "accuracy_pct": f"{100 * best[score]:.1f}", "source": "this report"}  # fmt: skip
    return pd.concat([pd.DataFrame([ours]), shown], ignore_index=True).fillna("")


def readable_laws(fits: Sequence[Fit]) -> pd.DataFrame:
    """One row per estimate and one per refusal; settings that all fits share are left out."""
    keys = dict.fromkeys(key for fit in fits for key in fit.group)
    differing = [key for key in keys if len({str(fit.group.get(key)) for fit in fits}) > 1]
    rows = []
    for fit in fits:
        settings = {key: fit.group[key] for key in differing if key in fit.group}
        quality = fit.quality
        facts = {
            "trials": fit.trials,
            "R2": _rounded(quality.r_squared, "f"),
            "held-out error": _rounded(quality.leave_one_scale_out_error, "g"),
            "p (lack of fit)": _rounded(quality.lack_of_fit.p if quality.lack_of_fit else None, "g"),
            "flags": ", ".join(fit.flags),
            "group": label(list(settings), tuple(settings.values())),
        }
        if fit.reason is not None:
            rows.append({"law": fit.name, "result": f"refused: {fit.reason.sentence}"} | facts)
        for name, e in fit.estimates.items():
            numbers = {"estimate": f"{e.estimate:.4g}", "low": f"{e.low:.4g}", "high": f"{e.high:.4g}"}
            rows.append({"law": fit.name, "result": name} | numbers | facts)
    columns = ["law", "result", "estimate", "low", "high", "trials", "R2", "held-out error", "p (lack of fit)", "flags", "group"]
    return pd.DataFrame(rows, columns=columns).fillna("")


def _rounded(value: float | None, kind: str) -> str:
    return "" if value is None else f"{value:.3{kind}}"


def readable_runs(tables: Tables) -> pd.DataFrame:
    columns = [name for name in [*tables.varied, *RUN_COLUMNS] if name in tables.trials]
    runs = tables.trials[columns].rename(columns=lambda name: axis_name(name) if is_parameter(name) else name)
    return runs.map(lambda value: f"{value:.4g}" if isinstance(value, float) else value).fillna("")
