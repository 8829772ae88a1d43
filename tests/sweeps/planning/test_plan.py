"""A plan says what a sweep costs, what of it is done, and how sharp its exponent will be; it writes nothing."""

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import analysis
from analysis.laws.groups import groups_of
from analysis.laws.recurrence import Recurrence
from lightning_modules.config import TrialConfig
from lightning_modules.fit import fit
from lightning_modules.record import FitResult, describe
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.driver.ledger import stored_sections
from sweeps.driver.run import run_sweep
from sweeps.planning.costs import measure_costs
from sweeps.planning.differences import count_interactions, count_pairs, difference_lines
from sweeps.planning.forecast import forecast_lines
from sweeps.planning.plan import idle_lines, print_plan, repeating_lines
from sweeps.planning.power import Slopes
from sweeps.spec.load_spec import load_spec
from sweeps.spec.resources import Resources
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from tests.conftest import tiny_trial
from tests.sweeps.conftest import Sections, measure_sections, search_sections

LAW, NOISE_SD = Slopes(a=0.5, b=0.25), 0.02


def test_a_step_of_more_flops_is_never_expected_to_take_less_time() -> None:
    small, large = tiny_trial(), tiny_trial(model__hidden_size=64, model__l_cycles=4)
    costs = measure_costs([small, large], Resources())
    assert 0 < costs.trial_seconds(small) <= costs.trial_seconds(large)


# -- what is printed ----------------------------------------------------------------------------------------------


@pytest.fixture
def load(write_spec: Callable[[Sections], Path], tmp_path: Path) -> Callable[[Sections], SweepSpec]:
    def load(sections: Sections) -> SweepSpec:
        return load_spec(write_spec(sections | {"storage": str(tmp_path / "runs")}))

    return load


def printed(spec: SweepSpec) -> str:
    file = io.StringIO()
    print_plan(spec, Console(file=file))
    return file.getvalue()


def finish(spec: SweepSpec, trials: list[TrialConfig], outcome: str = "completed") -> None:
    """Results as a run would have left them, with a test NLL drawn from a law."""
    store, random = Store(spec.location), np.random.default_rng(0)
    store.create()
    for trial in trials:
        record = describe(trial)
        log_nll = -LAW.a * np.log(record["params_recursed"]) - LAW.b * np.log(record["recursion"]) + random.normal(0, NOISE_SD)
        ending = {"outcome": outcome} | ({"test/nll": float(np.exp(log_nll))} if outcome == "completed" else {})
        store.write_result(trial.fingerprint, FitResult({**record, **ending}).to_json())


def law_sections(**measure: Any) -> Sections:
    """A design on which a law can be fitted: 3 widths, 3 values of R, 3 seeds."""
    vary = {"model.hidden_size": [16, 32, 48], "model.l_cycles": [1, 2, 4]}
    return measure_sections() | {"measure": {"vary": vary, "seeds": 3, "matching": "steps"} | measure}


def test_a_plan_says_memory_time_and_hours_and_writes_nothing(load: Callable, tmp_path: Path) -> None:
    text = printed(load(law_sections()))
    assert "memory" in text and "0.62 GB" in text and "27 trials, about" in text and "core-hours" in text
    assert not (tmp_path / "runs").exists()


def test_a_plan_counts_what_is_done_and_costs_what_is_left(load: Callable) -> None:
    spec = load(law_sections())
    finish(spec, spec.design[:6])
    finish(spec, spec.design[6:7], "failed")
    assert "7 of 27 trials are finished (1 failed); 20 to run, about" in printed(spec)
    finish(spec, spec.design[7:])
    text = printed(spec)
    assert "27 of 27 trials are finished (1 failed); nothing to run" in text and "time" not in text, "no step is timed for it"


def test_a_lost_trial_that_may_be_retried_is_not_finished(load: Callable) -> None:
    spec = load(law_sections())
    finish(spec, spec.design[:6])
    lost = FitResult({**describe(spec.design[6]), "outcome": "failed", "reason": "lost", "retryable": True, "losses": 3})
    Store(spec.location).write_result(spec.design[6].fingerprint, lost.to_json())
    assert "7 of 27 trials are finished (1 failed); 20 to run" in printed(spec)
    spec = load(law_sections() | {"resources": {"max_retries": 3}})
    assert "6 of 27 trials are finished; 21 to run" in printed(spec)


