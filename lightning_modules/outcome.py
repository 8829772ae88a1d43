"""How a trial ended."""

from enum import StrEnum


class Outcome(StrEnum):
    """How a trial ended, as in the column `outcome` of its record."""

    COMPLETED = "completed"  # trained for its whole budget and scored
    PRUNED = "pruned"  # stopped early by the scheduler of a search; it has no test scores
    FAILED = "failed"  # diverged, raised an exception, took too long, or was lost too often
