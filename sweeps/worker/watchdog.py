"""A thread on a worker that ends a process whose trial takes too long or too much memory, and says why.

A trial that hangs in native code cannot be interrupted from within Python, so the process ends; what it leaves in the
store is read by whoever looks next: the trial's own next attempt, or the driver.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

EXIT_CODE = 70  # of a process that was ended so
LOOK_SECONDS = 0.5
LONGEST_GRACE_SECONDS = 60.0  # beyond its time limit a trial may still reach its next report and end by itself


@dataclass(frozen=True)
class Limits:
    """What one attempt may use; None is no limit."""

    minutes: float | None
    memory_bytes: float | None

    @property
    def kill_seconds(self) -> float:
        """When a process is ended that did not end its trial by itself."""
        seconds = 60 * (self.minutes or 0)
        return seconds + min(seconds, LONGEST_GRACE_SECONDS) if self.minutes is not None else float("inf")


class Watchdog:
    """Watches this process while a trial runs in it."""

    def __init__(self, leave_reason: Callable[[str], None], limits: Limits) -> None:
        self.leave_reason, self.limits = leave_reason, limits
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self.limits.minutes is not None or self.limits.memory_bytes is not None:
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
                finally:  # also where the storage takes nothing any more
                    os._exit(EXIT_CODE)

    def _broken(self, seconds: float) -> str | None:
        if seconds > self.limits.kill_seconds:
            return f"took longer than resources.trial_timeout_minutes = {self.limits.minutes:g}, and reported nothing"
        used, most = resident_bytes(), self.limits.memory_bytes
        if most is not None and used > most:
            return f"used {used / 1e9:.2f} GB of memory, more than resources.memory_gb = {most / 1e9:g}"
        return None


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
