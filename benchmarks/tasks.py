"""How fast puzzles are made, and how much more of them the data path feeds than a tiny TRM consumes; one thread.

python benchmarks/tasks.py
"""

import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import torch

from lightning_modules.config import load_trial
from lightning_modules.datamodule import TrainingStream, load_splits
from lightning_modules.module import RecursiveModule
from rrm.optim import build_optimizer
from rrm.tasks import Task
from rrm.tasks.maze import Maze, MazeConfig
from rrm.tasks.prefix_sum import PrefixSum, PrefixSumConfig
from rrm.tasks.sudoku import Sudoku, SudokuConfig

TRIALS = sorted(Path(__file__).parent.parent.glob("lightning_modules/trials/*.yaml"))
REPEATS = 3
STEPS = 12  # timed steps of a trial, behind as many that are not
MADE: list[tuple[str, Task, int, float]] = [  # puzzles and the seconds that they may take
    ("4x4 Sudokus", Sudoku(SudokuConfig(size=4)), 10_000, 10),
    ("6x6 Sudokus", Sudoku(SudokuConfig(size=6)), 10_000, 60),
    ("9x9 Sudokus, 36 to 50 givens", Sudoku(SudokuConfig(size=9)), 1_000, 60),
    ("9x9 Sudokus, minimal", Sudoku(SudokuConfig(size=9, minimal=True)), 1_000, 60),
    ("11x11 mazes", Maze(MazeConfig(size=11, ood_examples=0)), 10_000, 10),
    ("30x30 mazes", Maze(MazeConfig(size=30, ood_examples=0)), 1_000, 60),
    ("prefix sums", PrefixSum(PrefixSumConfig()), 100_000, 2),
]


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {date.today()}; medians of {REPEATS}\n"
    )
    print("| puzzles | count | seconds | at most |\n| --- | ---: | ---: | ---: |")
    for name, task, count, limit in MADE:
        seconds = [timed(partial(task.make, "train", count, seed)) for seed in range(REPEATS)]
        print(f"| {name} | {count:,} | {statistics.median(seconds):.2f} | {limit:g} |", flush=True)
    print("\n| trial file | rows a second, data path | rows a second, TRM | ratio |\n| --- | ---: | ---: | ---: |")
    for path in TRIALS:
        fed, consumed = feeding(path)
        print(f"| {path.stem} | {fed:,.0f} | {consumed:,.0f} | {fed / consumed:.0f} |", flush=True)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def feeding(path: Path) -> tuple[float, float]:
    """Rows a second that the training stream gives, and that training takes (median step); alternately, side by side."""
    config = load_trial(path)
    data = load_splits(config.task)
    stream = TrainingStream(data.task, data.splits["train"], config, first_step=0)
    module = RecursiveModule(config)
    optimizer = build_optimizer(module.reasoner, config.optim)
    giving, taking = [], []
    for step in range(2 * STEPS):
        started = time.perf_counter()
        batch = stream.batch(step)
        given = time.perf_counter()
        optimizer.zero_grad()
        module.training_step(batch, step).backward()
        optimizer.step()
        module.average.update_parameters(module.reasoner)
        giving.append(given - started)
        taking.append(time.perf_counter() - given)
    size = config.fit.batch_size
    return size / statistics.median(giving[STEPS:]), size / statistics.median(taking[STEPS:])


if __name__ == "__main__":
    main()
