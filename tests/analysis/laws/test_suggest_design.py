"""Every suggestion of every refusal is a spec that runs beside the finished trials: it adds cells and changes none of them."""

import io
import math
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from analysis.data.csv_import import load_csv
from analysis.data.tables import load, merge
from analysis.laws.fit import Fit
from analysis.laws.fit_all import fit_laws
from lightning_modules.config import TrialConfig
from lightning_modules.record import FitResult, describe
from lightning_modules.yaml_file import read_yaml, write_yaml
from sweeps.driver.ledger import Ledger, stored_sections
from sweeps.driver.reconcile import reconcile
from sweeps.planning.plan import print_plan
from sweeps.spec.load_spec import load_spec
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.spool import Spool
from tests.conftest import ROOT, tiny_sections

Scores = Callable[[dict[str, Any], np.random.Generator], tuple[float, float]]  # NLL and exact accuracy of a record


def straight(record: dict[str, Any], random: np.random.Generator) -> tuple[float, float]:
    """The recurrence law holds."""
    nll = 2 * record["params_recursed"] ** -0.1 * record["recursion"] ** -0.2 * math.exp(random.normal(0, 0.02))
    return nll, math.exp(-nll)


def at_floor(record: dict[str, Any], random: np.random.Generator) -> tuple[float, float]:
    return 1.4 * math.exp(random.normal(0, 0.05)), 0.0


def at_ceiling(record: dict[str, Any], random: np.random.Generator) -> tuple[float, float]:
    return 0.01 * math.exp(random.normal(0, 0.05)), 1.0


def uneven(record: dict[str, Any], random: np.random.Generator) -> tuple[float, float]:
    """Cells differ by far more than the noise, and by no law."""
    key = (record["params_recursed"], record["recursion"], record["layers_executed"])
    own = np.random.default_rng(zlib.crc32(repr(key).encode()))
    nll = math.exp(own.normal(0, 1) + random.normal(0, 0.01))
    return nll, math.exp(-nll)


SHAPES: dict[str, Scores] = {"straight": straight, "floor": at_floor, "ceiling": at_ceiling, "uneven": uneven}


def finish(spec: SweepSpec, scores: Scores, failed_width: int | None = None) -> None:
    """A store as a driver leaves it when the trials have completed, but those of one width have failed."""
    store, random = Store(spec.location), np.random.default_rng(0)
    store.create()
    store.write_spec(write_yaml(stored_sections(spec)))
    store.write_design([trial.fingerprint for trial in spec.design])
    for trial in spec.design:
        record = describe(trial)
        nll, accuracy = scores(record, random)
        store.write_trial(trial.fingerprint, write_yaml(trial.resolved()))
        shown = {"val/nll": nll, "test/nll": nll, "val/exact_accuracy": accuracy, "test/exact_accuracy": accuracy}
        known = {"sweep": spec.name, "chosen_depth": trial.model.trained_depth, "steps": 12}
        known["outcome"] = "failed" if trial.model.hidden_size == failed_width else "completed"
        known["train_flops"] = record.get("train_flops", 1e6 * record["inference_flops"])
        curves = list(depth_curve(trial, accuracy))
        store.write_result(trial.fingerprint, FitResult({**record, **known, **shown}, curves).to_json())


def depth_curve(trial: TrialConfig, accuracy: float) -> Iterator[dict[str, Any]]:
    """Accuracy that rises slowly with the depth, over all items and by difficulty."""
    for depth in range(1, trial.eval.max_depth + 1):
        reached = accuracy * (1 - math.exp(-depth / 4))
        for name, share in {"": 1.0, "/k1": 1.0, "/k2": 0.9, "/k4": 0.8}.items():
            metric = f"depth/exact_accuracy{name}"
            yield {"metric": metric, "axis": "depth", "at": depth, "value": reached * share, "time": 0}


def refused(fits: list[Fit]) -> list[Fit]:
    return [fit for fit in fits if not fit.is_fitted]


