"""What a search finds through spec, Ray and study, beside plain Optuna with the same sampler, seed and number of trials.

python -m benchmarks.search_quality [--seeds 10]

Trials score a known function (benchmarks/trivial/known.py). With one trial at a time both sides propose the same points; with
two the order of ends is left to chance, so many seeds are compared. Takes about 20 s for each sampler and seed.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial

from benchmarks.trivial.known import LR, MAX_LR, MIN_BRANIN, MIN_LR, SPACE, WEIGHT_DECAY, scores
from lightning_modules.yaml_file import write_yaml

ROOT = Path(__file__).parent.parent
BRANIN = [{"metric": "val/nll", "goal": "minimize"}]
TWO_ACCURACIES = [{"metric": f"val/{name}", "goal": "maximize"} for name in ("exact_accuracy", "token_accuracy")]
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    LR: FloatDistribution(MIN_LR, MAX_LR, log=True),
    WEIGHT_DECAY: FloatDistribution(0.0, 1.0),
}
DRIVER = """
import sys
from pathlib import Path
from rich.console import Console
from sweeps.driver.run import run_sweep
from sweeps.spec.load_spec import load_spec

for path in sys.argv[1:]:
    assert run_sweep(load_spec(Path(path)), Console(), "") == 0
"""


class Problem(NamedTuple):
    """A sampler and what it is asked to find."""

    kind: str
    sampler: Callable[..., BaseSampler]
    objectives: list[dict[str, str]]
    num_trials: int


class Run(NamedTuple):
    """One sweep over a problem."""

    problem: Problem
    seed: int
    concurrent: int

    @property
    def name(self) -> str:
        return f"{self.problem.kind}_{self.seed}_{self.concurrent}"


PROBLEMS = {
    "tpe": Problem("tpe", TPESampler, BRANIN, 40),
    "gp": Problem("gp", GPSampler, BRANIN, 20),
    "nsga2": Problem("nsga2", NSGAIISampler, TWO_ACCURACIES, 120),  # a generation is 50
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = range(parser.parse_args().seeds)
    print("| sampler | trials | found | plain Optuna | ours | difference, paired by seed |")
    print("| --- | ---: | --- | ---: | ---: | ---: |", flush=True)
    for problem in PROBLEMS.values():
        plain = [found(problem, plain_study(problem, seed, concurrent=2).trials) for seed in seeds]
        with tempfile.TemporaryDirectory() as folder:
            studies = sweep_all([Run(problem, seed, concurrent=2) for seed in seeds], Path(folder))
        ours = [found(problem, trials) for trials in studies]
        what = "log10 (best - optimum)" if problem.objectives == BRANIN else "hypervolume"
        differences = [b - a for a, b in zip(plain, ours, strict=True)]
        cells = [f"{mean_and_error(values)}" for values in (plain, ours, differences)]
        print(f"| {problem.kind} | {problem.num_trials} | {what} | " + " | ".join(cells) + " |", flush=True)


def plain_study(problem: Problem, seed: int, concurrent: int) -> optuna.Study:
    """Optuna's own ask and tell, so many trials open at a time, the oldest ending first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = new_study(problem, seed)
    waiting: list[optuna.Trial] = []
    for _ in range(problem.num_trials):
        if len(waiting) == concurrent:
            tell(problem, study, waiting.pop(0))
        waiting.append(study.ask(DISTRIBUTIONS))
    for trial in waiting:
        tell(problem, study, trial)
    return study


def replayed_study(problem: Problem, seed: int, trials: list[FrozenTrial]) -> optuna.Study:
    """Optuna's own ask and tell, in the order in which trials began and ended."""
    study = new_study(problem, seed)
    asked: dict[int, optuna.Trial] = {}
    times = [(trial.datetime_start, trial.number) for trial in trials]
    times += [(trial.datetime_complete, trial.number) for trial in trials]
    for _, number in sorted(times):
        if number in asked:
            tell(problem, study, asked[number])
        else:
            asked[number] = study.ask(DISTRIBUTIONS)
    return study


def new_study(problem: Problem, seed: int) -> optuna.Study:
    directions = [objective["goal"] for objective in problem.objectives]
    return optuna.create_study(sampler=problem.sampler(seed=seed), directions=directions)


def tell(problem: Problem, study: optuna.Study, trial: optuna.Trial) -> None:
    values = scores(trial.params)
    study.tell(trial, [values[objective["metric"]] for objective in problem.objectives])


def sweep_all(runs: list[Run], folder: Path) -> list[list[FrozenTrial]]:
    """The studies of sweeps, whose trials score the known function in Ray's workers; one driver after the other."""
    specs = [folder / f"{run.name}.yaml" for run in runs]
    for run, path in zip(runs, specs, strict=True):
        path.write_text(write_yaml(sections(run)), encoding="utf-8")
    paths = os.pathsep.join([str(Path(__file__).parent / "trivial"), str(ROOT)])
    command = [sys.executable, "-c", DRIVER, *map(str, specs)]
    ended = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, encoding="utf-8")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    storages = [f"sqlite:///{folder / 'runs' / run.name / 'study.db'}" for run in runs]
    return [optuna.load_study(study_name=None, storage=storage).trials for storage in storages]


def sections(run: Run) -> dict[str, Any]:
    """The spec of a sweep over the known function."""
    return {
        "name": run.name,
        "trial": {
            "task": {"kind": "sudoku", "size": 4, "train_examples": 60, "validation_examples": 20, "test_examples": 30},
            "fit": {"batch_size": 8, "budget": {"unit": "steps", "amount": 12}},
        },
        "search": {
            "sampler": {"kind": run.problem.kind, "seed": run.seed},
            "space": SPACE,
            "objectives": run.problem.objectives,
            "num_trials": run.problem.num_trials,
        },
        "resources": {"max_concurrent": run.concurrent},
    }


def found(problem: Problem, trials: list[FrozenTrial]) -> float:
    """How good a study is: log10 of the distance to the optimum, or the hypervolume above (0, 0)."""
    if problem.objectives == BRANIN:
        return math.log10(min(trial.values[0] for trial in trials) - MIN_BRANIN)
    return hypervolume([(trial.values[0], trial.values[1]) for trial in trials])


def hypervolume(points: list[tuple[float, float]]) -> float:
    """Area between (0, 0) and the Pareto front of points of which both coordinates are maximised."""
    area, reached = 0.0, 0.0
    for x, y in sorted(points, reverse=True):
        if x > 0 and y > reached:
            area += x * (y - reached)
            reached = y
    return area


def mean_and_error(values: list[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


if __name__ == "__main__":
    main()
