"""Accuracy against what it costs, a front for each of several sweeps."""

from analysis.data.tables import Tables, label
from analysis.figures.data import ACCURACY, ACCURACY_LABEL, FigureData, Series, as_tuple, columns_of
from analysis.statistics.records import cells_with_costs, front_of, task_settings

FRONT_COSTS = {"inference_flops": "an answer", "train_flops": "training"}


def fronts_of_sweeps(tables: Tables) -> FigureData | None:
    """The Pareto fronts of several sweeps, against FLOPs of an answer and FLOPs of training; None for a single sweep."""
    completed = tables.completed
    costs = [cost for cost in FRONT_COSTS if cost in completed]
    if len(tables.members) < 2 or ACCURACY not in completed or not costs:
        return None
    tasks = task_settings(tables)
    keys = list(dict.fromkeys([*tasks, *tables.varied]))
    series = []
    for color, (sweep, members) in enumerate(sorted(tables.members.items())):
        trials = completed[completed["fingerprint"].isin(members)]
        for task, part in trials.groupby(tasks, sort=True) if tasks else [((), trials)]:
            cells = cells_with_costs(part, keys)
            name = ", ".join([sweep, *([label(tasks, as_tuple(task))] if trials[tasks].drop_duplicates().shape[0] > 1 else [])])
            for dash, cost in enumerate(costs):
                front = front_of(cells, cost) if len(cells) and cost in cells else cells
                if len(front):
                    series.append(Series(f"{name}: {FRONT_COSTS[cost]}", *columns_of(front, cost), color=color, dash=dash))
    if not series:
        return None
    return FigureData(
        "fronts_of_sweeps",
        "Pareto fronts of the sweeps",
        "A line joins the cells of a sweep that no cheaper cell of it beats. Solid: FLOPs of an answer; dashed: FLOPs of training "
        "one model. Bars: 95 % CI over seeds, variance pooled over cells.",
        "FLOPs of an answer (solid) and of training (dashed)",
        ACCURACY_LABEL,
        series,
        x_scale="log",
        y_range=(0, 1),
    )
