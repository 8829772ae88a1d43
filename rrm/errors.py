"""The one kind of error that a user can cause: a single line with the rule, the value, the choices and the field's path."""

import difflib
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from io import TextIOWrapper
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rrm.aliases import MEANINGS, fields_called
from rrm.config import RuleError, fields_by_key, fields_by_path, sections_in

MAX_SHOWN = 200  # characters of a value, or of another library's message
MAX_LISTED = 12  # choices that are all listed ...
SOME_LISTED = 8  # ... and how many of more
MAX_OTHERS = 4  # further fields with problems that are named
MAX_MEANT = 3  # fields of one name that are suggested
NO_KIND = {"union_tag_invalid", "union_tag_not_found"}  # pydantic's errors where `kind` selects no member of a union
SAME, VERY_NEAR, NEAR = 1.0, 0.85, 0.65  # share of two words that is alike, as difflib counts it


class UserError(Exception):
    """A mistake that the user can correct; commands print its single line on stderr and exit with code 2.

    Args:
        where: the field as a dotted path, the file, the option or the address that is wrong.
        problem: the rule, the value and what to do.
        fields: dotted paths of the fields that break a rule between several fields; empty for any other rule.
    """

    def __init__(self, where: str, problem: str, fields: tuple[str, ...] = ()) -> None:
        self.where, self.problem, self.fields = where, problem, fields
        super().__init__(" ".join(f"{where}: {problem}".split()))


def usage_error(problem: str, command: str) -> UserError:
    """A mistake in what was typed behind `command`."""
    return UserError("error", f"{problem} ({command} --help)")


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
        print(UserError(ascii(error.object), f"{remedy} ({error.encoding})"), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"stopped before anything was started; type it again: {shlex.join(sys.argv)}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # who reads our output has left, as `head` does; Python would flush into the pipe once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def suggest(name: str, choices: Iterable[str]) -> str:
    """`did you mean ...?` when a choice lies close to `name`, and the choices in any case."""
    known = sorted(choices)
    near = _nearest(name, known, NEAR)
    return (f"did you mean {near!r}? " if near else "") + _list_choices(known)


def suggest_field(path: str, known: Collection[str], keys: Collection[str] | None = None, prefix: str = "") -> str:
    """`did you mean ...?` for a dotted path that is no field: by its meaning, its name elsewhere or its spelling; else some fields.

    Args:
        known: dotted paths of all fields.
        keys: what may stand in the section that holds the last key; None where a whole path is one key.
        prefix: dotted path under which `known` stands in the user's file.
    """
    section = path.rpartition(".")[0]
    beside = [other for other in known if section and other.rpartition(".")[0] == section]
    choices = {key: join_keys(*filter(None, (section, key))) for key in keys} if keys is not None else _by_name(beside)
    found = _meant(path, known, choices)
    if not found and not choices:
        found = [near for near in [_nearest(path, known, NEAR)] if near]
    if found:
        named = fields_called(path.rpartition(".")[2])  # each is shown with its meaning
        labels = [_label(other, section if keys is not None else None, prefix, named) for other in found]
        return f"did you mean {' or '.join(labels)}?"
    if keys is not None:
        return _list_choices(sorted(keys), [name for name in _by_name(MEANINGS) if MEANINGS.keys() & {choices.get(name)}])
    below = [other for other in known if other.startswith(f"{path}.")] or beside or list(known)
    return _list_choices(sorted(below), [field for field in MEANINGS if field in below])


def _by_name(paths: Iterable[str]) -> dict[str, str]:
    """Dotted paths by their last key."""
    return {path.rpartition(".")[2]: path for path in paths}


def _nearest(name: str, choices: Iterable[str], least: float) -> str | None:
    """The choice whose spelling, dashes and upper case aside, is like `name` at least to this share; None where there is none."""
    known = {choice.lower().replace("_", "-"): choice for choice in choices}
    near = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=1, cutoff=least)
    return known[near[0]] if near else None


