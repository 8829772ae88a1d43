"""How a check fails."""

from typing import Any

from rrm.config import KindConfig


def require(holds: Any, problem: str) -> None:
    """Raise where something does not hold, also where Python leaves `assert` out.

    Raises:
        AssertionError: with the problem.
    """
    if not holds:
        raise AssertionError(problem)


def require_kind(settings: type[KindConfig]) -> None:
    """Raise where settings have no kind by which a trial chooses them.

    Raises:
        AssertionError: with the line to write.
    """
    kind = settings.model_fields["kind"].default if "kind" in settings.model_fields else None
    require(isinstance(kind, str), f'the kind of {settings.__name__} must have a default: kind: Literal["NAME"] = "NAME"')
