"""The first line of an error, for an error of our own."""

import pytest

from lightning_modules.config import TrialConfig, validate_trial
from rrm.aliases import ALIASES, COLUMNS, MEANINGS, fields_called, squash
from rrm.config import fields_by_path
from rrm.errors import MAX_LISTED, UserError, first_line, suggest, suggest_field

FIELDS = list(fields_by_path(TrialConfig))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\nb"), "a"),
        (ValueError("\n\n  a  \nb"), "a"),
        (ValueError(), "ValueError"),
        (ValueError(" \n\t"), "ValueError"),
        (EOFError(""), "EOFError"),
    ],
)
def test_the_first_line_of_an_error_says_something_whatever_the_message(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_secrets_are_hidden_before_a_line_is_shortened() -> None:
    error = ValueError("a" * 197 + "secret")
    shown = first_line(error, lambda text: text.replace("secret", "***"))
    assert shown == "a" * 197 + "***"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("model.n_sup", ["model.supervision_steps"]),
        ("model.reset_state", ["model.state_reset"]),
        ("model.steps-supervision", ["model.supervision_steps"]),
        ("trial.model.size_hidden", ["model.hidden_size"]),
        ("eval.depth_max", ["eval.max_depth"]),
        ("reset_state", ["model.state_reset"]),
        ("model.N_sup", ["model.supervision_steps"]),
        ("n_sup", ["model.supervision_steps"]),
        ("trial.model.n-sup", ["model.supervision_steps"]),
        ("model.n", ["model.l_cycles"]),
        ("model.T", ["model.h_cycles"]),
        ("model.t", ["model.h_cycles"]),
        ("model.l", ["model.num_layers", "model.l_cycles"]),
        ("model.d", ["model.hidden_size"]),
        ("d", ["model.hidden_size", "eval.max_depth"]),
        ("model.width", ["model.hidden_size"]),
        ("model.d_model", ["model.hidden_size"]),
        ("model.hidden", ["model.hidden_size"]),
        ("model.hidden_dim", ["model.hidden_size"]),
        ("model.depth", ["model.num_layers", "model.supervision_steps"]),
        ("eval.depth", ["eval.max_depth"]),
        ("model.layers", ["model.num_layers"]),
        ("model.n_layers", ["model.num_layers"]),
        ("model.loops", ["model.l_cycles"]),
        ("model.cycles", ["model.h_cycles", "model.l_cycles"]),
        ("model.heads", ["model.head_size"]),
        ("model.lr", ["optim.lr"]),
        ("optim.learning_rate", ["optim.lr"]),
        ("fit.batch", ["fit.batch_size"]),
        ("batch_size", ["fit.batch_size", "eval.batch_size"]),
        ("fit.epochs", ["fit.budget.amount"]),
        ("fit.steps", ["fit.budget.amount"]),
        ("fit.budget.steps", ["fit.budget.amount"]),
        ("model.hiden_size", ["model.hidden_size"]),
        ("model.hidden-size", ["model.hidden_size"]),
        ("modle.hidden_size", ["model.hidden_size"]),
        ("hiden_size", ["model.hidden_size"]),
        ("task.kindd", ["task.kind"]),
        ("model", ["model.kind"]),
        ("optim", ["optim.kind"]),
        ("eval.max_detph", ["eval.max_depth"]),
    ],
)
def test_a_field_is_suggested_by_its_meaning_its_place_or_its_spelling(written: str, meant: list[str]) -> None:
    hint = suggest_field(written, FIELDS)
    assert hint.startswith("did you mean ") and hint.endswith("?")
    assert [field for field in FIELDS if f"'{field}'" in hint] == [field for field in FIELDS if field in meant]


@pytest.mark.parametrize("written", ["model.foo", "foo", "", "task.zzz"])
def test_where_no_field_is_near_a_short_list_shows_some(written: str) -> None:
    hint = suggest_field(written, FIELDS)
    assert hint.startswith("choose from: ") and hint.count(", ") < MAX_LISTED
    assert hint.endswith(" more (docs/formats.md)")


def test_a_short_list_of_choices_is_whole_and_a_long_one_is_not() -> None:
    assert suggest("z", ["a", "b"]) == "choose from: a, b"
    assert suggest("speed", ["sped", "b"]) == "did you mean 'sped'? choose from: b, sped"
    assert suggest("z", map(str, range(20))).endswith("and 12 more (docs/formats.md)")


def test_the_table_of_aliases_names_fields_and_no_alias_is_a_field_of_the_same_section() -> None:
    assert MEANINGS.keys() <= set(FIELDS)
    for path in MEANINGS:
        fields = {squash(field.rpartition(".")[2]) for field in FIELDS if field.rpartition(".")[0] == path.rpartition(".")[0]}
        assert not fields & set(f"{ALIASES[path].names} {ALIASES[path].in_specs}".split())


@pytest.mark.parametrize(("name", "fields", "column"), [
    ("loops", ["model.l_cycles"], "recursion"),
    ("n_loops", ["model.l_cycles"], "recursion"),
    ("d_model", ["model.hidden_size"], "model.hidden_size"),
    ("depth", ["model.num_layers", "model.supervision_steps", "eval.max_depth"], None),
])  # fmt: skip
def test_one_table_gives_the_meaning_of_a_name_in_a_spec_and_in_a_table(name: str, fields: list[str], column: str | None) -> None:
    assert fields_called(name) == fields and COLUMNS.get(squash(name)) == column


def test_further_fields_with_problems_are_named_where_they_are_few() -> None:
    keys = ["heads", "layers", "width", "n_sup", "loops", "foo"]
    for count, others in ((1, ""), (2, " (and 1 more: trial.model.layers)"), (6, " (and 5 more)")):
        with pytest.raises(UserError) as error:
            validate_trial({"model": dict.fromkeys(keys[:count], 1)}, "trial")
        assert str(error.value).startswith("trial.model.heads: unknown key; did you mean 'head_size'")
        assert str(error.value).endswith(f"?{others}")


@pytest.mark.parametrize("section", ["model", "task"])
@pytest.mark.parametrize(("kind", "problem"), [
    (None, "null is not a value: leave the key out for its default"),
    (3, "got 3; choose from: "),
    (True, "got True; choose from: "),
    (["trm"], "got ['trm']; choose from: "),
    ({}, "got {}; choose from: "),
    ("", "got ''; choose from: "),
])  # fmt: skip
def test_a_kind_that_is_none_is_one_line_with_its_field_and_the_choices(section: str, kind: object, problem: str) -> None:
    with pytest.raises(UserError) as error:
        validate_trial({section: {"kind": kind}}, "trial")
    assert error.value.where == f"trial.{section}.kind" and error.value.problem.startswith(problem)


@pytest.mark.parametrize("section", ["model", "task"])
@pytest.mark.parametrize("value", [None, "trm", 3, [], [{"kind": "trm"}]])
def test_another_value_in_the_place_of_a_section_with_a_kind_is_one_line(section: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"^trial.{section}: must be a section of key: value lines, got .*; write {section}: {{"):
        validate_trial({section: value}, "trial")