def test_results_outside_the_design_are_not_counted(load: Callable) -> None:
    spec = load(law_sections())
    finish(spec, load(law_sections(vary={"model.hidden_size": [64]})).design)
    assert "27 trials, about" in printed(spec)


def test_a_plan_of_a_search_counts_its_trials_and_those_that_confirm(load: Callable) -> None:
    sections = search_sections()
    sections["search"]["confirm"] = {"top": 2, "seeds": 2}
    spec = load(sections)
    finish(spec, [spec.base], "pruned")
    text = printed(spec)
    assert "1 of 10 trials are finished (1 pruned); 9 to run, at most about" in text and "exponent" not in text


def test_a_search_whose_corner_cannot_be_solved_for_is_planned_without_it(load: Callable) -> None:
    sections = search_sections()
    sections["search"]["space"] = {"model.num_layers": {"choice": [1, 400]}}
    sections["search"]["tie"] = [{"solve": "model.hidden_size", "so_that": "params", "equals": 3554}]
    text = printed(load(sections))
    assert "1 trial, at most about" in text and "the search space holds 1 different trials" in text


def test_too_little_memory_is_said_in_one_line(load: Callable) -> None:
    assert "warning" not in printed(load(law_sections() | {"resources": {"memory_gb": 4}}))
    text = printed(load(law_sections() | {"resources": {"memory_gb": 0.25}}))
    assert "warning: resources.memory_gb is 0.25, a trial needs about 0.6" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("sections", [law_sections(), search_sections()], ids=["measure", "search"])
def test_a_plan_for_a_gpu_that_is_not_here_promises_no_hours_and_says_that_run_refuses(load: Callable, sections: Sections) -> None:
    text = printed(load(sections | {"resources": {"gpus": 1}}))
    assert "-hours" not in text and "memory and time are unknown, because a trial requires more than this machine has" in text
    refusal = "resources.gpus: must be at most what this machine has, 0, got 1; with --address the sweep runs on a cluster"
    assert f"warning: rrm-sweep run refuses this sweep: {refusal}" in text
    with pytest.raises(UserError, match=re.escape(refusal)):
        run_sweep(load(sections | {"resources": {"gpus": 1}}), Console(), "")


def test_a_plan_says_that_run_refuses_more_cores_than_there_are(load: Callable) -> None:
    assert "run refuses" not in printed(load(law_sections()))
    text = printed(load(law_sections() | {"resources": {"cpus": 4096}}))
    assert "run refuses this sweep: resources.cpus: must be at most" in text


# -- settings without effect in training --------------------------------------------------------------------------


RESETS = {"model.state_reset": ["carry", "latent", "all"]}
TWO_OF_SIX = "warning: model.state_reset has no effect in training with model.supervision_steps 1 (2 of 6 cells)"


@pytest.mark.parametrize(
    ("vary", "model", "expected"),
    [
        (RESETS | {"model.supervision_steps": [1, 2]}, {}, [TWO_OF_SIX]),
        (RESETS | {"model.supervision_steps": [2, 4]}, {}, []),
        ({"model.supervision_steps": [1]}, {}, []),
        ({"model.supervision_steps": [1]}, {"state_noise": 0.1, "state_noise_at": "carry"}, ["warning: model.state_noise has no"]),
        ({"model.supervision_steps": [1]}, {"state_noise": 0.1, "state_noise_at": "call"}, []),
        ({"model.supervision_steps": [1]}, {"damping": 0.1}, []),
        ({"model.medium": ["latent", "tokens"], "model.supervision_steps": [1]}, {}, ["warning: model.medium has no effect"]),
    ],
)
def test_settings_that_act_between_supervision_steps_are_named_where_there_is_one(
    load: Callable, vary: dict[str, Any], model: dict[str, Any], expected: list[str]
) -> None:
    sections = law_sections(vary=vary)
    sections["trial"]["model"] |= model
    lines = idle_lines(load(sections).design)
    assert len(lines) == len(expected) and all(line.startswith(start) for line, start in zip(lines, expected, strict=True))


