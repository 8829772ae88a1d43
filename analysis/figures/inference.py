"""What an answer costs and what it is worth: the frontier, breadth against depth, halting and residuals."""

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
FEWEST_ITEMS = 20  # of a point; fewer say nothing of a share
MOST_DEPTHS = 6  # lines of one figure


def inference_frontier(tables: Tables) -> FigureData | None:
    """The best width and inference depth for the FLOPs of an answer, with fixed and adaptive halting."""
    points = curves_of(tables, DEPTH_CURVE)
    if points.empty or FLOPS not in tables.completed:
        return None
    fixed = _rows(tables, _fixed(tables, points))
    fronts = [_front(fixed, "fixed depth", BLACK, 0)]
    adaptive = _adaptive(tables)
    if len(adaptive):
        fronts.append(_front(_rows(tables, adaptive), "halts by q", 1, 1))
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
    chosen = "chosen on validation, drawn on test" if on_validation else "chosen and drawn on test: optimistic"
    return FigureData(
        "inference_frontier",
        "The inference frontier",
        f"Cells and depths that nothing cheaper beats ({chosen}; mean over seeds). "
        "By q: an item stops at the first power of two with q > 0. A point has no text where there is no room for it.",
        FLOPS_LABEL,
        ACCURACY_LABEL,
        [*fronts, *others],
        x_scale="log",
        y_range=(0, 1),
    )


def _fixed(tables: Tables, points: pd.DataFrame) -> pd.DataFrame:
    """A row a trial and D: `depth`, `value`, and `used`, the mean number of steps."""
    used = curves_of(tables, "depth/steps_used")[["fingerprint", "at", "value"]]
    table = points.merge(used.rename(columns={"value": "used"}), on=["fingerprint", "at"], how="left")
    return table.assign(used=table["used"].fillna(table["at"]), depth=table["at"])


def _adaptive(tables: Tables) -> pd.DataFrame:
    """The same where an item halts by its q, at the latest at D."""
    own = tables.items[tables.items["summary"] == "halted"].merge(
        tables.completed[["fingerprint", *tables.varied]], on="fingerprint"
    )
    return own.assign(used=own["at"])


def _rows(tables: Tables, table: pd.DataFrame) -> pd.DataFrame:
    """A row a cell and D, means over seeds: `cost` of the steps used, `value` on test, `choice` that rows are chosen by, `name`."""
    completed = tables.completed
    validation = curves_of(tables, VALIDATION_CURVE)[["fingerprint", "at", "value"]]
    validation = validation.rename(columns={"at": "depth", "value": "choice"})
    table = table.merge(validation, on=["fingerprint", "depth"], how="left")
    table["choice"] = table["choice"].fillna(table["value"])
    steps = completed[SUPERVISION_STEPS].clip(lower=1) if SUPERVISION_STEPS in completed else 1
    each = pd.DataFrame({"fingerprint": completed["fingerprint"], "flops": completed[FLOPS] / steps})
    each["width"] = completed.get(WIDTH, 0)
    table = table.merge(each, on="fingerprint")
    table["cost"] = table["flops"] * table["used"]
    names = tables.varied
    means = table.groupby([*names, "depth"])[["cost", "value", "choice", "width"]].mean().reset_index()
    named = [name for name in names if name == WIDTH or any(map(is_word, means[name]))]
    keys = means[named].itertuples(index=False, name=None)
    labels = [label(named, key) for key in keys] if named else [""] * len(means)
    means["name"] = [", ".join(filter(None, (text, f"D {depth:g}"))) for text, depth in zip(labels, means["depth"], strict=True)]
    return means


