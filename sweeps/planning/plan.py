"""What a sweep will do and cost, before anything is spent."""

import itertools
from collections import Counter
from collections.abc import Callable

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from lightning_modules.config import TrialConfig
from lightning_modules.outcome import Outcome
from lightning_modules.record import describe, step_flops, train_flops
from rrm.config import IterativeConfig
from rrm.errors import UserError
from sweeps.design.short_names import axis_name, count_of
from sweeps.planning.costs import Costs, measure_costs
from sweeps.planning.differences import difference_lines
from sweeps.planning.donors import Donors, Remaining, sort_remaining
from sweeps.planning.finished import Records
from sweeps.planning.forecast import forecast_lines
from sweeps.planning.imported import refuse_missing_parts
from sweeps.planning.machine import check_resources, concurrent_trials
from sweeps.planning.reuse import find_reusable
from sweeps.planning.same_meaning import refuse_changed_meaning
from sweeps.planning.space_size import count_missing_trials, describe_shortfall
from sweeps.planning.warm_start import warm_results
from sweeps.spec.resources import GIGABYTE
from sweeps.spec.sweep import SweepSpec
from sweeps.store.attempts import settled
from sweeps.store.store import Store

MAX_CORNERS = 64
FILE_WIDTH = 120  # characters in a line of the table in a file or a pipe


def print_plan(spec: SweepSpec, console: Console) -> None:
    """Design, cost of each cell (or corner of the space), what is done and what is left, and the exponent to expect.

    Raises:
        UserError: the search starts from a sweep that has no completed trials, or from itself.
    """
    warm_results(spec)
    trials = list(spec.design) or corners(spec)
    store = Store(spec.location)
    results = store.results()
    reusable = find_reusable(spec, settled(results, spec.resources.max_retries))
    refusals = [
        _find_refusal(lambda: refuse_changed_meaning(spec, store, results)),
        _find_refusal(lambda: refuse_missing_parts(spec, store, results)),
        too_large := _find_refusal(lambda: check_resources(spec.resources)),
    ]
    results |= {name: one.record for name, one in reusable.items()}
    missing = count_missing_trials(spec)
    done, total = _done_of(spec, results), spec.total - missing
    costs = measure_costs(trials, spec.resources) if len(done) < total and too_large is None else None
    if not console.is_terminal:
        console.width = max(console.width, FILE_WIDTH)
    console.print(_table(spec, trials, costs))
    left = [trial for trial in spec.design if trial.fingerprint not in done]
    remaining = sort_remaining(left, Donors(store, results))
    lines = [_left(spec, trials, costs, results, done, total, remaining)]
    lines += [f"{count_of(len(reusable), 'trial')} of these come from the sweeps in measure.reuse"] if reusable else []
    lines += _missing_weights(store, remaining)
    lines += [f"warning: rrm-sweep run refuses this sweep: {refusal}" for refusal in refusals if refusal is not None]
    lines += [f"warning: {describe_shortfall(spec, missing)}"] if missing else []
    lines += _warnings(spec, trials, costs)
    if spec.measure:
        lines += [*difference_lines(spec, results), *forecast_lines(spec, results)]
    for line in lines:
        print(line, file=console.file, flush=True)


def corners(spec: SweepSpec) -> list[TrialConfig]:
    """Trials at the ends of a search's ranges, every combination where they are few, without those that cannot be solved for."""
    assert spec.search is not None
    ends = {path: domain.values_to_check() for path, domain in spec.search.space.items()}
    extremes = {path: sorted({values[0], values[-1]}, key=repr) for path, values in ends.items()}
    trials = []
    for combination in itertools.islice(itertools.product(*extremes.values()), MAX_CORNERS):
        try:
            trials.append(spec.trial_with(dict(zip(extremes, combination, strict=True)), "search.space"))
        except UserError as error:
            if not error.where.startswith("search.tie"):
                raise
    return trials or [spec.base]


