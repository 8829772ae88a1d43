"""Accuracy against FLOPs of an answer, rollouts against inference depth, calibration of halting, state change."""

import numpy as np
import pandas as pd

from analysis.data.tables import Tables, label
from analysis.figures.data import ACCURACY_LABEL, BLACK, FigureData, Series, chosen_cell, curves_of
from analysis.figures.recursion import DEPTH_CURVE
from analysis.statistics.effects import is_word
from sweeps.design.axes import CAPACITY_AXES, SUPERVISION_STEPS, WIDTH
from sweeps.design.short_names import axis_name

VALIDATION_CURVE = "val_depth/exact_accuracy"
FLOPS = "inference_flops"
FLOPS_LABEL = "FLOPs of an answer"
MIN_ITEMS = 20  # a point with fewer items is left out, because its share is too uncertain
MAX_DEPTHS = 6  # inference depths in one figure, one line each


def inference_frontier(tables: Tables) -> FigureData | None:
    """The best cell and inference depth D for the FLOPs of an answer, with fixed D and with halting by q."""
    points = curves_of(tables, DEPTH_CURVE)
    if points.empty or FLOPS not in tables.completed:
        return None
    fixed = _rows(tables, _fixed(tables, points))
    fronts = [_front(fixed, "fixed D", BLACK, 0)]
    adaptive = _adaptive(tables)
    if len(adaptive):
        fronts.append(_front(_rows(tables, adaptive), "halting by q", 1, 1))
    others = [
        Series(
            f"{axis_name(WIDTH)} {width:g}, any D",
            front["cost"].tolist(),
            front["value"].tolist(),
            color=2 + rank,
            dash=2,
            style="curve",
        )
        for rank, (width, part) in enumerate(fixed.groupby("width", sort=True))
        if len(front := _pareto(part)) > 1
    ]
    on_validation = VALIDATION_CURVE in set(tables.curves["metric"])
    chosen = "chosen on validation, drawn on test" if on_validation else "chosen and drawn on test, which is optimistic"
    return FigureData(
        "inference_frontier",
        "Exact accuracy against FLOPs of an answer",
        f"Each point is a cell and an inference depth D; no cheaper pair is better ({chosen}; mean over seeds). "
        "Halting by q: an item stops at the first power of two at which q > 0. Points without room have no text.",
        FLOPS_LABEL,
        ACCURACY_LABEL,
        [*fronts, *others],
        x_scale="log",
        y_range=(0, 1),
    )


def _fixed(tables: Tables, points: pd.DataFrame) -> pd.DataFrame:
    """One row per trial and D: `depth`, `value` (exact accuracy) and `used` (mean number of supervision steps)."""
    used = curves_of(tables, "depth/steps_used")[["fingerprint", "at", "value"]]
    table = points.merge(used.rename(columns={"value": "used"}), on=["fingerprint", "at"], how="left")
    return table.assign(used=table["used"].fillna(table["at"]), depth=table["at"])


def _adaptive(tables: Tables) -> pd.DataFrame:
    """Rows like those of `_fixed` for items that halt by q, at the latest at D."""
    halted = tables.items[tables.items["summary"] == "halted"].merge(
        tables.completed[["fingerprint", *tables.varied]], on="fingerprint"
    )
    return halted.assign(used=halted["at"])


