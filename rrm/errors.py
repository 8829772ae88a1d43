"""The one kind of error that a user can cause: a single line with the rule, the value, the choices and the field's path."""

import difflib
import shlex
import sys
from collections.abc import Callable, Iterable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rrm.config import sections_in


class UserError(Exception):
    """A mistake that the user can mend; commands print its single line on stderr and exit with code 2."""

    def __init__(self, problem: str, path: str = "") -> None:
        self.path = path
        line = " ".join(problem.split())
        super().__init__(f"{path}: {line}" if path else line)


def exit_on_user_error(command: Callable[[], object]) -> None:
    """Run a command; a mistake of the user ends it with one line on stderr and exit code 2."""
    try:
        command()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"stopped before anything was started; type it again: {shlex.join(sys.argv)}", file=sys.stderr)
        sys.exit(130)


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
    places, section = _locate(root, first["loc"])
    path = ".".join([prefix, *places] if prefix else places)
    if first["type"] == "union_tag_invalid":
        path += ".kind"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return UserError(_sentence(first, section) + more, path)


def _locate(root: type, location: tuple[int | str, ...]) -> tuple[list[str], type]:
    """The keys that a user wrote on the way to a problem, and the section that holds the last of them.

    Pydantic puts the names of union members among them (`function-after[...]`, `int`, the kind of a task).
    """
    keys: list[str] = []
    section: type | None = root
    choices: list[type] = []  # sections of which the next place chooses one, by its kind
    for number, place in enumerate(location):
        chosen = [choice for choice in choices if choice.model_fields["kind"].default == place]  # type: ignore[attr-defined]
        if chosen:
            section, choices = chosen[0], []
            continue
        if isinstance(place, str) and ("[" in place or place in {"int", "float", "str", "bool"}):
            continue
        keys.append(str(place))
        field = getattr(section, "model_fields", {}).get(place)
        if field is not None and number < len(location) - 1:
            sections = sections_in(field.annotation)
            section, choices = (sections[0], []) if len(sections) == 1 else (section, sections)
    return keys, section or root


def _sentence(problem: ErrorDetails, section: type) -> str:
    kind, value, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    if kind == "extra_forbidden":
        fields = [field.alias or name for name, field in getattr(section, "model_fields", {}).items()]
        return f"unknown key; {suggest(str(problem['loc'][-1]), fields)}"
    if kind == "union_tag_invalid":
        return f"got {context['tag']!r}; {suggest(context['tag'], context['expected_tags'].replace(chr(39), '').split(', '))}"
    if kind == "missing":
        return "is required, and absent"
    if kind == "value_error":
        return str(context["error"])
    if value is None:
        return "null is not a value: leave the key out for its default"
    if kind == "too_short":
        return f"must have at least {context['min_length']}, got {value!r}"
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return f"must be a section of key: value lines, got {value!r}"
    rule = problem["msg"].removeprefix("Input ").replace("should", "must")
    return f"{rule}, got {value!r}"
