from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.yaml_file import parse_yaml, read_yaml, write_yaml
from rrm.errors import UserError

PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1)


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1.5e3", 1500.0), ("-2E+2", -200.0), (".5", 0.5), ("3", 3), ("1.", 1.0)]
)
def test_numbers_are_numbers(text: str, value: float) -> None:
    parsed = parse_yaml(text, "text")
    assert parsed == value and type(parsed) is type(value)


def test_leading_zeros_and_colons_mean_nothing_special() -> None:
    assert parse_yaml("[010, 1:30, 0x10, 1_000]", "text") == [10, "1:30", 16, 1000]


def test_what_is_merged_may_be_overridden() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", "text")["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize("text", ["e5", "1e", "v1e-4", "1-4", "."])
def test_words_stay_words(text: str) -> None:
    assert parse_yaml(text, "text") == text


@pytest.mark.parametrize("text", ["{a: [16,24, 0, 5]}", "{a: 1, b: 2,c: 3}", "{a: 0, '05': 1}", "a: 0,5"])
def test_commas_between_values_are_no_decimal_commas(text: str) -> None:
    assert isinstance(parse_yaml(text, "text"), dict)


@given(st.dictionaries(PRINTABLE, st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans()))
def test_what_is_written_is_read_back(value: dict) -> None:
    assert parse_yaml(write_yaml(value), "text") == value


BAD = {
    "a: 1\nb: [1, 2": "line 2: is not valid YAML",
    "a: 1\na: 2\n": "line 2: is not valid YAML: the key 'a' stands twice",
    "": "is empty",
    "- 1\n- 2\n": "must hold sections of key: value lines, got list",
    "optim: {lr: 0,005}": "line 1: is not valid YAML: lr has a decimal comma in 0,005: write 0.005",
    "optim: {lr: 0,5, warmup: 1,5}": "lr has a decimal comma in 0,5: write 0.5",
    "optim:\n  lr: [0,001, 0,1]": "line 2: is not valid YAML: the list has a decimal comma in 0,001: write 0.001",
    "a: {'': null}": "a.'': is empty; null is not a value",
    "'': {a: null}": "''.a: is empty; null is not a value",
    "fit:\n": "fit: is empty; null is not a value",
    "fit: {budget: {amount: null}}": "fit.budget.amount: is empty; null is not a value",
}


@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_bad_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_yaml(path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "missing.yaml")
