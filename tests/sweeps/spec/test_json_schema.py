"""The schema that editors use for a spec."""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lightning_modules.config import FitConfig
from lightning_modules.yaml_file import read_yaml
from rrm.tasks.sudoku import SudokuConfig
from sweeps.spec.json_schema import sweep_schema
from sweeps.spec.measure import Measure
from sweeps.spec.resources import Resources
from tests.conftest import ROOT
from tests.sweeps.conftest import measure_sections, search_sections

VALIDATOR = jsonschema.Draft202012Validator(sweep_schema())
SPECS = sorted((ROOT / "sweeps/specs").rglob("*.yaml"))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(sweep_schema())


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_ready_sweep_fits_the_schema(path: Path) -> None:
    assert not list(VALIDATOR.iter_errors(read_yaml(path)))


def changed(sections: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    sections = copy.deepcopy(sections)
    *parents, last = path.split("/")
    section = sections
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    return sections


GOOD = [
    ("measure/vary", {"model.hidden_size": [16, 32], "model.kind": "trm"}),
    ("measure/vary", [{"model.hidden_size": 16}, {"model.l_cycles": [1, 2]}]),
    ("trial/task", {"size": 9}),
    ("trial/task", {"kind": "automaton", "cells": 12}),
    ("measure/tie", [{"solve": "model.hidden_size", "so_that": "params", "equals": 1e6}]),
]
BAD = [
    ("trial/model/num_layers", None),
    ("trial/model/hiden_size", 3),
    ("trial/task", {"kind": "automaton", "clues": [3, 4]}),
    ("trial/optim/lr", "fast"),
    ("measure/seeds", 0),
    ("resources/gpus", -1),
    ("storag", "runs"),
]


@pytest.mark.parametrize(("path", "value"), GOOD)
def test_every_short_form_fits(path: str, value: Any) -> None:
    assert not list(VALIDATOR.iter_errors(changed(measure_sections(), path, value)))


@pytest.mark.parametrize(("path", "value"), BAD)
def test_what_is_wrong_does_not_fit(path: str, value: Any) -> None:
    assert list(VALIDATOR.iter_errors(changed(measure_sections(), path, value)))


def test_conditions_and_constraints_fit() -> None:
    sections = changed(
        search_sections(), "search/when", [{"if": {"model.kind": "hrm"}, "space": {"model.num_layers": {"int": [1, 2]}}}]
    )
    assert not list(VALIDATOR.iter_errors(changed(sections, "search/constraints", ["params <= 1e6"])))


def test_descriptions_and_defaults_are_those_of_the_fields() -> None:
    definitions = sweep_schema()["$defs"]
    for config in (Resources, Measure, SudokuConfig, FitConfig):
        for name, field in config.model_fields.items():
            shown = definitions[config.__name__]["properties"][name]
            assert shown["description"] == field.description
            if isinstance(field.default, int | float | str):
                assert shown["default"] == field.default
