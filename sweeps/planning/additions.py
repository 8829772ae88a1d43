"""Ways to extend a measure sweep, each with its cost."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lightning_modules.config import TrialConfig
from lightning_modules.record import train_flops
from rrm.errors import UserError
from sweeps.design.axes import AXIS_SETTINGS
from sweeps.spec.measure import Block
from sweeps.spec.space import factorial
from sweeps.spec.sweep import HEAD_SIZE, SweepSpec


@dataclass(frozen=True)
class Addition:
    """A way to extend a sweep."""

    text: str
    flops_share: float  # its FLOPs as a share of those of the present sweep
    cells: list[TrialConfig] = field(default_factory=list)  # trials of the first seed
    seeds: int = 0  # more of every cell


def possible_additions(spec: SweepSpec, cells: list[TrialConfig]) -> Iterator[Addition]:
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
            trials = [spec.trial_with(values, "trial") for values in factorial(block | {path: [step]})]
            return step, [trial.model_copy(update={"seed": spec.measure.first_seed}) for trial in trials if spec.measure]
        except UserError:
            continue
    return 0, []
