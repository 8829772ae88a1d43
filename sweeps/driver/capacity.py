"""Where trials may run: on which nodes of the cluster, and how many at once."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ray
from ray.tune import PlacementGroupFactory

from sweeps.spec.resources import Resources

LOOK_SECONDS = 2.0  # how often the cluster is asked what it has
NODE = "ray.io/node-id"  # the label that Ray gives every node


class Capacity:
    """What the spec's resources find on the nodes that are there now, less those that were refused."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.refused: list[str] = []
        self._trials, self._looked = 1, float("-inf")

    def trials(self) -> int:
        """How many trials may run at once; at least 1, so that there is a trial that waits where no node has room for one."""
        if self.resources.max_concurrent != "auto":
            return self.resources.max_concurrent
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._trials, self._looked = max(1, self.fitting()), time.monotonic()
        return self._trials

    def fitting(self) -> int:
        """How many trials the nodes can hold that are there now."""
        return count_fitting(self.resources, ray.nodes(), self.refused)

    def refuse(self, node: str) -> bool:
        """Give a node no more trials; whether that is news."""
        news = node not in self.refused
        if news:
            self.refused.append(node)
            self._looked = float("-inf")
        return news


def count_fitting(resources: Resources, nodes: Sequence[Mapping[str, Any]], refused: Collection[str] = ()) -> int:
    """How many trials Ray's nodes have room for, leaving out those with a refused id."""
    there = [node["Resources"] for node in nodes if node["Alive"] and node["NodeID"] not in refused]
    return sum(map(resources.fit_into, there))


def place_trial(job: Mapping[str, Any]) -> PlacementGroupFactory:
    """What Ray sets aside for a trial, on any node that was not refused when it was asked for.

    Args:
        job: what the trial is given; read here are `asked` (amounts by Ray's names) and `refused` (node ids).
    """
    where = {NODE: f"!in({', '.join(job['refused'])})"} if job["refused"] else {}
    return PlacementGroupFactory([job["asked"]], bundle_label_selector=[where])
