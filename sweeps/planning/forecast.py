"""How sharp the exponent of a measure sweep will be, and the cells that would sharpen it most."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lightning_modules.config import TrialConfig
from rrm.compute import count_parameters
from rrm.errors import UserError
from sweeps.planning.costs import train_flops
from sweeps.planning.power import LEAST_T, Design, HalfWidths, Slopes, expect_half_widths, find_refusal, fit_slopes, pool_noise
from sweeps.spec.space import factorial
from sweeps.spec.sweep import HEAD_SIZE, Block, SweepSpec

ASSUMED_NOISE_SD = 0.1  # of log NLL over seeds
ASSUMED_SLOPES = Slopes(a=0.30, b=0.14)  # phi near 0.46, looped language models (2604.21106)
AXES = ("model.hidden_size", "model.num_layers", "model.h_cycles", "model.l_cycles", "model.supervision_steps")
MOST_ADDITIONS = 3  # that are printed
Records = Mapping[str, dict[str, Any]]  # by fingerprint


@dataclass(frozen=True)
class Group:
    """Cells that one fit spans: they differ in axes, and in numbers that follow from them, alone."""

    label: str  # what tells it from the other groups of its sweep; empty where it is the only one
    cells: list[TrialConfig]  # seed 0
    seeds: int

    @property
    def design(self) -> Design:
        sizes = [count_parameters(cell.model, cell.task.shape).recursed for cell in self.cells]
        return Design(np.array(sizes, dtype=float), np.array([cell.model.recursion for cell in self.cells]), self.seeds)


@dataclass(frozen=True)
class Expectation:
    """What is taken for the truth, and on what ground."""

    noise_sd: float
    slopes: Slopes
    ground: str

    def half_widths(self, group: Group) -> HalfWidths | None:
        """None where no law can be fitted."""
        return None if find_refusal(group.design) else expect_half_widths(group.design, self.noise_sd, self.slopes)


@dataclass(frozen=True)
class Addition:
    """A way to extend a sweep."""

    text: str
    flops_share: float  # of the sweep as it is
    cells: list[TrialConfig] = field(default_factory=list)  # seed 0
    seeds: int = 0  # more of every cell


def forecast_lines(spec: SweepSpec, results: Records) -> list[str]:
    """For people: the half-widths to expect in each group of the sweep, and the best additions; groups alike are told once."""
    assert spec.measure is not None
    cells = [trial for trial in spec.design() if trial.seed == 0]
    paths = _splitting_paths(cells)
    additions = list(_additions(spec, cells))
    labels: dict[tuple[str, ...], list[str]] = {}
    for key in dict.fromkeys(_settings(cell, paths) for cell in cells):
        label = ", ".join(f"{path} {value}" for path, value in key if path in spec.varied_paths)
        group = Group(label, [cell for cell in cells if _settings(cell, paths) == key], spec.measure.seeds)
        own = [replace(more, cells=[cell for cell in more.cells if _settings(cell, paths) == key]) for more in additions]
        expected = _expect(group, results)
        lines = [*_expectation_lines(group, expected), *_addition_lines(group, expected, own)]
        labels.setdefault(tuple(lines), []).append(label)
    headed = [([f"{'; '.join(named)}:"] if any(named) else [], lines) for lines, named in labels.items()]
    return [line for head, lines in headed for line in [*head, *lines]]


def _expectation_lines(group: Group, expected: Expectation) -> list[str]:
    refusal = find_refusal(group.design)
    if refusal:
        return [f"no exponent: {refusal.reason}: {refusal.rule}", f"  add {refusal.remedy}"]
    slopes, half = expected.slopes, expect_half_widths(group.design, expected.noise_sd, expected.slopes)
    phi = f"phi = b / a = {slopes.phi:.2f} +- {half.phi:.2f}" if half.has_clear_a else f"no phi: |t| of a will be below {LEAST_T:g}"
    return [
        f"to expect from {len(group.cells)} cells x {group.seeds} seeds, 95 %: slope in log params_recursed "
        f"a = {slopes.a:.2f} +- {half.a:.2f}, in log recursion b = {slopes.b:.2f} +- {half.b:.2f}, {phi}",
        f"  {expected.ground}; where the law itself misses cells, intervals are wider",
    ]


def _addition_lines(group: Group, expected: Expectation, additions: list[Addition]) -> list[str]:
    """The best additions to a group, by the half-width behind them; nothing where none makes a law possible."""
    before = expected.half_widths(group)
    found: list[tuple[HalfWidths, str]] = []
    for addition in [addition for addition in additions if addition.cells or addition.seeds]:
        after = expected.half_widths(replace(group, cells=group.cells + addition.cells, seeds=group.seeds + addition.seeds))
        if after is not None:
            change = f"{_change(before, after)}, {100 * addition.flops_share:.0f} % more FLOPs"
            found.append((after, f"  {addition.text}: {change}"))
    found.sort(key=lambda pair: (not pair[0].has_clear_a, pair[0].phi if pair[0].has_clear_a else pair[0].a))
    head = "what would shrink it most:" if before else "what would make it possible:"
    return [head, *(text for _, text in found[:MOST_ADDITIONS])] if found else []


def _change(before: HalfWidths | None, after: HalfWidths) -> str:
    """Of phi where it is to be expected, else of the slope that it lacks."""
    if after.has_clear_a:
        former = f"+- {before.phi:.2f}" if before and before.has_clear_a else "none"
        return f"phi +- {after.phi:.2f} instead of {former}"
    return f"a +- {after.a:.2f}" + (f" instead of +- {before.a:.2f}" if before else "") + " (no phi)"


# -- what is expected ---------------------------------------------------------------------------------------------


def _expect(group: Group, results: Records) -> Expectation:
    """Noise and slopes from the finished trials of a group where they tell them, else assumed."""
    scores = [_log_nll(cell, group.seeds, results) for cell in group.cells]
    finished = replace(group, cells=[cell for cell, values in zip(group.cells, scores, strict=True) if len(values)])
    noise, slopes = pool_noise(scores), None
    if len(finished.cells) >= len(group.cells) / 2 and find_refusal(finished.design) is None:
        slopes = fit_slopes(finished.design, np.array([values.mean() for values in scores if len(values)]))
    noise_sd = ASSUMED_NOISE_SD if noise is None else noise
    ground = (
        f"sd of log NLL over seeds {noise_sd:.2f} {'assumed' if noise is None else 'from finished trials'}, "
        f"slopes {'assumed' if slopes is None else f'from {len(finished.cells)} finished cells'}"
    )
    return Expectation(noise_sd, slopes or ASSUMED_SLOPES, ground)


def _log_nll(cell: TrialConfig, seeds: int, results: Records) -> np.ndarray:
    """log NLL on the test split of the completed seeds of a cell."""
    trials = [cell.model_copy(update={"seed": seed}).fingerprint for seed in range(seeds)]
    records = [results[name] for name in trials if name in results and results[name]["outcome"] == "completed"]
    return np.array([math.log(record["test/nll"]) for record in records if record["test/nll"] > 0])


# -- which cells belong to one fit --------------------------------------------------------------------------------


def _settings(cell: TrialConfig, paths: list[str]) -> tuple[tuple[str, Any], ...]:
    """What a cell has at these paths, those that it does not have left out."""
    flat = cell.flat()
    return tuple((path, repr(flat[path]) if isinstance(flat[path], list) else flat[path]) for path in paths if path in flat)


def _splitting_paths(cells: list[TrialConfig]) -> list[str]:
    """Settings that tell groups apart: names that differ, and numbers that differ where all axes are equal."""
    flats = [cell.flat() for cell in cells]
    names = dict.fromkeys(path for flat in flats for path in flat if path not in AXES)
    differing = [path for path in names if len({repr(flat.get(path)) for flat in flats}) > 1]
    return [path for path in differing if not (_is_number(path, flats) and _follows_axes(path, flats))]


def _is_number(path: str, flats: list[dict[str, Any]]) -> bool:
    return all(isinstance(flat[path], int | float) and not isinstance(flat[path], bool) for flat in flats if path in flat)


def _follows_axes(path: str, flats: list[dict[str, Any]]) -> bool:
    """Whether cells of equal axes and equal kind have the same value, as with a learning rate for each width."""
    seen: dict[tuple[Any, ...], Any] = {}
    cells = [(tuple(flat.get(axis) for axis in ("model.kind", *AXES)), flat.get(path)) for flat in flats]
    return all(seen.setdefault(cell, value) == value for cell, value in cells)


# -- how a design may be extended ---------------------------------------------------------------------------------


def _additions(spec: SweepSpec, cells: list[TrialConfig]) -> Iterator[Addition]:
    """One more seed of every cell; one step beyond each end of each axis of each block, where that gives valid trials."""
    assert spec.measure is not None
    yield Addition(f"measure.seeds: {spec.measure.seeds + 1}", 1 / spec.measure.seeds, seeds=1)
    known, all_flops = {cell.fingerprint for cell in cells}, sum(map(train_flops, cells))
    for number, block in enumerate(spec.measure.vary):
        where = f"vary.{number}." if len(spec.measure.vary) > 1 else ""
        for path in [path for path in block if path in AXES]:
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
