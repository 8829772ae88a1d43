"""The smallest difference of exact accuracy that a measure sweep is likely to show."""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from lightning_modules.config import CURVE_SETTINGS, TrialConfig
from sweeps.design.axes import CAPACITY_AXES, DEPTH_AXES, TASK
from sweeps.design.short_names import axis_name
from sweeps.design.thresholds import MIN_SEEDS
from sweeps.planning.cell_groups import distinct_models
from sweeps.planning.finished import ACCURACY, Records, completed_seeds, scores_of
from sweeps.planning.power import detectable_dependence, detectable_difference, pool_noise
from sweeps.spec.sweep import SweepSpec

ASSUMED_ACCURACY_SD = 0.1  # standard deviation of exact accuracy over seeds


def difference_lines(spec: SweepSpec, results: Records) -> list[str]:
    """Lines of text: the smallest difference between two cells, along each axis, and between effects at two levels."""
    assert spec.measure is not None
    seeds, cells = spec.measure.seeds, distinct_models(spec.cells)
    if len(cells) < 2:
        return []
    if seeds < MIN_SEEDS:
        return ["no difference of accuracy will be clear: one seed a cell does not show the noise; measure.seeds: 2 or more"]
    noise = pool_noise([scores_of(completed_seeds(cell, seeds, results), ACCURACY) for cell in cells]) or None
    sd = ASSUMED_ACCURACY_SD if noise is None else noise  # cells at the floor or the ceiling have a noise of 0
    paths = [path for path in spec.varied_paths if path not in CURVE_SETTINGS]
    differences = [f"{detectable_difference(sd, seeds, 1):.2g} between two cells"] + [
        f"{detectable_difference(sd, seeds, count):.2g} between two levels of {axis_name(path)}"
        for path, count in count_pairs(cells, paths).items()
        if path != TASK
    ]
    dependences = [
        f"{detectable_dependence(sd, seeds, count):.2g} for the effect of {axis_name(path)} at two levels of {axis_name(other)}"
        for (path, other), count in count_interactions(cells, paths).items()
        if TASK not in (path, other)
    ]
    lines = [f"a difference of exact accuracy is likely to be clear (95 %, power 80 %) from {', '.join(differences)}"]
    lines += [f"a difference between two effects is likely to be clear from {', '.join(dependences)}"] if dependences else []
    source = "assumed" if noise is None else "from finished trials"
    return [*lines, f"  sd of accuracy over seeds {sd:.2g} {source}; cells with the same seeds on both sides"]


def count_pairs(cells: list[TrialConfig], paths: list[str]) -> dict[str, int]:
    """For each setting, how many pairs of cells differ in it alone, at the two levels that have the fewest of them.

    A setting that never differs alone, such as a learning rate for each width, is left out.
    """
    rows = [cell.flat() for cell in cells]
    counts = {}
    for path in paths:
        rest: dict[Any, set[str]] = {}  # levels by the values of all others
        for row in rows:
            rest.setdefault(tuple(str(row.get(other)) for other in paths if other != path), set()).add(str(row.get(path)))
        shared = Counter(pair for levels in rest.values() for pair in itertools.combinations(sorted(levels), 2))
        if shared:
            counts[path] = min(shared.values())
    return counts


def count_interactions(cells: list[TrialConfig], paths: list[str]) -> dict[tuple[str, str], int]:
    """For two settings, how many pairs of cells show the effect of the first at each of two levels of the second.

    The pairs at both levels are alike in all other settings; the levels are those that have the fewest. The first is a setting of
    words or an axis of depth, the second any setting or, for an axis of depth, one of size. No pair of settings occurs twice.
    """
    rows = [cell.flat() for cell in cells]
    words = [path for path in paths if any(isinstance(row.get(path), str | bool) for row in rows)]
    asked = [(path, other) for path in words for other in paths if other not in words or paths.index(other) > paths.index(path)]
    asked += [(path, other) for path in paths if path in DEPTH_AXES for other in paths if other in CAPACITY_AXES]
    counts = {}
    for path, other in asked:
        rest: dict[Any, set[tuple[str, str]]] = {}  # levels of both by the values of all others
        for row in rows:
            rest.setdefault(tuple(str(row.get(third)) for third in paths if third not in (path, other)), set()).add(
                (str(row.get(path)), str(row.get(other)))
            )
        squares = Counter(square for levels in rest.values() for square in _squares(levels))
        if squares:
            counts[path, other] = min(squares.values())
    return counts


def _squares(levels: set[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    """Two levels of one setting and two of another that occur in all four combinations."""
    firsts, seconds = (sorted({pair[place] for pair in levels}) for place in (0, 1))
    for low, high in itertools.combinations(firsts, 2):
        shared = [second for second in seconds if {(low, second), (high, second)} <= levels]
        yield from ((low, high, *two) for two in itertools.combinations(shared, 2))
