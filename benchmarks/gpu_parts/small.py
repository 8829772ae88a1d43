"""How many rows a second do small models train alone, and how many do several processes on one card train together?"""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

import torch

from gpu_parts.figure import Figure, Setting
from gpu_parts.trials import free_memory, small_trial
from lightning_modules.steps import BareTraining, wait_for

WIDTHS, COUNTS, WINDOW_SECONDS = (64, 128, 256), (1, 2, 4, 8), 3.0
TINY_WIDTHS, TINY_COUNTS, TINY_WINDOW_SECONDS = (16,), (1, 2), 0.2
WARMUP_STEPS = 5
MAX_WAIT_SECONDS = 120.0  # for a process that does not reach the start of a window


class Window(NamedTuple):
    """What one process measures; they start together."""

    width: int
    processes: int


def figures(setting: Setting) -> Iterator[Figure]:
    """Rows a second of all processes together, each a trainer of its own with one CPU thread, in one window of time."""
    widths, counts = (TINY_WIDTHS, TINY_COUNTS) if setting.tiny else (WIDTHS, COUNTS)
    workers = _Workers(max(counts), counts, setting)
    for width in widths:
        alone = 0.0
        for processes in counts:
            rows_per_second = workers.measure(Window(width, processes))
            alone = alone or rows_per_second
            remark = f"{rows_per_second / alone:.2f} times as many as 1 process" if processes > 1 else ""
            yield Figure(f"width {width}, {processes} process{'es' * (processes > 1)}", rows_per_second, "rows/s", remark)
    workers.close()


class _Workers:
    """Processes that measure whenever they are sent a window; they end with this process."""

    def __init__(self, number: int, counts: tuple[int, ...], setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
        # Held as long as the processes: a barrier that is dropped before they have started is gone.
        self._barriers = {count: context.Barrier(count) for count in counts}
        self._pipes = []
        for _ in range(number):
            pipe, remote = context.Pipe()
            context.Process(target=_work, args=(remote, self._barriers, setting), daemon=True).start()
            remote.close()
            self._pipes.append(pipe)

    def measure(self, window: Window) -> float:
        """Rows a second of all its processes together.

        Raises:
            RuntimeError: one of them failed.
        """
        pipes = self._pipes[: window.processes]
        for pipe in pipes:
            pipe.send(window)
        answers = [_receive(pipe) for pipe in pipes]
        return sum(answers)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)


def _receive(pipe: Connection) -> float:
    try:
        answer = pipe.recv()
    except (EOFError, ConnectionError):
        raise RuntimeError("a process ended without an answer") from None
    if isinstance(answer, float):
        return answer
    raise RuntimeError(answer)


def _work(pipe: Connection, barriers: dict[int, Barrier], setting: Setting) -> None:
    torch.set_num_threads(1)
    while (window := pipe.recv()) is not None:
        try:
            pipe.send(_rows_per_second(window, barriers[window.processes], setting))
        except Exception as error:
            barriers[window.processes].abort()
            pipe.send(f"a process failed: {type(error).__name__}: {error}")


def _rows_per_second(window: Window, start: Barrier, setting: Setting) -> float:
    """Steps until the window ends, over the time that they took."""
    free_memory()
    device, config = torch.device(setting.device), small_trial(window.width, setting.tiny)
    training = BareTraining(config, device)
    for _ in range(WARMUP_STEPS):
        training.step()
    wait_for(device)
    seconds = TINY_WINDOW_SECONDS if setting.tiny else WINDOW_SECONDS
    start.wait(MAX_WAIT_SECONDS)
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        training.step()
        steps += 1
    wait_for(device)
    return steps * config.fit.batch_size / (time.perf_counter() - started)
