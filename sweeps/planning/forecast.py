"""How sharp the exponent of a measure sweep will be, and the additions that sharpen it most."""

from dataclasses import replace

from sweeps.design.identifiability import Rule
from sweeps.design.short_names import count_of
from sweeps.design.thresholds import MIN_SCALES, MIN_SEEDS, MIN_SIZE_SLOPE_T
from sweeps.planning.additions import Addition, possible_additions
from sweeps.planning.cell_groups import distinct_models, find_splitting_paths, group_cells
from sweeps.planning.expectation import Expectation, Group, expect_slopes
from sweeps.planning.finished import Records
from sweeps.planning.power import HalfWidths
from sweeps.planning.rates import rate_lines
from sweeps.spec.sweep import SweepSpec

MAX_ADDITIONS = 3  # additions that are printed
CROSSED = "every width at every recursion: both as lists in one block of measure.vary"
REMEDIES: dict[Rule, str] = {  # fields of a spec that repair a broken rule
    "sizes": f"model.hidden_size with {MIN_SCALES} values or more",
    "recursions": "values of model.l_cycles, model.h_cycles or model.supervision_steps",
    "seeds": f"measure.seeds: {MIN_SEEDS} or more",
    "correlation": CROSSED,
    "cells": CROSSED,
}


def forecast_lines(spec: SweepSpec, results: Records) -> list[str]:
    """Lines of text: the half-widths to expect in each group of the sweep, and the best additions; equal groups share theirs."""
    assert spec.measure is not None
    cells = distinct_models(spec.cells)
    paths = find_splitting_paths(cells)
    additions = list(possible_additions(spec, cells))
    added = [group_cells(addition.cells, paths) for addition in additions]
    labels: dict[tuple[str, ...], list[str]] = {}  # labels of groups, by the lines that these groups share
    for key, members in group_cells(cells, paths).items():
        settings = members[0].flat()
        label = ", ".join(f"{path} {settings[path]}" for path in paths if path in spec.varied_paths and path in settings)
        group = Group(label, members, spec.measure.seeds)
        to_group = [replace(more, cells=groups.get(key, [])) for more, groups in zip(additions, added, strict=True)]
        expected = expect_slopes(group, results)
        rates = rate_lines(members, spec.measure.seeds)
        lines = (*_expectation_lines(group, expected), *rates, *_addition_lines(group, expected, to_group))
        labels.setdefault(lines, []).append(label)
    return [line for lines, names in labels.items() for line in ([f"{'; '.join(names)}:", *lines] if any(names) else lines)]


def _expectation_lines(group: Group, expected: Expectation) -> list[str]:
    refusal = group.design.refusal
    if refusal:
        return [f"no exponent: {refusal.reason}: {refusal.text}", f"  add {REMEDIES[refusal.rule]}"]
    if expected.refusal:
        return [f"no exponent: {expected.refusal}", f"  {expected.source}"]
    slopes, half = expected.slopes, expected.half_widths(group)
    assert half is not None
    phi = f"phi = b / a = {slopes.phi:.2f} +- {half.phi:.2f}"
    if not (half.has_clear_a if expected.has_clear_a is None else expected.has_clear_a):
        phi = f"no phi: |t| of a {'will be' if expected.has_clear_a is None else 'is'} below {MIN_SIZE_SLOPE_T:g}"
    return [
        f"to expect from {count_of(len(group.cells), 'cell')} x {count_of(group.seeds, 'seed')}, 95 %: slope in log "
        f"params_recursed a = {slopes.a:.2f} +- {half.a:.2f}, in log recursion b = {slopes.b:.2f} +- {half.b:.2f}, {phi}",
        f"  {expected.source}; intervals are wider if cells lie off the law",
    ]


def _addition_lines(group: Group, expected: Expectation, additions: list[Addition]) -> list[str]:
    """The best additions to a group, by the half-width after them; nothing where none makes a law possible."""
    if expected.refusal:
        return []
    before = expected.half_widths(group)
    ranked: list[tuple[HalfWidths, str]] = []
    for addition in [addition for addition in additions if addition.cells or addition.seeds]:
        after = expected.half_widths(replace(group, cells=group.cells + addition.cells, seeds=group.seeds + addition.seeds))
        if after is not None:
            change = f"{_change(before, after)}, {100 * addition.flops_share:.0f} % more FLOPs"
            ranked.append((after, f"  {addition.text}: {change}"))
    ranked.sort(key=lambda pair: (not pair[0].has_clear_a, pair[0].phi if pair[0].has_clear_a else pair[0].a))
    head = "additions that narrow the interval most:" if before else "additions that make an exponent possible:"
    return [head, *(text for _, text in ranked[:MAX_ADDITIONS])] if ranked else []


def _change(before: HalfWidths | None, after: HalfWidths) -> str:
    """The half-width of phi where phi is expected, else that of a, the slope without which there is no phi."""
    if after.has_clear_a:
        former = f"+- {before.phi:.2f}" if before and before.has_clear_a else "none"
        return f"phi +- {after.phi:.2f} instead of {former}"
    return f"a +- {after.a:.2f}" + (f" instead of +- {before.a:.2f}" if before else "") + " (no phi)"
