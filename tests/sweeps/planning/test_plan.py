"""A plan says what a sweep costs, what of it is done, and how sharp its exponent will be; it writes nothing."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from lightning_modules.config import TrialConfig
from lightning_modules.record import FitResult, describe
from sweeps.planning.costs import measure_costs
from sweeps.planning.forecast import forecast_lines
from sweeps.planning.plan import print_plan
from sweeps.planning.power import Slopes
from sweeps.spec.sweep import Resources, SweepSpec, load_spec
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
    finish(spec, spec.design()[:6])
    finish(spec, spec.design()[6:7], "failed")
    assert "7 of 27 trials are finished (1 failed); 20 to run, about" in printed(spec)
    finish(spec, spec.design()[7:])
    assert "27 of 27 trials are finished (1 failed); nothing to run" in printed(spec)


def test_results_outside_the_design_are_not_counted(load: Callable) -> None:
    spec = load(law_sections())
    finish(spec, load(law_sections(vary={"model.hidden_size": [64]})).design())
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
    assert "6 trials, at most about" in printed(load(sections))


def test_too_little_memory_is_said_in_one_line(load: Callable) -> None:
    assert "warning" not in printed(load(law_sections() | {"resources": {"memory_gb": 4}}))
    text = printed(load(law_sections() | {"resources": {"memory_gb": 0.25}}))
    assert "warning: resources.memory_gb is 0.25, a trial needs about 0.6" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_hours_of_a_gpu_that_is_not_here_are_marked(load: Callable) -> None:
    text = printed(load(law_sections() | {"resources": {"gpus": 1}}))
    assert "GPU-hours" in text and "warning: resources.gpus is 1 and there is no GPU here" in text


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
    finish(spec, spec.design()[:18])
    first, second, *_ = forecast_lines(spec, Store(spec.location).results())
    assert "sd of log NLL over seeds 0.02 from finished trials, slopes from 9 finished cells" in second
    assert "a = 0.5" in first or "a = 0.49" in first


def test_phi_is_not_promised_where_a_will_not_be_clear(load: Callable) -> None:
    spec = load(law_sections(vary={"model.hidden_size": [16, 24, 32], "model.l_cycles": [1, 2, 4]}))
    random = np.random.default_rng(0)
    noise = {trial.fingerprint: float(np.exp(random.normal())) for trial in spec.design()}
    results = {name: {"outcome": "completed", "test/nll": nll} for name, nll in noise.items()}
    assert "no phi: |t| of a will be below 4" in forecast_lines(spec, results)[0]


def test_a_confounded_design_is_told_its_rule_and_the_remedy(load: Callable) -> None:
    vary = [{"model.hidden_size": 8 * 2**k, "model.l_cycles": 2 * 4**k - 1} for k in range(4)]
    lines = forecast_lines(load(law_sections(vary=vary)), {})
    assert "no exponent: confounded: |correlation|" in lines[0] and "every width at every recursion" in lines[1]
    assert lines[2] == "what would make it possible:"


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
