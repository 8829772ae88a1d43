"""`rrm-sweep export --to parquet`: the store of a sweep as one file, without weights, checkpoints and data."""

import hashlib
import json
import re
from collections import defaultdict
from pathlib import Path

from lightning_modules.record import Record
from lightning_modules.trial_folder import ERROR, ITEMS, KILLED, THINKING, TRIAL
from lightning_modules.yaml_file import parse_yaml
from rrm.errors import UserError
from rrm.files import expand_home
from rrm.plugins import FOLDER
from sweeps.moving.sweep_file import (
    Header,
    NumberedRow,
    PluginFile,
    SmallFile,
    TrialPart,
    digest_of,
    read_header,
    write_file,
)
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.store.store import SPEC, Store
from sweeps.store.stored_trials import damaged_plugin

STORED_PLUGIN = re.compile(rf"{FOLDER}/(?P<digest>[0-9a-f]{{64}})/(?P<name>[^/]+)")
SMALL_FILES = (ITEMS, THINKING, ERROR, KILLED)  # files of a trial that go with it


def export_sweep(store: Store, path: Path | None) -> str:
    """Write a sweep with its finished trials into a Parquet file.

    Args:
        path: the file; None for `<sweep>.parquet` in the current folder.

    Returns:
        A line on what was written.

    Raises:
        UserError: the sweep has no finished trials, its store is damaged, or the file exists and is no export of this sweep.
    """
    text = store.spec() or ""
    name = parse_stored_spec(text, f"{store.location}/{SPEC}", {}, imports_plugins=False).name
    path = Path(expand_home(path or f"{name}.parquet"))
    _refuse_other_file(path, name, store.identity())
    results = store.results()
    if not results:
        raise UserError(store.location, "has no finished trials: there is nothing to export")
    rows = _rows_of(store)
    parts = [_part(store, fingerprint, result, rows[fingerprint]) for fingerprint, result in results.items()]
    header = Header(
        sweep=name,
        identity=store.identity(),
        spec=text,
        design=store.design(),
        plugins=_plugins(store),
        trials={part["fingerprint"]: digest_of(part) for part in parts},
    )
    write_file(path, header, parts, [_without_curves(result) for result in results.values()])
    left_out = len(store.begun() - results.keys())
    note = f"; {left_out} unfinished left out" if left_out else ""
    return f"{path}: {len(parts)} finished trials of {name}, without weights{note}"


def _refuse_other_file(path: Path, sweep: str, identity: str | None) -> None:
    """Refuse to replace a file that is no export of this sweep.

    Raises:
        UserError: it is another file, or there is no folder for it.
    """
    if not path.exists():
        if not path.parent.is_dir():
            raise UserError(str(path), "cannot be written: its folder does not exist")
        return
    try:
        is_mine = read_header(path).is_of(sweep, identity)
    except UserError:
        is_mine = False
    if not is_mine:
        raise UserError(str(path), f"exists, and is no export of {sweep}: name another file with --out, or remove it")


def _rows_of(store: Store) -> dict[str, list[NumberedRow]]:
    """The reported rows of each trial."""
    rows = defaultdict[str, list[NumberedRow]](list)
    for number, line in enumerate(store.rows()):
        rows[line["fingerprint"]].append(NumberedRow(number=number, row=json.dumps(line["row"])))
    return rows


def _part(store: Store, fingerprint: str, result: Record, rows: list[NumberedRow]) -> TrialPart:
    trial = store.trial(fingerprint)
    if trial is None:
        raise UserError(store.where(fingerprint), f"has a result and no {TRIAL}: restore it, or remove the folder")
    files = [(name, store.file(fingerprint, name)) for name in SMALL_FILES]
    return TrialPart(
        fingerprint=fingerprint,
        trial=json.dumps(parse_yaml(trial, f"{store.where(fingerprint)}/{TRIAL}")),
        record=json.dumps(_without_curves(result)),
        curves=result["curves"],
        rows=rows,
        attempts=[json.dumps(line) for line in store.attempts(fingerprint)],
        files=[SmallFile(name=name, data=data) for name, data in files if data is not None],
    )


def _without_curves(result: Record) -> Record:
    return {name: value for name, value in result.items() if name != "curves"}


def _plugins(store: Store) -> list[PluginFile]:
    """The files of plug-ins, also those of earlier runs, whose trials are in the store. Other files in their folder are left out.

    Raises:
        UserError: a file does not have the digest of its folder.
    """
    plugins = []
    for stored in store.backend.names(FOLDER):
        found = STORED_PLUGIN.fullmatch(stored)
        if found is None:
            continue
        content = store.backend.read(stored) or b""
        if hashlib.sha256(content).hexdigest() != found["digest"]:
            raise damaged_plugin(f"{store.location}/{stored}")
        text = content.decode(errors="surrogateescape")
        plugins.append(PluginFile(name=found["name"], sha256=found["digest"], text=text))
    return plugins
