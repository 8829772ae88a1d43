"""`rrm-sweep export --to wandb`: a run of Weights & Biases for each finished trial, in one group; nothing is sent twice."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import RootModel, ValidationError

from lightning_modules.atomic_write import write_atomically
from lightning_modules.outcome import Outcome
from lightning_modules.record import CurvePoint, Record
from rrm.errors import UserError, first_line, first_problem, require_content
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.store.json_lines import parse_json
from sweeps.store.store import SPEC, Store

SENT = "wandb.json"  # in the driver's folder: fingerprints by destination
NEEDS_PACKAGE = "needs the package wandb: pip install 'rrm-sweeps[wandb]'"


class SentFile(RootModel[dict[str, list[str]]]):
    """wandb.json."""


def export_to_wandb(store: Store) -> str:
    """Make a run of each finished trial that this destination lacks: id = fingerprint, group = sweep.

    WANDB_PROJECT names the project, by default the sweep; WANDB_MODE=offline writes files for `wandb sync` beside the sweep.

    Returns:
        A line on what was made.

    Raises:
        UserError: wandb is not installed, is turned off or refuses a run, or the sweep has no finished trials.
    """
    try:
        import wandb
    except ImportError:
        raise UserError("--to wandb", NEEDS_PACKAGE) from None
    sweep = parse_stored_spec(store.spec() or "", f"{store.location}/{SPEC}", {}, imports_plugins=False).name
    project = os.environ.get("WANDB_PROJECT") or sweep
    results = store.results()
    if not results:
        raise UserError(store.location, "has no finished trials: there is nothing to export")
    path = store.driver_folder / SENT
    sent = _read_sent(path)
    destination = _destination(project)
    missing = [name for name in results if name not in sent.get(destination, [])]
    for fingerprint in missing:
        try:
            _send(wandb, results[fingerprint], project, sweep, store.driver_folder)
        except wandb.Error as error:
            raise UserError("--to wandb", f"{first_line(error)}; wandb login, or set WANDB_MODE=offline") from None
        except ValidationError as error:
            raise UserError("--to wandb", f"a setting of wandb is not valid: {first_problem(error)}") from None
        sent.setdefault(destination, []).append(fingerprint)
        write_atomically(path, json.dumps(sent))
    return f"{project} in wandb: {len(missing)} finished trials of {sweep} added, {len(results) - len(missing)} were there"


def _read_sent(path: Path) -> dict[str, list[str]]:
    """Fingerprints by destination; none where nothing was sent.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return {}
    sent: dict[str, list[str]] = parse_json(path.read_bytes(), str(path))
    require_content(sent, SentFile, str(path))
    return sent


def _destination(project: str) -> str:
    """Names the receiver of the runs: server, owner, project, and whether they are files."""
    given = (os.environ.get(name, "") for name in ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_MODE"))
    return " ".join([*given, project])


def _send(wandb: Any, result: Record, project: str, sweep: str, folder: Path) -> None:
    """Make one run: settings as its config, curves as its history, the other columns as its summary."""
    is_setting = {name: name == "seed" or ("." in name and "/" not in name) for name in result if name != "curves"}
    run = wandb.init(
        project=project,
        group=sweep,
        id=result["fingerprint"],
        name=f"{sweep}-{result['fingerprint'][:6]}",
        config={name: result[name] for name, holds in is_setting.items() if holds},
        tags=[str(result["outcome"])],
        dir=str(folder),
        settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True),
    )
    if run.disabled:
        raise UserError("--to wandb", "wandb is turned off: wandb online, or set WANDB_MODE=online or offline")
    for metric, axis in dict.fromkeys((point["metric"], point["axis"]) for point in result["curves"]):
        run.define_metric(metric, step_metric=axis)
    for (axis, at), values in _by_place(result["curves"]).items():
        run.log({axis: at, **values})
    run.summary.update({name: result[name] for name, holds in is_setting.items() if not holds})
    run.finish(exit_code=1 if result["outcome"] == Outcome.FAILED else 0)


def _by_place(curves: Iterable[CurvePoint]) -> dict[tuple[str, int], dict[str, float]]:
    """The values of all metrics at each step and at each depth, in rising order."""
    places = defaultdict[tuple[str, int], dict[str, float]](dict)
    for point in curves:
        places[point["axis"], point["at"]][point["metric"]] = point["value"]
    return dict(sorted(places.items()))
