"""The design of the recurrence law with a slope for each axis, and which of these slopes it identifies.

    log L = c - a log N - sum_i b_i log x_i + sum_i q_i (log x_i)^2

N: recursed parameters. x_i: T, calls of the inner network a cycle (n + 1), N_sup, layers. Logs are centred at the design.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sweeps.design.axes import AXIS_SETTINGS, CYCLES, LATENT_UPDATES, LAYERS, RECURSION, SUPERVISION_STEPS
from sweeps.design.identifiability import count_values, lack_seeds
from sweeps.design.reasons import Reason
from sweeps.design.slopes import centre, law_matrix
from sweeps.design.thresholds import MAX_CORRELATION, MIN_SCALES

RECURSION_AXES = (CYCLES, LATENT_UPDATES, SUPERVISION_STEPS)
RATE_AXES = {  # axis, and its word in the names of estimates
    CYCLES: "h_cycles", LATENT_UPDATES: "l_cycles_plus_1", SUPERVISION_STEPS: "supervision_steps", RECURSION: "recursion",
    LAYERS: "num_layers",
}  # fmt: skip
MIN_OWN_SHARE = 1 - MAX_CORRELATION**2  # share of the variance of a column that the other columns do not explain
MIN_CURVED_FREEDOM = 5  # residual degrees of freedom that curvature terms leave
ROUNDING = 1e-9  # sums of squares of logs below it are rounding
FIRST_AXIS = 2  # place of the first b in the coefficients: c, a, then b of each axis, q of each curved axis, levels held equal


def axis_values(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The axes among columns of trials or cells that vary, each [rows]; n counts as n + 1.

    R stands for T, n and N_sup where it does not follow from those of them that the table has.
    """
    present = {axis: np.asarray(columns[axis], dtype=float) + (axis == LATENT_UPDATES) for axis in RATE_AXES if axis in columns}
    varied = {axis: values for axis, values in present.items() if count_values(values) > 1}
    if RECURSION not in varied:
        return varied
    settings = [np.asarray(columns[axis], dtype=float) for axis in AXIS_SETTINGS if axis in columns]
    follows = any(axis in varied for axis in RECURSION_AXES) and _follows(varied[RECURSION], settings)
    return {axis: values for axis, values in varied.items() if axis not in ((RECURSION,) if follows else RECURSION_AXES)}


