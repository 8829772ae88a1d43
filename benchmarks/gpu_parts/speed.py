"""How many rows a second does a card train at the papers' size, and how does that compare with the official code?"""

import statistics
import time
from collections.abc import Iterator
from typing import Protocol

import torch

from gpu_parts.figure import Figure, Setting
from gpu_parts.official import OfficialTraining
from gpu_parts.peaks import bfloat16_peak_flops
from gpu_parts.trials import MODELS, PAPER_SLOTS, free_memory, paper_trial
from lightning_modules.config import TrialConfig
from lightning_modules.record import step_flops
from lightning_modules.steps import BareTraining, wait_for
from rrm.errors import first_line

WARMUP_STEPS, STEPS, ROUNDS = 3, 5, 5
TINY_STEPS, TINY_ROUNDS = 1, 2
MIN_SECONDS = 20.0  # a side is not started with less time left


class Training(Protocol):
    """Ours or the official one."""

    def step(self) -> None:
        """Train one batch; returns before a GPU has finished."""


def figures(setting: Setting) -> Iterator[Figure]:
    """Every model: ours beside the official code eager, then, all models done, beside the official code compiled.

    Compiling takes minutes, and a part that runs out of time loses no more than these last figures.
    """
    for compiled in (False, True) if setting.official else (False,):
        for name in MODELS:
            if not setting.has_seconds(MIN_SECONDS):
                yield Figure(f"{name}{', official compiled' * compiled}", "not measured: out of time")
                continue
            yield from _model(name, setting, compiled)


def _model(name: str, setting: Setting, compiled: bool) -> Iterator[Figure]:
    """Ours and, if `--official` is given, an official side, in alternation, with the largest batch that fits both."""
    slots, device = PAPER_SLOTS, torch.device(setting.device)
    while slots:
        free_memory()
        if compiled:
            torch.compiler.reset()  # else the compiler keeps the model before alive
        config = paper_trial(name, setting.tiny, slots)
        try:
            yield from _compare(name, config, setting, device, compiled)
            return
        except torch.OutOfMemoryError:
            slots //= 2
    yield Figure(name, "does not fit this card with a single slot", failed=True)


def _compare(name: str, config: TrialConfig, setting: Setting, device: torch.device, compiled: bool) -> Iterator[Figure]:
    label = f"official {'compiled' if compiled else 'eager'}"
    sides: dict[str, Training] = {"ours": BareTraining(config, device)}
    problem = _add_official(sides, label, config, setting, device, compiled) if setting.official else None
    seconds = _time(sides, device, setting)
    prefix = f"{name}, {config.fit.batch_size} slots"
    for side, rounds in seconds.items():
        median = statistics.median(rounds)
        spread = f"{len(rounds)} rounds, {min(rounds):.4f} to {max(rounds):.4f} s a step"
        beside = " beside compiled" if compiled and side == "ours" else ""
        yield Figure(f"{prefix}, {side}{beside}", config.fit.batch_size / median, "rows/s", spread)
        yield _share(f"{prefix}, {side}{beside}", step_flops(config) / median, device)
    if label in seconds:
        ratios = [other / own for own, other in zip(seconds["ours"], seconds[label], strict=True)]
        yield Figure(f"{prefix}, ours to {label}", statistics.median(ratios), "times as many rows/s", "median over rounds")
    elif problem:
        yield Figure(f"{prefix}, {label}", f"not measured: {problem}", failed=True)


def _add_official(
    sides: dict[str, Training], label: str, config: TrialConfig, setting: Setting, device: torch.device, compiled: bool
) -> str | None:
    """Put the official side among the sides, compiled and warm; returns why it cannot be measured, if so."""
    assert setting.official is not None
    try:
        side = OfficialTraining(setting.official, config, device, compiled)
        side.step()
    except torch.OutOfMemoryError:
        raise
    except ModuleNotFoundError as error:
        return f"the official code needs the package {error.name}"
    except Exception as error:  # a compiler that is missing or fails is no reason to lose our own figure
        return f"{type(error).__name__}: {first_line(error)}"
    sides[label] = side
    return None


def _time(sides: dict[str, Training], device: torch.device, setting: Setting) -> dict[str, list[float]]:
    """Seconds of a step in each round, by side; the sides take turns, so that a drift of the card's clock meets all of them."""
    steps, count = (TINY_STEPS, TINY_ROUNDS) if setting.tiny else (STEPS, ROUNDS)
    for side in sides.values():
        for _ in range(WARMUP_STEPS):
            side.step()
    rounds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(count):
        for name, side in sides.items():
            wait_for(device)
            started = time.perf_counter()
            for _ in range(steps):
                side.step()
            wait_for(device)
            rounds[name].append((time.perf_counter() - started) / steps)
    return rounds


def _share(name: str, flops_per_second: float, device: torch.device) -> Figure:
    """Matrix products of the closed form, a second, as a share of the card's peak."""
    label = f"{name}, share of the peak"
    if device.type == "cpu":
        return Figure(label, "not computed on a CPU")
    card = torch.cuda.get_device_name(device)
    peak_flops = bfloat16_peak_flops(card)
    if peak_flops is None:
        return Figure(label, f"no bfloat16 peak known for {card}")
    return Figure(label, 100 * flops_per_second / peak_flops, "%", f"of {peak_flops / 1e12:g} TFLOP/s dense bfloat16")
