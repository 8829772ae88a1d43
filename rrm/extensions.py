"""What a plug-in may define beside tasks and models: samplers, trackers and laws; their base classes are elsewhere."""

import inspect
from abc import ABC
from collections.abc import Iterable, Mapping
from typing import ClassVar

ExtensionKey = tuple[str, str]  # family and kind


class Extension(ABC):
    """Base of the base classes of samplers, trackers and laws."""

    family: ClassVar[str]
    """`sampler`, `tracker` or `law`."""

    @classmethod
    def extension_kind(cls) -> str | None:
        """The word by which a spec or a report names the class; None for a base class."""
        return getattr(cls, "kind", None)


def find_extensions(classes: Iterable[type]) -> dict[ExtensionKey, type[Extension]]:
    """The samplers, trackers and laws among some classes.

    Raises:
        TypeError: a class lacks methods, its kind is no text, or two classes of a family have one kind.
    """
    found: dict[ExtensionKey, type[Extension]] = {}
    for one in classes:
        if not issubclass(one, Extension) or (kind := one.extension_kind()) is None:
            continue
        if not isinstance(kind, str) or not kind:
            raise TypeError(f"the kind of {one.__name__} must be a word, got {kind!r}")
        if inspect.isabstract(one):
            raise TypeError(f"{one.__name__} must define {', '.join(sorted(one.__abstractmethods__))}")
        key = (one.family, kind)
        if key in found:
            raise TypeError(f"{found[key].__name__} and {one.__name__} have one kind, {kind!r}: give one of them another kind")
        found[key] = one
    return found


def kinds_of_family(extensions: Mapping[ExtensionKey, type[Extension]], family: str) -> dict[str, type[Extension]]:
    """The classes of one family by kind."""
    return {kind: one for (name, kind), one in extensions.items() if name == family}