def _follows(column: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    """Whether rows that are equal in others are equal in a column."""
    rows = np.column_stack([*others, column]).round(9)
    return len(np.unique(rows, axis=0)) == len(np.unique(rows[:, :-1], axis=0))


@dataclass(frozen=True)
class AxisDesign:
    """Which slopes a design identifies, and the columns of the law. G cells."""

    reason: Reason | None  # why no slope can be estimated
    identified: tuple[str, ...]
    unidentified: dict[str, Reason]  # axes that vary without a slope of their own; cells are compared at equal levels of them
    curved: tuple[str, ...]  # axes with a curvature term
    axes: np.ndarray  # [G, identified], logs, centred
    matrix: np.ndarray  # [G, columns] of c, a, b, q, and an indicator for each level of an axis without a slope
    interactions: np.ndarray  # [G, pairs] products of log N and the axes in pairs, by which a test of interactions extends the law

    @property
    def freedom(self) -> int:
        """Cells less the coefficients that the design can tell apart."""
        return len(self.matrix) - int(np.linalg.matrix_rank(self.matrix))


def design_axes(sizes: np.ndarray, axes: Mapping[str, np.ndarray], seeds: np.ndarray) -> AxisDesign:
    """The columns of the law on these cells. A slope needs an axis that varies apart from size and from the other axes, at
    several sizes, and does so without any single cell.

    Args:
        sizes: [G] recursed parameters.
        axes: [G] values of each axis that varies, as `axis_values` has them.
        seeds: [G] completed seeds.
    """
    reason = _find_refusal(sizes, axes, seeds)
    if reason is not None:
        return _refused(reason, axes)
    log_size = centre(np.log(sizes))
    logs = {axis: centre(np.log(values)) for axis, values in axes.items()}
    identified, unidentified = _find_identified(log_size, logs)
    held = _indicators([axes[axis] for axis in unidentified if axis != LAYERS])
    if not identified:
        return replace(_refused(next(iter(unidentified.values())), axes), unidentified=unidentified)
    others = [logs[axis] for axis in identified]
    if not is_apart(log_size, [*others, *held]):
        return _refused(Reason.CONFOUNDED, axes)
    straight = np.column_stack([law_matrix(log_size, np.column_stack(others)), *held])
    if len(straight) <= np.linalg.matrix_rank(straight):
        return _refused(Reason.TOO_FEW_SCALES, axes)
    curved = _find_curved(straight, {axis: (axes[axis], logs[axis]) for axis in identified})
    squares = [logs[axis] ** 2 for axis in curved]
    first = FIRST_AXIS + len(identified)
    matrix = np.column_stack([straight[:, :first], *squares, straight[:, first:]])
    own = [log_size, *others]
    pairs = [own[one] * own[other] for one in range(len(own)) for other in range(one + 1, len(own))]
    return AxisDesign(None, identified, unidentified, curved, np.column_stack(others), matrix, np.column_stack(pairs))


def _refused(reason: Reason, axes: Mapping[str, np.ndarray]) -> AxisDesign:
    return AxisDesign(reason, (), dict.fromkeys(axes, reason), (), np.empty((0, 0)), np.empty((0, 0)), np.empty((0, 0)))


def _find_refusal(sizes: np.ndarray, axes: Mapping[str, np.ndarray], seeds: np.ndarray) -> Reason | None:
    """The first rule that a design breaks before its columns are compared."""
    if any((values <= 0).any() for values in (sizes, *axes.values())):
        return Reason.NOT_POSITIVE
    if not axes or count_values(sizes) < MIN_SCALES:
        return Reason.TOO_FEW_SCALES
    return Reason.TOO_FEW_SEEDS if lack_seeds(seeds) else None


def _find_identified(log_size: np.ndarray, logs: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], dict[str, Reason]]:
    """The axes whose slope can be estimated, and the others with the reason.

    An axis without a slope is held equal, which can take the slope of another one: the rules apply anew until none fails.
    Layers without a slope of their own are a part of size.
    """
    left, unidentified = list(logs), dict[str, Reason]()
    while left:
        held = _indicators([logs[axis] for axis in unidentified if axis != LAYERS])
        failing = {}
        for axis in left:
            others = [log_size, *(logs[other] for other in left if other != axis), *held]
            if not is_apart(logs[axis], others, without_a_cell=False):
                failing[axis] = Reason.CONFOUNDED
            elif not (is_apart(logs[axis], others) and is_apart(log_size * logs[axis], [logs[axis], *others])):
                failing[axis] = Reason.TOO_FEW_SCALES
        if not failing:
            break
        unidentified |= failing
        left = [axis for axis in left if axis not in failing]
    return tuple(left), unidentified


def _find_curved(straight: np.ndarray, axes: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[str, ...]:
    """The axes with a curvature term: at least three levels, and a square apart from all other columns.

    Args:
        axes: values and centred logs of each axis, [G] each.
    """
    squares = {axis: log**2 for axis, (values, log) in axes.items() if count_values(values) >= MIN_SCALES}
    columns = list(straight.T)
    apart = [
        axis
        for axis, square in squares.items()
        if is_apart(square, [*columns, *(squares[other] for other in squares if other != axis)])
    ]
    free = len(straight) - int(np.linalg.matrix_rank(straight)) - MIN_CURVED_FREEDOM
    return tuple(apart[: max(0, free)])


def is_apart(column: np.ndarray, others: Sequence[np.ndarray], *, without_a_cell: bool = True) -> bool:
    """Whether a column [G] varies apart from others: these and a constant leave a share of its variance unexplained.

    Args:
        without_a_cell: require it also of the cells without any single one.
    """
    count = len(column)
    left, values, _ = np.linalg.svd(np.column_stack([np.ones(count), *others]), full_matrices=False)
    basis = left[:, values > ROUNDING * values[0]]
    unexplained, centred = column - basis @ (basis.T @ column), column - column.mean()
    own, total = float(unexplained @ unexplained), float(centred @ centred)
    if not without_a_cell:
        return total > ROUNDING and own >= MIN_OWN_SHARE * total
    free = 1 - (basis**2).sum(axis=1)  # 0 for a cell that alone identifies one of the others: without it nothing is explained less
    own_without = own - np.where(free > ROUNDING, unexplained**2 / np.maximum(free, ROUNDING), 0.0)
    total_without = total - centred**2 * count / (count - 1)
    return bool((total_without > ROUNDING).all() and (own_without >= MIN_OWN_SHARE * total_without).all())


def _indicators(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A column of 0 and 1 for each level but the first of each of these columns, [rows] each."""
    rounded = [column.round(9) for column in columns]
    return [np.asarray(column == level, dtype=float) for column in rounded for level in np.unique(column)[1:]]
