"""Reading a spec: the file of a user with overrides, or the spec in a store."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lightning_modules.config import TrialConfig, dump_plugins, flatten, trial_class
from lightning_modules.yaml_file import parse_yaml, read_yaml, reject_nulls, write_flow
from rrm.config import fields_by_path
from rrm.defaults import FIRST_DEFAULTS, parse_version
from rrm.errors import UserError, from_validation, require_sections
from rrm.files import expand_home, locate
from rrm.format_version import STORE_FORMAT, check_format
from rrm.plugins import parse_plugins, read_plugins
from rrm.registry import registry_of
from rrm.tasks.arc_sets import NAMED
from sweeps.design.groups import FILE_PATHS
from sweeps.spec.check_trials import check_trials
from sweeps.spec.space import Sections, with_values
from sweeps.spec.spec_class import STORED_SPEC, spec_class_for
from sweeps.spec.sweep import Origin, SweepSpec


def load_spec(
    path: Path, overrides: list[str] | None = None, begun_with: Callable[[str], int | None] = lambda location: None
) -> SweepSpec:
    """The sweep in a YAML file, with `dotted.path=value` overrides, checked down to every trial and data file.

    Args:
        begun_with: version of the defaults of the sweep at a location, None where no sweep was begun there; it holds where
            the file has no version.

    Raises:
        UserError: the user can correct it; one line.
    """
    path = Path(expand_home(path))
    sections = read_yaml(path)
    check_format(sections.pop("format", None), STORE_FORMAT, str(path))  # so that the spec in a store can be run too
    if not {"trial", "measure", "search"} & sections.keys() and {"task", "model"} & sections.keys():
        raise UserError(str(path), f"is a trial, not a sweep: use rrm-trial {path}")
    for override in overrides or []:
        sections = _override(sections, override)
    if "defaults" in sections:
        parse_version(sections["defaults"], "defaults")
    folder = path.parent.resolve()
    if "plugins" in sections:
        plugins = read_plugins(sections["plugins"], folder)
        registry_of(plugins)  # a file that cannot be imported is refused before anything else
        sections["plugins"] = dump_plugins(plugins)
    spec = _parse(sections, Origin(folder))
    version = begun_with(spec.location)  # refuses a store of a later version in any case
    if version is not None and "defaults" not in sections:
        spec = _parse(sections | {"defaults": version}, Origin(folder, is_begun=True))
    for override in overrides or []:
        _check_effect(spec, override)
    check_trials(spec)
    return spec


def parse_stored_spec(text: str, where: str, files: Mapping[str, str], imports_plugins: bool = True) -> SweepSpec:
    """The sweep in a store. Its data files may have been moved or removed since, and none of them is read.

    Args:
        files: the present paths of data files, by their digests.
        imports_plugins: whether its plug-ins, whose files are held, are imported now; else with the first trial that is built.

    Raises:
        UserError: the text is not a valid sweep, or a plug-in cannot be imported; `where` names the text.
    """
    sections = parse_yaml(text, where)
    spec = _parse({"defaults": stored_defaults(sections, where)} | sections, Origin(moved_files=files))
    if imports_plugins:
        _ = spec.registry
    return spec


def stored_defaults(sections: Any, where: str) -> int:
    """The version of the defaults in a stored spec; the first one where the spec has none.

    Raises:
        UserError: the version is later than those known here, or the text is no spec; `where` names the spec.
    """
    if not isinstance(sections, dict):
        raise UserError(where, "is damaged (no sections of key: value lines): restore it")
    return parse_version(sections.get("defaults", FIRST_DEFAULTS), f"{where}: defaults")


def _parse(sections: Sections, origin: Origin) -> SweepSpec:
    is_stored = origin.moved_files is not None
    kinds = None if is_stored else registry_of(parse_plugins(sections.get("plugins")))
    spec_class = STORED_SPEC if kinds is None else spec_class_for(sections, kinds)
    require_sections(sections, spec_class)
    if not isinstance(trial := sections.get("trial", {}), dict):
        raise UserError("trial", f"must be a section of key: value lines, got {trial!r}; write trial: {{task: {{kind: sudoku}}}}")
    require_sections(trial, TrialConfig, "trial")
    try:
        return spec_class.model_validate_json(json.dumps(sections), context=origin)
    except ValidationError as error:
        kinds = kinds or registry_of(parse_plugins(sections.get("plugins")), is_stored=True)
        known = [*fields_by_path(spec_class), *(f"trial.{path}" for path in fields_by_path(trial_class(kinds)))]
        raise _as_written(from_validation(error, spec_class, known=known), sections) from None


def _as_written(error: UserError, sections: Sections) -> UserError:
    """The error with the path of the file, in which a single block of `measure.vary` has no number."""
    numbered = "measure.vary.0"
    measure = sections.get("measure")
    is_list = isinstance(measure, dict) and isinstance(measure.get("vary"), list)
    if is_list or not f"{error.where}.".startswith(f"{numbered}."):
        return error
    return UserError("measure.vary" + error.where.removeprefix(numbered), error.problem, error.fields)


def _check_effect(spec: SweepSpec, override: str) -> None:
    """Refuse an override below `trial` of a field that the sweep sets in every trial.

    Raises:
        UserError: with the override that has an effect.
    """
    dotted, _, text = override.partition("=")
    given = flatten(with_values({}, {dotted: parse_yaml(text, dotted)}))
    below_trial = {path.removeprefix("trial."): value for path, value in given.items() if path.startswith("trial.")}
    for path, value in below_trial.items():
        setter = spec.setter_of(path)
        if setter is None:
            continue
        shown = write_flow([value])
        if ".tie." in setter:
            problem = f"has no effect, {setter} solves for it in every trial: leave it out"
        elif setter == "search.space":
            problem = f"has no effect, {setter} sets it; override {setter}.{path}={{choice: {shown}}}"
        elif setter == "measure.vary":
            problem = f"has no effect, {setter} sets it; override {setter}.{path}={shown}"
        else:
            problem = "has no effect, every block of measure.vary sets it: change it there"
        raise UserError(f"trial.{path}", problem)


def _override(sections: Sections, override: str) -> Sections:
    """Apply one `dotted.path=value`, whose value is YAML and whose data paths start at the current folder."""
    dotted, separator, text = override.partition("=")
    if not separator or not all(dotted.split(".")):
        raise UserError("override", f"must be dotted.path=value, got {override!r}")
    value = parse_yaml(text, dotted)
    reject_nulls(value, dotted)
    if dotted in {f"trial.{path}" for path in FILE_PATHS}:
        value = [_from_here(path) for path in value] if isinstance(value, list) else _from_here(value)
    for section, name in (("measure", "vary"), ("search", "space")):
        if dotted.startswith(f"{section}.{name}."):
            return _override_path(sections, section, name, dotted, value)
    return with_values(sections, {dotted: value})


def _override_path(sections: Sections, section: str, name: str, dotted: str, value: Any) -> Sections:
    """Override the values of one path of `measure.vary` or `search.space`, whose keys have dots in them."""
    mapping = f"{section}.{name}"
    outer = sections.get(section, {})
    before = outer.get(name, {}) if isinstance(outer, dict) else None
    if isinstance(before, list) and len(before) == 1:
        before = before[0]  # a list of one block is that block
    if not isinstance(before, dict):
        raise UserError(dotted, f"cannot be overridden: {mapping} is not a section of paths")
    return with_values(sections, {mapping: before | {dotted.removeprefix(f"{mapping}."): value}})


def _from_here(path: Any) -> Any:
    """A data path of the command line as an absolute one; the name of a public set stays as it is."""
    return str(locate(Path(), path)) if isinstance(path, str) and path not in NAMED else path
