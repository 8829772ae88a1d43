"""A design with a slope for each axis of recursion: the corners and the centre of their levels at every size."""

import copy
from collections.abc import Sequence

from analysis.laws.draft import Draft
from sweeps.spec.measure import Block

SUGGESTED_SIZES = 3


def add_corners(draft: Draft, axes: Sequence[str], more: int) -> None:
    """Cross sizes with both ends of each axis, and with a centre between them (docs/laws.md, "A rate for each axis").

    Args:
        more: sizes beyond those that the draft has, or beyond three.
    """
    size = draft.size_axis()
    levels = draft.grow(size, max(SUGGESTED_SIZES, len(draft.levels(size)) + more))
    levels_of = {path: draft.grow(path, 2) for path in axes}
    ends: Block = {path: [values[0], values[-1]] for path, values in levels_of.items()}
    centre: Block = {path: [_middle(values[0], values[-1])] for path, values in levels_of.items()}
    blocks = copy.deepcopy(draft.blocks)
    draft.cross(size, levels)
    crossed, draft.blocks = draft.blocks, blocks
    for number in draft.cells:
        for depths in (ends, centre):
            draft.append({**crossed[number], **depths})


def _middle(low: int, high: int) -> int:
    return max(1, round((low * high) ** 0.5)) if high > low + 1 else low
