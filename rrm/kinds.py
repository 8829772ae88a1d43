"""Kinds of tasks and of models: the modules of their folder, and the field of a config that holds one of them by its `kind`."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Annotated, Any, Union

from pydantic import Discriminator, Tag

from rrm.config import StrictConfig


def import_modules(package: str) -> list[ModuleType]:
    """All modules of a package, by name; a package within it counts as one."""
    return [import_module(f"{package}.{module.name}") for module in iter_modules(import_module(package).__path__)]


def kind_of(given: Any, default: str) -> Any:
    """The kind of a section, read from its fields or from its config; the default where it states none."""
    return given.get("kind", default) if isinstance(given, dict) else getattr(given, "kind", default)


def union_by_kind(configs: Mapping[str, type[StrictConfig]], default: str) -> Any:
    """The annotation of a field that holds one of these settings, by its `kind`."""
    tagged = tuple(Annotated[config, Tag(kind)] for kind, config in configs.items())
    return Annotated[Union[tagged], Discriminator(lambda given: kind_of(given, default))]  # noqa: UP007
