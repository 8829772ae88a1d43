"""Every command finds a sweep by its folder, URI, spec or name, in the storage that an option, RRM_STORAGE or the spec names."""

import inspect
from collections.abc import Callable
from pathlib import Path

import optuna_dashboard  # noqa: F401  # a forked process has the imports of this one
import pytest

import analysis.cli
import analysis.laws.fit_all
import sweeps.cli.main
import sweeps.driver.study_database
import sweeps.planning.plan
from analysis.data.tables import load
from lightning_modules.record import FitResult
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.cli.main import _load
from sweeps.driver.ledger import stored_sections
from sweeps.spec.load_spec import load_spec
from sweeps.store.find_store import find_store
from sweeps.store.store import Store
from tests.sweeps.conftest import assert_refused, measure_sections, record_of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's folder: a spec `tiny.yaml`, a finished sweep `tiny` in `elsewhere`, one trial of it in `runs`; another sweep."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(write_yaml(measure_sections()), encoding="utf-8")
    spec = load_spec(tmp_path / "tiny.yaml")
    for storage, count in (("elsewhere", 4), ("runs", 1)):
        store = Store(f"{storage}/tiny")
        store.create()
        store.write_spec(write_yaml(stored_sections(spec)))
        store.write_design([trial.fingerprint for trial in spec.design])
        for trial in spec.design[:count]:
            store.write_trial(trial.fingerprint, write_yaml(trial.resolved()))
            store.write_result(trial.fingerprint, FitResult(record_of(trial, sweep="tiny")).to_json())
    Store("runs/other").create()
    Store("runs/other").write_spec(write_yaml(measure_sections() | {"name": "other"}))
    return tmp_path


WAYS = {  # what is typed behind a command, RRM_STORAGE, and the storage whose sweep is meant
    "folder": (["elsewhere/tiny"], "", "elsewhere"),
    "folder with another storage in the environment": (["elsewhere/tiny"], "runs", "elsewhere"),
    "spec": (["tiny.yaml"], "", "runs"),
    "spec with an option": (["tiny.yaml", "--storage", "elsewhere"], "", "elsewhere"),
    "spec with the environment": (["tiny.yaml"], "elsewhere", "elsewhere"),
    "name": (["tiny"], "", "runs"),
    "name with an option": (["tiny", "--storage", "elsewhere"], "", "elsewhere"),
    "name with the environment": (["tiny"], "elsewhere/", "elsewhere"),
    "an option before the environment": (["tiny", "--storage", "elsewhere"], "runs", "elsewhere"),
}
COMMANDS = {  # how a command shows which sweep it found
    "status": (["status"], lambda storage: f"{4 if storage == 'elsewhere' else 1} of 4 trials"),
    "ui": (["ui", "--study", "--no-browser"], lambda storage: f"/{storage}/tiny: has no study on this machine"),
    "analyze": (["--fits-only"], lambda storage: f"/{storage}/tiny/report/fits.json"),
    "plan": (["plan"], lambda storage: f"{4 if storage == 'elsewhere' else 1} of 4 trials are finished"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_finds_the_sweep(
    typed: Callable, here: Path, monkeypatch: pytest.MonkeyPatch, command: str, way: str
) -> None:
    (before, shows), (arguments, environment, storage) = COMMANDS[command], WAYS[way]
    if command == "plan" and arguments[0] != "tiny.yaml":
        pytest.skip("a plan has a spec")
    monkeypatch.setenv("RRM_STORAGE", environment)
    names = {"main": analysis.cli.main, "name": "rrm-analyze"} if command == "analyze" else {}
    ended = typed(*before, *arguments, **names)
    assert shows(storage) in ended.stdout + ended.stderr


@pytest.mark.parametrize("command", ["run", "submit", "plan"])
@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("spec")])
def test_a_command_that_reads_a_spec_takes_its_storage_from_the_same_places(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str, way: str
) -> None:
    arguments, environment, storage = WAYS[way]
    monkeypatch.setenv("RRM_STORAGE", environment)
    spec = _load(str(here / "tiny.yaml"), None, arguments[2] if "--storage" in arguments else None, command != "submit")
    assert Path(spec.location) == Path(storage, "tiny")


