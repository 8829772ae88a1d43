"""Every number of every fit is the one that commit e399d62 gave for the same table (tests/fixtures/laws_e399d62).

Suggestions are other ones: those of that commit were not valid. The form `axes` has taken the place of `three_exponents`.
"""

import json
from typing import Any

import pytest

from analysis.data.csv_import import load_csv
from analysis.laws.fit_all import fit_laws
from tests.conftest import ROOT

FOLDER = ROOT / "tests/fixtures/laws_e399d62"
TOLERANCE = 1e-6  # relative; processors round the last bit differently, and a profile's end is searched for


def assert_equal(new: Any, old: Any, where: str) -> None:
    if isinstance(old, dict):
        assert new.keys() == old.keys(), where
        for key, value in old.items():
            assert_equal(new[key], value, f"{where}.{key}")
    elif isinstance(old, list):
        assert len(new) == len(old), where
        for number, value in enumerate(old):
            assert_equal(new[number], value, f"{where}.{number}")
    elif isinstance(old, float):
        assert new == pytest.approx(old, rel=TOLERANCE, abs=1e-9), where
    else:
        assert new == old, where


@pytest.mark.parametrize("table", ["three_exponents", "compute_optimal"])
def test_fits_have_the_digits_of_the_old_code(table: str) -> None:
    old = [fit for fit in json.loads((FOLDER / f"{table}.json").read_text()) if fit["form"] != "three_exponents"]
    new = [json.loads(json.dumps(fit.to_json())) for fit in fit_laws(load_csv(FOLDER / f"{table}.csv")) if fit.form != "axes"]
    assert {"one_exponent", "curvature"} <= {fit["form"] for fit in old}
    for fit in (*old, *new):
        del fit["suggestion"]
    assert_equal(new, old, table)
