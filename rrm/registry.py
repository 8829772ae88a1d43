"""`Registry`: the kinds of tasks and models that a sweep can have: built-in ones, those of installed packages and of files.

There is no registry of the process: a sweep has one by its plug-ins, and two sweeps may have two versions of one file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from rrm.config import BaseModelConfig, KindConfig, Plugin
from rrm.errors import UserError, first_line
from rrm.kinds import classes_of
from rrm.models import CONFIGS as MODEL_CONFIGS
from rrm.models import find_models
from rrm.plugins import check_installed, import_plugin, installed_points, load_point, package_of
from rrm.tasks import CONFIGS as TASK_CONFIGS
from rrm.tasks import BaseTaskConfig, find_tasks

Kinds = dict[str, type[KindConfig]]
SECTIONS: dict[str, Callable[[Iterable[type]], Kinds]] = {"task": find_tasks, "model": find_models}  # type: ignore[dict-item]


@dataclass(frozen=True, eq=False)
class Registry:
    """The classes of settings by kind."""

    tasks: Mapping[str, type[BaseTaskConfig]]
    models: Mapping[str, type[BaseModelConfig]]
    plugins: Mapping[tuple[str, str], Plugin]  # what defines a kind that is not built in, by section and kind

    def section(self, name: str) -> Mapping[str, type[KindConfig]]:
        """The kinds of a section of a trial, `task` or `model`."""
        return self.tasks if name == "task" else self.models


BUILT_IN = Registry(MappingProxyType(TASK_CONFIGS), MappingProxyType(MODEL_CONFIGS), MappingProxyType({}))


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
    for plugin in plugins:
        if plugin.package is not None:
            check_installed(plugin)
    for point in installed_points() if plugins or not is_stored else ():
        package = package_of(point)
        if package in plugins or not is_stored:
            _add(kinds, sources, package, f"package {package.code}", [load_point(point)])
    for number, plugin in enumerate(plugins):
        if plugin.file is not None:
            _add(kinds, sources, plugin, f"plugins.{number}: {plugin.file}", classes_of(import_plugin(plugin)))
    if not sources:
        return BUILT_IN
    tasks, models = MappingProxyType(kinds["task"]), MappingProxyType(kinds["model"])
    return Registry(tasks, models, MappingProxyType(sources))  # type: ignore[arg-type]


def _add(kinds: dict[str, Kinds], sources: dict[tuple[str, str], Plugin], plugin: Plugin, where: str, classes: list[type]) -> None:
    """Add the kinds of a plug-in.

    Raises:
        UserError: it has none, or one that is taken.
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
    if not count:
        rule = "must define a task (a Task whose `config` is annotated with settings that have a kind) or a model (with a `Config`)"
        raise UserError(where, f"{rule}, got {', '.join(value.__name__ for value in classes) or 'no class'}")
