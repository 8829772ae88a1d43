"""`rrm-sweep plan` and `rrm-analyze` put the same cells into one law, and refuse the same designs for the same reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from analysis.laws.axis_rates import fit_axes
from analysis.laws.cells import find_reason, read_recursion
from analysis.laws.recurrence import Recurrence
from lightning_modules.record import describe
from lightning_modules.yaml_file import write_yaml
from sweeps.design.reasons import Reason
from sweeps.planning.cell_groups import find_splitting_paths, group_cells
from sweeps.planning.expectation import Group
from sweeps.planning.rates import rate_lines, read_design
from sweeps.spec.load_spec import load_spec
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from tests.conftest import tiny_sections

Verdict = dict[frozenset[str], str | None]  # cells of a group (fingerprints of their seed 0) -> reason of the refusal

REASONS_OF_DESIGNS = (Reason.TOO_FEW_SCALES, Reason.TOO_FEW_SEEDS, Reason.CONFOUNDED)
WIDTHS, LATENT_UPDATES, SUPERVISION = [16, 24, 32, 48], [1, 2, 4], [1, 2, 4]
FACTORIAL = {"model.hidden_size": WIDTHS[:3], "model.l_cycles": LATENT_UPDATES}
DESIGNS: dict[str, tuple[Any, int]] = {
    "a factorial": (FACTORIAL, 2),
    "two widths": (FACTORIAL | {"model.hidden_size": WIDTHS[:2]}, 2),
    "two recursions": (FACTORIAL | {"model.l_cycles": [1, 2]}, 2),
    "one seed": (FACTORIAL, 1),
    "width and recursion rise together": (
        [{"model.hidden_size": [width], "model.l_cycles": [n]} for width, n in zip(WIDTHS, [1, 2, 4, 8], strict=True)],
        2,
    ),
    "three cells": (
        [{"model.hidden_size": [width], "model.l_cycles": [n]} for width, n in zip(WIDTHS, [2, 4, 1], strict=False)],
        2,
    ),
    "a learning rate for each width": (
        [FACTORIAL | {"model.hidden_size": [width], "optim.lr": [0.1 / width]} for width in WIDTHS],
        2,
    ),
    "two learning rates at every width": (FACTORIAL | {"optim.lr": [0.001, 0.01]}, 2),
    "two kinds": (FACTORIAL | {"model.kind": ["trm", "hrm"]}, 2),
    "a kind for each width": (
        [FACTORIAL | {"model.hidden_size": [w], "model.kind": [kind]} for w, kind in zip(WIDTHS, ["trm", "hrm"] * 2, strict=True)],
        2,
    ),
    "a word for each width": (
        [
            FACTORIAL | {"model.hidden_size": [width], "model.positions": [word]}
            for width, word in zip(WIDTHS, ["learned", "rotary"] * 2, strict=True)
        ],
        2,
    ),
    "an inner width that changes the parameters": (FACTORIAL | {"model.expansion": [2.0, 4.0]}, 2),
    "T and n": (FACTORIAL | {"model.h_cycles": [1, 2]}, 2),
}  # fmt: skip


def read_spec(folder: Path, vary: Any, seeds: int) -> SweepSpec:
    trial = tiny_sections(eval__max_depth=8)
    measure = {"vary": vary, "seeds": seeds}
    path = folder / "sweep.yaml"
    path.write_text(write_yaml({"name": "tiny", "storage": str(folder), "trial": trial, "measure": measure}))
    return load_spec(path)


def planned_verdict(spec: SweepSpec) -> Verdict:
    assert spec.measure is not None
    cells = [trial for trial in spec.design if trial.seed == 0]
    groups = group_cells(cells, find_splitting_paths(cells)).values()
    refusals = {
        frozenset(cell.fingerprint for cell in group): Group("", group, spec.measure.seeds).design.refusal for group in groups
    }
    return {cells: refusal and refusal.reason for cells, refusal in refusals.items()}


def planned_axes(spec: SweepSpec) -> dict[frozenset[str], frozenset[str]]:
    """The axes that plan promises a rate of, by group."""
    assert spec.measure is not None
    cells = [trial for trial in spec.design if trial.seed == 0]
    groups = group_cells(cells, find_splitting_paths(cells)).values()
    designs = {frozenset(cell.fingerprint for cell in group): read_design(group, spec.measure.seeds)[1] for group in groups}
    return {cells: frozenset(design.identified) for cells, design in designs.items()}


def analyzed_axes(spec: SweepSpec) -> dict[frozenset[str], frozenset[str]]:
    """The axes that have a rate in the report on the store that `analyzed_verdict` has written."""
    names = {trial.fingerprint: trial.model_copy(update={"seed": 0}).fingerprint for trial in spec.design}
    found = {}
    for group in analysis.groups_of(analysis.load(spec.location).completed):
        axes = fit_axes(Recurrence(), group)
        found[frozenset(names[name] for name in group.trials["fingerprint"])] = frozenset(axes.identified if axes else ())
    return found


def analyzed_verdict(spec: SweepSpec) -> Verdict:
    """Of a store whose losses follow a law; other reasons than those of the design are left out."""
    store, random = Store(spec.location), np.random.default_rng(0)
    store.create()
    store.write_spec(write_yaml(spec.model_dump(mode="json", exclude_none=True, by_alias=True)))
    store.write_design([trial.fingerprint for trial in spec.design])
    names = {}
    for trial in spec.design:
        record = describe(trial)
        loss = record["params_recursed"] ** -0.3 * record["recursion"] ** -0.15 * float(np.exp(random.normal(0, 0.01)))
        record |= {"outcome": "completed", "sweep": "tiny", "test/nll": loss, "test/exact_accuracy": 0.5, "curves": []}
        store.write_result(trial.fingerprint, json.dumps(record))
        names[trial.fingerprint] = trial.model_copy(update={"seed": 0}).fingerprint
    found: Verdict = {}
    for group in analysis.groups_of(analysis.load(spec.location).completed):
        reason = find_reason(group, read_recursion(group))
        cells = frozenset(names[fingerprint] for fingerprint in group.trials["fingerprint"])
        found[cells] = reason if reason in REASONS_OF_DESIGNS else None
    return found


@pytest.mark.parametrize(("vary", "seeds"), DESIGNS.values(), ids=DESIGNS.keys())
def test_plan_and_analysis_agree_on_groups_and_refusals(tmp_path: Path, vary: Any, seeds: int) -> None:
    spec = read_spec(tmp_path, vary, seeds)
    assert planned_verdict(spec) == analyzed_verdict(spec)
    assert planned_axes(spec) == analyzed_axes(spec)


def test_the_designs_cover_every_reason_and_the_fitted_case(tmp_path: Path) -> None:
    reasons = set()
    for number, (vary, seeds) in enumerate(DESIGNS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        reasons |= set(planned_verdict(read_spec(folder, vary, seeds)).values())
    assert reasons == {None, *REASONS_OF_DESIGNS}


cells = st.fixed_dictionaries(
    {
        "model.hidden_size": st.sampled_from(WIDTHS).map(lambda value: [value]),
        "model.l_cycles": st.sampled_from(LATENT_UPDATES).map(lambda value: [value]),
        "model.supervision_steps": st.sampled_from(SUPERVISION).map(lambda value: [value]),
        "model.kind": st.sampled_from(["trm", "hrm"]).map(lambda value: [value]),
        "optim.lr": st.sampled_from([0.001, 0.01]).map(lambda value: [value]),
    }
)


def test_plan_names_the_axes_that_have_a_rate_in_the_report(tmp_path: Path) -> None:
    vary = FACTORIAL | {"model.supervision_steps": [1, 2]}
    assert planned_rates(tmp_path / "crossed", vary) == [
        "the report will have rates of a doubling along n and N_sup; one rate of R if those of its axes may be equal"
    ]
    together = [FACTORIAL | {"model.l_cycles": [n], "model.supervision_steps": [n]} for n in LATENT_UPDATES]
    (refusal,) = planned_rates(tmp_path / "together", together)
    assert refusal.startswith("the report will have no rate of a doubling along n and N_sup: confounded: ")
    assert planned_rates(tmp_path / "one axis", FACTORIAL) == []


def planned_rates(folder: Path, vary: Any) -> list[str]:
    folder.mkdir()
    spec = read_spec(folder, vary, 2)
    return rate_lines([trial for trial in spec.design if trial.seed == 0], 2)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(cells, min_size=2, max_size=12, unique_by=str), st.integers(1, 2))
def test_plan_and_analysis_agree_on_any_design(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[dict[str, list[Any]]], seeds: int
) -> None:
    spec = read_spec(tmp_path_factory.mktemp("design"), blocks, seeds)
    assert planned_verdict(spec) == analyzed_verdict(spec)
    assert planned_axes(spec) == analyzed_axes(spec)
