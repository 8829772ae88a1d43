"""What the fingerprint of a trial covers."""

import hashlib
import json
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field, create_model

from lightning_modules.config import CURVE_SETTINGS, TrialConfig, validate_trial
from lightning_modules.fit import fit
from lightning_modules.record import describe
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
    {"model__state_noise": 0.3, "model__state_noise_in_evaluation": True, "eval__rollouts": 2},
]


def weights_digest(trial: TrialConfig, folder: Path) -> str:
    assert fit(trial, folder).record["outcome"] == "completed"
    weights = torch.load(folder / "weights.pt", weights_only=True)
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in weights.values())).hexdigest()


@pytest.mark.parametrize("changes", SCORINGS, ids=lambda changes: ", ".join(changes))
def test_trials_that_share_a_training_fingerprint_train_the_same_weights(changes: dict[str, Any], tmp_path: Path) -> None:
    noise = {name: value for name, value in changes.items() if name == "model__state_noise"}
    plain, scored = tiny_trial(**noise, fit__budget__amount=4), tiny_trial(**changes, fit__budget__amount=4)
    assert plain.training_fingerprint == scored.training_fingerprint and plain.fingerprint != scored.fingerprint
    assert weights_digest(plain, tmp_path / "plain") == weights_digest(scored, tmp_path / "scored")


def test_what_training_depends_on_is_in_the_training_fingerprint() -> None:
    changes = [{"seed": 1}, {"optim__lr": 2e-3}, {"model__l_cycles": 3}, {"task__seed": 1}, {"eval__validations": 2}]
    fingerprints = {tiny_trial(**change).training_fingerprint for change in changes}
    assert len(fingerprints | {tiny_trial().training_fingerprint}) == len(changes) + 1


def test_a_record_has_both_fingerprints() -> None:
    trial = tiny_trial()
    assert describe(trial)["training_fingerprint"] == trial.training_fingerprint != trial.fingerprint


def test_the_marks_of_fields_are_the_one_list_of_what_scoring_and_curves_depend_on() -> None:
    scoring = ["model.state_noise_in_evaluation", "eval.max_depth", "eval.halting", "eval.rollouts", "eval.batch_size"]
    assert marked_paths(TrialConfig, SCORING) == scoring
    assert CURVE_SETTINGS == ("eval.validations", "eval.max_depth", "eval.batch_size")
    changes = [{"eval__max_depth": 8}, {"eval__halting": "convergence"}, {"eval__batch_size": 3}]
    assert {tiny_trial(**change).training_fingerprint for change in changes} == {tiny_trial().training_fingerprint}
