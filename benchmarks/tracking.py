"""What tracking costs: of a sweep's wall time, and of a large sweep's writing and reading.

    python benchmarks/tracking.py share [--pairs 3]     the demo sweep without tracking, with it, and with a model, in turn
    python benchmarks/tracking.py bulk [--runs 1000]    child runs of 50 points, written to SQLite and read by `analysis`

Needs the development install; `share` takes about 8 minutes each time on 2 cores.
"""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).parent.parent
POINTS = 50  # points per run: 20 rows of training and validation, 10 depths
SHARE_LIMIT, WRITE_LIMIT_SECONDS, READ_LIMIT_SECONDS = 0.02, 60.0, 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["share", "bulk"])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    if options.what == "share":
        measure_share(options.pairs)
    else:
        measure_bulk(options.runs)


def measure_share(pairs: int) -> None:
    """Wall time of the demo sweep until MLflow holds it all: untracked, tracked, and tracked with its best model logged."""
    sides: dict[str, list[float]] = {"off": [], "runs": [], "runs and a model": []}
    for number in range(pairs):
        for side in list(sides) if number % 2 else reversed(sides):
            seconds, busy = run_demo(side)
            sides[side].append(seconds)
            print(f"{number + 1}: {side:16} {seconds:.1f} s, of which the tracking thread computed {busy:.1f} s", flush=True)
    medians = {side: statistics.median(seconds) for side, seconds in sides.items()}
    share = medians["runs"] / medians["off"] - 1
    model = medians["runs and a model"] - medians["runs"]
    print(f"demo sweep, medians of {pairs}: {medians['off']:.1f} s untracked, {medians['runs']:.1f} s tracked: {share:+.1%} "
          f"(limit {SHARE_LIMIT:.0%}); its best model {model:+.1f} s, once a sweep")  # fmt: skip


def run_demo(side: str) -> tuple[float, float]:
    """Seconds of the demo sweep, and CPU seconds of its tracking thread."""
    from sweeps.driver.run import run_sweep
    from sweeps.spec.load_spec import load_spec
    from sweeps.tracking.delivery import Delivery

    spent: list[float] = []
    deliver = Delivery._run

    def timed(delivery: Delivery) -> None:
        deliver(delivery)
        spent.append(time.thread_time())

    Delivery._run = timed if side != "off" else lambda delivery: None  # type: ignore[method-assign, assignment, misc]
    try:
        with tempfile.TemporaryDirectory() as folder:
            spec = load_spec(ROOT / "sweeps/specs/demo.yaml", [f"storage={folder}", f"tracking.models={int('model' in side)}"])
            started = time.perf_counter()
            code = run_sweep(spec, Console(stderr=True), "")
            seconds = time.perf_counter() - started
    finally:
        Delivery._run = deliver  # type: ignore[method-assign]
    assert code == 0
    return seconds, sum(spent)


def measure_bulk(runs: int) -> None:
    """Through ledger, spool and writer as in a sweep, but for the training."""
    from analysis.data.tables import load
    from sweeps.driver.reconcile import reconcile
    from sweeps.spec.load_spec import load_spec
    from sweeps.store.store import Store
    from sweeps.tracking.recorder import EventRecorder
    from sweeps.tracking.spool import Spool

    with tempfile.TemporaryDirectory() as folder:
        seeds = -(-runs // 12)
        spec = load_spec(ROOT / "sweeps/specs/demo.yaml", [f"storage={folder}", f"measure.seeds={seeds}", "tracking.models=0"])
        store = Store(spec.location)
        store.create()
        tracker = EventRecorder(spec, Spool(store.driver_folder / "spool"), store)
        ledger = reconcile(spec, store, tracker)
        for _ in range(runs):
            config = ledger.ask()
            assert config is not None
            for row in rows():
                ledger.row(config.fingerprint, row)
            ledger.end(config.fingerprint, ending(config))
        tracker.conclude(True, [])
        started = time.perf_counter()
        tracker.delivery.start()
        assert tracker.delivery.close(), tracker.delivery.problem
        written = time.perf_counter() - started
        assert threading.active_count() == 1 and not tracker.spool.progress.aside
        started = time.perf_counter()
        tables = load(spec.name, tracker.delivery.tracker.address)
        read = time.perf_counter() - started
        assert len(tables.trials) == runs and len(tables.curves) == runs * POINTS
        print(f"{runs} runs of {POINTS} points and {len(tables.trials.columns)} columns on SQLite")
        print(f"written in {written:.1f} s ({1000 * written / runs:.0f} ms a run; limit {WRITE_LIMIT_SECONDS:.0f} s a 1,000)")
        print(f"read by analysis in {read:.1f} s (limit {READ_LIMIT_SECONDS:.0f} s a 1,000)")


def rows() -> list[dict[str, Any]]:
    """Ten rows of four metrics."""
    return [
        {
            "step": 75 * number,
            "time": time.time_ns() // 1_000_000,
            "metrics": {name: 1.0 / number for name in ("train_curve/loss", "val_curve/exact_accuracy", "val_curve/token_accuracy",
                                                        "val_curve/nll")},
            "used": {"steps": 75 * number, "train_flops": 1e9 * number},
        }
        for number in range(1, 11)
    ]  # fmt: skip


def ending(config: Any) -> Any:
    """The ending of a trial: scores on three splits, and a depth curve of ten points."""
    from lightning_modules.record import describe, step_points
    from sweeps.worker.messages import Completed

    scores = {
        f"{split}/{name}": 0.5 for split in ("val", "test") for name in ("exact_accuracy", "token_accuracy", "nll", "examples")
    }
    used = {name: 1.0 for name in ("fresh_examples", "train_flops", "train_seconds", "wall_seconds", "examples_per_second")}
    now = time.time_ns() // 1_000_000
    curve = [
        {"metric": "depth/exact_accuracy", "axis": "depth", "at": depth, "value": 0.1 * depth, "time": now}
        for depth in range(1, 11)
    ]
    points = [point for row in rows() for point in step_points(row)] + curve  # type: ignore[arg-type]
    record = {**describe(config), **scores, **used, "steps": 750, "chosen_depth": 4, "data_fingerprint": "0" * 16,
              "outcome": "completed"}  # fmt: skip
    return Completed(record, points)


if __name__ == "__main__":
    main()