@pytest.mark.parametrize(
    ("vary", "model", "counted"),
    [
        (RESETS | {"model.supervision_steps": [1, 2]}, {}, "1 of 6 cells"),
        (RESETS | {"model.supervision_steps": [2, 4]}, {}, "2 of 6 cells"),
        ({"model.supervision_steps": [2]}, {"state": "single", "state_reset": "all", "state_init": "zeros"}, "1 of 1 cell"),
        ({"model.supervision_steps": [1]}, {"state_reset": "all"}, None),
        ({"model.state_reset": ["carry", "latent", "answer"], "model.supervision_steps": [2]}, {}, None),
        ({"model.supervision_steps": [2]}, {"medium": "tokens"}, None),
    ],
)
def test_supervision_steps_that_repeat_the_first_are_named(
    load: Callable, vary: dict[str, Any], model: dict[str, Any], counted: str | None
) -> None:
    sections = law_sections(vary=vary)
    sections["trial"]["model"] |= model
    lines = repeating_lines(load(sections).design)
    assert [f"({counted})" in line and "D (eval.max_depth) has no effect" in line and "random" not in line for line in lines] == [
        True
    ] * bool(counted)


def test_supervision_steps_that_differ_in_a_random_draw_alone_are_named_as_such(load: Callable) -> None:
    sections = law_sections(vary={"model.state_init": ["random", "zeros"]})
    sections["trial"]["model"] |= {"state_reset": "all", "supervision_steps": 2}
    (line,) = repeating_lines(load(sections).design)
    assert "repeats the first with another random draw" in line


def test_a_plan_prints_that_supervision_steps_repeat_the_first(load: Callable) -> None:
    assert "model.state_reset all passes nothing to the next supervision step" in printed(
        load(law_sections(vary={"model.state_reset": ["carry", "all"], "model.supervision_steps": [2]}))
    )


def test_a_reset_changes_nothing_in_training_with_one_supervision_step_but_deeper_answers(tmp_path: Path) -> None:
    """What the warning states."""
    curves = {}
    for reset in ("carry", "all"):
        trial = tiny_trial(model__supervision_steps=1, model__state_reset=reset, optim={"lr": 1e-2})
        points = fit(trial, tmp_path / reset, lambda row: True).curves
        curves[reset] = {point["at"]: point["value"] for point in points if point["metric"] == "depth/nll"}
    assert curves["carry"][1] == curves["all"][1] and curves["carry"][4] != curves["all"][4]


# -- differences of accuracy --------------------------------------------------------------------------------------


def test_a_plan_says_which_difference_of_accuracy_its_design_can_show(load: Callable) -> None:
    vary = RESETS | {"model.hidden_size": [16, 24, 32], "model.supervision_steps": 2}
    first, dependence, second = difference_lines(load(law_sections(vary=vary)), {})
    assert first.startswith("a difference of exact accuracy is likely to be clear (95 %, power 80 %) from ")
    cells, resets, widths = (float(part.split()[0]) for part in first.split("from ")[1].split(", "))
    assert cells > 2 * resets and resets == widths, "three pairs of cells each"
    found = re.search(r" from ([\d.]+) for the effect of state reset at two levels of width$", dependence)
    assert found and resets < float(found[1]), "the difference of two effects, one pair of cells each"
    assert "sd of accuracy over seeds 0.1 assumed" in second
    (line,) = difference_lines(load(law_sections(vary=vary, seeds=1)), {})
    assert "one seed a cell" in line


def test_the_scatter_of_accuracy_comes_from_finished_trials(load: Callable) -> None:
    spec, random = load(law_sections()), np.random.default_rng(0)
    results = {trial.fingerprint: {"outcome": "completed", "test/nll": 1.0, "test/exact_accuracy": 0.5 + random.normal(0, 0.02)}
               for trial in spec.design}  # fmt: skip
    assert "sd of accuracy over seeds 0.019 from finished trials" in difference_lines(spec, results)[-1]


