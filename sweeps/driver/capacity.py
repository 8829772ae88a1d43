"""The nodes on which trials may run, and how many run at once."""

import time
from collections.abc import Collection, Mapping
from typing import Any

from ray.tune import PlacementGroupFactory

from sweeps.spec.sweep import Resources
from sweeps.worker.messages import Job
from sweeps.worker.this_node import alive_nodes

LOOK_SECONDS = 2.0  # least time between two readings of Ray's list of nodes
NODE = "ray.io/node-id"  # label with which Ray marks every node


class Capacity:
    """How many trials fit on the nodes that are alive and were not refused."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.refused: list[str] = []
        self._trials, self._looked = 1, float("-inf")

    def trials(self) -> int:
        """How many trials may run at once; at least 1, so that one trial waits where no node has room."""
        if self.resources.max_concurrent != "auto":
            return self.resources.max_concurrent
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._trials, self._looked = max(1, self.fitting()), time.monotonic()
        return self._trials

    def fitting(self) -> int:
        """How many trials fit on the nodes that are alive."""
        return count_fitting(self.resources, alive_nodes(), self.refused)

    def refuse(self, node: str) -> bool:
        """Give a node no more trials; False where it was refused before."""
        if node in self.refused:
            return False
        self.refused.append(node)
        self._looked = float("-inf")
        return True


def count_fitting(resources: Resources, nodes: Mapping[str, Mapping[str, Any]], refused: Collection[str] = ()) -> int:
    """How many trials fit on Ray's nodes, given by their id, without the refused ones."""
    return sum(resources.fit_into(node["Resources"]) for name, node in nodes.items() if name not in refused)


def place_trial(config: Mapping[str, Any]) -> PlacementGroupFactory:
    """What Ray reserves for a trial, on any node that was not refused when the trial was handed out.

    Args:
        config: the job, as `Job.to_config` gives it to Tune.
    """
    job = Job.from_config(config)
    labels = {NODE: f"!in({', '.join(job.refused)})"} if job.refused else {}
    return PlacementGroupFactory([job.asked], bundle_label_selector=[labels])
