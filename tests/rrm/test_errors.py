"""The first line of an error, for an error of our own."""

import pytest

from rrm.errors import first_line


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