@pytest.mark.parametrize(("option", "environment"), [(["--storage", "elsewhere"], ""), ([], "elsewhere")])
def test_doctor_and_submit_take_the_storage_too(
    typed: Callable, here: Path, monkeypatch: pytest.MonkeyPatch, option: list[str], environment: str
) -> None:
    monkeypatch.setenv("RRM_STORAGE", environment)
    assert f"storage {here}/elsewhere" in typed("doctor", *option).stdout
    assert "got 'elsewhere'" in typed("submit", "tiny.yaml", "--address", "http://127.0.0.1:9", *option).stderr


def test_a_notebook_finds_a_sweep_as_the_commands_do(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(load("tiny").trials) == 1 and len(load("tiny", storage="elsewhere").trials) == 4
    monkeypatch.setenv("RRM_STORAGE", "elsewhere")
    assert len(load("tiny").trials) == 4 and len(load("tiny", storage="runs").trials) == 1


REFUSED = {
    "unknown name": (["tin"], "tin: is neither a file nor a sweep in the storage runs: there is no runs/tin/spec.yaml; "
                     "sweeps in runs: other, tiny"),
    "unknown folder": (["runs/tin"], "runs/tin: is not a sweep: there is no such file or folder; sweeps in runs: other, tiny"),
    "storage for a sweep": (["runs"], "runs: is not a sweep: there is no spec.yaml in it; sweeps in it: other, tiny"),
    "empty storage": (["tiny", "--storage", "empty"], "there is no empty/tiny/spec.yaml; empty holds no sweeps: "
                      "name another storage with --storage or RRM_STORAGE"),
    "spec that was not run": (["new.yaml"], "new.yaml: has never been run: there is no runs/new/spec.yaml; sweeps in runs"),
    "spec without a name": (["nameless.yaml"], "nameless.yaml: is not a sweep: it has no name"),
    "table": (["runs.csv"], "runs.csv: is a table of runs: rrm-analyze --csv FILE reads it"),
    "option without effect": (["runs/tiny", "--storage", "elsewhere"],
                              "--storage: has no effect on the folder or URI 'runs/tiny': leave it out"),
}  # fmt: skip


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("command", ["status", "ui", "analyze"])
def test_every_command_refuses_with_the_same_line(typed: Callable, here: Path, command: str, refused: str) -> None:
    (here / "new.yaml").write_text(write_yaml(measure_sections() | {"name": "new"}), encoding="utf-8")
    (here / "nameless.yaml").write_text("trial: {}\n", encoding="utf-8")
    arguments, line = REFUSED[refused]
    names = {"main": analysis.cli.main, "name": "rrm-analyze"} if command == "analyze" else {}
    ended = typed(*([] if command == "analyze" else [command]), *arguments, **names)
    assert ended.returncode == 2 and line in ended.stderr and ended.stderr.count("\n") == 1 and not ended.stdout


def test_storage_has_no_effect_on_what_is_read_from_elsewhere(typed: Callable, tmp_path: Path) -> None:
    for arguments in (["--csv", "a.csv"], ["demo", "--tracking-uri", "sqlite:///a.db"]):
        ended = typed(*arguments, "--out", "out", "--storage", "runs", main=analysis.cli.main, name="rrm-analyze")
        assert_refused(ended, "--storage: has no effect with --tracking-uri and --csv", tmp_path)


def test_every_command_explains_the_option_with_the_same_words() -> None:
    commands = {command.callback for command in sweeps.cli.main.app.registered_commands} | {analysis.cli.analyze}
    hints = {str(inspect.signature(command).parameters["storage"].annotation.__metadata__[0].help)
             for command in commands if command is not None and command.__name__ not in ("schema", "new")}  # fmt: skip
    assert len(hints) == 1


def test_a_typed_override_of_the_storage_counts_before_the_environment(
    typed: Callable, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RRM_STORAGE", "runs")
    assert "4 of 4 trials are finished" in typed("plan", "tiny.yaml", "storage=elsewhere").stdout
    refused = typed("plan", "tiny.yaml", "storage=elsewhere", "--storage", "runs")
    assert refused.returncode == 2 and refused.stderr.startswith("--storage: ") and refused.stderr.count("\n") == 1


def test_a_path_that_no_file_can_have_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^x+: cannot be read: File name too long$"):
        find_store("x" * 300)
