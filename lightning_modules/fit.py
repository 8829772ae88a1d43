"""`fit`: train and score one trial; a trial with a checkpoint in its folder is continued.

`score_again`: score a trial without training it.
"""

import logging
import resource
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_modules.callbacks import BudgetCallback, Report, save_weights
from lightning_modules.columns import DEPTH, OOD_DEPTH, TRAINING, VALIDATION_DEPTH
from lightning_modules.config import TrialConfig
from lightning_modules.datamodule import TaskData, data_columns
from lightning_modules.evaluation import Scores, depth_curve, score_depths, thinking_arrays
from lightning_modules.items import item_columns, write_items
from lightning_modules.module import Diverged, RecursiveModule, read_checkpoint
from lightning_modules.outcome import Outcome
from lightning_modules.record import CurvePoint, DepthCurve, FitResult, Record, bin_points, depth_points, describe, step_points
from lightning_modules.thinking import write_thinking
from lightning_modules.trial_folder import BEST, CHECKPOINT, ITEMS, THINKING, WEIGHTS
from rrm.errors import UserError
from rrm.models import build_model
from rrm.tasks import Examples, Split
from rrm.tasks.made_rows import find_judge_fault
from rrm.trial_model import TrialModel
from rrm.weights import load_weights, read_weights

DEPTH_PREFIXES: dict[Split, str] = {"test": DEPTH, "ood": OOD_DEPTH}  # names of the curves of the splits scored at the end


def fit(config: TrialConfig, folder: Path | None = None, report: Report = lambda row: True) -> FitResult:
    """Train and score one trial.

    Args:
        config: the trial; the same config gives the same numbers on the same hardware and number of threads.
        folder: receives the checkpoint, the averaged weights that were best on validation (`best.pt`), the scored weights
            (`weights.pt`), the scores of each test item (`items.parquet`) and answers at every depth (`thinking.npz`); a
            checkpoint in it is continued. None writes no file.
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
    saved = read_checkpoint(checkpoint)
    try:
        if saved is not None and (not watcher.report_again(saved["trial"]["rows"]) or saved["trial"]["progress"] >= 1):
            # The trial was stopped, or killed between its last checkpoint and its record: no training remains.
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
    wall_seconds, device = time.perf_counter() - started, trainer.strategy.root_device
    scored = _score(config, module.average.to(device).reasoner, data, folder)  # Lightning leaves a trained module on the CPU
    machine = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "wall_seconds": wall_seconds,
        "peak_memory_bytes": _peak_memory_bytes(device),
    }
    return _result(config, module, scored.record | machine, scored.curves)


def score_again(config: TrialConfig, folder: Path, trained: FitResult) -> FitResult:
    """Score a trial from the weights of a completed one that has the same training fingerprint; nothing is trained.

    Args:
        folder: holds `weights.pt` of the completed trial, and receives `items.parquet` and `thinking.npz`.
        trained: the result of the completed trial.

    Returns:
        What `fit` would give. The columns `TRAINING` and the curves by step are those of `trained`, which `scored_from` names.
    """
    _quieten()
    pl.seed_everything(config.seed, verbose=False)
    model: TrialModel[Any] = build_model(config.model, config.task.shape)
    load_weights(model, read_weights(folder / WEIGHTS))
    scored = _score(config, model.to(_trainer(config).strategy.root_device), TaskData(config), folder)
    spent = {name: trained.record[name] for name in TRAINING if name in trained.record}
    record = {**describe(config), **data_columns(config.task), **spent, **scored.record}
    by_step = [point for point in trained.curves if point["axis"] == "step"]
    return FitResult(record | {"scored_from": trained.record["fingerprint"]}, [*by_step, *scored.curves])


def _score(config: TrialConfig, model: TrialModel[Any], data: TaskData, folder: Path | None) -> FitResult:
    """Depth curves, once: on validation, test and, where the task has one, the harder split. The model is on its device."""
    now = time.time_ns() // 1_000_000
    validation = depth_curve(model, data.splits["validation"], config.eval.max_depth, config)
    parts = [_validation_result(validation, data, config, now)]
    for split, prefix in DEPTH_PREFIXES.items():
        if split in data.splits:
            scores = score_depths(model, data.splits[split], config.eval.max_depth, config, rollouts=config.eval.rollouts)
            parts.append(_split_result(split, prefix, scores, data, now))
            if split == "test" and folder is not None:
                depths = (config.model.trained_depth, validation.best_depth)
                write_items(folder / ITEMS, item_columns(scores, data.splits[split], depths))
                write_thinking(folder / THINKING, thinking_arrays(scores, data.splits[split], data.task))
    columns: Record = {"outcome": Outcome.COMPLETED}
    for part in parts:
        columns |= part.record
    return FitResult(columns | {"chosen_depth": validation.best_depth}, [point for part in parts for point in part.curves])


def _validation_result(curve: DepthCurve, data: TaskData, config: TrialConfig, now: int) -> FitResult:
    columns: Record = {"val/examples": len(data.splits["validation"])}
    columns |= {f"val/{name}": value for name, value in curve.at(config.model.trained_depth).items()}
    return FitResult(columns, depth_points(curve, VALIDATION_DEPTH, now, ("exact_accuracy", "nll")))


def _split_result(split: Split, prefix: str, scores: Scores, data: TaskData, now: int) -> FitResult:
    """The part of a split: scores at the trained depth, the task's own measures, curves by depth and by bin of difficulty."""
    examples, curve = data.splits[split], scores.curve()
    measured = curve.at(scores.trained_depth)
    judged = _judge(data, examples, scores, {*measured, "examples"})
    columns = {f"{split}/{name}": value for name, value in (measured | judged).items()}
    bins = bin_points(scores.by_bin(examples.difficulty, data.task.bins), prefix, now)
    return FitResult(columns | {f"{split}/examples": len(examples)}, depth_points(curve, prefix, now) + bins)


def _judge(data: TaskData, examples: Examples, scores: Scores, taken: set[str]) -> dict[str, float]:
    """The task's own measures.

    Args:
        taken: names of scores that every task has.

    Raises:
        UserError: the task of a plug-in returns something else.
    """
    judged = data.task.judge(examples, scores.answers, scores.confidence)
    fault = find_judge_fault(judged, taken)
    if fault is not None:
        raise UserError(f"task {type(data.task).__name__}", fault)
    return {name: float(value) for name, value in judged.items()}


def _result(config: TrialConfig, module: RecursiveModule, ending: Record, points: Sequence[CurvePoint] = ()) -> FitResult:
    """The record, with the columns of `ending`, and the curves by step followed by `points`."""
    used = module.rows[-1]["used"] if module.rows else module.used()
    by_step = [point for row in module.rows for point in step_points(row)]
    return FitResult({**describe(config), **data_columns(config.task), **used, **ending}, [*by_step, *points])


def _trainer(config: TrialConfig, *callbacks: BudgetCallback) -> pl.Trainer:
    return pl.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=-1,  # `BudgetCallback` ends the training
        callbacks=list(callbacks),
        gradient_clip_val=config.fit.gradient_clip or None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _peak_memory_bytes(device: torch.device) -> int:
    """Largest memory of the GPU, or of this process (which may have run other trials before)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _quieten() -> None:
    """Turn off Lightning's banners and its advice on loader workers."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
