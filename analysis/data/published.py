"""Published scores of the benchmarks on which the trials of a table were scored.

`published.csv` holds them with their source. A report shows them for the same benchmark only (docs/report.md, "Statistics").
"""

from importlib.resources import files
from io import StringIO

import pandas as pd

from analysis.data.tables import Tables

COLUMNS = ["model", "variant", "params", "t_cycles", "n_cycles", "layers_per_step", "accuracy_pct", "source"]


def read_published() -> pd.DataFrame:
    """One row per published score: benchmark, model, variant, params, cycles, accuracy in percent, source."""
    return pd.read_csv(StringIO(files("analysis.data").joinpath("published.csv").read_text(encoding="utf-8")))


def benchmarks_of(tables: Tables) -> list[str]:
    """The published benchmarks that completed trials were scored on: the official files, by the name of their hub.

    Generated puzzles and other files are no published benchmark, even if they are similar.
    """
    completed = tables.completed
    benchmarks = []
    if "task.hub" in completed:
        names = {"sudoku-extreme": "sudoku-extreme", "maze-30x30-hard": "maze-hard"}
        benchmarks = [names[hub] for hub in sorted(completed["task.hub"].dropna().astype(str).unique()) if hub in names]
    if {"task.kind", "task.test"} <= set(completed):
        arc = completed[completed["task.kind"] == "arc"]
        sets = sorted(arc["task.test"].astype(str).unique())
        benchmarks += [f"arc-agi-{name.removeprefix('arc')}" for name in sets if name in {"arc1", "arc2"}]
    return benchmarks


def published_beside(tables: Tables) -> pd.DataFrame:
    """Published rows of the benchmarks of a table, the best first; empty where there are none."""
    published = read_published()
    same = published[published["benchmark"].isin(benchmarks_of(tables))]
    return same.drop_duplicates(["benchmark", *COLUMNS]).sort_values(["benchmark", "accuracy_pct"], ascending=[True, False])
