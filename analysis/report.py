"""The report: the answer first, then effects, cells, figures and the ledger of runs, in one self-contained HTML file."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import plotly.io
from jinja2 import Environment, PackageLoader, select_autoescape

from analysis.figures import (
    ACCURACY,
    FIGURES,
    FigureData,
    describe_axis,
    effects_figure,
    label,
    recurrence_figure,
    residual_figure,
)
from analysis.fits import Fit
from analysis.render import interactive, write_static
from analysis.scaling import fit_laws
from analysis.sentences import REASONS, describe_fits
from analysis.stats import Difference, Effect, Interval, axis_effect, cell_differences, summarise_cells
from analysis.tables import AXES, CAPACITY_AXES, DEPTH_AXES, Tables, is_parameter
from rrm.config import axis_name
from rrm.errors import UserError

RUN_COLUMNS = [
    "fingerprint", "outcome", "reason", "seed", "params", "layers_executed", "train_flops", "inference_flops",
    "fresh_examples", "val/exact_accuracy", ACCURACY, "test/token_accuracy", "test/nll", "chosen_depth", "train_seconds",
]  # fmt: skip


MOST_CELLS_COMPARED = 6  # pair by pair


@dataclass(frozen=True)
class Report:
    """What the analysis says about a sweep."""

    tables: Tables
    effects: list[Effect]
    cells: pd.DataFrame  # one row a cell: settings, params, layers, seeds, mean, low, high
    differences: list[Difference]  # between cells, where these are few
    fits: list[Fit]
    figures: list[FigureData]
    left_out: list[str]  # figures that the table has no data for, and what would give it

    @property
    def answer(self) -> list[str]:
        """Sentences, each with its interval; the first says which axis of depth helps or harms."""
        if self.tables.kind == "search":
            return self._best_of_search()
        overall = [effect for effect in self.effects if effect.where == "all cells"]
        depth = sorted((e for e in overall if e.axis in DEPTH_AXES), key=lambda e: (not e.change.is_clear, -abs(e.change.estimate)))
        capacity = [effect for effect in overall if effect.axis in CAPACITY_AXES]
        sentences = [f"At equal parameters and equal {self._matching}, {_sentence(effect)}." for effect in depth]
        sentences += [f"At equal depth and equal {self._matching}, {_sentence(effect)}." for effect in capacity]
        names = self.tables.varied
        for d in self.differences:
            sentences.append(f"{label(names, d.cell)} against {label(names, d.other)}: {_signed(d.change)}.")
        if not sentences and not self._laws:
            sentences = ["No axis was varied with at least two seeds a cell: nothing is claimed."]
        sentences = self._laws + sentences if self._laws_first else sentences + self._laws
        return sentences + self._unequal_examples() + self._floor_and_ceiling()

    def _best_of_search(self) -> list[str]:
        """A search claims nothing about an axis; it names what it found."""
        completed = self.tables.completed
        best = completed.sort_values("val/exact_accuracy").iloc[-1]
        names = self.tables.varied
        found = label(names, tuple(f"{best[name]:.3g}" if isinstance(best[name], float) else best[name] for name in names))
        scores = f"{best['val/exact_accuracy']:.3f} exact accuracy there, {best[ACCURACY]:.3f} on test"
        return [
            "A search: its trials are the sampler's choice and are not compared. "
            f"Best on validation: {found} ({scores}); a measure sweep around it would say what each setting brings."
        ]

    def _unequal_examples(self) -> list[str]:
        """At equal steps a larger N_sup sees fewer fresh examples: an effect of it is one of both."""
        completed, axis = self.tables.completed, "model.supervision_steps"
        if axis not in self.tables.varied or "fresh_examples" not in completed:
            return []
        means = completed.groupby(axis)["fresh_examples"].mean()
        if means.max() < 1.05 * means.min():
            return []
        seen = ", ".join(f"N_sup {level} saw {mean:,.0f}" for level, mean in means.items() if level)
        return [f"Fresh examples are not equal: {seen} on average."]

    def _floor_and_ceiling(self) -> list[str]:
        """Cells whose accuracy can hardly move say little about an axis."""
        if self.cells.empty:
            return []
        low, high = int((self.cells["mean"] < 0.05).sum()), int((self.cells["mean"] > 0.95).sum())
        if not low + high:
            return []
        return [f"{low} of {len(self.cells)} cells lie below 5 % and {high} above 95 %, where an effect cannot show in full."]

    @property
    def _laws(self) -> list[str]:
        return describe_fits(self.fits)

    @property
    def _laws_first(self) -> bool:
        """A law that was fitted says more than an effect; a refusal says less."""
        return any(fit.law == "recurrence" and fit.is_fitted for fit in self.fits)

    @property
    def _matching(self) -> str:
        completed = self.tables.completed
        return str(completed["matching"].iloc[0]).replace("_", " ") if "matching" in completed else "budget"


def build_report(tables: Tables, fits: list[Fit] | None = None) -> Report:
    """Effects, cells and figures of everything that completed, and what the laws say (fitted here where absent)."""
    fits = fit_laws(tables) if fits is None else fits
    varied, completed = tables.varied, tables.completed
    keys = [*varied, *(name for name in ("params", "layers_executed") if name in completed)]
    has_accuracy = ACCURACY in completed and len(completed) > 0 and bool(keys)
    cells = summarise_cells(completed, keys, ACCURACY) if has_accuracy else pd.DataFrame()
    is_design = tables.kind == "measure" and has_accuracy
    effects = _effects(tables) if is_design else []
    few = is_design and 1 < len(cells) <= MOST_CELLS_COMPARED
    differences = cell_differences(completed, varied, ACCURACY) if few else []
    figures, left_out = _draw(tables)
    overall = effects_figure(effects)
    drawn = [fit for fit in fits if fit.law == "recurrence" and fit.form != "curvature" and fit.is_fitted]
    laws = [figure for fit in drawn for draw in (recurrence_figure, residual_figure) if (figure := draw(fit)) is not None]
    return Report(tables, effects, cells, differences, fits, [*laws, *([overall] if overall else []), *figures], left_out)


def _draw(tables: Tables) -> tuple[list[FigureData], list[str]]:
    """The figures that the table has data for, and a line for each of the others."""
    figures, left_out = [], []
    for draw, needed in FIGURES.items():
        missing = [name for name in needed if name not in tables.completed]
        figure = draw(tables) if not missing and len(tables.completed) else None
        if figure is not None:
            figures.append(figure)
        else:
            title = (draw.__doc__ or "").splitlines()[0].rstrip(".")
            reason = f"a table with {', '.join(missing)}" if missing else "a sweep that varies its axis, with depth curves"
            left_out.append(f"Left out: {title[0].lower()}{title[1:]}; {reason} would give it.")
    return figures, left_out


def _effects(tables: Tables) -> list[Effect]:
    """Each axis over all cells, then each axis of depth at each width."""
    completed, varied = tables.completed, tables.varied
    effects: list[Effect | None] = []
    for axis in [name for name in varied if name in AXES]:
        others = [name for name in varied if name != axis]
        effects.append(axis_effect(completed, axis, others, ACCURACY, "all cells"))
        if axis in DEPTH_AXES:
            for capacity in [name for name in varied if name in CAPACITY_AXES]:
                rest = [name for name in others if name != capacity]
                for level, part in completed.groupby(capacity, sort=True):
                    effects.append(axis_effect(part, axis, rest, ACCURACY, label([capacity], (level,))))
    return [effect for effect in effects if effect is not None]


def _sentence(effect: Effect) -> str:
    """`n 1 to 3 raises exact accuracy by 0.20 (95 % interval 0.15 to 0.25)`."""
    change = effect.change
    pairs = f"mean over {effect.pairs} pairs of cells" if effect.pairs > 1 else "one pair of cells"
    interval = f"95 % interval {change.low:+.3f} to {change.high:+.3f}, {pairs}"
    if not change.is_clear:
        return f"{describe_axis(effect)} has no clear effect on test exact accuracy ({change.estimate:+.3f}; {interval})"
    verb = "raises" if change.estimate > 0 else "lowers"
    return f"{describe_axis(effect)} {verb} test exact accuracy by {abs(change.estimate):.3f} ({interval})"


def _signed(change: Interval) -> str:
    """`+0.20 (95 % interval +0.15 to +0.25)`."""
    return f"{change.estimate:+.3f} test exact accuracy (95 % interval {change.low:+.3f} to {change.high:+.3f})"


def write_report(report: Report, folder: Path, title: str, commands: list[str]) -> Path:
    """`report.html`, PNG and SVG of every figure, and the tables as CSV and Parquet.

    Returns:
        The path of the HTML file, which opens offline.

    Raises:
        UserError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", str(folder)) from None
    for name, table in (("trials", report.tables.trials), ("curves", report.tables.curves), ("cells", report.cells)):
        table.to_csv(folder / f"{name}.csv", index=False)
        _uniform(table).to_parquet(folder / f"{name}.parquet", index=False)
    figures = []
    for number, figure in enumerate(report.figures):
        write_static(figure, folder)
        drawing = plotly.io.to_html(
            interactive(figure), full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False}
        )
        figures.append({"data": figure, "html": drawing})
    environment = Environment(loader=PackageLoader("analysis", "."), autoescape=select_autoescape(["html"]))
    html = environment.get_template("report.html").render(
        title=title,
        answer=report.answer,
        effects=report.effects,
        describe_axis=describe_axis,
        cells=readable_cells(report),
        differences=[(label(report.tables.varied, d.cell), label(report.tables.varied, d.other), d) for d in report.differences],
        figures=figures,
        left_out=report.left_out,
        laws=_readable_laws(report.fits),
        suggestions={str(fit).split(" (")[0]: fit.suggestion for fit in report.fits if fit.suggestion},
        runs=_readable_runs(report.tables),
        counts=report.tables.trials["outcome"].value_counts().to_dict(),
        commands=commands,
    )
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