def _table(spec: SweepSpec, trials: list[TrialConfig], costs: Costs | None) -> Table:
    table = Table(title=_headline(spec), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    measured = (["GPU memory" if costs.on_gpu else "memory", "time"]) if costs else []
    columns = ("params", "layers executed", "train FLOPs", "FLOPs a puzzle", *measured)
    for column in (*map(axis_name, spec.varied_paths), *columns):
        table.add_column(column, justify="right")
    for trial in [trial for trial in trials if trial.seed == trials[0].seed]:
        record = describe(trial)
        table.add_row(
            *[str(record.get(path, "-")) for path in spec.varied_paths],
            f"{record['params']:,}",
            str(record["layers_executed"]),
            f"{train_flops(trial):.1e}",
            f"{record['inference_flops']:.1e}",
            *([gigabytes(costs.memory_bytes(trial)), duration(costs.trial_seconds(trial))] if costs else []),
        )
    return table


def _headline(spec: SweepSpec) -> str:
    if spec.measure:
        cells = len(spec.design) // spec.measure.seeds
        size = f"{count_of(cells, 'cell')} x {count_of(spec.measure.seeds, 'seed')}"
        return f"{spec.name}: measure, {size} at equal {spec.measure.matching}"
    assert spec.search is not None
    return f"{spec.name}: search, {spec.search.num_trials} trials by {spec.search.sampler.kind}; corners of the space"


def _done_of(spec: SweepSpec, results: Records) -> set[str]:
    """Fingerprints of the sweep's trials that have ended, and that a run does not retry."""
    ended = settled(results, spec.resources.max_retries)
    return {trial.fingerprint for trial in spec.design} & ended if spec.measure else ended


def _left(
    spec: SweepSpec,
    trials: list[TrialConfig],
    costs: Costs | None,
    results: Records,
    done: set[str],
    total: int,
    remaining: Remaining,
) -> str:
    """Trials that are done, and the wall time and hours of those that are left, extrapolated from the measured steps.

    The trials of a search are not known: each counts as the most expensive corner.
    """
    if spec.measure:
        roughly, trained = "about", remaining.trained
    else:
        roughly = "at most about"
        trained = [max(trials, key=costs.trial_seconds if costs else step_flops)] * max(0, total - len(done))
    left = len(trained) + len(remaining.scored)
    if not left:
        return f"{_done(done, total, results)}; nothing to run"
    counted = f"{_done(done, total, results)}; {left} to run" if done else count_of(total, "trial")
    if remaining.scored:
        counted += f": {len(remaining.scored)} scored from the weights of other trials, {len(trained)} trained"
    if costs is None:
        return f"{counted}; memory and time are unknown, because a trial requires more than this machine has"
    seconds = [*map(costs.trial_seconds, trained), *map(costs.scoring_seconds, remaining.scored)]
    together = concurrent_trials(spec.resources)
    wall = max([*seconds, sum(seconds) / together])
    unit, share = ("GPU", spec.resources.gpus) if spec.resources.gpus else ("core", spec.resources.cpus)
    return (
        f"{counted}, {roughly} {duration(wall)} on this machine, {together} at once (from timed steps, without start-up), "
        f"{roughly} {sum(seconds) * share / 3600:.2g} {unit}-hours"
    )


def _missing_weights(store: Store, remaining: Remaining) -> list[str]:
    """A line on trials that are trained because the weights of finished ones are missing."""
    if not remaining.missing:
        return []
    count, first = count_of(len(remaining.missing), "finished trial"), store.where(remaining.missing[0].fingerprint)
    return [f"trained anew, because weights.pt of {count} with the same training is missing, such as {first}/weights.pt"]


def _done(done: set[str], total: int, results: Records) -> str:
    outcomes = Counter(results[fingerprint]["outcome"] for fingerprint in done)
    others = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()) if outcome != Outcome.COMPLETED)
    return f"{len(done)} of {total} trials are finished{f' ({others})' if others else ''}"


def _find_refusal(check: Callable[[], None]) -> UserError | None:
    """Why `rrm-sweep run` refuses the sweep by one of its checks; None where it does not."""
    try:
        check()
    except UserError as error:
        return error
    return None


def _warnings(spec: SweepSpec, trials: list[TrialConfig], costs: Costs | None) -> list[str]:
    """Warnings if the most expensive trial may not fit, and for settings without effect."""
    warnings, resources = list[str](), spec.resources
    if costs is not None:
        most_bytes = max(map(costs.memory_bytes, trials))
        if not costs.on_gpu and resources.memory_gb is not None and most_bytes > resources.memory_gb * GIGABYTE:
            warnings.append(f"warning: resources.memory_gb is {resources.memory_gb:g}, a trial needs about {gigabytes(most_bytes)}")
        if costs.on_gpu:
            warnings += _warn_of_memory(most_bytes, resources.gpus)
    return warnings + idle_lines(trials) + repeating_lines(trials)


def _warn_of_memory(most_bytes: float, gpus: float) -> list[str]:
    """Whether a trial fits its share of a GPU."""
    room_bytes = torch.cuda.get_device_properties(0).total_memory * min(1.0, gpus)
    if most_bytes <= room_bytes:
        return []
    room, needed = gigabytes(room_bytes), gigabytes(most_bytes)
    return [f"warning: resources.gpus {gpus:g} leaves a trial {room} of this GPU, the most expensive one needs about {needed}"]


def idle_lines(trials: list[TrialConfig]) -> list[str]:
    """Settings that act between supervision steps, of trials that are trained with one: a warning for each."""
    cells = [trial for trial in trials if trial.seed == trials[0].seed]
    idle: dict[str, int] = {}
    for model in [cell.model for cell in cells if isinstance(cell.model, IterativeConfig) and cell.model.supervision_steps == 1]:
        acting = {
            "state_reset": model.state_reset != "carry" and model.medium != "tokens",  # the medium tokens includes it
            "state_noise": bool(model.state_noise) and model.state_noise_at == "carry",
            "medium": model.medium == "tokens",
        }
        for name in [name for name, acts in acting.items() if acts]:
            idle[name] = idle.get(name, 0) + 1
    total = count_of(len(cells), "cell")
    return [
        f"warning: model.{name} has no effect in training with model.supervision_steps 1 ({count} of {total}): "
        "it acts between supervision steps, so that these models differ at inference depths above 1 alone"
        for name, count in idle.items()
    ]


def repeating_lines(trials: list[TrialConfig]) -> list[str]:
    """A warning where N_sup is above 1 and no supervision step receives anything from the step before."""
    cells = [trial for trial in trials if trial.seed == trials[0].seed]
    repeating = [cell.model for cell in cells if cell.model.passes_nothing and cell.model.trained_depth > 1]
    if not repeating:
        return []
    total = count_of(len(cells), "cell")
    is_random = any(getattr(model, "state_init", None) == "random" or getattr(model, "state_noise", 0) for model in repeating)
    return [
        f"warning: model.state_reset all passes nothing to the next supervision step ({len(repeating)} of {total}): "
        f"each step repeats the first{' with another random draw' if is_random else ''}, so that D (eval.max_depth) has "
        "no effect, and N_sup adds passes over a batch, not recursion, although layers executed counts it"
    ]


def gigabytes(count: float) -> str:
    """Bytes for people."""
    return f"{count / GIGABYTE:.2g} GB"


def duration(seconds: float) -> str:
    """A length of time in the unit that gives a short number: `85 s`, `12 min`, `3 h`, `4 days`."""
    for unit, size, enough in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 72)):
        if seconds < enough * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"
