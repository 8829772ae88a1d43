"""`Registry`: the kinds of tasks and models that a sweep can have: built-in ones, those of installed packages and of files.

Files may also hold samplers, trackers and laws (`rrm/extensions.py`), whose built-in kinds are in the packages that use them.

There is no registry of the process: a sweep has one by its plug-ins, and two sweeps may have two versions of one file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from rrm.config import BaseModelConfig, KindConfig, Plugin
from rrm.errors import UserError, first_line
from rrm.extensions import Extension, ExtensionKey, find_extensions, kinds_of_family
from rrm.kinds import classes_of
from rrm.models import CONFIGS as MODEL_CONFIGS
from rrm.models import find_models
from rrm.plugins import check_installed, extension_points, import_plugin, installed_points, load_extension, load_point, package_of
from rrm.tasks import CONFIGS as TASK_CONFIGS
from rrm.tasks import BaseTaskConfig, find_tasks

Kinds = dict[str, type[KindConfig]]
SECTIONS: dict[str, Callable[[Iterable[type]], Kinds]] = {"task": find_tasks, "model": find_models}  # type: ignore[dict-item]


@dataclass(frozen=True, eq=False)
class Registry:
    """The classes of settings by kind."""

    tasks: Mapping[str, type[BaseTaskConfig]]
    models: Mapping[str, type[BaseModelConfig]]
    plugins: Mapping[tuple[str, str], Plugin]  # what defines a kind that is not built in, by section or family, and kind
    extensions: Mapping[ExtensionKey, type[Extension]]  # samplers, trackers and laws of files

    def section(self, name: str) -> Mapping[str, type[KindConfig]]:
        """The kinds of a section of a trial, `task` or `model`."""
        return self.tasks if name == "task" else self.models

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


BUILT_IN = Registry(MappingProxyType(TASK_CONFIGS), MappingProxyType(MODEL_CONFIGS), MappingProxyType({}), MappingProxyType({}))


@lru_cache(maxsize=64)
def registry_of(plugins: tuple[Plugin, ...], is_stored: bool = False) -> Registry:
    """The built-in kinds and those of plug-ins, which are imported.

    Args:
        plugins: what a spec or a trial names.
        is_stored: whether a program wrote it, which names all that it uses; else the kinds of all installed packages are added.

    Raises:
        UserError: a plug-in cannot be imported, has no kind, or has a kind that another one has; or a package has another version.
    """
    kinds: dict[str, Kinds] = {name: dict(BUILT_IN.section(name)) for name in SECTIONS}
    sources: dict[tuple[str, str], Plugin] = {}
    extensions: dict[ExtensionKey, type[Extension]] = {}
    for plugin in plugins:
        if plugin.package is not None:
            check_installed(plugin)
    for point in installed_points() if plugins or not is_stored else ():
        package = package_of(point)
        if package in plugins or not is_stored:
            _add(kinds, sources, package, f"package {package.code}", [load_point(point)])
    for number, plugin in enumerate(plugins):
        if plugin.file is None or (is_stored and not _holds_trials(plugin)):
            continue
        where, classes = f"plugins.{number}: {plugin.file}", classes_of(import_plugin(plugin))
        count = _add(kinds, sources, plugin, where, classes)
        _add_extensions(extensions, sources, plugin, where, classes, has_kinds=count > 0)
    if not sources:
        return BUILT_IN
    tasks, models = MappingProxyType(kinds["task"]), MappingProxyType(kinds["model"])
    return Registry(tasks, models, MappingProxyType(sources), MappingProxyType(extensions))  # type: ignore[arg-type]


def _holds_trials(plugin: Plugin) -> bool:
    """Whether a stored plug-in can define a task or a model; one of an earlier version does not state what it holds."""
    return plugin.holds is None or not SECTIONS.keys().isdisjoint(plugin.holds)


def _add_extensions(
    extensions: dict[ExtensionKey, type[Extension]],
    sources: dict[tuple[str, str], Plugin],
    plugin: Plugin,
    where: str,
    classes: list[type],
    *,
    has_kinds: bool,
) -> None:
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
        rule = "must define a task (a Task whose `config` is annotated with settings that have a kind), a model (with a `Config`), "
        known = ", ".join(value.__name__ for value in classes) or "no class"
        raise UserError(where, f"{rule}a sampler, a tracker or a law, got {known}")
    families = {family for family, _ in added}
    if "law" in families and (has_kinds or len(families) > 1):
        raise UserError(where, "must hold laws alone, because rrm-analyze imports it: move the law into a file of its own")
    for key, one in added.items():
        if key in extensions:
            raise UserError(where, f"defines the {key[0]} {key[1]!r}, which {sources[key].name} defines too: choose another kind")
        extensions[key], sources[key] = one, plugin


def _add(kinds: dict[str, Kinds], sources: dict[tuple[str, str], Plugin], plugin: Plugin, where: str, classes: list[type]) -> int:
    """Add the tasks and models of a plug-in.

    Returns:
        How many it has.

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
            if kind in kinds[section]:
                owner = sources.get((section, kind))
                holder = "is built in" if owner is None else f"{owner.name} defines too"
                raise UserError(where, f"defines the {section} kind {kind!r}, which {holder}: choose another kind")
            config.from_plugin = plugin
            kinds[section][kind], sources[section, kind] = config, plugin
        count += len(added)
    return count
