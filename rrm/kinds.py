"""Kinds of tasks and of models: the classes that have one, and the field of a config that holds one of them by its `kind`."""

import inspect
from collections.abc import Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Annotated, Any, TypeVar, Union

from pydantic import Discriminator, Tag

from rrm.config import KindConfig

ConfigT = TypeVar("ConfigT", bound=KindConfig)


def classes_of(module: ModuleType) -> list[type]:
    """The classes that a module defines, each once; those that it imports are not among them."""
    defined = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    return list(dict.fromkeys(defined))  # a class may have two names


def classes_in(package: str) -> list[type]:
    """The classes that the modules of a package define, by module; a package within it counts as one module."""
    modules = [import_module(f"{package}.{module.name}") for module in iter_modules(import_module(package).__path__)]
    return [value for module in modules for value in classes_of(module)]


def configs_by_kind(pairs: Iterable[tuple[type, type[ConfigT]]]) -> dict[str, type[ConfigT]]:
    """Classes of settings by their kind; each gets the class that it builds.

    Args:
        pairs: classes of tasks or of models, each with its class of settings.

    Raises:
        TypeError: a class lacks methods, its kind is no text, two classes have one kind, or settings are those of another class.
    """
    configs: dict[str, type[ConfigT]] = {}
    for built, config in pairs:
        kind = config.model_fields["kind"].default
        if not isinstance(kind, str) or not kind:
            raise TypeError(f'the kind of {config.__name__} must have a default: kind: Literal["NAME"] = "NAME"')
        for part in (built, config):
            if inspect.isabstract(part):
                lacking = ", ".join(sorted(part.__abstractmethods__))  # type: ignore[attr-defined]
                raise TypeError(f"{part.__name__} must define {lacking}")
        if kind in configs:
            others = f"{configs[kind].built_class.__name__} and {built.__name__}"
            raise TypeError(f"{others} have one kind, {kind!r}: give one of them another kind")
        owner = vars(config).get("built_class", built)  # a class of settings inherits the attribute of its base
        if owner is not built:
            rule = f"{built.__name__} must have settings of its own, got {config.__name__}, those of {owner.__name__}"
            raise TypeError(f"{rule}: derive a class from them, with another kind")
        configs[kind] = config
        config.built_class = built
    return configs


def default_first(configs: dict[str, type[ConfigT]], default: str) -> dict[str, type[ConfigT]]:
    """The classes of settings with the default kind before the others."""
    return {default: configs[default], **configs}


def kind_of(given: Any, default: str) -> Any:
    """The kind of a section, read from its fields or from its config; the default where it states none."""
    return given.get("kind", default) if isinstance(given, dict) else getattr(given, "kind", default)


def union_by_kind(configs: Mapping[str, type[KindConfig]], default: str) -> Any:
    """The annotation of a field that holds one of these settings, by its `kind`."""
    tagged = tuple(Annotated[config, Tag(kind)] for kind, config in configs.items())
    return Annotated[Union[tagged], Discriminator(lambda given: kind_of(given, default))]  # noqa: UP007
