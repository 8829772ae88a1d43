"""What the fingerprint of a trial covers."""

import json
import runpy
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, create_model

from lightning_modules.config import CURVE_SETTINGS, TrialConfig, validate_trial
from lightning_modules.fit import fit, score_again
from lightning_modules.record import FitResult, describe
from lightning_modules.yaml_file import write_yaml
from rrm.config import SCORING, StrictConfig, fields_by_path, marked_paths
from rrm.defaults import FIRST_DEFAULTS, with_defaults
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.resources import Resources
from tests.conftest import ROOT, tiny_sections, tiny_trial

FIXTURE = ROOT / "tests/fixtures/fingerprints_e399d62/trials.jsonl"  # how it was made: generate.py beside it
STORED = [json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def trials() -> list[TrialConfig]:
    return [validate_trial(stored["trial"]) for stored in STORED]


def test_trials_of_all_kinds_keep_the_fingerprints_that_an_older_version_gave(trials: list[TrialConfig]) -> None:
    assert len({stored["fingerprint"] for stored in STORED}) >= 200
    assert [trial.fingerprint for trial in trials] == [stored["fingerprint"] for stored in STORED]


def test_defaults_of_the_older_version_give_its_trials(trials: list[TrialConfig]) -> None:
    """The sections from which the fixture was made state few fields: all others have their default of then."""
    given = runpy.run_path(str(FIXTURE.with_name("generate.py")))["trials"]()
    filled = [validate_trial(with_defaults(json.loads(json.dumps(sections)), FIRST_DEFAULTS)) for sections in given]
    assert [trial.fingerprint for trial in filled] == [trial.fingerprint for trial in trials]


def test_a_resolved_trial_is_resolved_again_to_the_same_sections(trials: list[TrialConfig]) -> None:
    assert [trial.resolved() for trial in trials] == [stored["trial"] for stored in STORED]


# -- a field that a later version adds ----------------------------------------------------------------------------------


def sections_of(trial: TrialConfig) -> set[type[StrictConfig]]:
    """The config classes of a trial, its root included."""
    found: set[type[StrictConfig]] = {TrialConfig}
    for held in (
        trial.task,
        trial.model,
        trial.loss,
        trial.optim,
        trial.fit,
        trial.fit.budget,
        trial.eval,
        *(trial.fit.curriculum or []),
    ):
        found.add(type(held))
    return found


@cache
def grown(section: type[StrictConfig], neutral: int) -> Any:
    """A config class with a field more, at 1."""
    return create_model(section.__name__, __base__=section, added=(int, Field(1, json_schema_extra={"neutral": neutral})))


def with_field(value: Any, section: type[StrictConfig], neutral: int) -> Any:
    """A config, or a value in it, with a field `added` in every section of a class, at 1."""
    if isinstance(value, list):
        return [with_field(item, section, neutral) for item in value]
    if not isinstance(value, StrictConfig):
        return value
    held = {name: with_field(getattr(value, name), section, neutral) for name in type(value).model_fields}
    if type(value) is not section:
        return value.model_copy(update=held)
    return grown(section, neutral).model_construct(_fields_set=value.model_fields_set, **held, added=1)


def test_a_new_field_at_its_neutral_value_changes_no_fingerprint_and_at_another_value_changes_it(trials: list[TrialConfig]) -> None:
    sections = set().union(*map(sections_of, trials))
    assert len(sections) >= 22  # the kinds of tasks and models, and the sections that all trials have
    for section in sections:
        holders = [trial for trial in trials if section in sections_of(trial)]
        assert [with_field(trial, section, neutral=1).fingerprint for trial in holders] == [trial.fingerprint for trial in holders]
        changed = with_field(holders[0], section, neutral=0)
        assert changed.fingerprint != holders[0].fingerprint
        assert changed.resolved() != holders[0].resolved()  # what is written down states every field


def test_a_new_section_at_its_neutral_values_changes_no_fingerprint(trials: list[TrialConfig]) -> None:
    inner = create_model("Inner", __base__=StrictConfig, rate=(float, Field(0.0, json_schema_extra={"neutral": 0.0})))
    larger = create_model("TrialConfig", __base__=TrialConfig, inner=(inner, inner()))
    assert larger.model_validate(dict(trials[0])).fingerprint == trials[0].fingerprint
    assert larger.model_validate(dict(trials[0]) | {"inner": inner(rate=1.0)}).fingerprint != trials[0].fingerprint


# -- how a trial runs, and how it is scored ---------------------------------------------------------------------------


@pytest.mark.parametrize("field", Resources.model_fields)
def test_a_setting_of_how_a_trial_runs_is_no_field_of_a_trial_and_changes_no_fingerprint(field: str) -> None:
    assert field not in {path.rpartition(".")[2] for path in fields_by_path(TrialConfig)}
    values = {"cpus": 2, "gpus": 1, "max_concurrent": 3, "memory_gb": 1.5, "trial_timeout_minutes": 5, "max_retries": 0}
    sections = {"name": "same", "trial": tiny_sections(), "measure": {"vary": {"model.l_cycles": [1, 2]}, "seeds": 1}}
    plain, other = (_fingerprints(sections | changes) for changes in ({}, {"resources": {field: values[field]}}))
    assert plain == other


def _fingerprints(sections: dict[str, Any]) -> list[str]:
    return [trial.fingerprint for trial in parse_stored_spec(write_yaml(sections), "spec.yaml", {}).design]


SCORINGS: list[dict[str, Any]] = [
    {"eval__max_depth": 6},
    {"eval__halting": "convergence"},
    {"eval__batch_size": 7},
    {"model__state_init": "random", "eval__rollouts": 2, "eval__max_depth": 5},
    {"model__state_noise": 0.3, "model__state_noise_in_evaluation": True, "eval__rollouts": 2},
]
UNREPEATABLE = {"train_seconds", "wall_seconds", "examples_per_second", "peak_memory_bytes"}  # they differ between two runs


def repeatable(result: FitResult) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """What two runs of a trial have in common: the record, and the curves without their times."""
    curves = [(point["metric"], point["axis"], point["at"], point["value"]) for point in result.curves]
    return {name: value for name, value in result.record.items() if name not in UNREPEATABLE}, curves


@pytest.mark.parametrize("changes", SCORINGS, ids=lambda changes: ", ".join(changes))
def test_a_trial_that_is_scored_from_the_weights_of_another_one_has_the_results_of_one_that_was_trained(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    model = {name: value for name, value in changes.items() if name.startswith("model__")}
    plain, other = tiny_trial(**model, fit__budget__amount=4), tiny_trial(**changes, fit__budget__amount=4)
    assert plain.training_fingerprint == other.training_fingerprint and plain.fingerprint != other.fingerprint
    donor, trained = fit(plain, tmp_path / "donor"), fit(other, tmp_path / "trained")
    scratch = tmp_path / "scored"
    scratch.mkdir()
    shutil.copy(tmp_path / "donor/weights.pt", scratch)
    scored = score_again(other, scratch, donor)
    record, curves = repeatable(scored)
    assert record.pop("scored_from") == plain.fingerprint
    assert (record, curves) == repeatable(trained) != repeatable(donor)
    assert {name: scored.record[name] for name in UNREPEATABLE} == {name: donor.record[name] for name in UNREPEATABLE}
    for name in ("weights.pt", "items.parquet", "thinking.npz"):
        assert (scratch / name).read_bytes() == (tmp_path / "trained" / name).read_bytes()
    assert (tmp_path / "donor/best.pt").read_bytes() == (tmp_path / "trained/best.pt").read_bytes()


def test_a_setting_of_scoring_that_changes_the_validations_of_a_training_is_in_the_training_fingerprint() -> None:
    noise, random = {"model__state_noise": 0.3}, {"model__state_init": "random"}
    noisy, quiet = tiny_trial(**noise, model__state_noise_in_evaluation=True), tiny_trial(**noise)
    assert noisy.training_fingerprint != quiet.training_fingerprint
    assert tiny_trial(**random).training_fingerprint != tiny_trial(**random, eval__batch_size=7).training_fingerprint


def test_what_training_depends_on_is_in_the_training_fingerprint() -> None:
    changes = [{"seed": 1}, {"optim__lr": 2e-3}, {"model__l_cycles": 3}, {"task__seed": 1}, {"eval__validations": 2}]
    fingerprints = {tiny_trial(**change).training_fingerprint for change in changes}
    assert len(fingerprints | {tiny_trial().training_fingerprint}) == len(changes) + 1


def test_a_record_has_both_fingerprints() -> None:
    trial = tiny_trial()
    assert describe(trial)["training_fingerprint"] == trial.training_fingerprint != trial.fingerprint


def test_the_marks_of_fields_are_the_one_list_of_what_scoring_and_curves_depend_on() -> None:
    scoring = ["eval.max_depth", "eval.halting", "eval.rollouts", "eval.batch_size"]
    assert marked_paths(TrialConfig, SCORING) == scoring
    assert CURVE_SETTINGS == ("eval.validations", "eval.max_depth", "eval.batch_size")
    changes = [{"eval__max_depth": 8}, {"eval__halting": "convergence"}, {"eval__batch_size": 3}]
    assert {tiny_trial(**change).training_fingerprint for change in changes} == {tiny_trial().training_fingerprint}
