"""Attempts at one trial: who began it when, and how often its process was lost while its node lived on."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from sweeps.store.store import Store


class Worker(TypedDict):
    """The process that begins an attempt, and its node."""

    host: str
    address: str
    process: int
    node: str  # Ray's id of the node


@dataclass(frozen=True)
class Attempt:
    """One begin of a trial on a worker."""

    number: int
    losses: int  # earlier attempts whose process was lost by itself: neither with its node nor with its driver


def begin_attempt(
    store: Store, fingerprint: str, session: str, from_checkpoint: int, worker: Worker, has_died: Callable[[str], bool]
) -> Attempt:
    """Write down that a worker begins a trial.

    Args:
        session: of the driver. An attempt is only begun anew in one session when the one before was lost.
        from_checkpoint: optimizer steps that were done before.
        has_died: whether the node of an id has left the cluster; called only for an earlier attempt of this session.
    """
    earlier = store.attempts(fingerprint)
    losses = earlier[-1]["losses"] if earlier else 0
    if earlier and earlier[-1]["session"] == session and not has_died(earlier[-1]["node"]):
        losses += 1
    store.append_attempt(fingerprint, _line(session, losses) | worker | {"from_checkpoint": from_checkpoint})
    return Attempt(len(earlier) + 1, losses)


def note_losses(store: Store, fingerprint: str, losses: int) -> None:
    """Carry a count of losses over to the attempts of a later driver."""
    store.append_attempt(fingerprint, _line("", losses))


def count_losses(store: Store, fingerprint: str) -> int:
    """Losses before the last attempt began."""
    earlier = store.attempts(fingerprint)
    return earlier[-1]["losses"] if earlier else 0


def _line(session: str, losses: int) -> dict[str, Any]:
    return {"time": time.time(), "session": session, "losses": losses}