def test_a_rate_for_each_width_is_no_axis_and_blocks_that_differ_in_two_settings_are_no_pairs(load: Callable) -> None:
    blocks = [{"model.hidden_size": width, "optim.lr": rate, "model.l_cycles": [1, 2]} for width, rate in ((16, 1e-3), (32, 5e-4))]
    spec = load(law_sections(vary=blocks))
    cells = [trial for trial in spec.design if trial.seed == 0]
    assert count_pairs(cells, spec.varied_paths) == {"model.l_cycles": 2}


def interactions(spec: SweepSpec) -> dict[tuple[str, str], int]:
    return count_interactions([trial for trial in spec.design if trial.seed == 0], spec.varied_paths)


def test_effects_of_words_and_of_depth_by_size_are_those_whose_dependence_is_given(load: Callable) -> None:
    numbers = {"model.hidden_size": [16, 32], "model.l_cycles": [1, 2, 4], "optim.lr": [1e-3, 1e-2]}
    depth_by_size = {("model.l_cycles", "model.hidden_size"): 2}
    assert interactions(load(law_sections(vary=numbers))) == depth_by_size
    words = RESETS | {"model.medium": ["latent"], "optim.kind": ["adamw", "adam_atan2"], "model.l_cycles": [1, 2]}
    pairs = {
        ("model.state_reset", "optim.kind"): 2,
        ("model.state_reset", "model.l_cycles"): 2,
        ("optim.kind", "model.l_cycles"): 3,
    }
    assert interactions(load(law_sections(vary=words))) == pairs
    text = difference_lines(load(law_sections(vary=numbers)), {})[1]
    assert text.startswith("a difference between two effects is likely to be clear from ")
    assert text.endswith(" for the effect of n at two levels of width")


def test_a_dependence_needs_both_levels_of_both_settings(load: Callable) -> None:
    blocks = [
        {"model.state_reset": "carry", "model.hidden_size": [16, 32]},
        {"model.state_reset": "all", "model.hidden_size": [32, 48]},
    ]
    spec = load(law_sections(vary=blocks))
    assert interactions(spec) == {} and len(difference_lines(spec, {})) == 2


# -- the exponent to expect ---------------------------------------------------------------------------------------


def test_assumptions_are_said_and_three_additions_are_ranked_by_the_half_width(load: Callable) -> None:
    lines = forecast_lines(load(law_sections()), {})
    assert "9 cells x 3 seeds" in lines[0] and "a = 0.30 +- " in lines[0] and "phi = b / a = 0.47 +- " in lines[0]
    assert "sd of log NLL over seeds 0.10 assumed, slopes assumed" in lines[1]
    half_widths = [float(line.split("phi +- ")[1].split()[0]) for line in lines[3:]]
    assert len(half_widths) == 3 and half_widths == sorted(half_widths)


def test_additions_are_valid_trials_one_step_beyond_an_axis(load: Callable) -> None:
    text = "\n".join(forecast_lines(load(law_sections()), {}))
    assert "model.l_cycles: [1, 2, 4, 8] (adds 8): phi +- " in text
    assert "model.l_cycles: [0" not in text
    spec = load(law_sections(vary={"model.hidden_size": [16, 32, 48], "model.supervision_steps": [1, 2, 4]}))
    assert "supervision_steps" not in "\n".join(forecast_lines(spec, {})), "max_depth is 4"


def test_noise_and_slopes_come_from_finished_trials_where_these_tell_them(load: Callable) -> None:
    spec = load(law_sections())
    finish(spec, spec.design[:18])
    first, second, *_ = forecast_lines(spec, Store(spec.location).results())
    assert "sd of log NLL over seeds 0.02 from finished trials, slopes from 9 finished cells" in second
    assert "a = 0.5" in first or "a = 0.49" in first


def test_phi_is_not_promised_where_a_will_not_be_clear(load: Callable) -> None:
    spec = load(law_sections(vary={"model.hidden_size": [16, 24, 32], "model.l_cycles": [1, 2, 4, 8]}))
    random, design = np.random.default_rng(0), spec.design
    noise = {trial.fingerprint: float(trial.model.recursion**-0.5 * np.exp(random.normal(0, 0.05))) for trial in design}
    results = {name: {"outcome": "completed", "test/nll": nll} for name, nll in noise.items()}
    assert "no phi: |t| of a is below 4" in forecast_lines(spec, results)[0]


