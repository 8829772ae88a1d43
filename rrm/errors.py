"""The one kind of error that a user can cause: a single line with the rule, the value, the choices and the field's path."""

import difflib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from io import TextIOWrapper
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rrm.config import fields_by_key

MAX_SHOWN = 200  # characters of a value, or of another library's message


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
    spelt = [choice for choice in known if choice.replace("_", "-") == name.lower().replace("_", "-")]
    near = spelt or difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}choose from: {', '.join(known)}"


def first_line(error: BaseException, hide: Callable[[str], str] = str) -> str:
    """The message of an error up to its first line break, or the error's type where the message is empty.

    Args:
        hide: blanks secrets, before the line is shortened.
    """
    lines = [line.strip() for line in hide(str(error)).splitlines() if line.strip()]
    return _shortened(lines[0] if lines else type(error).__name__)


def join_keys(*keys: int | str) -> str:
    """A dotted path; a key that nobody could see stands in quotes."""
    return ".".join(str(key) if str(key).strip() else repr(key) for key in keys)


def from_validation(error: ValidationError, root: type, prefix: str = "") -> UserError:
    """Turn pydantic's report into one line.

    Args:
        error: what pydantic raised while it built `root`.
        root: the pydantic model class, from which the names allowed beside an unknown key are read.
        prefix: dotted path under which `root` stands in the user's file.
    """
    # An unknown key is shown first: it usually explains the "missing" field beside it.
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first, (keys, section) = problems[0], _locate(root, problems[0])
    same = [problem for problem in problems if _locate(root, problem)[0] == keys]  # what each member of a union says
    path = ".".join(filter(None, (prefix, join_keys(*keys), "kind" if first["type"] == "union_tag_invalid" else "")))
    others = len(problems) - len(same)
    return UserError(_sentence(same, section) + (f" (and {others} more)" if others else ""), path)


def _locate(root: type, problem: ErrorDetails) -> tuple[list[int | str], type]:
    """The keys that a user wrote on the way to a problem, and the section that holds the last of them.

    Pydantic puts the names of union members among them (`function-after[...]`, `int`, the kind of a task). A key may have
    such a name too: the types on the way show which of the two a name is.
    """
    keys: list[int | str] = []
    section, members = root, [root]
    for number, place in enumerate(problem["loc"]):
        sections = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
        chosen = [choice for choice in sections if len(sections) > 1 and choice.model_fields["kind"].default == place]
        if chosen:
            section, members = chosen[0], list(chosen)
            continue
        section = sections[0] if len(sections) == 1 else section
        held = _held_at(place, members, section if sections else None)
        is_unknown = problem["type"] == "extra_forbidden" and number == len(problem["loc"]) - 1
        if held or is_unknown:
            keys.append(place)
            members = held
    return keys, section


def _held_at(place: int | str, members: list[Any], section: type | None) -> list[Any]:
    """The types of what lies at a key or an index; empty where `place` names a member of a union."""
    fields = fields_by_key(section) if section else {}
    if place in fields:
        return _union_members(fields[str(place)].annotation)
    origins = {dict} if isinstance(place, str) else {list, tuple}
    parts = [part for member in members if get_origin(member) in origins for part in get_args(member)[-1:] if part is not ...]
    return [member for part in parts for member in _union_members(part)] or ([Any] if isinstance(place, int) else [])


def _union_members(annotation: Any) -> list[Any]:
    """The types that a value of this annotation may have."""
    if get_origin(annotation) is Annotated:
        return _union_members(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return [member for part in get_args(annotation) for member in _union_members(part)]
    return [annotation]


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
    return f"must {_rules(problems)}, got {_shortened(repr(value))}{_comma_hint(value)}"


def _comma_hint(value: object) -> str:
    """What to do about a number such as `0,005`."""
    return "; a number has a decimal point and no comma" if re.fullmatch(r"[-+]?\d+(,\d+)+([eE.]\S*)?", str(value)) else ""


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


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
