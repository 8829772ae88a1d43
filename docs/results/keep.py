"""Keep the runs of a sweep as Parquet, so that a page of results can be drawn again: `python -m docs.results.keep runs/NAME`.

Writes data/NAME.parquet with a row per trial and data/NAME_curves.parquet with a row per point of a curve, as `rrm-analyze --csv`
reads them. What belongs to the machine alone is left out.
"""

import sys
from pathlib import Path

import analysis
from analysis.data.tables import Tables

DATA = Path(__file__).parent / "data"
MAX_BYTES = 2_000_000
OF_THE_MACHINE = ("host", "node", "path")  # words in names of columns


def keep(tables: Tables, name: str) -> list[Path]:
    """Writes both files and returns their paths."""
    paths = [DATA / f"{name}.parquet", DATA / f"{name}_curves.parquet"]
    machine = [column for column in tables.trials if any(word in str(column) for word in OF_THE_MACHINE)]
    tables.trials.drop(columns=machine).to_parquet(paths[0], index=False)
    tables.curves.drop(columns=[column for column in tables.curves if column == "time"]).to_parquet(paths[1], index=False)
    size = sum(path.stat().st_size for path in paths)
    if size > MAX_BYTES:
        raise SystemExit(f"{name}: the files have {size:,} bytes, at most {MAX_BYTES:,} may be kept")
    return paths


if __name__ == "__main__":
    for target in sys.argv[1:]:
        for written in keep(analysis.load(target), Path(target).name):
            print(f"{written}: {written.stat().st_size:,} bytes")
