"""`Registry`: the kinds of tasks and models that a sweep can have: built-in ones, those of installed packages and of files.

Files may also hold samplers, trackers and laws (`rrm/extensions.py`), whose built-in kinds are in the packages that use them.

There is no registry of the process: a sweep has one by its plug-ins, and two sweeps may have two versions of one file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Any

from rrm.config import BaseModelConfig, KindConfig, Plugin
from rrm.errors import UserError, first_line
from rrm.extensions import Extension, ExtensionKey, find_extensions, kinds_of_family
from rrm.kinds import classes_of
from rrm.models import CONFIGS as MODEL_CONFIGS
from rrm.models import find_models
from rrm.plugins import check_installed, extension_points, import_plugin, installed_points, load_extension, load_point, package_of
from rrm.tasks import CONFIGS as TASK_CONFIGS
from rrm.tasks import BaseTaskConfig, find_tasks

DEFINES = (
    "must define a task (a Task whose `config` is annotated with settings that have a kind), a model (with a `Config`), "
    "a sampler, a tracker or a law"
)
Kinds = dict[str, type[KindConfig]]
SECTIONS: dict[str, Callable[[Iterable[type]], Kinds]] = {"task": find_tasks, "model": find_models}  # type: ignore[dict-item]


@dataclass(frozen=True, eq=False)
class Registry:
    """The classes of settings by kind."""

    tasks: Mapping[str, type[BaseTaskConfig]]
    models: Mapping[str, type[BaseModelConfig]]
    plugins: Mapping[tuple[str, str], Plugin]  # what defines a kind that is not built in, by section or family, and kind
    extensions: Mapping[ExtensionKey, type[Extension]]  # samplers, trackers and laws of files
    broken: Mapping[str, UserError]  # installed entry points that cannot be used, by name, which is usually the kind

    def section(self, name: str) -> Mapping[str, type[KindConfig]]:
        """The kinds of a section of a trial, `task` or `model`."""
        return self.tasks if name == "task" else self.models

    def require_sound(self, sections: Mapping[str, Any]) -> None:
        """Refuse a trial whose task or model an installed package defines that cannot be used.

        Raises:
            UserError: what is wrong with the package.
        """
        for name in SECTIONS:
            section = sections.get(name)
            kind = section.get("kind") if isinstance(section, Mapping) else None
            if isinstance(kind, str) and kind in self.broken and kind not in self.section(name):
                raise self.broken[kind]

    def families_of(self, plugin: Plugin) -> list[str]:
        """The families of what a plug-in defines, such as `task`, in alphabetical order."""
        return sorted({family for (family, _), source in self.plugins.items() if source == plugin})

    def find_extension(self, family: str, kind: str) -> type[Extension] | None:
        """The sampler, tracker or law of this kind in a file of the sweep or in an installed package; None where there is none.

        Raises:
            UserError: the package cannot be imported.
        """
        if (family, kind) in self.extensions:
            return self.extensions[family, kind]
        point = next((point for point in extension_points(family) if point.name == kind), None)
        return None if point is None else load_extension(point, family)

    def extension_kinds(self, family: str) -> list[str]:
        """The kinds of a family that files of the sweep and installed packages have."""
        return [*kinds_of_family(self.extensions, family), *(point.name for point in extension_points(family))]


EMPTY: MappingProxyType[Any, Any] = MappingProxyType({})
BUILT_IN = Registry(MappingProxyType(TASK_CONFIGS), MappingProxyType(MODEL_CONFIGS), EMPTY, EMPTY, EMPTY)


@lru_cache(maxsize=64)
def registry_of(plugins: tuple[Plugin, ...], is_stored: bool = False) -> Registry:
    """The built-in kinds and those of plug-ins, which are imported.

    Args:
        plugins: what a spec or a trial names.
        is_stored: whether a program wrote it, which names all that it uses; else the kinds of all installed packages are added.

    Raises:
        UserError: a file cannot be imported, has no kind, or has a kind that another one has; or a package has another version.
    """
    draft = _Draft()
    for plugin in plugins:
        if plugin.package is not None:
            check_installed(plugin)
    for point in installed_points() if plugins or not is_stored else ():
        if package_of(point) in plugins:
            draft.add_package(point)
        elif not is_stored:
            draft.try_package(point)
    for number, plugin in enumerate(plugins):
        if plugin.file is not None and not (is_stored and _holds_no_kind(plugin)):
            draft.add_file(plugin, f"plugins.{number}: {plugin.file}")
    return draft.finish()


def _holds_no_kind(plugin: Plugin) -> bool:
    """Whether a stored plug-in defines neither a task nor a model; one of an earlier version does not state what it holds."""
    return plugin.holds is not None and SECTIONS.keys().isdisjoint(plugin.holds)


class _Draft:
    """A registry while plug-ins are added."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kinds] = {name: dict(BUILT_IN.section(name)) for name in SECTIONS}
        self.sources: dict[tuple[str, str], Plugin] = {}
        self.extensions: dict[ExtensionKey, type[Extension]] = {}
        self.broken: dict[str, UserError] = {}
        self.files: dict[str | None, str] = {}  # names by digest

    def finish(self) -> Registry:
        if not self.sources and not self.broken:
            return BUILT_IN
        parts = (self.kinds["task"], self.kinds["model"], self.sources, self.extensions, self.broken)
        return Registry(*map(MappingProxyType, parts))  # type: ignore[arg-type]

    def try_package(self, point: EntryPoint) -> None:
        """Add a package that nothing names; one that cannot be used refuses no other kind."""
        try:
            self.add_package(point)
        except UserError as error:
            self.broken[point.name] = error

    def add_package(self, point: EntryPoint) -> None:
        where, named = f"package {package_of(point).code}", load_point(point)
        if not self._add_kinds(package_of(point), where, [named]):
            raise UserError(where, f"must define a task or a model by its entry point, got {named.__name__}")

    def add_file(self, plugin: Plugin, where: str) -> None:
        if plugin.sha256 in self.files:
            raise UserError(where, f"has the content of {self.files[plugin.sha256]}, which is named too: leave one of them out")
        self.files[plugin.sha256] = plugin.name
        classes = classes_of(import_plugin(plugin))
        has_kinds = self._add_kinds(plugin, where, classes) > 0
        self._add_extensions(plugin, where, classes, has_kinds=has_kinds)

    def _add_kinds(self, plugin: Plugin, where: str, classes: list[type]) -> int:
        """Add the tasks and models of a plug-in, and return how many there are.

        Raises:
            UserError: one of them is taken or cannot be used.
        """
        count = 0
        for section, find in SECTIONS.items():
            try:
                added = find(classes)
            except Exception as error:  # an annotation can raise anything
                raise UserError(where, f"has a {section} that cannot be used: {first_line(error)}") from None
            for kind, config in added.items():
                if kind in self.kinds[section]:
                    owner = self.sources.get((section, kind))
                    holder = "is built in" if owner is None else f"{owner.name} defines too"
                    raise UserError(where, f"defines the {section} kind {kind!r}, which {holder}: choose another kind")
                config.from_plugin = plugin
                self.kinds[section][kind], self.sources[section, kind] = config, plugin
            count += len(added)
        return count

    def _add_extensions(self, plugin: Plugin, where: str, classes: list[type], *, has_kinds: bool) -> None:
        """Add the samplers, trackers and laws of a file.

        Args:
            has_kinds: whether the file has a task or a model.

        Raises:
            UserError: the file holds nothing, a law beside something else, or a kind that another file has.
        """
        try:
            added = find_extensions(classes)
        except TypeError as error:
            raise UserError(where, f"cannot be used: {first_line(error)}") from None
        if not added and not has_kinds:
            names = ", ".join(value.__name__ for value in classes) or "no class"
            raise UserError(where, f"{DEFINES}, got {names}")
        families = {family for family, _ in added}
        if "law" in families and (has_kinds or len(families) > 1):
            raise UserError(where, "must hold laws alone, because rrm-analyze imports it: move the law into a file of its own")
        for key, one in added.items():
            if key in self.extensions:
                holder = f"{self.sources[key].name} defines too"
                raise UserError(where, f"defines the {key[0]} {key[1]!r}, which {holder}: choose another kind")
            self.extensions[key], self.sources[key] = one, plugin
