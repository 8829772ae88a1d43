"""Optuna's own plots of a search, on a study that is rebuilt in memory from the records of its trials."""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import optuna
import pandas as pd
import plotly.graph_objects as go
from matplotlib import pyplot as plt
from optuna.trial import FrozenTrial, TrialState

from analysis.data.tables import Tables
from analysis.figures.render import TICKS
from lightning_modules.atomic_write import write_atomically
from lightning_modules.columns import CONFIRM, curve_of
from lightning_modules.outcome import Outcome
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.design.short_names import axis_name
from sweeps.driver.finished_trials import STATES, finished_trial
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.search import Search

MIN_TRIALS = 2  # a search with fewer completed trials has no plots
MAX_PARETO = 3  # objectives that Optuna draws a Pareto front of
SLICES_PER_FIGURE = 4  # parameters side by side
HEIGHT_PX, MIN_WIDTH_PX, PARAMETER_PX = 460, 640, 150  # the last for each parameter of a plot
STATIC_INCHES = (9.6, 5.0)


@dataclass(frozen=True)
class OptunaPlot:
    """One of Optuna's plots. Its renderers are Optuna's own."""

    name: str  # file name without its suffix
    title: str
    caption: str
    study: optuna.Study
    function: str  # its name in `optuna.visualization`, and in `optuna.visualization.matplotlib`
    options: dict[str, Any] = field(default_factory=dict)
    width_px: int = MIN_WIDTH_PX  # smallest width in which its texts do not overlap
    has_legend: bool = True  # False for a plot whose legend would have a row for each trial

    def interactive(self) -> go.Figure:
        """The plot for a browser."""
        with _quiet():
            drawing = getattr(optuna.visualization, self.function)(self.study, **self.options)
        drawing.update_layout(title=None, template="plotly_white", height=HEIGHT_PX, margin={"l": 70, "r": 30, "t": 50, "b": 60})
        if not self.has_legend:
            drawing.update_layout(showlegend=False)
        drawing.update_xaxes(nticks=5, exponentformat="power", automargin=True, **TICKS)
        drawing.update_yaxes(exponentformat="power", automargin=True, **TICKS)
        return drawing

    def write_static(self, folder: Path) -> None:
        """Writes `<name>.png` and `<name>.svg` into a folder. No window opens."""
        plt.switch_backend("agg")
        with _quiet(), mpl.rc_context({"svg.hashsalt": self.name, "figure.figsize": STATIC_INCHES}):
            drawn = getattr(optuna.visualization.matplotlib, self.function)(self.study, **self.options)
            canvas = (drawn.flat[0] if hasattr(drawn, "flat") else drawn).get_figure()
            for legend in [axes.get_legend() for axes in canvas.axes if not self.has_legend]:
                legend.remove()
            for kind in ("png", "svg"):
                content = BytesIO()
                metadata = {"Date": None} if kind == "svg" else None
                canvas.savefig(content, format=kind, dpi=150, bbox_inches="tight", metadata=metadata)
                write_atomically(folder / f"{self.name}.{kind}", content.getvalue())
            plt.close(canvas)


class _quiet(warnings.catch_warnings):  # noqa: N801
    """Optuna calls these plots and PED-ANOVA experimental, and logs each parameter that it leaves out."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)


def draw_search(tables: Tables) -> list[OptunaPlot]:
    """Optuna's plots of one search; none for a measure sweep, several searches, or fewer than two completed trials."""
    search = _read_search(tables)
    if search is None:
        return []
    rebuilt = RebuiltStudy(tables, search)
    return list(rebuilt.plots()) if len(rebuilt.completed) >= MIN_TRIALS else []


def _read_search(tables: Tables) -> Search | None:
    """The section `search` of the only sweep of a table; None where there is none that this version can read."""
    if tables.kind != "search" or len(tables.specs) != 1:
        return None
    try:
        return parse_stored_spec(write_yaml(tables.specs[0]), "spec.yaml", {}).search
    except UserError:
        return None