def open_beside(spec: SweepSpec, text: str, folder: Path) -> tuple[SweepSpec, Ledger]:
    """A suggestion as `rrm-sweep run` reads it, and the ledger that its driver begins with, on a copy of the finished trials."""
    shutil.copytree(spec.storage, folder / "runs")
    (folder / "suggestion.yaml").write_text(text)
    suggestion = load_spec(folder / "suggestion.yaml", [f"storage={folder / 'runs'}"])
    store = Store(suggestion.location)
    store.create()
    ledger = reconcile(suggestion, store, EventRecorder(suggestion, Spool(store.driver_folder / "spool"), store))
    return suggestion, ledger


def assert_extends(spec: SweepSpec, text: str, folder: Path) -> None:
    """The suggestion is valid; under the sweep's own name it keeps every finished trial, and there is something to run."""
    finished = set(Store(spec.location).results())
    suggestion, ledger = open_beside(spec, text, folder)
    pending = {trial.fingerprint for trial in suggestion.design} - ledger.results.keys()
    assert pending, text
    assert f"defaults: {spec.defaults}\n" in text
    if suggestion.name == spec.name:
        assert set(ledger.results) == finished, text
        assert pending.isdisjoint(finished)
    else:
        assert not ledger.results


def check_all(spec: SweepSpec, folder: Path, fits: list[Fit]) -> set[str]:
    """Every different suggestion runs; returns them."""
    texts = {fit.suggestion for fit in refused(fits) if fit.suggestion is not None}
    for number, text in enumerate(sorted(texts)):
        assert_extends(spec, text, folder / str(number))
    return texts


# -- sweeps -------------------------------------------------------------------------------------------------------


AXES = {"model.hidden_size": [16, 24], "model.l_cycles": [1, 2]}
DESIGNS: dict[str, dict[str, Any]] = {
    "a factorial": {"vary": AXES},
    "all axes": {"vary": AXES | {"model.h_cycles": [1, 2], "model.supervision_steps": [1, 2, 4]}},
    "one seed": {"vary": {"model.hidden_size": [16, 24, 32], "model.l_cycles": [1, 2, 4]}, "seeds": 1},
    "depth rises with width": {"vary": [{"model.hidden_size": 8 * 2**k, "model.l_cycles": 2 * 4**k - 1} for k in range(4)]},
    "two kinds": {"vary": [AXES | {"model.kind": "trm", "model.supervision_steps": [1, 4]},
                           {"model.kind": ["direct"], "model.hidden_size": [16, 24]}]},
    "two tasks": {"vary": AXES | {"task.size": [4, 6]}},
    "state reset": {"vary": {"model.state_reset": ["carry", "latent"], "model.hidden_size": [16, 24, 32, 48]}},
    "a rate for each width": {"vary": [{"model.hidden_size": 16, "optim.lr": 1e-3, "model.supervision_steps": [1, 4]},
                                       {"model.hidden_size": 32, "optim.lr": 5e-4, "model.supervision_steps": [1, 4]}]},
    "equal parameters": {"vary": {"model.l_cycles": [1, 2, 4]},
                         "tie": [{"solve": "model.hidden_size", "so_that": "params_recursed", "equals": 9000, "within": 0.5}]},
    "equal compute": {"vary": {"model.l_cycles": [1, 2, 4]},
                      "tie": [{"solve": "model.num_layers", "so_that": "train_flops", "equals": 3e9, "within": 0.5}]},
    "wide and deep": {"vary": {"model.hidden_size": [16, 32, 48, 64], "model.l_cycles": [1, 2, 4, 8]}},
    "a block with its own depth": {"vary": [{"model.supervision_steps": 1}, {"model.supervision_steps": 8, "eval.max_depth": 8}]},
}  # fmt: skip


def sections_of(name: str, storage: Path) -> dict[str, Any]:
    trial = tiny_sections(optim={"betas": [0.9, 0.98]}, task__clues=[5, 9])
    if name == "two kinds":
        trial["model"] = {"head_size": 8, "num_layers": 1}
    if name == "two tasks":
        del trial["task"]["size"], trial["task"]["clues"]
    measure = {"seeds": 2, "matching": "steps"} | DESIGNS[name]
    return {"name": "tiny", "trial": trial, "measure": measure, "storage": str(storage)}


