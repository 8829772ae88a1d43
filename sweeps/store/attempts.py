"""Attempts at one trial: which worker began it when, and how often its process died while its node lived.

Such a death, for want of memory for instance, may be caused by the trial: it counts towards `resources.max_retries`. The loss of a
node or of the driver does not.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from sweeps.store.store import AttemptLine, Store


class Worker(TypedDict):
    """The process that begins an attempt, and its node."""

    host: str
    address: str
    process: int
    node: str  # Ray's id of the node


@dataclass(frozen=True)
class Attempt:
    """One attempt at a trial on a worker."""

    number: int
    losses: int  # number of earlier attempts whose process died while its node and its driver lived


def begin_attempt(
    store: Store, fingerprint: str, session: str, from_checkpoint: int, worker: Worker, has_left: Callable[[str], bool]
) -> Attempt:
    """Append a line to `attempts.jsonl`: a worker begins a trial.

    Args:
        session: random name of the driver's process. A second attempt in one session means that the first was lost.
        from_checkpoint: optimizer steps of the checkpoint from which the attempt continues.
        has_left: whether the node with this ID has left the cluster; called only for an earlier attempt of this session.
    """
    earlier = store.attempts(fingerprint)
    losses = earlier[-1]["losses"] if earlier else 0
    if earlier and earlier[-1]["session"] == session and not has_left(earlier[-1]["node"]):
        losses += 1
    line = AttemptLine(time=time.time(), session=session, losses=losses, **worker, from_checkpoint=from_checkpoint)
    store.append_attempt(fingerprint, line)
    return Attempt(len(earlier) + 1, losses)


def note_losses(store: Store, fingerprint: str, losses: int) -> None:
    """Append a line that is no attempt: attempts under a later driver start from this count of losses."""
    store.append_attempt(fingerprint, AttemptLine(time=time.time(), session="", losses=losses))


def count_losses(store: Store, fingerprint: str) -> int:
    """The count of losses in the last line; 0 where there is none."""
    earlier = store.attempts(fingerprint)
    return earlier[-1]["losses"] if earlier else 0


def may_be_retried(record: Mapping[str, Any], max_retries: int) -> bool:
    """Whether a trial failed because its process was lost, and not more often than a spec allows."""
    return bool(record.get("retryable")) and record["losses"] <= max_retries


def settled(results: Mapping[str, Mapping[str, Any]], max_retries: int) -> set[str]:
    """Fingerprints of the finished trials that no run tries again."""
    return {fingerprint for fingerprint, record in results.items() if not may_be_retried(record, max_retries)}
