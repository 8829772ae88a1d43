"""What runs on a worker: one trial, from its folder to its last word. Workers hold no credentials and know no server."""

import json
import os
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from ray import tune

from lightning_modules.config import load_trial
from lightning_modules.fit import fit
from lightning_modules.record import FitResult, Row, describe
from sweeps.store import TRIAL, append_line
from sweeps.watchdog import Limits, Watchdog, why_killed

ROW, ENDING = "row", "ending"  # keys of what is reported; as JSON text, since Tune flattens nested results


def run_trial(job: dict[str, Any]) -> None:
    """Tune's trainable. The trial ends itself: its outcome is its last report, so that the actor stays warm.

    Args:
        job: `folder` of the trial in the store, `cpus` and `gpus` that it may use, `timeout_minutes` and `memory_bytes` of this
            attempt or None.
    """
    folder = Path(job["folder"])
    config = load_trial(folder / TRIAL)
    killed = why_killed(folder)
    if killed is not None:  # it would hang, or exhaust the memory, once more
        tune.report({ENDING: FitResult({**describe(config), "outcome": "failed", "reason": killed}).to_json()})
        return
    torch.set_num_threads(max(1, int(job["cpus"])))
    if 0 < job["gpus"] < 1 and torch.cuda.is_available():  # several trials share a GPU: none may take more than its part
        torch.cuda.set_per_process_memory_fraction(job["gpus"])
    append_line(
        folder / "attempts.jsonl",
        {
            "time": time.time(),
            "host": os.uname().nodename,
            "process": os.getpid(),
            "from_checkpoint": _saved_step(folder),
        },
    )
    started, minutes = time.monotonic(), job["timeout_minutes"]
    stop: SystemExit | None = None
    timed_out = False

    def report(row: Row) -> bool:
        nonlocal stop, timed_out
        try:
            tune.report({ROW: json.dumps(row)})
        except SystemExit as scheduler_stop:  # through `Trainer.fit` it would skip the hooks that end a fit
            stop = scheduler_stop
        timed_out = minutes is not None and time.monotonic() - started > 60 * minutes
        return stop is None and not timed_out

    try:
        with Watchdog(folder, Limits(minutes, job["memory_bytes"])):
            result = fit(config, folder, report)
    except Exception as error:  # a raise through Tune would cost the warm actor; the reason goes into the record
        (folder / "error.txt").write_text(traceback.format_exc())
        result = FitResult({**describe(config), "outcome": "failed", "reason": f"{type(error).__name__}: {error} (see error.txt)"})
    if stop is not None:
        raise stop
    if timed_out and result.record["outcome"] == "pruned":
        reason = f"took longer than resources.trial_timeout_minutes = {minutes:g}"
        result = FitResult(result.record | {"outcome": "failed", "reason": reason}, result.curves)
    tune.report({ENDING: result.to_json()})


def _saved_step(folder: Path) -> int:
    """Optimizer steps in the checkpoint that this attempt goes on from; 0 without one."""
    path = folder / "checkpoint.ckpt"
    if not path.exists():
        return 0
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"]
