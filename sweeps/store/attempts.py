"""Attempts at one trial: who began it when, and how often its process was lost while its node lived on."""

import os
import time
from dataclasses import dataclass
from typing import Any

from sweeps.store.store import Store

NODE_DEATH_SECONDS = 15.0  # Ray lists a node as alive for up to so long after it died
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Attempt:
    """One begin of a trial on a worker."""

    number: int
    losses: int  # earlier attempts whose process was lost by itself: neither with its node nor with its driver


def begin_attempt(store: Store, fingerprint: str, session: str, from_checkpoint: int) -> Attempt:
    """Write down that this worker begins a trial.

    Args:
        session: of the driver. An attempt is only begun anew in one session when the one before was lost.
        from_checkpoint: optimizer steps that were done before.
    """
    import ray

    earlier = store.attempts(fingerprint)
    losses = earlier[-1]["losses"] if earlier else 0
    if earlier and earlier[-1]["session"] == session and not _died(earlier[-1]["node"]):
        losses += 1
    line = _line(session, losses) | {
        "host": os.uname().nodename,
        "address": ray.util.get_node_ip_address(),
        "process": os.getpid(),
        "node": ray.get_runtime_context().get_node_id(),
        "from_checkpoint": from_checkpoint,
    }
    store.append_attempt(fingerprint, line)
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


def _died(node: str) -> bool:
    """Whether a node has left the cluster; Ray may take a moment to notice."""
    import ray

    if node == ray.get_runtime_context().get_node_id():
        return False
    deadline = time.monotonic() + NODE_DEATH_SECONDS
    while time.monotonic() < deadline:
        if node not in {known["NodeID"] for known in ray.nodes() if known["Alive"]}:
            return True
        time.sleep(LOOK_SECONDS)
    return False