FAST = {("a factorial", "straight"), ("equal parameters", "straight")}
CASES = [pytest.param(name, shape, marks=() if (name, shape) in FAST else pytest.mark.more) for name in DESIGNS for shape in SHAPES]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_every_suggestion_adds_cells_and_changes_no_finished_trial(
    name: str, shape: str, write_spec: Callable, tmp_path: Path
) -> None:
    spec = load_spec(write_spec(sections_of(name, tmp_path / "runs")))
    finish(spec, SHAPES[shape])
    fits = fit_laws(load(spec.location))
    texts = check_all(spec, tmp_path, fits)
    assert texts or not refused(fits)


def test_levels_whose_trials_failed_do_not_count(write_spec: Callable, tmp_path: Path) -> None:
    sections = sections_of("a factorial", tmp_path / "runs")
    sections["measure"]["vary"] = {"model.hidden_size": [16, 24, 32, 48], "model.l_cycles": [1, 2]}
    spec = load_spec(write_spec(sections))
    finish(spec, straight, failed_width=48)
    fits = fit_laws(load(spec.location))
    text = next(fit.suggestion for fit in refused(fits) if fit.law == "power_params")
    assert text is not None and "model.hidden_size: [16, 24, 32, 48, 96]" in text
    assert_extends(spec, text, tmp_path / "more")


SHIPPED = sorted(path for path in (ROOT / "sweeps/specs").rglob("*.yaml") if "measure" in read_yaml(path))


def shipped(path: Path, tmp_path: Path) -> SweepSpec:
    """A shipped spec; the puzzles of the one that reads files are made up."""
    question = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
    answer = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
    data = tmp_path / "data.csv"
    data.write_text("source,question,answer,rating\n" + f"x,{question},{answer},0\n" * 5)
    files = [f"trial.task.{name}={data}" for name in ("train", "test") if "train" in read_yaml(path)["trial"]["task"]]
    return load_spec(path, [f"storage={tmp_path / 'runs'}", *files])


SHIPPED_CASES = [
    pytest.param(
        path, shape, marks=() if (path.stem, shape) == ("demo", "straight") else pytest.mark.more, id=f"{path.stem}-{shape}"
    )
    for path in SHIPPED
    for shape in SHAPES
]


@pytest.mark.parametrize(("path", "shape"), SHIPPED_CASES)
def test_every_suggestion_for_a_shipped_sweep_runs_beside_its_trials(path: Path, shape: str, tmp_path: Path) -> None:
    spec = shipped(path, tmp_path)
    finish(spec, SHAPES[shape])
    fits = fit_laws(load(spec.location))
    assert refused(fits)
    check_all(spec, tmp_path, fits)


@pytest.mark.more
def test_two_sweeps_together_get_a_suggestion_for_one_of_them(write_spec: Callable, tmp_path: Path) -> None:
    sections = sections_of("a factorial", tmp_path / "runs")
    wider = sections | {
        "name": "wider",
        "measure": sections["measure"] | {"vary": {"model.hidden_size": 32, "model.l_cycles": [1, 2]}},
    }
    specs = [load_spec(write_spec(one)) for one in (sections, wider)]
    for spec in specs:
        finish(spec, straight)
    fits = fit_laws(merge([load(spec.location) for spec in specs]))
    texts = check_all(specs[0], tmp_path, fits)
    assert any("name: tiny\n" in text and "[16, 24, 32, 64]" in text for text in texts), texts


def test_a_suggestion_names_the_place_that_the_store_was_moved_to(write_spec: Callable, tmp_path: Path) -> None:
    spec = load_spec(write_spec(sections_of("a factorial", tmp_path / "runs")))
    finish(spec, straight)
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    texts = {fit.suggestion for fit in refused(fit_laws(load(tmp_path / "elsewhere/tiny")))}
    assert texts and all(f"storage: {tmp_path / 'elsewhere'}\n" in str(text) for text in texts)


def test_a_model_without_recursion_gets_no_design_for_its_exchange_rate(write_spec: Callable, tmp_path: Path) -> None:
    spec = load_spec(write_spec(sections_of("two kinds", tmp_path / "runs")))
    finish(spec, straight)
    fits = [fit for fit in refused(fit_laws(load(spec.location))) if fit.group["model.kind"] == "direct"]
    suggested = {fit.law: fit.suggestion for fit in fits}
    assert suggested["recurrence"] is None and suggested["test_time"] is None
    assert "model.kind: [direct], model.hidden_size: [16, 24, 48, 96]" in str(suggested["power_params"])


