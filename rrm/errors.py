"""The one kind of error that a user can cause: a single line with the rule, the value, the choices and the field's path."""

import difflib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from io import TextIOWrapper

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rrm.config import fields_by_key, sections_in

LONGEST_VALUE = 200  # characters of a value that are shown


class UserError(Exception):
    """A mistake that the user can mend; commands print its single line on stderr and exit with code 2."""

    def __init__(self, problem: str, path: str = "") -> None:
        self.problem, self.path = problem, path
        super().__init__(" ".join((f"{path}: {problem}" if path else problem).split()))


def usage_error(problem: str, command: str) -> UserError:
    """A mistake in what was typed behind `command`."""
    return UserError(f"{problem} ({command} --help)", "error")


def exit_on_user_error(command: Callable[[], object]) -> None:
    """Run a command; a mistake of the user ends it with one line on stderr and exit code 2."""
    if isinstance(sys.stdout, TextIOWrapper):  # a locale without the letters of a text must not end a command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        for word in sys.argv:
            word.encode()  # it has surrogates where the locale cannot read it
        command()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except UnicodeEncodeError as error:  # the name of a file
        remedy = "this system's locale cannot write it: set PYTHONUTF8=1 in the environment"
        print(UserError(f"{remedy} ({error.encoding})", ascii(error.object)), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"stopped before anything was started; type it again: {shlex.join(sys.argv)}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # who reads our output has left, as `head` does; Python would flush into the pipe once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def suggest(name: str, choices: Iterable[str]) -> str:
    """`did you mean ...?` when a choice lies close to `name`, and all the choices in any case."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}choose from: {', '.join(known)}"


def from_validation(error: ValidationError, root: type, prefix: str = "") -> UserError:
    """Turn pydantic's report into one line.

    Args:
        error: what pydantic raised while it built `root`.
        root: the pydantic model class, from which the names allowed beside an unknown key are read.
        prefix: dotted path under which `root` stands in the user's file.
    """
    # An unknown key is shown first: it usually explains the "missing" field beside it.
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    same = [problem for problem in problems if _place(problem) == _place(first)]  # what each member of a union says
    places, section = _locate(root, first["loc"])
    path = ".".join([prefix, *places] if prefix else places)
    if first["type"] == "union_tag_invalid":
        path += ".kind"
    others = len(problems) - len(same)
    return UserError(_sentence(same, section) + (f" (and {others} more)" if others else ""), path)


def _place(problem: ErrorDetails) -> tuple[int | str, ...]:
    """Where a problem lies, without the member of the union that found it."""
    *outer, last = problem["loc"] or ("",)
    return tuple(outer) if _is_member(last) and problem["type"] != "missing" else problem["loc"]


def _is_member(place: int | str) -> bool:
    """Whether pydantic means a member of a union (`int`, `literal[...]`, `constrained-int`) rather than a key."""
    return isinstance(place, str) and (place in {"int", "float", "str", "bool"} or "[" in place or "-" in place)


def _locate(root: type, location: tuple[int | str, ...]) -> tuple[list[str], type]:
    """The keys that a user wrote on the way to a problem, and the section that holds the last of them.

    Pydantic puts the names of union members among them (`function-after[...]`, `int`, the kind of a task).
    """
    keys: list[str] = []
    section: type = root
    fields = fields_by_key(root)  # those that the next place may name
    choices: list[type] = []  # sections of which the next place chooses one, by its kind
    for number, place in enumerate(location):
        chosen = [choice for choice in choices if choice.model_fields["kind"].default == place]  # type: ignore[attr-defined]
        if chosen:
            section, fields, choices = chosen[0], fields_by_key(chosen[0]), []
            continue
        field = fields.get(str(place))
        if field is None and _is_member(place):
            continue
        keys.append(str(place))
        if field is not None and number < len(location) - 1:
            sections = sections_in(field.annotation)
            section, choices = (sections[0], []) if len(sections) == 1 else (section, sections)
            fields = fields_by_key(section) if len(sections) == 1 else {}
    return keys, section


def _sentence(problems: list[ErrorDetails], section: type) -> str:
    """Rule, then value, then choices; several problems are those of one value in the eyes of the members of a union."""
    problem = problems[0]
    kind, value, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {suggest(str(problem['loc'][-1]), fields_by_key(section))}"
    if kind == "union_tag_invalid":
        return f"got {context['tag']!r}; {suggest(context['tag'], context['expected_tags'].replace(chr(39), '').split(', '))}"
    if kind == "missing":
        return "is required, and absent"
    if kind == "value_error":
        return str(context["error"])
    if value is None:
        return "null is not a value: leave the key out for its default"
    return f"must {_rules(problems)}, got {_short(value)}"


def _rules(problems: list[ErrorDetails]) -> str:
    kinds = {problem["type"] for problem in problems}
    if {"bool_type", "string_type"} <= kinds:  # a value that may be of any plain type
        return "be a finite number" if "finite_number" in kinds else "be a number, a word, true or false"
    return " or ".join(map(_rule, problems))


def _rule(problem: ErrorDetails) -> str:
    """What a value must do, as in `must be a valid integer`."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "too_short":
        return f"have at least {context['min_length']}"
    if kind == "too_long":
        return f"have at most {context['max_length']}"
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return "be a section of key: value lines"
    if kind in {"list_type", "tuple_type"}:
        return "be a list"
    return re.sub(r"^(Input|String|Value) should ", "", problem["msg"])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
