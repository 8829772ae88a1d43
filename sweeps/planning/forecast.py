"""How sharp the exponent of a measure sweep will be, and the cells that would sharpen it most."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lightning_modules.config import CURVE_SETTINGS, TrialConfig
from lightning_modules.outcome import Outcome
from rrm.compute import count_parameters, count_recursion
from rrm.errors import UserError
from sweeps.design.axes import AXIS_SETTINGS, CAPACITY_AXES, DEPTH_AXES, TASK, independent_axes
from sweeps.design.groups import find_splitting, name_rows
from sweeps.design.identifiability import COEFFICIENTS, Rule
from sweeps.design.short_names import axis_name, count_of
from sweeps.design.thresholds import MAX_MISFIT_SHARE, MIN_SCALES, MIN_SEEDS, MIN_SIZE_SLOPE_T
from sweeps.planning.costs import train_flops
from sweeps.planning.evidence import (
    LAW_PARAMETERS,
    Measured,
    Misfit,
    find_flat,
    find_misfit,
    is_size_clear,
    law_residual,
    size_slope_t,
)
from sweeps.planning.power import (
    Design,
    HalfWidths,
    Slopes,
    detectable_dependence,
    detectable_difference,
    expect_half_widths,
    fit_slopes,
    pool_noise,
)
from sweeps.spec.measure import Block
from sweeps.spec.space import factorial
from sweeps.spec.sweep import HEAD_SIZE, SweepSpec

ACCURACY = "test/exact_accuracy"
ASSUMED_NOISE_SD = 0.1  # standard deviation of log NLL over seeds
ASSUMED_ACCURACY_SD = 0.1  # standard deviation of exact accuracy over seeds
ASSUMED_SLOPES = Slopes(a=0.30, b=0.14)  # phi near 0.46, looped language models (2604.21106)
MAX_ADDITIONS = 3  # additions that are printed
CROSSED = "every width at every recursion: both as lists in one block of measure.vary"
REMEDIES: dict[Rule, str] = {  # fields of a spec that repair a broken rule
    "sizes": f"model.hidden_size with {MIN_SCALES} values or more",
    "recursions": "values of model.l_cycles, model.h_cycles or model.supervision_steps",
    "seeds": f"measure.seeds: {MIN_SEEDS} or more",
    "correlation": CROSSED,
    "cells": CROSSED,
}
Records = Mapping[str, dict[str, Any]]  # by fingerprint


@dataclass(frozen=True)
class Group:
    """Cells that one fit spans: they differ in axes, and in numbers that follow from them, alone."""

    label: str  # what tells it from the other groups of its sweep; empty where it is the only one
    cells: list[TrialConfig]  # seed 0
    seeds: int

    @property
    def params_once(self) -> np.ndarray:
        """Parameters outside the recursion, [cells]."""
        return np.array([count_parameters(cell.model, cell.task.shape).once for cell in self.cells], dtype=float)

    @property
    def design(self) -> Design:
        sizes = [count_parameters(cell.model, cell.task.shape).recursed for cell in self.cells]
        return Design(
            np.array(sizes, dtype=float),
            np.array([count_recursion(cell.model, cell.task.shape) for cell in self.cells]),
            self.seeds,
        )


@dataclass(frozen=True)
class Expectation:
    """What is taken for the truth, and on what ground."""

    noise_sd: float
    slopes: Slopes
    ground: str
    misfit_sd: float = 0.0  # of log NLL of cells around the law
    refusal: str = ""  # why the report refuses the law on the finished cells, as a sentence; empty where it does not
    has_clear_a: bool | None = None  # as the report finds it; None before all trials have finished

    def half_widths(self, group: Group) -> HalfWidths | None:
        """None where no law can be fitted."""
        if group.design.refusal:
            return None
        return expect_half_widths(group.design, self.noise_sd, self.slopes, self.misfit_sd)


@dataclass(frozen=True)
class Addition:
    """A way to extend a sweep."""

    text: str
    flops_share: float  # its FLOPs as a share of those of the present sweep
    cells: list[TrialConfig] = field(default_factory=list)  # seed 0
    seeds: int = 0  # more of every cell


def forecast_lines(spec: SweepSpec, results: Records) -> list[str]:
    """For people: the half-widths to expect in each group of the sweep, and the best additions; groups alike are told once."""
    assert spec.measure is not None
    cells = [trial for trial in spec.design if trial.seed == 0]
    paths = find_splitting_paths(cells)
    additions = list(_additions(spec, cells))
    labels: dict[tuple[str, ...], list[str]] = {}
    added = [group_cells(more.cells, paths) for more in additions]
    for key, members in group_cells(cells, paths).items():
        settings = members[0].flat()
        label = ", ".join(f"{path} {settings[path]}" for path in paths if path in spec.varied_paths and path in settings)
        group = Group(label, members, spec.measure.seeds)
        own = [replace(more, cells=groups.get(key, [])) for more, groups in zip(additions, added, strict=True)]
        expected = _expect(group, results)
        lines = [*_expectation_lines(group, expected), *_addition_lines(group, expected, own)]
        labels.setdefault(tuple(lines), []).append(label)
    headed = [([f"{'; '.join(named)}:"] if any(named) else [], lines) for lines, named in labels.items()]
    return [line for head, lines in headed for line in [*head, *lines]]


def _expectation_lines(group: Group, expected: Expectation) -> list[str]:
    refusal = group.design.refusal
    if refusal:
        return [f"no exponent: {refusal.reason}: {refusal.text}", f"  add {REMEDIES[refusal.rule]}"]
    if expected.refusal:
        return [f"no exponent: {expected.refusal}", f"  {expected.ground}"]
    slopes, half = expected.slopes, expected.half_widths(group)
    assert half is not None
    phi = f"phi = b / a = {slopes.phi:.2f} +- {half.phi:.2f}"
    if not (half.has_clear_a if expected.has_clear_a is None else expected.has_clear_a):
        phi = f"no phi: |t| of a {'will be' if expected.has_clear_a is None else 'is'} below {MIN_SIZE_SLOPE_T:g}"
    return [
        f"to expect from {count_of(len(group.cells), 'cell')} x {count_of(group.seeds, 'seed')}, 95 %: slope in log "
        f"params_recursed a = {slopes.a:.2f} +- {half.a:.2f}, in log recursion b = {slopes.b:.2f} +- {half.b:.2f}, {phi}",
        f"  {expected.ground}; where the law itself misses cells, intervals are wider",
    ]


def _addition_lines(group: Group, expected: Expectation, additions: list[Addition]) -> list[str]:
    """The best additions to a group, by the half-width behind them; nothing where none makes a law possible."""
    if expected.refusal:
        return []
    before = expected.half_widths(group)
    found: list[tuple[HalfWidths, str]] = []
    for addition in [addition for addition in additions if addition.cells or addition.seeds]:
        after = expected.half_widths(replace(group, cells=group.cells + addition.cells, seeds=group.seeds + addition.seeds))
        if after is not None:
            change = f"{_change(before, after)}, {100 * addition.flops_share:.0f} % more FLOPs"
            found.append((after, f"  {addition.text}: {change}"))
    found.sort(key=lambda pair: (not pair[0].has_clear_a, pair[0].phi if pair[0].has_clear_a else pair[0].a))
    head = "what would shrink it most:" if before else "what would make it possible:"
    return [head, *(text for _, text in found[:MAX_ADDITIONS])] if found else []


def _change(before: HalfWidths | None, after: HalfWidths) -> str:
    """Of phi where it is to be expected, else of the slope that it lacks."""
    if after.has_clear_a:
        former = f"+- {before.phi:.2f}" if before and before.has_clear_a else "none"
        return f"phi +- {after.phi:.2f} instead of {former}"
    return f"a +- {after.a:.2f}" + (f" instead of +- {before.a:.2f}" if before else "") + " (no phi)"


# -- what is expected ---------------------------------------------------------------------------------------------


def _expect(group: Group, results: Records) -> Expectation:
    """Noise and slopes from the finished trials of a group where they tell them, else assumed."""
    records = [_completed(cell, group.seeds, results) for cell in group.cells]
    scores = [np.log(_scores(found, "test/nll")) for found in records]
    number = [number for number, values in enumerate(scores) if len(values)]
    finished = replace(group, cells=[group.cells[index] for index in number])
    noise = pool_noise(scores)
    noise_sd = ASSUMED_NOISE_SD if noise is None else noise
    said = f"sd of log NLL over seeds {noise_sd:.2f} {'assumed' if noise is None else 'from finished trials'}"
    if len(number) < len(group.cells) / 2 or finished.design.refusal is not None:
        return Expectation(noise_sd, ASSUMED_SLOPES, f"{said}, slopes assumed")
    design, cells = finished.design, _measure([scores[index] for index in number])
    slopes = fit_slopes(design, cells.log_loss)
    ground = f"{said}, slopes from {len(number)} finished cells"
    misfit = find_misfit(cells, law_residual(cells, finished.params_once, design.params_recursed, design.recursion), LAW_PARAMETERS)
    is_done = all(len(values) == group.seeds for values in scores)
    t = size_slope_t(cells, design.params_recursed, design.recursion)
    return Expectation(
        noise_sd, slopes, ground, misfit.beyond if misfit else 0.0,
        _refusal(cells, [records[index] for index in number], misfit),
        is_size_clear(t, len(number) - COEFFICIENTS) if is_done else None,
    )  # fmt: skip


def _refusal(cells: Measured, records: list[list[dict[str, Any]]], misfit: Misfit | None) -> str:
    """Why the report refuses the law on finished cells, by its own rules."""
    accuracies = [_scores(found, ACCURACY) for found in records]
    flat = find_flat(cells, np.array([values.mean() for values in accuracies]) if all(map(len, accuracies)) else None)
    if flat is not None:
        return f"{flat}: the finished cells do not differ beyond the noise of their seeds"
    if misfit is not None and misfit.is_refused:
        range_text = f"more than {MAX_MISFIT_SHARE:.0%} of its range over the finished cells"
        return f"lack_of_fit: the law misses log NLL by {misfit.beyond:.2f} beyond the noise of seeds, {range_text}"
    return ""


def _measure(scores: list[np.ndarray]) -> Measured:
    """Cell means and pooled variance of log NLL ([seeds] each)."""
    replicates = sum(len(values) - 1 for values in scores)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in scores)
    means, seeds = np.array([values.mean() for values in scores]), np.array([len(values) for values in scores])
    return Measured(means, seeds, squares / replicates if replicates else math.nan, replicates)


def _completed(cell: TrialConfig, seeds: int, results: Records) -> list[dict[str, Any]]:
    """Records of the completed seeds of a cell that have a loss."""
    names = [cell.model_copy(update={"seed": seed}).fingerprint for seed in range(seeds)]
    records = [results[name] for name in names if name in results and results[name]["outcome"] == Outcome.COMPLETED]
    return [record for record in records if record.get("test/nll", 0) > 0]


def _scores(records: list[dict[str, Any]], metric: str) -> np.ndarray:
    return np.array([record[metric] for record in records if record.get(metric) is not None], dtype=float)


# -- differences of accuracy ----------------------------------------------------------------------------------------


def difference_lines(spec: SweepSpec, results: Records) -> list[str]:
    """For people: the least difference of exact accuracy that this design is likely to show, of two cells and along each axis."""
    assert spec.measure is not None
    seeds, cells = spec.measure.seeds, [trial for trial in spec.design if trial.seed == 0]
    if len(cells) < 2:
        return []
    if seeds < MIN_SEEDS:
        return ["no difference of accuracy will be clear: one seed a cell does not show the noise; measure.seeds: 2 or more"]
    scores = [_scores(_completed(cell, seeds, results), ACCURACY) for cell in cells]
    noise = pool_noise(scores) or None  # cells at the floor or the ceiling do not show it
    sd = ASSUMED_ACCURACY_SD if noise is None else noise
    paths = [path for path in spec.varied_paths if path not in CURVE_SETTINGS]
    pairs = count_pairs(cells, paths)
    least = [f"{detectable_difference(sd, seeds, 1):.2g} between two cells"]
    least += [
        f"{detectable_difference(sd, seeds, count):.2g} between two levels of {axis_name(path)}"
        for path, count in pairs.items()
        if path != TASK
    ]
    dependences = [
        f"of the effect of {axis_name(path)} on {axis_name(other)} from {detectable_dependence(sd, seeds, count):.2g}"
        for (path, other), count in count_interactions(cells, paths).items()
        if TASK not in (path, other)
    ]
    ground = "assumed" if noise is None else "from finished trials"
    return [
        f"a difference of exact accuracy is likely to be clear (95 %, power 80 %) from {', '.join(least)}",
        *([f"a dependence (difference between the effects at two levels) {', '.join(dependences)}"] if dependences else []),
        f"  sd of accuracy over seeds {sd:.2g} {ground}; cells with the same seeds on both sides",
    ]


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
    words or an axis of depth, the second any setting or, for an axis of depth, one of size. No pair of settings stands twice.
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


# -- which cells belong to one fit --------------------------------------------------------------------------------


def find_splitting_paths(cells: list[TrialConfig]) -> list[str]:
    """Settings by which cells fall into groups that no law may span."""
    flats = [cell.flat() for cell in cells]
    paths = dict.fromkeys(path for flat in flats for path in flat)
    axes = independent_axes(paths)
    return find_splitting(
        _columns(flats, [path for path in paths if path not in (*axes, *CURVE_SETTINGS)]), _columns(flats, axes), len(cells)
    )


def group_cells(cells: list[TrialConfig], paths: list[str]) -> dict[str, list[TrialConfig]]:
    """Cells with equal values at these paths, by a text of the values."""
    groups: dict[str, list[TrialConfig]] = {}
    for key, cell in zip(name_rows(_columns([cell.flat() for cell in cells], paths), len(cells)), cells, strict=True):
        groups.setdefault(key, []).append(cell)
    return groups


def _columns(flats: list[dict[str, Any]], paths: list[str]) -> dict[str, list[Any]]:
    return {path: [flat.get(path) for flat in flats] for path in paths}


# -- how a design may be extended ---------------------------------------------------------------------------------


def _additions(spec: SweepSpec, cells: list[TrialConfig]) -> Iterator[Addition]:
    """One more seed of every cell; one step beyond each end of each axis of each block, where that gives valid trials."""
    assert spec.measure is not None
    yield Addition(f"measure.seeds: {spec.measure.seeds + 1}", 1 / spec.measure.seeds, seeds=1)
    known, all_flops = {cell.fingerprint for cell in cells}, sum(map(train_flops, cells))
    for number, block in enumerate(spec.measure.vary):
        where = f"vary.{number}." if len(spec.measure.vary) > 1 else ""
        for path in [path for path in block if path in AXIS_SETTINGS]:
            values = sorted(int(value) for value in block[path])
            grain = int(spec.trial.get("model", {}).get("head_size", HEAD_SIZE)) if path == "model.hidden_size" else 1
            for steps in _steps_beyond(values, grain):
                value, more = _first_valid(spec, block, path, [step for step in steps if step not in values])
                fresh = [cell for cell in more if cell.fingerprint not in known]
                if fresh:
                    text = f"{where}{path}: {sorted([*values, value])} (adds {value})"
                    yield Addition(text, sum(map(train_flops, fresh)) / all_flops, cells=fresh)


def _steps_beyond(values: list[int], grain: int) -> Iterator[list[int]]:
    """Candidates above the last and below the first value: the last ratio again (the law is in logs), else the last difference."""
    inner_high, inner_low = (values[-2], values[1]) if len(values) > 1 else (values[0] / 2, values[0] * 2)
    for end, inner in ((values[-1], inner_high), (values[0], inner_low)):
        yield [round(step / grain) * grain for step in (end * end / inner, 2 * end - inner)]


def _first_valid(spec: SweepSpec, block: Block, path: str, steps: list[int]) -> tuple[int, list[TrialConfig]]:
    """The first value with which every trial of a block is valid, and those trials; no trials where there is none."""
    for step in steps:
        try:
            return step, [spec.trial_with(values, "trial") for values in factorial(block | {path: [step]})]
        except UserError:
            continue
    return 0, []
