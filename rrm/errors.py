"""The one kind of error that a user can cause: a single line with the rule, the value, the choices and the field's path."""

import difflib
import shlex
import sys
from collections.abc import Callable, Iterable

from pydantic import ValidationError
from pydantic_core import ErrorDetails


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
    places = [str(place) for place in first["loc"] if not _is_union_tag(place)]
    path = ".".join([prefix, *places] if prefix else places)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return UserError(_sentence(first, root) + more, path)


def _is_union_tag(place: int | str) -> bool:
    """Pydantic puts names such as `function-after[...]` or `list[int]` among the keys of a path; a user has no such key."""
    return isinstance(place, str) and ("[" in place or place in {"int", "float", "str", "bool"})


def _sentence(problem: ErrorDetails, root: type) -> str:
    kind, value, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    if kind == "extra_forbidden":
        fields = _fields_at(root, problem["loc"][:-1])
        return f"unknown key; {suggest(str(problem['loc'][-1]), fields)}"
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


def _fields_at(root: type, places: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model that stands at `places` below `root`."""
    model = root
    for place in places:
        field = getattr(model, "model_fields", {}).get(place)
        if field is None:
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), model)
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]
