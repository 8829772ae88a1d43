"""How a check fails."""

from typing import Any


def require(holds: Any, problem: str) -> None:
    """Raise where something does not hold, also where Python leaves `assert` out.

    Raises:
        AssertionError: with the problem.
    """
    if not holds:
        raise AssertionError(problem)