def test_a_sketch_of_a_foreign_table_is_valid_and_has_a_name_of_its_own(write_spec: Callable, tmp_path: Path) -> None:
    """The table of our report, in which lists are text, read as anybody's."""
    spec = load_spec(write_spec(sections_of("a factorial", tmp_path / "runs")))
    finish(spec, straight)
    load(spec.location).trials.to_csv(tmp_path / "runs.csv", index=False)
    texts = {fit.suggestion for fit in refused(fit_laws(load_csv(tmp_path / "runs.csv")))}
    assert texts and None not in texts
    for text in texts:
        (tmp_path / "sketch.yaml").write_text(str(text))
        sketch = load_spec(tmp_path / "sketch.yaml")
        assert sketch.name.startswith("tiny_more") and sketch.base.task.clues == (5, 9) and sketch.base.optim.betas == (0.9, 0.98)
        assert str(text).count("\n") < 15


@pytest.mark.parametrize(
    "columns",
    [{"task.kind": "a/b"}, {"model.kind": "mamba"}, {"model.head_size": 7}, {"optim.betas": "[2, 3]"}, {"model.depth": 3}],
)
def test_a_sketch_leaves_out_what_is_no_valid_setting(columns: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"model.hidden_size": width, "seed": seed, "params_recursed": 12 * width**2, "recursion": 4, "test/nll": 1 / width}
            | columns for width in (100, 200) for seed in range(2)]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    texts = {fit.suggestion for fit in refused(fit_laws(load_csv(tmp_path / "runs.csv")))}
    assert texts
    for text in texts:
        (tmp_path / "sketch.yaml").write_text(str(text))
        assert {cell.model.hidden_size for cell in load_spec(tmp_path / "sketch.yaml").design} >= {100, 200}


@pytest.mark.more
def test_a_suggestion_read_from_mlflow_is_that_of_the_store(tracked: Ledger, tmp_path: Path) -> None:
    spec = tracked.spec
    from_mlflow = fit_laws(load(spec.name, f"sqlite:///{Path(spec.storage) / 'mlflow.db'}"))
    from_store = fit_laws(load(spec.location))
    assert {fit.suggestion for fit in from_mlflow} == {fit.suggestion for fit in from_store}
    check_all(spec, tmp_path, from_mlflow)


@pytest.mark.parametrize(
    "path", [path for path in SHIPPED if path.stem in {"demo", "sudoku6_supervision"}], ids=lambda path: path.stem
)
@pytest.mark.more
def test_every_suggestion_is_planned(path: Path, tmp_path: Path) -> None:
    spec = shipped(path, tmp_path)
    finish(spec, straight)
    finished = len(Store(spec.location).results())
    for text in {fit.suggestion for fit in refused(fit_laws(load(spec.location)))} - {None}:
        (tmp_path / "suggestion.yaml").write_text(str(text))
        suggestion, file = load_spec(tmp_path / "suggestion.yaml"), io.StringIO()
        print_plan(suggestion, Console(file=file))
        done = f"{finished} of {len(suggestion.design)} trials are finished; " if suggestion.name == spec.name else "trials, about"
        assert done in file.getvalue()


@pytest.mark.more
@pytest.mark.ray
def test_a_suggestion_runs_to_its_end_and_leaves_finished_trials_as_they_are(typed: Callable, tmp_path: Path) -> None:
    sections = sections_of("a factorial", tmp_path / "runs")
    sections["measure"] |= {"vary": {"model.hidden_size": [8, 16], "model.supervision_steps": [1, 4]}}
    (tmp_path / "sweep.yaml").write_text(write_yaml(sections))
    assert typed("run", "sweep.yaml").returncode == 0
    store = Store(tmp_path / "runs/tiny")
    before = store.results()
    text = next(fit.suggestion for fit in fit_laws(load(store.location)) if fit.law == "test_time" and fit.suggestion)
    assert "model.supervision_steps: [8], eval.max_depth: [16]" in text
    (tmp_path / "suggestion.yaml").write_text(text)
    ended = typed("run", "suggestion.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    after = store.results()
    assert len(after) == len(before) + 4 and before.items() <= after.items()