def _pareto(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that no cheaper one beats by what they are chosen by."""
    ordered = rows.sort_values(["cost", "choice"], ascending=[True, False])
    return ordered[ordered["choice"] > ordered["choice"].cummax().shift(fill_value=-1.0)]


def _front(rows: pd.DataFrame, name: str, color: int, dash: int) -> Series:
    front = _pareto(rows)
    return Series(
        name, front["cost"].tolist(), front["value"].tolist(), color=color, dash=dash, texts=front["name"].tolist()
    )  # fmt: skip


def breadth_depth(tables: Tables) -> FigureData | None:
    """Rollouts against inference depth at equal FLOPs of an answer, of the best cell on validation."""
    name, fingerprints = chosen_cell(tables)
    items = tables.items[tables.items["fingerprint"].isin(fingerprints)]
    broad = items[items["summary"].isin(["best_q", "oracle"])]
    if broad.empty or FLOPS not in tables.completed:
        return None
    trials = tables.completed.set_index("fingerprint").loc[fingerprints]
    steps = trials[SUPERVISION_STEPS].clip(lower=1) if SUPERVISION_STEPS in trials else 1
    flops = float((trials[FLOPS] / steps).mean())
    means = broad.groupby(["summary", "at", "depth"])["value"].mean().reset_index()
    series = []
    for dash, (summary, words) in enumerate((("best_q", "most confident of"), ("oracle", "any of"))):
        own = means[means["summary"] == summary]
        for color, k in enumerate(map(float, sorted(own["at"].unique()))):
            ordered = own[own["at"] == k].sort_values("depth")
            if summary == "oracle" and k == 1:
                continue  # one rollout is its own oracle
            costs = (k * ordered["depth"] * flops).tolist()
            series.append(Series(f"{words} {k:g}", costs, ordered["value"].tolist(), color=color, dash=dash))
    modes = curves_of(tables, "depth/rollout_mode")
    mode = modes[modes["fingerprint"].isin(fingerprints)].groupby("at")["value"].mean()
    if len(mode):
        count = float(means["at"].max())
        series.append(
            Series(
                f"mode of {count:g}",
                (count * flops * mode.index.to_numpy(dtype=float)).tolist(),
                mode.tolist(),
                color=BLACK,
                dash=2,
            )
        )
    return FigureData(
        "breadth_depth",
        "Breadth against depth",
        f"{name}: K rollouts of D supervision steps; along a line D doubles. "
        "At one place on the x axis all cost the same. Mean over seeds.",
        FLOPS_LABEL,
        ACCURACY_LABEL,
        series,
        x_scale="log",
        y_range=(0, 1),
    )


def halting_calibration(tables: Tables) -> FigureData | None:
    """Halting probability against the share that is right, at D = N_sup."""
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
        "Is the halting value honest?",
        f"Items by the halting probability of their answer at D = N_sup, all trials together; "
        f"points with {FEWEST_ITEMS} items or more. "
        "On the diagonal the model knows what it knows.",
        "halting probability, sigmoid(q)",
        "share of items that are right",
        [*series, Series("honest", [0.0, 1.0], [0.0, 1.0], color=BLACK, dash=2, style="curve")],
        y_range=(0, 1),
    )


def residual_correctness(tables: Tables) -> FigureData | None:
    """Residual of the last supervision step against the share that is right, by inference depth."""
    items = tables.items[tables.items["summary"] == "state_change"]
    items = items.merge(tables.completed[["fingerprint"]], on="fingerprint")
    if items.empty:
        return None
    depths = sorted(items["depth"].unique())
    shown = (
        depths
        if len(depths) <= MOST_DEPTHS
        else [depths[round(n * (len(depths) - 1) / (MOST_DEPTHS - 1))] for n in range(MOST_DEPTHS)]
    )
    series = []
    for rank, depth in enumerate(shown):
        part = _weighted(items[items["depth"] == depth], ["at"])
        part = part[part["count"] >= FEWEST_ITEMS]
        if len(part) > 1:
            series.append(Series(f"D = {depth:g}", (10.0 ** part["at"]).tolist(), part["value"].tolist(), color=rank))
    if not series:
        return None
    return FigureData(
        "residual_correctness",
        "Does a settled state mean a right answer?",
        f"Items by the relative change of the answer state in the step D, all trials together; "
        f"points with {FEWEST_ITEMS} items or more.",
        "residual, relative change of the answer state",
        "share of items that are right",
        series,
        x_scale="log",
        y_range=(0, 1),
    )


def _at_trained_depth(tables: Tables, items: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in tables.varied if name in (SUPERVISION_STEPS, *CAPACITY_AXES)]
    trained = tables.completed[["fingerprint", *names]].copy()
    completed = tables.completed
    trained["trained"] = completed[SUPERVISION_STEPS].clip(lower=1) if SUPERVISION_STEPS in completed else np.inf
    own = items.merge(trained, on="fingerprint")
    return own[own["depth"] == own["trained"]]


def _pooled(items: pd.DataFrame, keys: list[str], bins: int) -> pd.DataFrame:
    """Shares over all trials, by bins of the confidence; small bins left out."""
    table = items.assign(bin=np.minimum((items["at"] * bins).astype(int), bins - 1))
    pooled = _weighted(table, [*keys, "bin"])
    pooled["name"] = [f"N_sup {row[0]}" for row in pooled[keys].itertuples(index=False)] if keys else "all trials"
    return pooled[pooled["count"] >= FEWEST_ITEMS]


def _weighted(items: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Means of `at` and `value`, weighted by the count of items."""
    table = items.assign(weighted=items["value"] * items["count"], place=items["at"] * items["count"])
    sums = table.groupby(keys)[["weighted", "place", "count"]].sum()
    means = pd.DataFrame({"value": sums["weighted"] / sums["count"], "count": sums["count"]}, index=sums.index)
    if "at" not in keys:
        means["at"] = sums["place"] / sums["count"]
    return means.reset_index()
