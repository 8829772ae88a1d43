"""The resources of this machine, compared with those of a sweep."""

import os

import torch

from rrm.errors import UserError
from sweeps.spec.resources import Resources


def check_resources(resources: Resources) -> None:
    """Refuse a trial that this machine could never start.

    Raises:
        UserError: it requires more than this machine has.
    """
    for name, asked, available in (
        ("cpus", resources.cpus, os.cpu_count() or 1),
        ("gpus", resources.gpus, torch.cuda.device_count()),
    ):
        if asked > available:
            problem = (
                f"must be at most what this machine has, {available}, got {asked:g}; with --address the sweep runs on a cluster"
            )
            raise UserError(f"resources.{name}", problem)


def concurrent_trials(resources: Resources) -> int:
    """How many trials of these resources run at once on this machine."""
    available = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count()), "memory": machine_bytes()}
    fitting, limit = resources.fit_into(available), resources.max_concurrent
    return max(1, fitting if limit == "auto" else min(fitting, limit))


def machine_bytes() -> float:
    """Memory of this machine."""
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
