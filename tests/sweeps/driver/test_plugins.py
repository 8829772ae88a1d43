"""A sweep whose task and model are two files beside its spec, in a folder with a space in its name."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import analysis.cli
from analysis.data.tables import load_store, merge
from lightning_modules.outcome import Outcome
from lightning_modules.yaml_file import read_yaml, write_yaml
from rrm.errors import UserError
from sweeps.cli.doctor import examine
from sweeps.cli.submit import SPEC_FILE, submitted_sections, write_submitted
from sweeps.driver.ledger import Ledger
from sweeps.driver.reconcile import reconcile
from sweeps.planning.load_sweep import load_sweep
from sweeps.planning.plan import print_plan
from sweeps.spec.json_schema import sweep_schema
from sweeps.spec.load_spec import load_spec
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store
from sweeps.store.stored_trials import read_config
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.spool import Spool
from sweeps.worker.node_check import describe_code, find_misfit
from tests.conftest import EXAMPLES, ROOT, plugin_sections
from tests.sweeps.conftest import command, ending, run_here, train_alone

MODEL = EXAMPLES["my_model.py"]
CHANGED = MODEL.replace("self.config.rate *", "self.config.rate**2 *")


def sweep_sections(**changes: Any) -> dict[str, Any]:
    trial = plugin_sections()
    plugins = trial.pop("plugins")
    measure = {"vary": {"model.kind": ["damped", "trm"]}, "seeds": 1}
    return {"name": "tiny", "plugins": plugins, "trial": trial, "measure": measure, "tracking": {"models": 0}} | changes


@pytest.fixture
def load(plugin_folder: Path, tmp_path: Path) -> Callable[..., SweepSpec]:
    """The sweep in a file beside the plug-ins."""

    def load_changed(*overrides: str, **changes: Any) -> SweepSpec:
        path = plugin_folder / "sweep.yaml"
        path.write_text(write_yaml(sweep_sections(storage=str(tmp_path / "runs"), **changes)))
        return load_sweep(path, list(overrides))

    return load_changed


def open_ledger(spec: SweepSpec) -> Ledger:
    store = Store(spec.location)
    store.create()
    return reconcile(spec, store, EventRecorder(spec, Spool(store.driver_folder / "spool"), store))


def end_all(ledger: Ledger) -> None:
    """Complete every trial without training it."""
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config))


def test_the_store_holds_the_files_and_every_trial_names_those_that_it_uses(load: Callable[..., SweepSpec]) -> None:
    ledger = open_ledger(load())
    run_here(ledger)
    store = ledger.store
    assert {record["outcome"] for record in ledger.results.values()} == {Outcome.COMPLETED}
    entries = yaml.safe_load(store.spec() or "")["plugins"]
    assert [entry["file"] for entry in entries] == ["my_puzzle.py", "my_model.py"]
    for entry in entries:
        content = store.backend.read(f"plugins/{entry['sha256']}/{entry['file']}")
        assert content is not None and content.decode() == EXAMPLES[entry["file"]]
    named = {record["model.kind"]: read_config(store, name).plugins or [] for name, record in ledger.results.items()}
    assert {kind: [plugin.file for plugin in plugins] for kind, plugins in named.items()} == {
        "damped": ["my_puzzle.py", "my_model.py"],
        "trm": ["my_puzzle.py"],
    }
    assert load_store(store).completed["model.kind"].nunique() == 2


READ = """
import sys
from pathlib import Path
from analysis.data.tables import load_store, merge
from lightning_modules.config import load_trial
from sweeps.cli.status import read_status
from sweeps.spec.load_spec import load_spec, parse_stored_spec
from sweeps.store.store import Store
from sweeps.store.stored_trials import read_config
from sweeps.tracking.trial_facts import facts_of, stored_facts

store = Store(sys.argv[1])
assert "2 of 2 trials have ended" in read_status(store).lines()[0]
shown = {fingerprint: stored_facts(store, fingerprint, record) for fingerprint, record in store.results().items()}
assert not [name for name in sys.modules if name.startswith("rrm_plugin_")], "status and ui import no plug-in"
for fingerprint in store.finished():
    config = read_config(store, fingerprint)
    assert config.fingerprint == fingerprint
    known = facts_of(config)
    assert [known.params, known.matching, known.training_fingerprint, known.text] == [
        shown[fingerprint].params, shown[fingerprint].matching, shown[fingerprint].training_fingerprint, shown[fingerprint].text
    ]
