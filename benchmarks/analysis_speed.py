"""How long the analysis of many runs takes, and how much memory: `rrm-analyze` on made tables.

    python benchmarks/analysis_speed.py [--runs 1000]

Each run has 50 points: a curve of 16 depths, of 2 metrics, and 18 validations. Best with `taskset -c 0`: one core is promised.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

LIMIT_SECONDS, LIMIT_GIGABYTES, LIMIT_RATIO = 30, 2.0, 12
WIDTHS, DEPTHS = [16, 24, 32, 48, 64, 96, 128, 192], [1, 2, 4, 8, 16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trials, curves = make(runs)
        trials.to_parquet(folder / "trials.parquet")
        curves.to_parquet(folder / "curves.parquet")
        started = time.perf_counter()
        command = ["--csv", f"{folder}/trials.parquet", "--curves", f"{folder}/curves.parquet", "--out", f"{folder}/out"]
        subprocess.run([sys.executable, "-m", "analysis.cli", *command], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        report = (folder / "out/report.html").stat().st_size / 1e6
    print(f"{runs} runs, {len(curves)} points: {seconds:.1f} s, {gigabytes:.2f} GB, report of {report:.1f} MB "
          f"(limits: {LIMIT_SECONDS} s and {LIMIT_GIGABYTES} GB for 1,000; {LIMIT_RATIO} times that for 10,000)")  # fmt: skip


def make(runs: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs of the recurrence law in 40 cells, with as many seeds as it takes."""
    rng = np.random.default_rng(0)
    number = np.arange(runs)
    cell = number % (len(WIDTHS) * len(DEPTHS))
    width, depth = np.array(WIDTHS)[cell % len(WIDTHS)], np.array(DEPTHS)[cell // len(WIDTHS)]
    recursed = 12 * width**2
    loss = 20 * ((3 * depth) ** 0.45 * recursed) ** -0.3 * np.exp(0.1 * rng.standard_normal(runs))
    accuracy = np.clip(1 - 0.6 * loss, 0, 1)
    trials = pd.DataFrame(
        {
            "fingerprint": [f"t{n}" for n in number], "sweep": "made", "outcome": "completed", "seed": number // 40,
            "task.kind": "sudoku", "model.kind": "trm", "model.hidden_size": width, "model.l_cycles": 2, "model.h_cycles": 1,
            "model.supervision_steps": depth, "matching": "steps", "params": recursed + 20 * width, "params_recursed": recursed,
            "params_once": 20 * width, "recursion": 3.0 * depth, "layers_executed": 3 * depth, "chosen_depth": depth,
            "train_flops": 6e6 * recursed, "inference_flops": 6.0 * recursed * depth, "test/nll": loss,
            "test/exact_accuracy": accuracy, "val/exact_accuracy": accuracy, "train_seconds": 1.0,
        }
    )  # fmt: skip
    at = np.arange(1, 17)
    error = (1 - accuracy)[:, None] + 0.3 * np.exp(-(at - 1) / 2.0)[None]
    parts = [_points("depth/exact_accuracy", "depth", at, np.clip(1 - error, 0, 1)), _points("depth/nll", "depth", at, error)]
    steps = np.arange(1, 19)
    parts.append(_points("val_curve/nll", "step", 100 * steps, loss[:, None] * (1 + 1 / steps)[None]))
    return trials, pd.concat(parts, ignore_index=True)


def _points(metric: str, axis: str, at: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    runs, count = values.shape
    names = np.repeat([f"t{n}" for n in range(runs)], count)
    return pd.DataFrame({"fingerprint": names, "metric": metric, "axis": axis, "at": np.tile(at, runs), "value": values.ravel()})


if __name__ == "__main__":
    main()