def _meant(path: str, known: Collection[str], choices: Mapping[str, str]) -> list[str]:
    """The fields, or sections of fields, that a path may mean.

    Args:
        choices: the fields of its section by name.
    """
    section, _, name = path.rpartition(".")
    if (same := _nearest(name, choices, SAME)) is not None:
        return [choices[same]]
    if ends := [other for other in known if path.endswith(f".{other}")]:
        return ends
    if (kind := f"{path}.kind") in known:
        return [kind]
    if called := [other for field in fields_called(name) for other in known if f".{other}".endswith(f".{field}")]:
        return [other for other in called if section and other.startswith(f"{section}.")] or called
    words = sorted(name.lower().replace("-", "_").split("_"))
    reordered = [other for other in known if len(words) > 1 and sorted(other.rpartition(".")[2].split("_")) == words]
    if reordered:
        return ([other for other in reordered if section and other.startswith(f"{section}.")] or reordered)[:MAX_MEANT]
    if (near := _nearest(name, choices, VERY_NEAR)) is not None:
        return [choices[near]]
    parents = {other[:at] for other in known for at, letter in enumerate(other) if letter == "."}
    if elsewhere := [other for other in [*known, *sorted(parents)] if other.rpartition(".")[2] == name and other != path]:
        return elsewhere[:MAX_MEANT]
    near = _nearest(name, choices, NEAR)
    return [] if near is None else [choices[near]]


def _label(path: str, section: str | None, prefix: str, explained: Collection[str]) -> str:
    """How a field is named to somebody who wrote in `section`, with its meaning where it is one of `explained`."""
    own, _, name = path.rpartition(".")
    meaning = next((MEANINGS[field] for field in explained if f".{path}".endswith(f".{field}")), None)
    shown = name if own == section else ".".join(filter(None, (prefix, path)))
    return f"{shown!r}" + (f" ({meaning})" if meaning else "")


def _list_choices(known: Sequence[str], first: Sequence[str] = ()) -> str:
    """All choices where they are few; else some, with those in `first` before others."""
    if len(known) <= MAX_LISTED:
        return f"choose from: {', '.join(known)}"
    shown = [*first, *(choice for choice in known if choice not in first)][:SOME_LISTED]
    return f"choose from: {', '.join(shown)} and {len(known) - len(shown)} more (docs/formats.md)"


def first_line(error: BaseException, hide: Callable[[str], str] = str) -> str:
    """The message of an error up to its first line break, or the error's type where the message is empty.

    Args:
        hide: blanks secrets, before the line is shortened.
    """
    lines = [line.strip() for line in hide(str(error)).splitlines() if line.strip()]
    return _shortened(lines[0] if lines else type(error).__name__)


def join_keys(*keys: int | str) -> str:
    """A dotted path; a key that is empty or not visible is in quotes."""
    return ".".join(str(key) if str(key).strip() else repr(key) for key in keys)


def from_validation(error: ValidationError, root: type, prefix: str = "", known: Collection[str] = ()) -> UserError:
    """Turn pydantic's report into one line.

    Args:
        error: what pydantic raised while it built `root`.
        root: the pydantic model class, from which the names allowed beside an unknown key are read.
        prefix: dotted path under which `root` stands in the user's file.
        known: dotted paths of fields below `root` that are suggested for an unknown key; those of `root` where absent.
    """
    # An unknown key is shown first: it usually explains the "missing" field beside it.
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first, (keys, section) = problems[0], _locate(root, problems[0])
    same = [problem for problem in problems if _locate(root, problem)[0] == keys]  # what each member of a union says
    path = ".".join(filter(None, (prefix, join_keys(*keys), "kind" if first["type"] in NO_KIND else "")))
    places = [_locate(root, problem)[0] for problem in problems]
    others = _name_others([".".join(filter(None, (prefix, join_keys(*place)))) for place in places if place != keys])
    if first["type"] == "extra_forbidden":
        hint = suggest_field(join_keys(*keys), known or list(fields_by_path(root)), fields_by_key(section), prefix)
        return UserError(path, f"unknown key; {hint}{others}")
    example = _list_example(section, keys, first) if first["type"] in {"list_type", "tuple_type"} and len(same) == 1 else ""
    cause = first.get("ctx", {}).get("error")
    fields = tuple(join_keys(*filter(None, (path, name))) for name in cause.fields) if isinstance(cause, RuleError) else ()
    return UserError(path, f"{_sentence(same, section)}{example}{others}", fields)


