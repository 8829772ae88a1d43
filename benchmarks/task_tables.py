"""The tables of docs/tasks.md: one pass against recursion in every bin, from the sweeps in sweeps/specs/tasks.

for spec in sweeps/specs/tasks/*.yaml; do rrm-sweep run $spec; done
python benchmarks/task_tables.py [STORAGE]
"""

import sys
from pathlib import Path

import pandas as pd
from scipy import stats

from analysis.data.tables import Tables, load

SPECS = Path(__file__).parent.parent / "sweeps/specs/tasks"
SPLITS = {"test": "depth/exact_accuracy", "ood": "ood_depth/exact_accuracy"}


def main() -> None:
    storage = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    for spec in sorted(SPECS.glob("*.yaml")):
        folder = storage / f"task_{spec.stem}"
        if folder.exists():
            print(f"**{spec.stem}** {sentence(load(folder))}\n\n{table(load(folder))}\n")


def sentence(tables: Tables) -> str:
    """What recursion brings, in and out of distribution."""
    trials = tables.completed
    seeds = trials.groupby("model.kind")["seed"].nunique().min()
    parts = [f"{int(trials['params'].iloc[0]):,} parameters each, {seeds} seeds"]
    for split in SPLITS:
        column = f"{split}/exact_accuracy"
        if column in trials:
            one_pass, recursive = (trials[trials["model.kind"] == kind][column] for kind in ("direct", "trm"))
            interval = stats.ttest_ind(recursive, one_pass, equal_var=False).confidence_interval()  # Welch
            change = f"{recursive.mean() - one_pass.mean():+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
            parts.append(f"{split}: recursion brings {change}")
    minutes = trials.groupby("model.kind")["train_seconds"].mean() / 60
    parts.append("minutes of training a trial: " + ", ".join(f"{kind} {mean:.1f}" for kind, mean in minutes.items()))
    return "; ".join(parts) + "."


def table(tables: Tables) -> str:
    """Mean exact accuracy over seeds of each kind of model, over all rows and by bin."""
    trials = tables.completed
    columns: dict[str, pd.Series] = {}
    for split, metric in SPLITS.items():
        if f"{split}/exact_accuracy" in trials:
            columns[split] = trials.groupby("model.kind")[f"{split}/exact_accuracy"].mean()
            for name, accuracy in by_bin(tables, metric).items():
                columns[f"{split} {name}"] = accuracy
    frame = pd.DataFrame(columns)
    head = "| model | " + " | ".join(frame.columns) + " |"
    rows = [f"| {kind} | " + " | ".join(f"{value:.2f}" for value in values) + " |" for kind, values in frame.iterrows()]
    return "\n".join([head, "| --- |" + " ---: |" * len(frame.columns), *rows])


def by_bin(tables: Tables, metric: str) -> dict[str, pd.Series]:
    """Mean exact accuracy at D = 1 by kind of model in each bin, by the bin's name."""
    curves = tables.curves
    chosen = curves[(curves["metric"] == metric) & curves["difficulty"].notna() & (curves["at"] == 1)]
    joined = chosen.merge(tables.completed[["fingerprint", "model.kind"]], on="fingerprint")
    found = {}
    for (measure, edge), part in joined.groupby(["binned_by", "difficulty"], sort=True):
        found[f"{measure} {int(edge)}"] = part.groupby("model.kind")["value"].mean()
    return found


if __name__ == "__main__":
    main()
