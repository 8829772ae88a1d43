"""Shortest paths in many mazes at once (numpy only). Shapes: N mazes of n x n cells, neighbours share an edge."""

import numpy as np

UNREACHED = -1


def spread(cells: np.ndarray) -> np.ndarray:
    """Sum over the four neighbours of every cell, [N, n, n]; nothing comes in from outside."""
    total = np.zeros_like(cells)
    total[:, 1:] += cells[:, :-1]
    total[:, :-1] += cells[:, 1:]
    total[:, :, 1:] += cells[:, :, :-1]
    total[:, :, :-1] += cells[:, :, 1:]
    return total


def flood(free: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the start through free cells, UNREACHED where there is no way, and how many shortest ways lead there.

    Args:
        free: cells that may be entered, [N, n, n] bool.
        start: where each flood begins, [N, n, n] bool.

    Returns:
        Distances [N, n, n] int16 and numbers of shortest paths [N, n, n] uint8 (2 stands for several).
    """
    distance = np.where(start, 0, UNREACHED).astype(np.int16)
    ways = start.astype(np.uint8)
    front, step = ways, 0
    while front.any():
        step += 1
        front = np.minimum(spread(front) * (free & (distance == UNREACHED)), 2).astype(np.uint8)
        distance[front > 0] = step
        ways |= front
    return distance, ways


def trace(distance: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The cells between start and goal [N, n, n] bool on the only shortest path, both ends left out."""
    here, path = goal.astype(np.uint8), np.zeros(goal.shape, dtype=bool)
    step = np.where(goal, distance, 0).max(axis=(1, 2))  # distance of the cell that each maze's path has come back to
    while (step > 1).any():
        step = step - 1
        here = ((spread(here) > 0) & (distance == step[:, None, None]) & (step > 0)[:, None, None]).astype(np.uint8)
        path |= here > 0
    return path
