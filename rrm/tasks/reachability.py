"""Graph reachability by hops: which nodes lie within k edges of the source? (Velickovic et al., 1910.10593.)

Canvas: k, then a place for every node (the source is marked), then the adjacency matrix row by row. The answer, in the
places of the nodes, marks those that are reached. Graphs are sparse and deep, their nodes in random order; at least one
node is exactly k edges away, so that k - 1 rounds are not enough.
"""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from rrm.config import RuleError
from rrm.tasks.serial import FIRST, SerialConfig, SerialTask
from rrm.tasks.task import PuzzleShape

NODE, SOURCE = FIRST, FIRST + 1
APART, REACHED = FIRST, FIRST + 1  # answers
NO_EDGE, EDGE = FIRST + 2, FIRST + 3
EXTRA_EDGES = 2  # largest number of edges beside the trees of a graph


class ReachabilityConfig(SerialConfig):
    """k is the number of hops."""

    kind: Literal["reachability"] = "reachability"
    """Find the nodes within k edges of a source."""
    serial_steps: int = Field(4, ge=1, le=64)
    """Largest k in training, validation and test."""
    ood_serial_steps: int = Field(6, ge=2, le=128)
    """Largest k out of distribution."""
    nodes: int = Field(12, ge=6, le=30)
    """Nodes of the graph."""

    @model_validator(mode="after")
    def _check_nodes(self) -> Self:
        if self.nodes < self.ood_serial_steps + 3:
            rule = f"nodes must be at least ood_serial_steps + 3, got {self.nodes} and {self.ood_serial_steps}"
            raise RuleError(rule, "nodes", "ood_serial_steps")
        return self

    @property
    def shape(self) -> PuzzleShape:
        return self.shaped(self.nodes + self.nodes**2, values=4)


class Reachability(SerialTask):
    """Flood a graph from its source."""

    config: ReachabilityConfig

    def ask(self, k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        edges, source = self._graphs(k, rng)
        nodes = self.config.nodes
        places = np.where(np.arange(nodes) == source[:, None], SOURCE, NODE)
        return np.concatenate((places, edges.reshape(len(k), -1) + NO_EDGE), axis=1)

    def solve(self, k: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        nodes = self.config.nodes
        edges = (tokens[:, nodes:] == EDGE).reshape(-1, nodes, nodes)
        reached = tokens[:, :nodes] == SOURCE
        for hop in range(int(k.max(initial=0))):
            further = reached | (edges & reached[:, None, :]).any(axis=2)
            reached = np.where((hop < k)[:, None], further, reached)
        answers = np.where(reached, REACHED, APART)
        return np.concatenate((answers, np.zeros_like(tokens[:, nodes:])), axis=1)

    def _graphs(self, k: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Edges [N, nodes, nodes] (0 or 1) and the source of each graph [N]."""
        count, nodes = len(k), self.config.nodes
        edges, rows = np.zeros((count, nodes, nodes), dtype=np.uint8), np.arange(count)
        # Nodes 0 .. k are a path, which makes the last hop necessary. Every later node is joined to a random earlier node,
        # or stays apart.
        for node in range(1, nodes):
            on_path = node <= k
            parent = np.where(on_path, node - 1, (rng.random(count) * node).astype(np.int64))
            joined = on_path | (rng.random(count) < 0.8)
            edges[rows[joined], parent[joined], node] = 1
        level = self._levels(edges | edges.swapaxes(1, 2))
        for _ in range(EXTRA_EDGES):  # edges between nodes of one level, or of neighbouring ones, shorten no path
            start, end = rng.integers(0, nodes, size=(2, count))
            near = (np.abs(level[rows, start] - level[rows, end]) <= 1) & (start != end)
            edges[rows[near], start[near], end[near]] = 1
        order = rng.random((count, nodes)).argsort(axis=1)
        edges = np.take_along_axis(np.take_along_axis(edges | edges.swapaxes(1, 2), order[:, :, None], 1), order[:, None, :], 2)
        return edges, (order == 0).argmax(axis=1)

    def _levels(self, edges: np.ndarray) -> np.ndarray:
        """Distance of every node from node 0 in edges, [N, nodes]; 10 x nodes for a node without a path to it."""
        nodes = self.config.nodes
        reached = np.zeros(edges.shape[:2], dtype=bool)
        reached[:, 0] = True
        level = np.full(reached.shape, 10 * nodes)
        level[:, 0] = 0
        for hop in range(1, nodes):
            further = reached | ((edges > 0) & reached[:, None, :]).any(axis=2)
            level[further & ~reached] = hop
            reached = further
        return level
