"""Which axes of a planned design will have a rate in the report: what one doubling is worth in parameters."""

import numpy as np

from lightning_modules.config import TrialConfig
from rrm.compute import count_parameters, count_recursion
from sweeps.design.axes import AXIS_SETTINGS, LAYERS, RECURSION
from sweeps.design.axis_rates import AxisDesign, axis_values, design_axes
from sweeps.design.reasons import Reason
from sweeps.design.short_names import axis_name

WHY_NOT = {
    Reason.CONFOUNDED: "it rises with size or another axis",
    Reason.TOO_FEW_SCALES: "it varies in too few cells, or at too few sizes",
}


def read_design(cells: list[TrialConfig], seeds: int) -> tuple[list[str], AxisDesign]:
    """The axes of recursion that vary, and which slopes these cells identify, by the rules of the report."""
    settings = [cell.flat() for cell in cells]
    columns = {path: np.array([one[path] for one in settings]) for path in AXIS_SETTINGS if all(path in one for one in settings)}
    columns[RECURSION] = np.array([count_recursion(cell.model, cell.task.shape) for cell in cells])
    sizes = np.array([count_parameters(cell.model, cell.task.shape).recursed for cell in cells], dtype=float)
    axes = axis_values(columns)
    return [axis for axis in axes if axis != LAYERS], design_axes(sizes, axes, np.full(len(cells), seeds))


def rate_lines(cells: list[TrialConfig], seeds: int) -> list[str]:
    """A line on the rates to expect, where several axes vary or one has none; nothing where R alone varies.

    Args:
        cells: trials of the first seed, which one fit spans.
        seeds: of each cell.
    """
    varied, design = read_design(cells, seeds)
    if len(varied) < 2:
        return []
    if design.reason is not None or not design.identified:
        reason = design.reason or next(iter(design.unidentified.values()))
        return [f"the report will have no rate of a doubling along {_listed(varied)}: {reason}: {reason.sentence}"]
    lacking = [f"{axis_name(axis)} has none: {WHY_NOT[why]}" for axis, why in design.unidentified.items() if axis != LAYERS]
    has_all = not lacking and LAYERS not in design.identified
    one = "one rate of R if those of its axes may be equal" if has_all else "no rate of R as a whole"
    return [f"the report will have rates of a doubling along {_listed(list(design.identified))}; {'; '.join([*lacking, one])}"]


def _listed(axes: list[str]) -> str:
    names = [axis_name(axis) for axis in axes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
