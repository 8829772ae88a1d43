"""`rrm-sweep import`: a store from an exported sweep, which `run` continues and extends."""

import json
import shlex
from pathlib import Path
from typing import Any

from lightning_modules.config import flatten
from lightning_modules.record import FitResult
from lightning_modules.yaml_file import parse_yaml, write_yaml
from rrm.errors import UserError, first_line, require_content
from rrm.files import expand_home, join_location
from rrm.plugins import FOLDER
from sweeps.design.groups import FILE_PATHS
from sweeps.moving.export_sweep import SMALL_FILES
from sweeps.moving.sweep_file import Header, TrialPart, damaged, read_header, read_parts
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.store.contents import AttemptPart, RowLine
from sweeps.store.json_lines import parse_json
from sweeps.store.store import SPEC, Imported, Store, parse_result, trial_file

RENAME = "name="  # the one override of an import
OTHER_SWEEPS = {"measure": "reuse", "search": "warm_start"}  # fields with sweeps of the storage that the file comes from


def import_sweep(path: Path, storage: str, overrides: list[str]) -> str:
    """Make a store of an exported sweep. Its spec is written last: an interrupted import leaves no sweep.

    Args:
        storage: folder or URI that receives the sweep.
        overrides: nothing, or `name=NEW`.

    Returns:
        A line on what was written.

    Raises:
        UserError: the file is damaged or no exported sweep, or the storage has a sweep of this name, or what an
            interrupted import has left. Nothing was written.
    """
    path = Path(expand_home(path))
    header = read_header(path)
    name = _name_of(header, overrides)
    store = Store(join_location(storage, name))
    sections, left_out = _sections_of(header, path, name, store)
    _refuse_taken(store)
    for part in read_parts(path, header):
        _check_part(path, part)
    store.create()
    try:
        with store.locked():
            _refuse_taken(store)  # another import may have written it meanwhile
            _write_store(store, path, header, name, write_yaml(sections))
    except OSError as error:
        raise UserError(
            store.location, f"cannot be written: {first_line(error)}; free space, remove it, then import again"
        ) from None
    done = f"{store.location}: {len(header.trials)} finished trials of {header.sweep}"
    done += f", without {left_out}, which is in another storage" if left_out else ""
    command = f"{done}; continue with rrm-sweep run {shlex.quote(f'{store.location}/{SPEC}')}"
    absent = _absent_files(sections["trial"])
    return f"{command} {' '.join(f'{field}=PATH' for field in absent)}, because the data is not here" if absent else command


def _absent_files(trial: dict[str, Any]) -> list[str]:
    """The fields whose files or folders do not exist on this machine."""
    values = flatten(trial)
    files = {name: values[name] for name in sorted(FILE_PATHS) if isinstance(values.get(name), str)}
    return [f"trial.{name}" for name, path in files.items() if not Path(expand_home(path)).exists()]


def _refuse_taken(store: Store) -> None:
    """Refuse a place that has a sweep, or what an interrupted import has left."""
    if store.spec() is not None:
        raise UserError(store.location, f"is a sweep already: give the imported one another name: {RENAME}NEW")
    if store.backend.names("trials"):
        raise UserError(
            store.location,
            f"holds trials without a spec, as an interrupted import leaves them: remove it, or give another name: {RENAME}NEW",
        )


def _write_store(store: Store, path: Path, header: Header, name: str, spec: str) -> None:
    """Write the files of the sweep, its spec last. Needs the lock of the store."""
    rows: list[tuple[int, str, str]] = []  # number, fingerprint and JSON
    for plugin in header.plugins:
        store.backend.write(f"{FOLDER}/{plugin.sha256}/{plugin.name}", plugin.content)
    for part in read_parts(path, header):
        _write_part(store, part, name)
        rows += [(row["number"], part["fingerprint"], row["row"]) for row in part["rows"]]
    for _, fingerprint, row in sorted(rows):
        store.append_row(fingerprint, json.loads(row))
    store.backend.flush()
    store.write_design(header.design)
    store.write_imported(Imported(sweep=header.sweep, identity=header.identity, trials=sorted(header.trials)))
    store.identify()
    store.write_spec(spec)


def _name_of(header: Header, overrides: list[str]) -> str:
    """The name of the new sweep."""
    for override in overrides:
        if not override.startswith(RENAME):
            raise UserError("override", f"must be {RENAME}NEW, got {override!r}: an import changes nothing else")
    return overrides[-1].removeprefix(RENAME) if overrides else header.sweep


def _sections_of(header: Header, path: Path, name: str, store: Store) -> tuple[dict[str, Any], str]:
    """The spec of the new store, and the field with other sweeps that is left out, because their storage is another one.

    Raises:
        UserError: the name is not valid, or the spec in the file is damaged.
    """
    sections = parse_yaml(header.spec, f"{path}: {SPEC}")
    if not isinstance(sections, dict):
        raise damaged(path, f"{SPEC} has no sections")
    sections |= {"name": name, "storage": store.location.rpartition("/")[0]}
    parse_stored_spec(write_yaml(sections), str(path), {}, imports_plugins=False)
    for section, field in OTHER_SWEEPS.items():
        if sections.get(section, {}).get(field):
            del sections[section][field]
            return sections, f"{section}.{field}"
    return sections, ""


def _check_part(path: Path, part: TrialPart) -> None:
    """Refuse a trial whose parts no store holds, or that names files which no export has.

    Raises:
        UserError: the trial is damaged.
    """
    where = f"{path}: trial {part['fingerprint']}"
    others = {file["name"] for file in part["files"]} - set(SMALL_FILES)
    if others:
        raise damaged(path, f"trial {part['fingerprint']} has the file {min(others)!r}")
    if parse_result(part["record"], where)["fingerprint"] != part["fingerprint"]:
        raise damaged(path, f"the record of trial {part['fingerprint']} is of another trial")
    if not isinstance(parse_json(part["trial"], where), dict):
        raise damaged(path, f"trial {part['fingerprint']} has no settings")
    for row in part["rows"]:
        require_content({"fingerprint": part["fingerprint"], "row": parse_json(row["row"], where)}, RowLine, where)
    for line in part["attempts"]:
        require_content(parse_json(line, where), AttemptPart, where)


def _write_part(store: Store, part: TrialPart, name: str) -> None:
    """Write the files of a trial, its end marker last."""
    fingerprint = part["fingerprint"]
    store.write_trial(fingerprint, write_yaml(json.loads(part["trial"])))
    for file in part["files"]:
        store.backend.write(trial_file(fingerprint, file["name"]), file["data"])
    for line in part["attempts"]:
        store.append_attempt(fingerprint, json.loads(line))
    store.write_result(fingerprint, FitResult(json.loads(part["record"]) | {"sweep": name}, part["curves"]).to_json())
