"""Keeps the runs of an answer: `python -m docs.results.keep runs/NAME` writes NAME.parquet and NAME_curves.parquet.

They lie in docs/results/data/. `rrm-analyze --csv NAME.parquet --curves NAME_curves.parquet --out report` draws their report.
"""

import argparse
from pathlib import Path

import pandas as pd

from analysis.data.tables import Tables, load

DATA = Path(__file__).parent / "data"
KEPT_CURVES = ("depth/exact_accuracy", "depth/nll", "val_curve/exact_accuracy", "val_curve/nll")


def keep(target: str, folder: Path) -> list[Path]:
    """Writes the completed trials of a sweep, and their curves by step and by depth, into a folder.

    Args:
        target: folder, URI or name of the sweep.

    Returns:
        The two files.
    """
    tables = load(target)
    name = str(tables.trials["sweep"].iloc[0])
    paths = [folder / f"{name}.parquet", folder / f"{name}_curves.parquet"]
    for path, table in zip(paths, (trials_of(tables), curves_of(tables)), strict=True):
        table.to_parquet(path, index=False, compression="zstd")
    return paths


def trials_of(tables: Tables) -> pd.DataFrame:
    """The columns that have a value; lists as text, because a column of Parquet has one type."""
    trials = tables.completed.dropna(axis="columns", how="all")
    return trials.map(lambda value: str(value) if isinstance(value, list | tuple) else value)


def curves_of(tables: Tables) -> pd.DataFrame:
    """The points of `KEPT_CURVES`, without bins of difficulty."""
    points = tables.curves
    kept = (
        points["metric"].isin(KEPT_CURVES)
        & points["difficulty"].isna()
        & points["fingerprint"].isin(tables.completed["fingerprint"])
    )
    return points.loc[kept, ["fingerprint", "metric", "axis", "at", "value"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", metavar="SWEEP")
    for target in parser.parse_args().sweeps:
        for path in keep(target, DATA):
            print(path)


if __name__ == "__main__":
    main()