def _rows(tables: Tables, table: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and D, means over seeds.

    Columns: `cost` (FLOPs of the steps used), `value` (exact accuracy on test), `choice` (exact accuracy on validation, or on test
    if validation has no curve), `name` (text beside the point).
    """
    completed = tables.completed
    validation = curves_of(tables, VALIDATION_CURVE)[["fingerprint", "at", "value"]]
    validation = validation.rename(columns={"at": "depth", "value": "choice"})
    table = table.merge(validation, on=["fingerprint", "depth"], how="left")
    table["choice"] = table["choice"].fillna(table["value"])
    steps = completed[SUPERVISION_STEPS].clip(lower=1) if SUPERVISION_STEPS in completed else 1
    step_costs = pd.DataFrame({"fingerprint": completed["fingerprint"], "flops": completed[FLOPS] / steps})
    step_costs["width"] = completed.get(WIDTH, 0)
    table = table.merge(step_costs, on="fingerprint")
    table["cost"] = table["flops"] * table["used"]
    names = tables.varied
    means = table.groupby([*names, "depth"])[["cost", "value", "choice", "width"]].mean().reset_index()
    named = [name for name in names if name == WIDTH or any(map(is_word, means[name]))]
    keys = means[named].itertuples(index=False, name=None)
    labels = [label(named, key) for key in keys] if named else [""] * len(means)
    means["name"] = [", ".join(filter(None, (text, f"D {depth:g}"))) for text, depth in zip(labels, means["depth"], strict=True)]
    return means


def _pareto(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose `choice` exceeds that of every cheaper row."""
    ordered = rows.sort_values(["cost", "choice"], ascending=[True, False])
    return ordered[ordered["choice"] > ordered["choice"].cummax().shift(fill_value=-1.0)]


def _front(rows: pd.DataFrame, name: str, color: int, dash: int) -> Series:
    front = _pareto(rows)
    return Series(
        name, front["cost"].tolist(), front["value"].tolist(), color=color, dash=dash, texts=front["name"].tolist()
    )  # fmt: skip


def breadth_depth(tables: Tables) -> FigureData | None:
    """Rollouts against inference depth D at equal FLOPs of an answer, for the best cell on validation."""
    name, fingerprints = chosen_cell(tables)
    items = tables.items[tables.items["fingerprint"].isin(fingerprints)]
    broad = items[items["summary"].isin(["best_q", "oracle"])]
    if broad.empty or FLOPS not in tables.completed:
        return None
    trials = tables.completed.set_index("fingerprint").loc[fingerprints]
    steps = trials[SUPERVISION_STEPS].clip(lower=1) if SUPERVISION_STEPS in trials else 1
    flops = float((trials[FLOPS] / steps).mean())
    means = broad.groupby(["summary", "at", "depth"])["value"].mean().reset_index()
    modes = curves_of(tables, "depth/rollout_mode")
    mode = modes[modes["fingerprint"].isin(fingerprints)].groupby("at")["value"].mean()
    return FigureData(
        "breadth_depth",
        "Rollouts against inference depth",
        f"{name}: K rollouts of D supervision steps; D doubles along a line. "
        "Points at the same x cost the same FLOPs. Mean over seeds.",
        FLOPS_LABEL,
        ACCURACY_LABEL,
        [*_rollout_lines(means, flops), *_mode_line(mode, flops, float(means["at"].max()))],
        x_scale="log",
        y_range=(0, 1),
    )


def _rollout_lines(means: pd.DataFrame, step_flops: float) -> list[Series]:
    """A line for each number of rollouts K, scored by the rollout with the largest q, and by any right rollout."""
    lines = []
    for dash, (summary, words) in enumerate((("best_q", "most confident of"), ("oracle", "any of"))):
        scores = means[means["summary"] == summary]
        for color, k in enumerate(map(float, sorted(scores["at"].unique()))):
            if summary == "oracle" and k == 1:
                continue  # with one rollout `any of` equals `most confident of`
            ordered = scores[scores["at"] == k].sort_values("depth")
            costs = (k * ordered["depth"] * step_flops).tolist()
            lines.append(Series(f"{words} {k:g}", costs, ordered["value"].tolist(), color=color, dash=dash))
    return lines


def _mode_line(mode: pd.Series, step_flops: float, rollouts: float) -> list[Series]:
    """The accuracy of the most frequent answer of all rollouts, by D; empty without such a curve."""
    if mode.empty:
        return []
    costs = (rollouts * step_flops * mode.index.to_numpy(dtype=float)).tolist()
    return [Series(f"mode of {rollouts:g}", costs, mode.tolist(), color=BLACK, dash=2)]


def halting_calibration(tables: Tables) -> FigureData | None:
    """Share of right items by halting probability, at D = N_sup."""
    items = tables.items[tables.items["summary"] == "confidence"]
    trained = _at_trained_depth(tables, items)
    if trained.empty:
        return None
    kept = _pooled(trained, [SUPERVISION_STEPS] if SUPERVISION_STEPS in tables.varied else [], 10)
    series = [
        Series(str(name), part["at"].tolist(), part["value"].tolist(), color=rank)
        for rank, (name, part) in enumerate(kept.groupby("name", sort=False))
    ]
    return FigureData(
        "halting_calibration",
        "Is the halting value calibrated?",
        f"Items of all trials, binned by the halting probability of their answer at D = N_sup; "
        f"points with {MIN_ITEMS} items or more. "
        "A calibrated halting value lies on the diagonal.",
        "halting probability, sigmoid(q)",
        "share of items that are right",
        [*series, Series("calibrated", [0.0, 1.0], [0.0, 1.0], color=BLACK, dash=2, style="curve")],
        y_range=(0, 1),
    )


def state_change_correctness(tables: Tables) -> FigureData | None:
    """Share of right items by the state change in the last supervision step, at each inference depth D."""
    items = tables.items[tables.items["summary"] == "state_change"]
    items = items.merge(tables.completed[["fingerprint"]], on="fingerprint")
    if items.empty:
        return None
    series = []
    for rank, depth in enumerate(_spread(sorted(items["depth"].unique()))):
        part = _weighted(items[items["depth"] == depth], ["at"])
        part = part[part["count"] >= MIN_ITEMS]
        if len(part) > 1:
            series.append(Series(f"D = {depth:g}", (10.0 ** part["at"]).tolist(), part["value"].tolist(), color=rank))
    if not series:
        return None
    return FigureData(
        "state_change_correctness",
        "Share of right items by state change",
        f"Items of all trials, binned by the relative change of the answer state in supervision step D; "
        f"points with {MIN_ITEMS} items or more.",
        "state change in supervision step D (relative)",
        "share of items that are right",
        series,
        x_scale="log",
        y_range=(0, 1),
    )


def _spread(depths: list[float]) -> list[float]:
    """At most `MAX_DEPTHS` of some sorted depths, evenly spaced by rank, the first and the last included."""
    if len(depths) <= MAX_DEPTHS:
        return depths
    return [depths[round(n * (len(depths) - 1) / (MAX_DEPTHS - 1))] for n in range(MAX_DEPTHS)]


def _at_trained_depth(tables: Tables, items: pd.DataFrame) -> pd.DataFrame:
    """The rows of items whose inference depth D equals N_sup."""
    names = [name for name in tables.varied if name in (SUPERVISION_STEPS, *CAPACITY_AXES)]
    trained = tables.completed[["fingerprint", *names]].copy()
    completed = tables.completed
    trained["trained"] = completed[SUPERVISION_STEPS].clip(lower=1) if SUPERVISION_STEPS in completed else np.inf
    merged = items.merge(trained, on="fingerprint")
    return merged[merged["depth"] == merged["trained"]]


def _pooled(items: pd.DataFrame, keys: list[str], bins: int) -> pd.DataFrame:
    """Shares of right items over all trials, by bins of the halting probability; bins with few items are left out."""
    table = items.assign(bin=np.minimum((items["at"] * bins).astype(int), bins - 1))
    pooled = _weighted(table, [*keys, "bin"])
    pooled["name"] = [f"N_sup = {row[0]}" for row in pooled[keys].itertuples(index=False)] if keys else "all trials"
    return pooled[pooled["count"] >= MIN_ITEMS]


def _weighted(items: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Means of `at` and `value` for each combination of `keys`, weighted by the count of items."""
    table = items.assign(weighted=items["value"] * items["count"], place=items["at"] * items["count"])
    sums = table.groupby(keys)[["weighted", "place", "count"]].sum()
    means = pd.DataFrame({"value": sums["weighted"] / sums["count"], "count": sums["count"]}, index=sums.index)
    if "at" not in keys:
        means["at"] = sums["place"] / sums["count"]
    return means.reset_index()
