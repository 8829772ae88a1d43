"""What the fingerprint of a trial covers."""

import json

import pytest

from lightning_modules.config import TrialConfig, validate_trial
from tests.conftest import ROOT

FIXTURE = ROOT / "tests/fixtures/fingerprints_e399d62/trials.jsonl"  # how it was made: generate.py beside it
STORED = [json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def trials() -> list[TrialConfig]:
    return [validate_trial(stored["trial"]) for stored in STORED]


def test_trials_of_all_kinds_keep_the_fingerprints_that_an_older_version_gave(trials: list[TrialConfig]) -> None:
    assert len({stored["fingerprint"] for stored in STORED}) >= 200
    assert [trial.fingerprint for trial in trials] == [stored["fingerprint"] for stored in STORED]


def test_a_resolved_trial_is_resolved_again_to_the_same_sections(trials: list[TrialConfig]) -> None:
    assert [trial.resolved() for trial in trials] == [stored["trial"] for stored in STORED]
