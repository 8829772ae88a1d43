"""Plug-ins: files and installed packages that define tasks and models, samplers, trackers and laws.

The content of a file is held by its digest, and its module is named by the digest, so that one process can have two versions of a
file. A file is imported once a process, on first use.
"""

import hashlib
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from importlib.abc import SourceLoader
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import module_from_spec
from os.path import normpath
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import ValidationError

from rrm.config import Plugin
from rrm.errors import UserError, first_line, from_validation
from rrm.extensions import Extension
from rrm.files import expand_home

FOLDER = "plugins"  # holds the files of a store, a trial or a saved model, each in a folder named by its digest
GROUPS = ("rrm_sweeps.tasks", "rrm_sweeps.models")  # entry points of installed packages
EXTENSION_GROUPS = {family: f"rrm_sweeps.{family}s" for family in ("sampler", "tracker", "law")}


class Content(NamedTuple):
    """A file of a plug-in."""

    path: str  # where it was read, for messages
    data: bytes


_contents: dict[str, Content] = {}  # by digest
_importing = threading.RLock()


class _Loader(SourceLoader):
    """Imports a file from its content."""

    def __init__(self, content: Content) -> None:
        self.content = content

    def get_filename(self, fullname: str) -> str:
        return self.content.path

    def get_data(self, path: str) -> bytes:
        return self.content.data


def hold_file(path: str, data: bytes) -> Plugin:
    """Hold the content of a file under its digest."""
    digest = hashlib.sha256(data).hexdigest()
    _contents.setdefault(digest, Content(path, data))
    return Plugin(file=Path(path).name, sha256=digest)


def is_held(plugin: Plugin) -> bool:
    """Whether the plug-in can be loaded without reading a file: a package always can."""
    return plugin.sha256 is None or plugin.sha256 in _contents


def content_of(plugin: Plugin) -> bytes:
    """The content of a file that is held."""
    return _contents[plugin.sha256 or ""].data


def stored_name(plugin: Plugin) -> str:
    """The name of a file in a store, a trial's folder or a saved model."""
    return f"{FOLDER}/{plugin.sha256}/{Path(plugin.name).name}"


def files_of(plugins: Iterable[Plugin]) -> dict[str, bytes]:
    """The contents of plug-ins that are files, by `stored_name`."""
    return {stored_name(plugin): content_of(plugin) for plugin in plugins if plugin.sha256 is not None}


def parse_plugins(entries: Any) -> tuple[Plugin, ...]:
    """The plug-ins that a stored spec or trial names; none where `entries` is None.

    Raises:
        UserError: an entry is not valid.
    """
    return tuple(_parse_entry(entry, f"plugins.{number}") for number, entry in enumerate(_as_list(entries)))


def read_plugins(entries: Any, folder: Path) -> tuple[Plugin, ...]:
    """The plug-ins that a user's spec or trial names, with digests; the files are read and not imported.

    Args:
        folder: the folder of the spec, where paths start. A file with a digest may also lie where a store or a trial keeps it.

    Raises:
        UserError: a file is absent, lies outside the folder, or has another digest than expected.
    """
    return tuple(_read_entry(entry, folder, f"plugins.{number}") for number, entry in enumerate(_as_list(entries)))


def _as_list(entries: Any) -> list[Any]:
    if entries is None or isinstance(entries, list):
        return entries or []
    raise UserError("plugins", f"must be a list of files, got {entries!r}; write plugins: [my_model.py]")


def _parse_entry(entry: Any, where: str) -> Plugin:
    try:
        return Plugin.model_validate(entry)
    except ValidationError as error:
        raise from_validation(error, Plugin, where) from None


def _read_entry(entry: Any, folder: Path, where: str) -> Plugin:
    """One plug-in of `read_plugins`."""
    if isinstance(entry, str):
        return read_file(_path_below(folder, entry, where))
    expected = _parse_entry(entry, where)
    if is_held(expected):
        return expected
    name = stored_name(expected)
    # The folder of a store, of a saved model or of a trial of its own; the folder of a trial in a store.
    kept = [path for path in (folder / name, folder / "../.." / name) if path.is_file()]
    plugin = read_file(kept[0] if kept else _path_below(folder, expected.name, where))
    if plugin.sha256 != expected.sha256:
        raise UserError(where, f"{plugin.file} has changed: its sha256 is {plugin.sha256}, expected {expected.sha256}")
    return plugin


def _path_below(folder: Path, given: str, where: str) -> Path:
    path = Path(normpath(folder.absolute() / expand_home(given)))
    if not path.is_relative_to(normpath(folder.absolute())):
        raise UserError(where, f"must lie in the folder of the spec or below it, got {given!r}: copy the file there")
    return path


