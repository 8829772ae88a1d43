"""`rrm-sweep import`: a store from an exported sweep, which `run` continues and extends."""

import json
import shlex
from pathlib import Path

from lightning_modules.record import FitResult
from lightning_modules.yaml_file import parse_yaml, write_yaml
from rrm.errors import UserError, first_line
from rrm.files import expand_home, join_location
from rrm.plugins import FOLDER
from sweeps.moving.export_sweep import SMALL_FILES
from sweeps.moving.sweep_file import Header, TrialPart, damaged, read_header, read_parts
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.store.store import SPEC, Imported, Store, trial_file

RENAME = "name="  # the one override of an import


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
    spec = _spec_of(header, path, name, store)
    _refuse_taken(store)
    for part in read_parts(path, header):
        _check_part(path, part)
    store.create()
    try:
        with store.locked():
            _refuse_taken(store)  # another import may have written it meanwhile
            _write_store(store, path, header, name, spec)
    except OSError as error:
        raise UserError(
            store.location, f"cannot be written: {first_line(error)}; free space, remove it, then import again"
        ) from None
    done = f"{store.location}: {len(header.trials)} finished trials of {header.sweep}"
    return f"{done}; continue with rrm-sweep run {shlex.quote(f'{store.location}/{SPEC}')}"


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


def _spec_of(header: Header, path: Path, name: str, store: Store) -> str:
    """The spec of the new store.

    Raises:
        UserError: the name is not valid, or the spec in the file is damaged.
    """
    sections = parse_yaml(header.spec, f"{path}: {SPEC}")
    if not isinstance(sections, dict):
        raise damaged(path, f"{SPEC} has no sections")
    text = write_yaml(sections | {"name": name, "storage": store.location.rpartition("/")[0]})
    parse_stored_spec(text, str(path), {}, imports_plugins=False)
    return text


def _check_part(path: Path, part: TrialPart) -> None:
    """Refuse a trial whose record has a later format, or that names files which no export has."""
    others = {file["name"] for file in part["files"]} - set(SMALL_FILES)
    if others:
        raise damaged(path, f"trial {part['fingerprint']} has the file {min(others)!r}")
    if json.loads(part["record"]).get("fingerprint") != part["fingerprint"]:
        raise damaged(path, f"the record of trial {part['fingerprint']} is of another trial")


def _write_part(store: Store, part: TrialPart, name: str) -> None:
    """Write the files of a trial, its end marker last."""
    fingerprint = part["fingerprint"]
    store.write_trial(fingerprint, write_yaml(json.loads(part["trial"])))
    for file in part["files"]:
        store.backend.write(trial_file(fingerprint, file["name"]), file["data"])
    for line in part["attempts"]:
        store.append_attempt(fingerprint, json.loads(line))
    store.write_result(fingerprint, FitResult(json.loads(part["record"]) | {"sweep": name}, part["curves"]).to_json())
