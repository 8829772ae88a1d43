"""What a sweep adds to a trial: sweeps of trials that do nothing, beside Ray Tune alone, in one run.

python benchmarks/scale.py [--trials 1000 4000]

Each side runs in a process of its own; its seconds run from before Ray starts until Tune has returned and, on our side, until
MLflow holds everything. Tune alone runs before and after ours, and its mean counts.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FRESH_TRIALS = 10  # under Tune's defaults, where each imports torch and lightning in a new process
MAX_RATIO_TO_TUNE = 6.0
MAX_GROWTH = 1.1  # time per trial with many trials, divided by that with few
MIN_RATIO_TO_FRESH = 20.0
OURS = {
    "name": "scale",
    "trial": {
        "task": {"kind": "sudoku", "size": 4, "train_examples": 60, "validation_examples": 20, "test_examples": 30},
        "model": {"hidden_size": 16, "head_size": 8, "num_layers": 1, "h_cycles": 1, "l_cycles": 2, "supervision_steps": 2},
        "fit": {"batch_size": 8, "budget": {"unit": "steps", "amount": 12}},
    },
    "search": {
        "sampler": {"kind": "random"},
        "space": {"optim.lr": {"log_uniform": [1e-5, 1e-1]}, "optim.weight_decay": {"uniform": [0.0, 1.0]}},
        "objectives": [{"metric": "val/nll", "goal": "minimize"}],
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", nargs=2, type=int, default=[1000, 4000], metavar=("FEW", "MANY"))
    parser.add_argument("--side", choices=SIDES, help="run one side alone, with FEW trials, and print its seconds as JSON")
    given = parser.parse_args()
    few, many = given.trials
    if given.side:
        print(json.dumps(SIDES[given.side](few)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {date.today()}\n", flush=True)
    print("| side | trials | seconds | ms a trial |\n| --- | ---: | ---: | ---: |", flush=True)
    before = measured("bare", few)
    ours_few, ours_many = measured("ours", few), measured("ours", many)
    bare = statistics.mean([before, measured("bare", few)])
    fresh = measured("fresh", FRESH_TRIALS) / FRESH_TRIALS
    marginal = (ours_many - ours_few) / (many - few)
    print("\n| ratio | measured | limit |\n| --- | ---: | ---: |")
    print(f"| ours to Tune alone, {few:,} trials | {ours_few / bare:.2f} | at most {MAX_RATIO_TO_TUNE:g} |")
    print(f"| ours, {many:,} trials to {few:,} | {ours_many / ours_few:.2f} | at most {MAX_GROWTH * many / few:.1f} |")
    print(
        f"| a fresh process for each trial to a further trial of ours | {fresh / marginal:.0f} | at least {MIN_RATIO_TO_FRESH:g} |"
    )


def measured(side: str, trials: int) -> float:
    """Seconds of one side in a process of its own."""
    paths = [str(HERE / "trivial"), str(HERE.parent)] if side == "ours" else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, str(HERE / "scale.py"), "--side", side, "--trials", str(trials), "0"]
        ended = subprocess.run(arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    seconds = json.loads(ended.stdout.splitlines()[-1])
    print(f"| {NAMES[side]} | {trials:,} | {seconds:.1f} | {1000 * seconds / trials:.1f} |", flush=True)
    return seconds


def run_bare(trials: int) -> float:
    """Random search over one row a trial, in warm actors; everything else as Tune has it."""

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        tune.report({"nll": config["weight_decay"]})

    return _tuned(trial, trials, reuse_actors=True)


def run_fresh(trials: int) -> float:
    """Tune's defaults: a new process for each trial, which imports what a trial of ours has imported."""

    def trial(config: dict[str, Any]) -> None:
        import lightning.pytorch  # noqa: F401
        import torch  # noqa: F401
        from ray import tune

        tune.report({"nll": config["weight_decay"]})

    return _tuned(trial, trials, reuse_actors=False)


def _tuned(trial: Callable[[dict[str, Any]], None], trials: int, reuse_actors: bool) -> float:
    import ray
    from ray import tune

    started = time.perf_counter()
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    space = {"lr": tune.loguniform(1e-5, 1e-1), "weight_decay": tune.uniform(0.0, 1.0)}
    tune.Tuner(
        trial,
        param_space=space,
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=reuse_actors),
        run_config=tune.RunConfig(storage_path=str(Path.cwd()), verbose=0),
    ).fit()
    seconds = time.perf_counter() - started
    ray.shutdown()
    return seconds


def run_ours(trials: int) -> float:
    """`rrm-sweep run` on a search by random sampling, and the wait until tracking has said everything."""
    from rich.console import Console

    from lightning_modules.yaml_file import write_yaml
    from sweeps.driver.run import run_sweep
    from sweeps.spec.load_spec import load_spec
    from sweeps.tracking import delivery

    OURS["search"]["num_trials"] = trials
    path = Path("scale.yaml")
    path.write_text(write_yaml(OURS), encoding="utf-8")
    spec = load_spec(path)
    delivery.MAX_DELIVERY_SECONDS = 3600.0
    started = time.perf_counter()
    code = run_sweep(spec, Console(stderr=True), "")
    seconds = time.perf_counter() - started
    check_complete(spec, trials, code)
    return seconds


def check_complete(spec: Any, trials: int, code: int) -> None:
    """The sweep did what it is timed for: every trial is in the store and, once, in MLflow."""
    from sweeps.store.store import Store
    from sweeps.tracking.mlflow.address import local_root, tracking_uri
    from sweeps.tracking.mlflow.reader import read_runs
    from sweeps.tracking.spool import Spool

    store, uri = Store(spec.location), tracking_uri(local_root(spec.storage))
    found, spool = read_runs(uri, spec.name), Spool(store.driver_folder / "spool")
    spool.follow(uri)
    assert found is not None and code == 0 and spool.is_empty
    tracked = [record["fingerprint"] for record in found.records if record["outcome"] == "completed"]
    assert len(tracked) == trials and set(tracked) == store.finished()


SIDES: dict[str, Callable[[int], float]] = {"bare": run_bare, "ours": run_ours, "fresh": run_fresh}
NAMES = {"bare": "Tune alone, warm actors", "ours": "ours", "fresh": "Tune's defaults, importing torch and lightning"}

if __name__ == "__main__":
    main()