def readable_cells(report: Report) -> pd.DataFrame:
    """The table of cells as it is printed and shown: short names, rounded."""
    cells = report.cells
    if cells.empty:
        return cells
    shown = cells[report.tables.varied].rename(columns=axis_name)
    shown = shown.map(lambda value: f"{value:.3g}" if isinstance(value, float) else value)
    shown = shown.replace(0, "-")  # what this model does not have
    if "params" in cells:
        shown["params"] = cells["params"].map("{:,}".format)
    if "layers_executed" in cells:
        shown["layers"] = cells["layers_executed"]
    shown["seeds"] = cells["seeds"]
    shown["accuracy"] = cells["mean"].map("{:.3f}".format)
    has_interval = not cells["low"].isna().any()
    pairs = zip(cells["low"], cells["high"], strict=True)
    shown["95 % interval"] = [f"{low:.3f} .. {high:.3f}" if has_interval else "one seed" for low, high in pairs]
    return shown


def _readable_laws(fits: list[Fit]) -> pd.DataFrame:
    """A row an estimate, and a row a refusal."""
    rows = []
    for fit in fits:
        about = {"law": fit.law, "form": fit.form or "", "of": ", ".join(f"{axis_name(k)} {v}" for k, v in fit.group.items())}
        counts = {"trials": fit.trials, "flags": ", ".join(fit.flags)}
        if not fit.is_fitted:
            rows.append(about | {"says": f"refused: {REASONS[str(fit.reason)]}"} | counts)
        for name, e in fit.estimates.items():
            numbers = {"estimate": f"{e.estimate:.4g}", "low": f"{e.low:.4g}", "high": f"{e.high:.4g}"}
            rows.append(about | {"says": name} | numbers | counts)
    columns = ["law", "form", "of", "says", "estimate", "low", "high", "trials", "flags"]
    return pd.DataFrame(rows, columns=columns).fillna("")


def _readable_runs(tables: Tables) -> pd.DataFrame:
    columns = [name for name in [*tables.varied, *RUN_COLUMNS] if name in tables.trials]
    runs = tables.trials[columns].rename(columns=lambda name: axis_name(name) if is_parameter(name) else name)
    return runs.map(lambda value: f"{value:.4g}" if isinstance(value, float) else value).fillna("")


def _uniform(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed types as text, which Parquet needs."""
    mixed = [name for name in table if table[name].dtype == object]
    uniform = table.copy()
    for name in mixed:
        absent = table[name].isna()
        uniform[name] = table[name].map(lambda value: value if isinstance(value, str) else str(value)).mask(absent, None)
    return uniform
