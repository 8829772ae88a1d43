"""A thread on a worker that ends a process whose trial takes too long or too much memory, and stores the reason.

A trial that hangs in native code cannot be interrupted from within Python, so the process ends. The next attempt at the
trial, or the driver, reads the reason from the store.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

EXIT_CODE = 70  # exit code of a process that the watchdog ends
LOOK_SECONDS = 0.5  # time between two checks
MAX_GRACE_SECONDS = 60.0  # time after its limit in which a trial may reach its next report and end by itself


def kill_seconds(minutes: float | None) -> float:
    """Seconds after which a process is ended whose trial has not ended by itself within its limit; None is no limit."""
    seconds = 60 * (minutes or 0)
    return seconds + min(seconds, MAX_GRACE_SECONDS) if minutes is not None else float("inf")


class Watchdog:
    """Watches this process while a trial runs in it; None is no limit."""

    def __init__(self, leave_reason: Callable[[str], None], minutes: float | None, memory_bytes: float | None) -> None:
        self.leave_reason, self.minutes, self.memory_bytes = leave_reason, minutes, memory_bytes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self.minutes is not None or self.memory_bytes is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._over.wait(LOOK_SECONDS):
            reason = self._broken(time.monotonic() - started)
            if reason:
                try:
                    self.leave_reason(reason)
                finally:  # also where the storage cannot be written
                    os._exit(EXIT_CODE)

    def _broken(self, seconds: float) -> str | None:
        """The limit that this process has exceeded, in words."""
        if seconds > kill_seconds(self.minutes):
            return f"took longer than resources.trial_timeout_minutes = {self.minutes:g}, and reported nothing"
        used_bytes = resident_bytes()
        if self.memory_bytes is not None and used_bytes > self.memory_bytes:
            return f"used {used_bytes / 1e9:.2f} GB of memory, more than resources.memory_gb = {self.memory_bytes / 1e9:g}"
        return None


def resident_bytes() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