LOSSES: dict[str, Callable[[float, float, np.random.Generator], float]] = {
    "straight": lambda size, times, random: size**-0.3 * times**-0.15 * math.exp(random.normal(0, 0.01)),
    "saturating": lambda size, times, random: (0.05 + 20 * size**-0.6 * times**-0.3) * math.exp(random.normal(0, 0.01)),
    "noisy": lambda size, times, random: size**-0.1 * times**-0.5 * math.exp(random.normal(0, 0.2)),
    "flat": lambda size, times, random: math.exp(random.normal(0, 0.05)),
    "uneven": lambda size, times, random: math.exp(math.sin(size * times) + random.normal(0, 0.01)),
    "width does nothing": lambda size, times, random: times**-0.5 * math.exp(random.normal(0, 0.05)),
    "width harms": lambda size, times, random: size**0.05 * times**-0.2 * math.exp(random.normal(0, 0.03)),
}


CASES = [
    *((shape, 0.5, 2) for shape in LOSSES),
    *(pytest.param(shape, 0.5, 3, marks=pytest.mark.more) for shape in LOSSES),
    ("flat", 0.0, 3), ("flat", 0.99, 3), ("straight", 0.99, 3),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "accuracy", "seeds"), CASES)
def test_a_plan_refuses_what_the_report_refuses_on_the_same_trials(load: Callable, shape: str, accuracy: float, seeds: int) -> None:
    spec = load(law_sections(vary={"model.hidden_size": [16, 24, 32, 48], "model.l_cycles": [1, 2, 4]}))
    store, random = Store(spec.location), np.random.default_rng(1)
    store.create()
    store.write_spec(write_yaml(stored_sections(spec)))
    for trial in [trial for trial in spec.design if trial.seed < seeds]:
        record = describe(trial)
        nll = LOSSES[shape](record["params_recursed"], record["recursion"], random)
        scores = {"test/nll": nll, "test/exact_accuracy": accuracy, "outcome": "completed", "sweep": "tiny"}
        store.write_result(trial.fingerprint, FitResult(record | scores).to_json())
    (group,) = groups_of(analysis.load(spec.location).completed)
    reported, first = Recurrence().fit(group)[0], forecast_lines(spec, store.results())[0]
    if reported.reason is not None:
        assert first.startswith(f"no exponent: {reported.reason}")
    elif seeds == 3:
        assert ("no phi" in first) == ("phi" not in reported.estimates)


def test_a_confounded_design_is_told_its_rule_and_the_remedy(load: Callable) -> None:
    vary = [{"model.hidden_size": 8 * 2**k, "model.l_cycles": 2 * 4**k - 1} for k in range(4)]
    lines = forecast_lines(load(law_sections(vary=vary)), {})
    assert "no exponent: confounded: |correlation|" in lines[0] and "every width at every recursion" in lines[1]
    assert lines[2] == "additions that make an exponent possible:"


def test_models_of_several_kinds_are_forecast_apart(load: Callable) -> None:
    axes = {"model.hidden_size": [16, 32, 48], "model.l_cycles": [1, 2, 4]}
    vary = [{"model.kind": "trm"} | axes, {"model.kind": "direct", "model.hidden_size": [16, 32, 48]}]
    sections = law_sections(vary=vary)
    sections["trial"]["model"] = {"head_size": 8, "num_layers": 1}
    sections["trial"]["eval"] = {"max_depth": 16, "validations": 1}
    lines = forecast_lines(load(sections), {})
    assert lines[0] == "model.kind trm:" and "9 cells x 3 seeds" in lines[1]
    assert lines[7] == "model.kind direct:" and "too_few_scales: 1 value of recursion" in lines[8]


def test_a_learning_rate_for_each_width_does_not_split_a_design(load: Callable) -> None:
    vary = [
        {"model.hidden_size": width, "optim.lr": rate, "model.l_cycles": [1, 2, 4]}
        for width, rate in ((16, 1e-3), (32, 5e-4), (48, 3e-4))
    ]
    assert "9 cells x 3 seeds" in forecast_lines(load(law_sections(vary=vary)), {})[0]
