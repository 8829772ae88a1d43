"""What of a sweep's resources this machine has."""

import os

import torch

from rrm.errors import UserError
from sweeps.spec.resources import Resources


def check_resources(resources: Resources) -> None:
    """Refuse a trial that this machine could never start.

    Raises:
        UserError: it asks for more than there is.
    """
    for name, asked, there in (
        ("cpus", resources.cpus, os.cpu_count() or 1),
        ("gpus", resources.gpus, torch.cuda.device_count()),
    ):
        if asked > there:
            problem = f"must be at most what this machine has, {there}, got {asked:g}; with --address the sweep runs on a cluster"
            raise UserError(f"resources.{name}", problem)


def concurrent_trials(resources: Resources) -> int:
    """How many trials of these resources run at once on this machine."""
    there = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count()), "memory": machine_bytes()}
    fitting, limit = resources.fit_into(there), resources.max_concurrent
    return max(1, fitting if limit == "auto" else min(fitting, limit))


def machine_bytes() -> float:
    """Memory of this machine."""
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
