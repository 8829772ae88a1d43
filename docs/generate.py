"""The tables of fields in docs/formats.md, made from the config classes: `python -m docs.generate` writes them (`make docs`).

A table replaces the lines between `<!-- fields: NAME -->` and `<!-- /fields -->`, where NAME is one of `tables()`.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lightning_modules.config import TrialConfig
from rrm.config import fields_by_key, sections_in
from sweeps.spec.space import Scalar
from sweeps.spec.sweep import SweepSpec

PAGE = Path(__file__).parent / "formats.md"
MARKED = re.compile(r"(<!-- fields: (\w+) -->\n).*?(<!-- /fields -->)", re.DOTALL)
WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
REPEATED = {"search.when[].space.PATH.", "search.tie[]."}  # sections with the fields of search.space and measure.tie
BOUNDS = ((Ge, "ge", ">="), (Gt, "gt", ">"), (Le, "le", "<="), (Lt, "lt", "<"), (MultipleOf, "multiple_of", "multiple of"))


class Row(NamedTuple):
    """A field as a table shows it."""

    path: str
    type: str
    default: str
    meaning: str


def tables() -> dict[str, str]:
    """Every table in Markdown by name: `trial`, `task`, `model` and `sweep`."""
    return {
        "trial": render(rows_of(TrialConfig, skipped={"task", "model"})),
        "task": render_kinds(by_kind("task")),
        "model": render_kinds(by_kind("model")),
        "sweep": render(rows_of(SweepSpec, skipped={"trial"})),
    }


def by_kind(section: str) -> dict[str, list[Row]]:
    """The rows of a section of a trial by the value of `kind`; one class may have several kinds."""
    rows: dict[str, list[Row]] = {}
    default = TrialConfig.model_fields[section].default.kind
    for config in sections_in(TrialConfig.model_fields[section].annotation):
        fields = list(rows_of(config, f"{section}.", skipped={"kind"}))
        kind = config.model_fields["kind"]
        for name in get_args(kind.annotation):
            first = Row(f"{section}.kind", f"`{name}`", default if name == default else "", meaning_of(kind))
            rows[name] = [first, *fields]
    return rows


def rows_of(config: type[BaseModel], prefix: str = "", skipped: Iterable[str] = ()) -> Iterable[Row]:
    """The fields of a config class, those of its sections by dotted path; items of a list have `[]` in theirs."""
    for key, field in fields_by_key(config).items():
        if key in skipped:
            continue
        sections, item = sections_in(field.annotation), item_of(field.annotation)
        if item or not sections:
            yield Row(f"{prefix}{key}", words_of(field.annotation, field.metadata), default_of(field), meaning_of(field))
        for section in sections:
            if (path := f"{prefix}{key}{item}.") not in REPEATED:
                yield from rows_of(section, path)


def item_of(annotation: Any) -> str:
    """The part of a path that stands for an item of a list or of a section with free keys; empty for any other field."""
    items = {list: "[]", dict: ".PATH"}
    return next((items[origin] for part in parts_of(annotation) if (origin := get_origin(part)) in items), "")


def parts_of(annotation: Any) -> list[Any]:
    """The members of a union without None; any other annotation alone."""
    if get_origin(annotation) in {Union, UnionType}:
        return [part for part in get_args(annotation) if part is not type(None)]
    return [annotation]


def words_of(annotation: Any, limits: Iterable[Any] = ()) -> str:
    """A type in words, with its bounds."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [limit for mark in arguments[1:] for limit in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]
        return words_of(arguments[0], [*limits, *inner])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if annotation == Scalar:
        return "value"
    if origin in {Union, UnionType}:
        return " or ".join(words_of(part, limits) for part in parts_of(annotation))
    if origin in {list, tuple}:
        count = len(arguments) if origin is tuple and ... not in arguments else 0
        return f"list of {f'{count}: ' if count else ''}{words_of(arguments[0])}"
    if origin is dict:
        return f"section of {words_of(arguments[1])}"
    bounds = [f"{sign} {getattr(limit, name)}" for kind, name, sign in BOUNDS for limit in limits if isinstance(limit, kind)]
    return " ".join(filter(None, (WORDS.get(annotation, "section"), ", ".join(bounds))))


def default_of(field: FieldInfo) -> str:
    """The default as YAML has it; `required` without one, empty where the meaning states it."""
    if field.is_required():
        return "required"
    return "" if isinstance(field.default, BaseModel) else shown(field.default)


def shown(value: Any) -> str:
    """A value as YAML has it, an absent one as an empty cell."""
    if value in (None, "", []):
        return ""
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def meaning_of(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def render(rows: Iterable[Row]) -> str:
    """A table of fields."""
    lines = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *(f"| `{row.path}` | {row.type} | {row.default} | {row.meaning} |" for row in rows)])


def render_kinds(rows: dict[str, list[Row]]) -> str:
    """A table of the fields of all kinds; kinds share a row of a field with equal type, default and meaning."""
    kinds_of: dict[Row, list[str]] = {}
    for kind, its_rows in rows.items():
        for row in its_rows:
            kinds_of.setdefault(row, []).append(kind)
    paths = list(dict.fromkeys(row.path for row in kinds_of))
    lines = ["| field | kinds | type | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for row in sorted(kinds_of, key=lambda row: paths.index(row.path)):
        kinds = "all" if len(kinds_of[row]) == len(rows) else ", ".join(f"`{kind}`" for kind in kinds_of[row])
        lines.append(f"| `{row.path}` | {kinds} | {row.type} | {row.default} | {row.meaning} |")
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """The text of a page with every table made anew."""
    made = tables()
    return MARKED.sub(lambda match: f"{match[1]}{made[match[2]]}\n{match[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
