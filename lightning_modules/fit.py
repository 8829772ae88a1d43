"""`fit`: run one trial from where its folder left it to its record."""

import logging
import resource
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_modules.callbacks import BudgetCallback, Report, save_weights
from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import TaskData, data_columns
from lightning_modules.evaluation import depth_curve, score_depths
from lightning_modules.items import item_columns, write_items
from lightning_modules.module import Diverged, RecursiveModule
from lightning_modules.outcome import Outcome
from lightning_modules.record import FitResult, bin_points, depth_points, describe, step_points
from lightning_modules.trial_folder import BEST, CHECKPOINT, ITEMS, WEIGHTS
from rrm.tasks import Split

DEPTH_PREFIXES: dict[Split, str] = {"test": "depth", "ood": "ood_depth"}  # names of the curves of the splits scored at the end


def fit(config: TrialConfig, folder: Path | None = None, report: Report = lambda row: True) -> FitResult:
    """Train and score one trial.

    Args:
        config: the trial; the same config gives the same numbers on the same hardware and number of threads.
        folder: where the checkpoint lies, the averaged weights that were best on validation (`best.pt`) and the scored ones
            (`weights.pt`), and how each test item fared (`items.parquet`); a checkpoint found there is continued. None keeps
            nothing.
        report: called at every validation; returns False to stop the trial, which then ends as `pruned`.

    Returns:
        The record with outcome `completed`, `pruned` (without test scores) or `failed` (diverged), and its curves.
    """
    _quieten()
    started = time.perf_counter()
    pl.seed_everything(config.seed, verbose=False)
    module, data = RecursiveModule(config), TaskData(config)
    checkpoint = folder / CHECKPOINT if folder else None
    watcher = BudgetCallback(config, checkpoint, folder / BEST if folder else None, report)
    trainer = _trainer(config, watcher)
    saved = _read_checkpoint(checkpoint)
    try:
        if saved is not None and (not watcher.report_again(saved["trial"]["rows"]) or saved["trial"]["progress"] >= 1):
            # Stopped by now, or killed between the last checkpoint and the record: nothing is left to train.
            module.load_state_dict(saved["state_dict"])
            module.on_load_checkpoint(saved)
        elif config.fit.budget.amount:
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint if saved else None)
    except Diverged as error:
        return _result(config, module, {"outcome": Outcome.FAILED, "reason": str(error)})
    if watcher.stopped:
        return _result(config, module, {"outcome": Outcome.PRUNED})
    if folder is not None:
        save_weights(module.average.reasoner, folder / WEIGHTS)
    return _score(config, module, data, trainer.strategy.root_device, folder, wall_seconds=time.perf_counter() - started)


def _score(
    config: TrialConfig, module: RecursiveModule, data: TaskData, device: torch.device, folder: Path | None, wall_seconds: float
) -> FitResult:
    """Depth curves with the averaged weights, once: on validation, test and, where there is one, the harder split."""
    scored = module.average.to(device).reasoner  # Lightning leaves a trained module on the CPU
    depth, trained = config.eval.max_depth, config.model.trained_depth
    now = time.time_ns() // 1_000_000
    validation = depth_curve(scored, data.splits["validation"], depth, config)
    record: dict[str, Any] = {"outcome": Outcome.COMPLETED, "val/examples": len(data.splits["validation"])}
    record |= {f"val/{name}": value for name, value in validation.at(trained).items()}
    points = depth_points(validation, "val_depth", now, ("exact_accuracy", "nll"))
    for split, prefix in DEPTH_PREFIXES.items():
        if split in data.splits:
            examples = data.splits[split]
            scores = score_depths(scored, examples, depth, config, rollouts=config.eval.rollouts)
            record |= {f"{split}/{name}": value for name, value in scores.curve().at(trained).items()}
            record |= {
                f"{split}/{name}": value for name, value in data.task.judge(examples, scores.answers, scores.confidence).items()
            }
            record |= {f"{split}/examples": len(examples)}
            points += depth_points(scores.curve(), prefix, now)
            points += bin_points(scores.by_bin(examples.difficulty, data.task.bins), prefix, now)
            if split == "test" and folder is not None:
                write_items(folder / ITEMS, item_columns(scores, examples, (trained, validation.best_depth)))
    record |= {
        "chosen_depth": validation.best_depth,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "wall_seconds": wall_seconds,
        "peak_memory_bytes": _peak_memory_bytes(device),
    }
    result = _result(config, module, record)
    return FitResult(result.record, result.curves + points)


def _result(config: TrialConfig, module: RecursiveModule, ending: dict[str, Any]) -> FitResult:
    """The record and the curves by step of a trial that ended as `ending` says."""
    used = module.rows[-1]["used"] if module.rows else module.used()
    points = [point for row in module.rows for point in step_points(row)]
    return FitResult({**describe(config), **data_columns(config.task), **used, **ending}, points)


def _trainer(config: TrialConfig, watcher: BudgetCallback) -> pl.Trainer:
    return pl.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=-1,  # `watcher` ends the training
        callbacks=[watcher],
        gradient_clip_val=config.fit.gradient_clip or None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _read_checkpoint(path: Path | None) -> dict[str, Any] | None:
    """What an earlier attempt saved; nothing in it can execute code."""
    if path is None or not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


def _peak_memory_bytes(device: torch.device) -> int:
    """Largest memory of the GPU, or of this process (which may have run other trials before)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _quieten() -> None:
    """Lightning's banners and its advice on loader workers do not concern a trial."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