def require_content(value: object, shape: type[BaseModel], where: str) -> None:
    """Refuse the content of a file that a program wrote and that lacks what its readers use.

    Raises:
        UserError: with the first part that is absent or of another type; `where` names the file.
    """
    try:
        shape.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = join_keys(*first["loc"])
        problem = "must be an object" if first["type"] == "model_type" else first["msg"].removeprefix("Value error, ")
        raise UserError(where, f"is damaged ({path + ': ' if path else ''}{problem}): restore or remove it") from None


def _name_others(paths: list[str]) -> str:
    """The fields that have problems too, by name where they are few."""
    named = list(dict.fromkeys(paths))
    if not named:
        return ""
    return f" (and {len(named)} more{': ' + ', '.join(named) if len(named) <= MAX_OTHERS else ''})"


def require_sections(given: Mapping[str, Any], root: type, prefix: str = "") -> None:
    """Refuse a word, a number or a list in the place of a section.

    Args:
        given: what a file has below `prefix`.
        root: the config class for it.

    Raises:
        UserError: with the line to write.
    """
    for key, field in fields_by_key(root).items():
        if key not in given:
            continue
        value = given[key]
        members = [member for member in _union_members(field.annotation) if member is not type(None)]
        by_name = [section for member in members if get_origin(member) is dict for section in sections_in(get_args(member)[1])]
        if by_name and isinstance(value, dict):
            for name, inner in value.items():
                _require_section(inner, by_name, join_keys(*filter(None, (prefix, key))), name)
        elif all(isinstance(member, type) and issubclass(member, BaseModel) for member in members):
            _require_section(value, members, prefix, key)


def _require_section(value: Any, classes: list[Any], prefix: str, key: str) -> None:
    path = join_keys(*filter(None, (prefix, key)))
    if isinstance(value, dict):
        return require_sections(value, classes[0], path) if len(classes) == 1 else None
    remedy = f"; write {key}: {{{example}}}" if (example := _example(value, classes)) else ""
    raise UserError(path, f"must be a section of key: value lines, got {_shortened(repr(value))}{remedy}")


def _example(value: Any, classes: list[Any]) -> str:
    """Fields of a section as somebody who wrote `value` in its place may have meant them."""
    kinds = [kind for section in classes if "kind" in section.model_fields for kind in _kinds(section)]
    if kinds:
        return f"kind: {value if value in kinds else kinds[0]}"
    fields = fields_by_key(classes[0])
    shown = {key: "..." if field.is_required() else field.default for key, field in fields.items()}
    plain = [f"{key}: {str(default).lower()}" for key, default in shown.items() if isinstance(default, str | int | float)]
    if not plain and isinstance(value, list):
        return f"{next(iter(fields))}: {value}"
    return ", ".join(plain[:2])


def _list_example(section: type, keys: list[int | str], problem: ErrorDetails) -> str:
    """The line to write where a list is missing; empty where the values of the list are not known."""
    field = fields_by_key(section).get(str(keys[-1])) if keys else None
    if field is None:
        return ""
    held = [part for member in _union_members(field.annotation) for part in get_args(member)[:1]]
    inner = [part for parts in held for part in _union_members(parts) if isinstance(part, type) and issubclass(part, BaseModel)]
    if inner:
        return f"; write {keys[-1]}: [{{{_example(problem['input'], inner)}}}]"
    return f"; write {keys[-1]}: {list(field.default)}" if isinstance(field.default, list | tuple) and field.default else ""


def _kinds(section: Any) -> list[Any]:
    """The words that `kind` may be in a section, its default first."""
    field = section.model_fields["kind"]
    words = [word for member in _union_members(field.annotation) for word in get_args(member)]
    return [field.default, *(word for word in words if word != field.default)]


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
    if kind in NO_KIND and isinstance(value, dict):
        value = value.get("kind")
    if kind == "union_tag_invalid":
        hint = suggest(context["tag"], context["expected_tags"].replace("'", "").split(", "))
        return f"got {_shortened(repr(value))}; {hint}"
    if kind == "missing":
        return "is required, and absent"
    if kind == "value_error":
        return str(context["error"])
    if value is None:
        field = fields_by_key(section).get(str(problem["loc"][-1]))
        required = field is not None and field.is_required()
        return "must have a value, got null" if required else "null is not a value: leave the key out for its default"
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
    if kind == "path_type":
        return "be a path"
    return re.sub(r"^(Input|String|Value) should ", "", problem["msg"])


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
