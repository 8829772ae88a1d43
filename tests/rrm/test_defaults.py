"""Defaults have versions: fields that a file leaves out keep the default of the version that the file was written under."""

import pytest

import rrm.defaults
from lightning_modules.config import validate_trial
from rrm.defaults import CHANGED_DEFAULTS, NEWEST_DEFAULTS, ChangedDefault, parse_version, with_defaults
from rrm.errors import UserError


@pytest.mark.parametrize(
    ("model", "before", "today"),
    [
        ({}, "rotary", "learned"),
        ({"kind": "direct"}, "rotary", "learned"),
        ({"mixer": "attention"}, "rotary", "learned"),
        ({"mixer": "mlp"}, "none", "none"),
        ({"positions": "none"}, "none", "none"),
        ({"mixer": "mlp", "positions": "learned"}, "learned", "learned"),
    ],
)
def test_positions_that_are_absent_were_rotary_and_are_learned(model: dict, before: str, today: str) -> None:
    assert validate_trial(with_defaults({"model": model}, 1)).model.positions == before
    assert validate_trial(with_defaults({"model": model}, 2)).model.positions == today
    assert validate_trial({"model": model}).model.positions == today


@pytest.mark.parametrize("version", CHANGED_DEFAULTS)
def test_a_version_differs_from_the_one_before_in_the_fields_of_its_table_alone(version: int) -> None:
    before, after = (validate_trial(with_defaults({}, number)).flat() for number in (version - 1, version))
    assert {path for path in before if before[path] != after[path]} == {change.path for change in CHANGED_DEFAULTS[version]}


def test_a_field_that_changed_twice_has_the_default_of_each_version(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {2: [ChangedDefault("optim.lr", 1e-2)], 4: [ChangedDefault("optim.lr", 1e-3), ChangedDefault("fit.budget.amount", 5)]}
    monkeypatch.setattr(rrm.defaults, "CHANGED_DEFAULTS", changes)
    assert [with_defaults({}, version).get("optim") for version in (1, 2, 3, 4)] == [{"lr": 1e-2}, {"lr": 1e-3}, {"lr": 1e-3}, None]
    assert with_defaults({"fit": {"batch_size": 8}}, 3)["fit"] == {"batch_size": 8, "budget": {"amount": 5}}


def test_what_a_file_states_stays_and_a_word_in_the_place_of_a_section_is_left_to_be_refused() -> None:
    given = {"model": {"positions": "none"}}
    assert with_defaults(given, 1) == given == {"model": {"positions": "none"}}
    assert with_defaults({"model": "trm"}, 1) == {"model": "trm"}


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.0, [2], {}])
def test_what_is_no_version_is_one_line(version: object) -> None:
    with pytest.raises(UserError, match=r"^defaults: must be a version of the defaults, 1 to \d+, got "):
        parse_version(version, "defaults")


def test_a_later_version_names_the_remedy() -> None:
    with pytest.raises(UserError, match=r"^defaults: is \d+, written by a newer rrm-sweeps: .* install the newer one$"):
        parse_version(NEWEST_DEFAULTS + 1, "defaults")
