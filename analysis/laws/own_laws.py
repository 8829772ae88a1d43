"""Laws of plug-ins: of files beside a spec or named on the command line, and of installed packages."""

import sys
from collections.abc import Sequence

from analysis.laws.law import Law
from rrm.config import Plugin
from rrm.errors import UserError, first_line
from rrm.extensions import Extension, find_extensions
from rrm.kinds import classes_of
from rrm.plugins import extension_points, import_plugin, load_extension


def own_laws(files: Sequence[Plugin], built_in: Sequence[Law]) -> list[Law]:
    """A law of each class in installed packages and in files.

    Args:
        built_in: laws whose names are taken.

    Raises:
        UserError: one cannot be imported, loads torch, holds no law or more than laws, or has a law that is not made without
            arguments; or two laws have one name.
    """
    holders = {law.name: "is built in" for law in built_in}
    laws = []
    for point in extension_points("law"):
        laws.append(_new_law(load_extension(point, "law"), f"entry point {point.value}", holders))
    for file in files:
        laws += [_new_law(law, file.name, holders) for law in _laws_in(file)]
    return laws


def _laws_in(file: Plugin) -> list[type[Extension]]:
    has_torch = "torch" in sys.modules
    classes = classes_of(import_plugin(file))
    if "torch" in sys.modules and not has_torch:
        raise UserError(file.name, "must not import torch, because rrm-analyze runs without it: remove the import")
    try:
        found = find_extensions(classes)
    except TypeError as error:
        raise UserError(file.name, f"cannot be used: {error}") from None
    others = [one.__name__ for (family, _), one in found.items() if family != "law"]
    if others or not found:
        raise UserError(file.name, f"must hold laws alone, got {', '.join(others) or 'no law'}")
    return list(found.values())


def _new_law(kind: type[Extension], source: str, holders: dict[str, str]) -> Law:
    """A law whose name no law before it has; `holders` has the names that are taken, and by what."""
    assert issubclass(kind, Law)
    if kind.name in holders:
        is_version = holders[kind.name] == f"{source} defines too"
        remedy = f"name the version to use: --laws {source}" if is_version else "choose another name"
        raise UserError(source, f"defines the law {kind.name!r}, which {holders[kind.name]}: {remedy}")
    _check_facts(kind, source)
    holders[kind.name] = f"{source} defines too"
    try:
        return kind()
    except Exception as error:
        raise UserError(source, f"cannot be used: {kind.__name__}(): {type(error).__name__}: {first_line(error)}") from error


def _check_facts(kind: type[Law], source: str) -> None:
    """Refuse attributes of the class that are of another form than those of `Law`.

    Raises:
        UserError: with the form.
    """
    forms = {
        "needs": ('(("test/exact_accuracy",), ("recursion",))', all(_are_words(columns) for columns in kind.needs)),
        "spans": ('("model.state_reset",)', isinstance(kind.spans, tuple) and _are_words(kind.spans)),
        "grows": ('("recursion",)', _are_words(kind.grows) and {"size", "recursion"}.issuperset(kind.grows)),
    }
    for name, (example, holds) in forms.items():
        if not holds:
            raise UserError(source, f"{kind.__name__}.{name} must be such as {example}, got {getattr(kind, name)!r}")


def _are_words(values: object) -> bool:
    return isinstance(values, tuple | list) and all(isinstance(value, str) for value in values)