def read_file(path: Path) -> Plugin:
    """A file, held under its digest and not imported.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return hold_file(str(path), path.read_bytes())
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None


# -- import -----------------------------------------------------------------------------------------------------------


def import_plugin(plugin: Plugin) -> ModuleType:
    """The module of a file that is held; it is imported with the first call.

    Raises:
        UserError: the file is not held, or raises when it is imported.
    """
    digest = plugin.sha256 or ""
    name = f"rrm_plugin_{digest[:16]}"
    with _importing:
        if name in sys.modules:
            return sys.modules[name]
        if digest not in _contents:
            raise UserError(plugin.name, f"is needed and absent: put the file with the sha256 {digest} beside the spec")
        module = module_from_spec(ModuleSpec(name, _Loader(_contents[digest]), origin=_contents[digest].path))
        module.__file__ = _contents[digest].path  # pydantic reads the docstrings of fields from there
        sys.modules[name] = module
        try:
            with redirect_stdout(sys.stderr):  # what a plug-in prints is no part of a command's output
                _Loader(_contents[digest]).exec_module(module)
        except BaseException as error:
            del sys.modules[name]  # a half of a module would be taken for the whole one
            if isinstance(error, KeyboardInterrupt):
                raise
            raise _import_error(_contents[digest].path, error) from None
        return module


def _import_error(path: str, error: BaseException) -> UserError:
    """One line with the last line of the file that was reached."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == path else lines[-1] if lines else None
    where = path if line is None else f"{path}, line {line}"
    return UserError(where, f"cannot be imported: {type(error).__name__}: {first_line(error)}")


def fault_of_plugin(error: BaseException) -> UserError | None:
    """One line for an exception that code of a plug-in raised, with its last line that was reached.

    None where neither a file nor an installed package with plug-ins took part.
    """
    files, places = {content.path for content in _contents.values()}, _package_places()
    reached = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in reached if frame.filename in files or frame.filename.startswith(places)]
    if not frames:
        return None
    where = f"{frames[-1].filename}, line {frames[-1].lineno}"
    return UserError(where, f"{frames[-1].name} raised {type(error).__name__}: {first_line(error)}")


def _package_places() -> tuple[str, ...]:
    """The folders and files of the modules that entry points of installed plug-ins name, so far as they are imported."""
    points = [*installed_points(), *(point for family in EXTENSION_GROUPS for point in extension_points(family))]
    roots = [sys.modules.get(point.module.partition(".")[0]) for point in points]
    folders = [f"{folder}{os.sep}" for root in roots for folder in getattr(root, "__path__", [])]
    return (*folders, *(str(root.__file__) for root in roots if root is not None and not hasattr(root, "__path__")))


@contextmanager
def faults_of(plugin: Plugin | None, what: str) -> Iterator[None]:
    """Code that uses what a plug-in defines: an exception of it is one line, also where no code of a plug-in raised.

    Args:
        plugin: where absent, all exceptions pass.
        what: the kind, for the message.

    Raises:
        UserError: the code raised, and no code of a plug-in took part, for which `fault_of_plugin` has the place.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if plugin is None or fault_of_plugin(error) is not None:
            raise
        problem = f"does not keep to the interface: {type(error).__name__}: {first_line(error)}"
        raise UserError(f"{what} of {plugin.name}", problem) from error


# -- installed packages -----------------------------------------------------------------------------------------------


@cache
def installed_points() -> tuple[EntryPoint, ...]:
    """The entry points of all installed plug-ins; nothing is imported."""
    return tuple(point for group in GROUPS for point in sorted(entry_points(group=group), key=lambda point: point.name))


@cache
def extension_points(family: str) -> tuple[EntryPoint, ...]:
    """The entry points of the installed samplers, trackers or laws; each has the name of its kind. Nothing is imported."""
    return tuple(sorted(entry_points(group=EXTENSION_GROUPS[family]), key=lambda point: point.name))


def load_extension(point: EntryPoint, family: str) -> type[Extension]:
    """The sampler, tracker or law that an entry point names.

    Raises:
        UserError: it cannot be imported, is of another family, or has another kind than its entry point.
    """
    named = load_point(point)
    where = f"package {package_of(point).code}"
    if not issubclass(named, Extension) or named.family != family or inspect.isabstract(named):
        raise UserError(
            where, f"its entry point {point.value} must be a complete {family}, got {named.__name__}; repair the package"
        )
    if named.extension_kind() != point.name:
        rule = f"its entry point of the {family} {named.extension_kind()!r} must have that name, got {point.name!r}"
        raise UserError(where, f"{rule}; repair the package")
    return named


def package_of(point: EntryPoint) -> Plugin:
    """The package that has an entry point."""
    assert point.dist is not None
    return Plugin(package=point.dist.name, version=point.dist.version)


def installed_packages() -> dict[str, str]:
    """The versions of the installed packages that have plug-ins, by name."""
    return {package.name: package.version or "" for package in map(package_of, installed_points())}


def load_point(point: EntryPoint) -> type:
    """The class that an entry point names.

    Raises:
        UserError: it cannot be imported, or is no class.
    """
    package = package_of(point)
    where, remedy = f"package {package.code}", "repair or uninstall the package"
    try:
        with redirect_stdout(sys.stderr):
            named = point.load()
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(where, f"its entry point {point.value} cannot be imported: {problem}; {remedy}") from None
    if not isinstance(named, type):
        raise UserError(where, f"its entry point {point.value} must be a class, such as my_package.puzzles:Reverse; {remedy}")
    return named


def check_installed(package: Plugin) -> None:
    """Refuse a package that is not installed in the version of a stored trial.

    Raises:
        UserError: with the command that installs it.
    """
    try:
        installed = version(package.name)
    except PackageNotFoundError:
        installed = "none"
    if installed != package.version:
        remedy = f"pip install '{package.name}=={package.version}', or begin a sweep of another name: name=NEW"
        raise UserError(f"package {package.name}", f"must be version {package.version}, got {installed}: {remedy}")