for path in Path(sys.argv[1]).glob("trials/*/trial.yaml"):
    assert load_trial(path).fingerprint == path.parent.name
assert {trial.fingerprint for trial in load_spec(Path(sys.argv[1]) / "spec.yaml").design} == store.finished()
(sections,) = load_store(store).specs
assert len(parse_stored_spec(store.spec(), "spec.yaml", {}).design) == 2
"""


def test_a_process_that_has_the_store_alone_reads_trials_and_tables(load: Callable[..., SweepSpec], plugin_folder: Path) -> None:
    ledger = open_ledger(load())
    end_all(ledger)
    for name in ("my_puzzle.py", "my_model.py"):
        (plugin_folder / name).unlink()
    ended = subprocess.run([sys.executable, "-c", READ, ledger.store.location], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_a_changed_file_under_finished_trials_is_refused(load: Callable[..., SweepSpec], plugin_folder: Path) -> None:
    end_all(open_ledger(load()))
    (plugin_folder / "my_model.py").write_text(CHANGED)
    changed = r"my_model.py was '\w{12}' and is '\w{12}'\); give the new sweep another name: name=NEW"
    with pytest.raises(UserError, match=changed):
        open_ledger(load())
    printed = io.StringIO()
    print_plan(load(), Console(file=printed))
    assert re.search(f"warning: rrm-sweep run refuses this sweep: .*{changed}\n", printed.getvalue())
    assert len(open_ledger(load("name=other")).spec.design) == 2


def test_trials_of_two_versions_of_a_file_share_no_cell(load: Callable[..., SweepSpec], plugin_folder: Path) -> None:
    stores = []
    for name, source in (("one", MODEL), ("two", CHANGED), ("three", CHANGED)):
        (plugin_folder / "my_model.py").write_text(source)
        ledger = open_ledger(load(name=name, measure={"vary": {"model.kind": ["damped", "trm"]}, "seeds": 2}))
        end_all(ledger)
        stores.append(load_store(ledger.store))
    one, two, three = stores
    both = merge([one, two])
    assert both.varied == ["code", "model.kind"] and both.settings == {"code"}
    codes = both.completed.groupby("model.kind")["code"].agg(set)
    assert codes["trm"] == {""} and len(codes["damped"]) == 2 and all(code.startswith("my_model.py ") for code in codes["damped"])
    same = merge([two, three])
    assert "code" not in same.trials and len(same.trials) == 4


def test_a_changed_file_that_no_finished_trial_uses_is_taken(load: Callable[..., SweepSpec], plugin_folder: Path) -> None:
    spec = load()
    ledger = open_ledger(spec)
    plain = next(trial for trial in spec.design if trial.model.kind == "trm")  # type: ignore[attr-defined]
    while (config := ledger.ask()) is not None:
        if config.fingerprint == plain.fingerprint:
            ledger.end(config.fingerprint, ending(config))
    (plugin_folder / "my_model.py").write_text(CHANGED)
    again = open_ledger(load())
    assert again.results.keys() == {plain.fingerprint}
    assert [trial.fingerprint for trial in again.spec.design if trial.fingerprint not in again.results] != []
    assert len(list((Path(again.store.location) / "plugins").glob("*/my_model.py"))) == 2


def test_a_model_of_a_file_can_be_added_to_a_sweep(load: Callable[..., SweepSpec], plugin_folder: Path) -> None:
    only = {"vary": {"model.kind": ["trm"]}, "seeds": 1}
    end_all(open_ledger(load(plugins=["my_puzzle.py"], measure=only)))
    both = {"vary": {"model.kind": ["trm", "damped"]}, "seeds": 1}
    assert len(open_ledger(load(measure=both)).results) == 1


@pytest.mark.parametrize(("changes", "line"), [
    ({"plugins": ["absent.py"]}, "absent.py: cannot be read: No such file or directory"),
    ({"plugins": ["../my_model.py"]}, "plugins.0: must lie in the folder of the spec or below it"),
    ({"plugins": ["my_puzzle.py"]}, "measure.vary.model.kind: the value 'damped' is not valid: trial.model.kind: got 'damped'"),
    ({"trial": plugin_sections()}, "trial.plugins: must stand at the top of the file"),
    ({"measure": {"vary": {"model.rat": [0.1]}}}, "measure.vary.model.rat: is not a field of a trial; did you mean 'model.rate'"),
    ({"measure": {"vary": {"plugins": ["a.py"]}}}, "measure.vary.plugins: cannot be varied: all trials of a sweep have"),
    ({"values": 3}, "values: unknown key; did you mean 'trial.task.values'?"),
])  # fmt: skip
def test_a_mistake_in_a_sweep_is_one_line(load: Callable[..., SweepSpec], changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as refused:
        load(**changes)
    assert line in str(refused.value)


def test_a_field_of_a_model_of_a_file_is_varied_and_searched(load: Callable[..., SweepSpec]) -> None:
    spec = load(measure={"vary": {"model.rate": [0.25, 0.5]}, "seeds": 2})
    assert [trial.flat()["model.rate"] for trial in spec.cells] == [0.25, 0.5]
    space = {"model.rate": {"uniform": [0.1, 0.9]}}
    search = {"space": space, "objectives": [{"metric": "val/nll", "goal": "minimize"}], "num_trials": 3}
    sections = sweep_sections(search=search)
    del sections["measure"]
    path = Path(load().location).parent.parent / "my plug-ins/search.yaml"
    path.write_text(write_yaml(sections))
    assert load_spec(path).trial_with({"model.rate": 0.3}, "trial").flat()["model.rate"] == 0.3


def test_the_sweep_of_the_page_is_valid(plugin_folder: Path) -> None:
    (plugin_folder / "sweep.yaml").write_text(EXAMPLES["sweep.yaml"])
    spec = load_spec(plugin_folder / "sweep.yaml")
    assert [trial.flat()["model.kind"] for trial in spec.cells] == ["trm", "damped"] * 2 and spec.total == 12


def test_nested_training_sets_hold_for_a_task_of_a_file(load: Callable[..., SweepSpec]) -> None:
    spec = load(measure={"vary": {"task.train_examples": [30, 60]}, "seeds": 1})
    assert {trial.flat()["task.nested"] for trial in spec.design} == {True}


def test_the_schema_has_the_kinds_of_the_files(load: Callable[..., SweepSpec]) -> None:
    schema = sweep_schema(load().registry)
    assert {"DampedConfig", "ReverseConfig", "TRMConfig"} <= schema["$defs"].keys()
    assert {"type": "string"} in schema["properties"]["plugins"]["anyOf"][0]["items"]["anyOf"]


def test_a_submitted_sweep_takes_its_files_along(load: Callable[..., SweepSpec], plugin_folder: Path, tmp_path: Path) -> None:
    spec = load()
    job = tmp_path / "job"
    job.mkdir()
    write_submitted(job, spec)
    assert submitted_sections(spec)["plugins"] == read_yaml(job / SPEC_FILE)["plugins"]
    assert len(list(job.glob("plugins/*/*.py"))) == 2
    for name in ("my_puzzle.py", "my_model.py"):
        (plugin_folder / name).unlink()
    assert {trial.fingerprint for trial in load_spec(job / SPEC_FILE).design} == {trial.fingerprint for trial in spec.design}


def test_an_installed_package_is_in_the_spec_of_the_store_and_its_version_is_kept(
    load: Callable[..., SweepSpec], install: Callable[..., None], plugin_folder: Path
) -> None:
    install()
    ledger = open_ledger(load(plugins=["my_model.py"]))
    end_all(ledger)
    assert {"package": "my-puzzles", "version": "1.0"} in yaml.safe_load(ledger.store.spec() or "")["plugins"]
    assert {read_config(ledger.store, name).fingerprint for name in ledger.results} == ledger.results.keys()
    install("1.1")
    with pytest.raises(UserError, match=r"package my-puzzles: must be version 1.0, got 1.1.*name=NEW"):
        open_ledger(load(plugins=["my_model.py"]))


def test_a_node_with_another_version_of_a_package_is_refused(install: Callable[..., None]) -> None:
    install()
    describe_code.cache_clear()
    driver = describe_code() | {"token": ""}
    describe_code.cache_clear()
    assert driver["my-puzzles"] == "1.0"
    there = driver | {"my-puzzles": "1.1"}
    assert find_misfit(there, driver, "") == "differs from this driver: my-puzzles is 1.1 there and 1.0 here"
    del there["my-puzzles"]
    assert find_misfit(there, driver, "") == "differs from this driver: my-puzzles is absent there and 1.0 here"


def test_a_damaged_file_in_a_store_is_one_line(load: Callable[..., SweepSpec], plugin_folder: Path) -> None:
    (plugin_folder / "my_model.py").write_text(f"{MODEL}\n# a file of this test alone\n")
    ledger = open_ledger(load())
    end_all(ledger)
    next((Path(ledger.store.location) / "plugins").glob("*/my_model.py")).write_text("damaged")
    code = (
        "import sys; from sweeps.store.store import Store; from analysis.data.tables import load_store, merge;"
        "load_store(Store(sys.argv[1]))"
    )
    ended = subprocess.run([sys.executable, "-c", code, ledger.store.location], cwd=ROOT, capture_output=True, text=True)
    assert "my_model.py: is damaged: its content does not have the digest of its folder" in ended.stderr.splitlines()[-1]


def test_doctor_lists_installed_packages_and_their_kinds(install: Callable[..., None], tmp_path: Path) -> None:
    install()
    assert "ok      plug-in my-puzzles 1.0 (task reverse)" in map(str, examine(str(tmp_path)))
    install("1.1", tasks="reverse = my_puzzles:Absent")
    refused = next(finding for finding in examine(str(tmp_path)) if "my-puzzles 1.1" in finding.what)
    assert refused.state == "bad" and "repair or uninstall the package" in refused.what


SERVED = """
import sys
import mlflow.pyfunc
import pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
answer = model.predict(pd.DataFrame({"grid": [[1, 2, 3, 3, 4, 4, 5, 3, 0, 0, 0, 0]]}))["answer"][0]
assert len(answer) == 12, answer
"""


@pytest.mark.timeout(900)
@pytest.mark.ray
@pytest.mark.more
def test_a_killed_search_of_three_files_goes_on_bit_for_bit_is_reported_and_served(
    plugin_folder: Path, typed: Callable[..., Any], tmp_path: Path
) -> None:
    """The task, the model and the sampler are files; the driver is killed in the middle of training."""
    path = plugin_folder / "sweep.yaml"
    path.write_text(write_yaml(search_sections_of_files(plugin_folder, tmp_path / "runs")))
    store = Store(tmp_path / "runs/tiny")
    kill_driver(path, store)
    ended = typed("run", str(path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    results = store.results()
    assert [record["outcome"] for record in results.values()] == ["completed"] * 4
    assert len({record["model.rate"] for record in results.values()}) == 4
    continued = next(name for name in results if store.attempts(name)[-1]["from_checkpoint"] > 0)
    assert "nothing to run" in typed("run", str(path)).stdout
    for file in plugin_folder.glob("*.py"):
        file.unlink()
    stored = Path(store.location) / f"trials/{continued}/trial.yaml"
    alone = train_alone(stored, tmp_path / "alone", results[continued]["threads"])
    scores = [name for name in alone if name.split("/")[0] in {"val", "test", "ood"}]
    assert len(scores) > 6 and [alone[name] for name in scores] == [results[continued][name] for name in scores]
    (saved,) = (tmp_path / "runs/mlartifacts").glob("**/data/model")
    named = [entry["file"] for entry in read_yaml(saved / "trial.yaml")["plugins"]]
    assert named == ["my_puzzle.py", "my_model.py"] and sorted(file.name for file in saved.glob("plugins/*/*")) == sorted(named)
    served = subprocess.run([sys.executable, "-c", SERVED, saved.parent.parent], cwd=ROOT, capture_output=True, text=True)
    assert served.returncode == 0, served.stderr
    reported = typed(str(tmp_path / "runs/tiny"), main=analysis.cli.main, name="rrm-analyze")
    assert reported.returncode == 0, reported.stderr


def search_sections_of_files(folder: Path, storage: Path) -> dict[str, Any]:
    (folder / "my_sampler.py").write_text(EXAMPLES["my_sampler.py"])
    search = {
        "sampler": {"kind": "halton", "scramble": True},
        "space": {"model.rate": {"uniform": [0.1, 0.9]}},
        "objectives": [{"metric": "val/nll", "goal": "minimize"}],
        "num_trials": 4,
    }
    sections = sweep_sections(search=search, storage=str(storage), tracking={"models": 1})
    del sections["measure"]
    sections["plugins"].append("my_sampler.py")
    sections["trial"] |= {"fit": {"batch_size": 16, "budget": {"unit": "steps", "amount": 600}}}
    sections["trial"]["eval"] = sections["trial"]["eval"] | {"validations": 30}
    return sections


def kill_driver(spec: Path, store: Store) -> None:
    """Run a sweep, and kill its driver after ten validations."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(command("run", str(spec)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(store.rows()) < 10:
        time.sleep(0.1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert store.rows() and len(store.finished()) < 4
    time.sleep(3)  # workers of a dead driver live on for a moment