class RebuiltStudy:
    """The trials of a search in a study in memory, in the order in which they ended."""

    def __init__(self, tables: Tables, search: Search) -> None:
        """Trials of the confirm stage, and trials that lie outside the space as the spec has it now, are left out."""
        self.tables, self.search = tables, search
        with _quiet():
            self.study = optuna.create_study(directions=[objective.goal for objective in search.objectives])
            self.study.set_metric_names([objective.metric for objective in search.objectives])
        counts = Counter(map(axis_name, search.every_space))
        self.names = {path: axis_name(path) if counts[axis_name(path)] == 1 else path for path in search.every_space}
        self.study.add_trials(list(self._trials()))

    @property
    def completed(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    @cached_property
    def parameters(self) -> list[str]:
        """Parameters with several values among the completed trials, in the order of the spec."""
        values: dict[str, set[Any]] = {}
        for trial in self.completed:
            for name, value in trial.params.items():
                values.setdefault(name, set()).add(value)
        return [name for name in self.names.values() if len(values.get(name, ())) > 1]

    def _trials(self) -> Iterator[FrozenTrial]:
        trials, ended = self.tables.trials, self.tables.ended
        records = sorted(trials.to_dict("records"), key=lambda one: (ended.get(one["fingerprint"], 0.0), one["fingerprint"]))
        curves = self._curves()
        for record in records:
            known = {str(name): value for name, value in record.items() if not pd.api.types.is_scalar(value) or pd.notna(value)}
            if known["outcome"] not in STATES or known.get("stage") == CONFIRM or self.search.drawn_values(known) is None:
                continue
            if known["outcome"] == Outcome.COMPLETED and any(goal.metric not in known for goal in self.search.objectives):
                continue
            name = str(known["fingerprint"])
            trial = finished_trial(self.search, known, {"fingerprint": name}, curves.get(name))
            trial.params = {self.names[path]: value for path, value in trial.params.items()}
            trial.distributions = {self.names[path]: domain for path, domain in trial.distributions.items()}
            yield trial

    def _curves(self) -> dict[str, dict[int, float]]:
        """The first objective by step of training, by fingerprint; Optuna takes none in a search by several objectives."""
        metric = self.search.objectives[0].metric
        if len(self.search.objectives) > 1 or not metric.startswith("val/"):
            return {}
        points = self.tables.curves[self.tables.curves["metric"] == curve_of(metric)]
        points = points[points["difficulty"].isna() & points["value"].notna()]
        groups = points.groupby("fingerprint")
        return {str(name): dict(zip(map(int, part["at"]), part["value"], strict=True)) for name, part in groups}

    # -- its plots ------------------------------------------------------------------------------------------------

    def plots(self) -> Iterator[OptunaPlot]:
        """History and slices come first; a search by several objectives begins with its Pareto front."""
        metrics = [objective.metric for objective in self.search.objectives]
        states = Counter(trial.state.name.lower() for trial in self.study.get_trials(deepcopy=False))
        counts = ", ".join(f"{states[name]} {word}" for name, word in WORDS.items() if states[name])
        counts += "; grey trials do not keep the constraints" if self.search.limits else ""
        if 1 < len(metrics) <= MAX_PARETO:
            yield OptunaPlot("pareto_front", "Pareto front", f"The objectives of each completed trial. Trials: {counts}.",
                             self.study, "plot_pareto_front", {"target_names": metrics})  # fmt: skip
        for number, metric in enumerate(metrics):
            yield from self._plots_of(number, metric, f"_{slug(metric)}" if len(metrics) > 1 else "", counts)
        if any(trial.intermediate_values for trial in self.study.get_trials(deepcopy=False)):
            yield OptunaPlot("intermediate_values", f"{metrics[0]} during training",
                             "A line is a trial, pruned trials included.", self.study, "plot_intermediate_values",
                             has_legend=False)  # fmt: skip
        if self._has_importances():
            with _quiet():
                evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            yield OptunaPlot(
                "parameter_importance", "Importance of each parameter",
                "Share of each parameter that all trials have, by PED-ANOVA, for each objective.", self.study,
                "plot_param_importances", {"evaluator": evaluator},
            )  # fmt: skip

    def _plots_of(self, number: int, metric: str, suffix: str, counts: str) -> Iterator[OptunaPlot]:
        """History, slices and parallel coordinates of one objective."""
        target = {"target": lambda trial: trial.values[number], "target_name": metric} if suffix else {"target_name": metric}
        yield OptunaPlot(
            f"search_history{suffix}", f"History of the search by {metric}",
            f"Trials in the order in which they ended: {counts}.", self.study, "plot_optimization_history", target,
        )  # fmt: skip
        for start in range(0, len(self.parameters), SLICES_PER_FIGURE):
            part = self.parameters[start : start + SLICES_PER_FIGURE]
            more = f"_{start // SLICES_PER_FIGURE + 1}" if start else ""
            yield OptunaPlot(
                f"slices{suffix}{more}", f"{metric} by {', '.join(part)}",
                "Each point is a completed trial; a later trial is darker.", self.study, "plot_slice",
                target | {"params": part}, width_px=max(MIN_WIDTH_PX, (PARAMETER_PX + 50) * len(part)),
            )  # fmt: skip
        if len(self.parameters) > 1:
            yield OptunaPlot(
                f"parallel_coordinates{suffix}", f"Settings of each trial and its {metric}",
                "Each line is a completed trial. A drag along an axis selects lines.", self.study, "plot_parallel_coordinate",
                target | {"params": self.parameters}, width_px=max(MIN_WIDTH_PX, PARAMETER_PX * (len(self.parameters) + 1)),
            )  # fmt: skip

    def _has_importances(self) -> bool:
        """Whether PED-ANOVA can compare trials: objectives that differ, and parameters that all completed trials have."""
        common = set.intersection(*(set(trial.params) for trial in self.completed)) & set(self.parameters)
        differ = all(len(set(values)) > 1 for values in zip(*(trial.values for trial in self.completed), strict=True))
        return bool(common) and differ


WORDS = {"complete": "completed", "pruned": "pruned", "fail": "failed"}


def slug(metric: str) -> str:
    """`val_nll` for `val/nll`."""
    return metric.replace("/", "_")
