"""`driver.log`: one line for each event of a driver. Drivers of a sweep append to one file."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from sweeps.tracking.secrets import blank_secrets

DRIVER_LOG = "driver.log"
MAX_BYTES = 5_000_000  # a longer file becomes driver.log.1, which replaces the one before
LOGGER = "sweeps"  # parent of the loggers of all rooms


class _OneLine(logging.Formatter):
    """`2026-01-31T12:00:00Z INFO message`, in UTC, without line breaks and without secrets."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return blank_secrets(" ".join(super().format(record).split()))


class _Handler(RotatingFileHandler):
    """A log that cannot be written, as on a full disk, does not stop a sweep."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        return


@contextmanager
def driver_log(folder: Path) -> Iterator[None]:
    """Write what the loggers below `sweeps` log into `driver.log` of a folder while the block runs."""
    handler = _Handler(folder / DRIVER_LOG, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8", delay=True)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%SZ"))
    logger = logging.getLogger(LOGGER)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
