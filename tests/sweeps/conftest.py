"""Tiny sweeps, and the command as a user types it."""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import optuna
import pytest

import sweeps.cli.main
from lightning_modules.config import TrialConfig
from lightning_modules.fit import fit, score_again
from lightning_modules.record import FitResult, Record, describe, read_result
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.driver.ledger import Ledger
from sweeps.driver.reconcile import read_stored_trial, reconcile
from sweeps.spec.load_spec import load_spec
from sweeps.store.attempts import Attempt
from sweeps.store.store import Store
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.spool import Spool
from sweeps.worker.messages import TrialEnding, ending_of
from sweeps.worker.node_check import check_address
from sweeps.worker.run_trial import Workplace, fetch_donor
from tests.conftest import ROOT, tiny_sections

Sections = dict[str, Any]
HEAD_PORT, DASHBOARD_PORT = 6399, 8299


def measure_sections(**changes: Any) -> Sections:
    """A measure sweep of four cells and one seed."""
    return {
        "name": "tiny",
        "trial": tiny_sections(**changes),
        "measure": {
            "vary": {"model.hidden_size": [16, 24], "model.l_cycles": [1, 2]},
            "seeds": 1,
            "matching": "steps",
        },
    }


def search_sections(**changes: Any) -> Sections:
    """A search of six trials."""
    return {
        "name": "tiny",
        "trial": tiny_sections(**changes),
        "search": {
            "space": {"optim.lr": {"log_uniform": [1e-4, 1e-2]}, "model.hidden_size": {"choice": [16, 24]}},
            "objectives": [{"metric": "val/nll", "goal": "minimize"}],
            "num_trials": 6,
        },
    }


@pytest.fixture
def open_ledger(write_spec: Callable, tmp_path: Path) -> Callable[[Sections], Ledger]:
    """The ledger of a sweep as a driver that has just started sees it."""

    def make(sections: Sections) -> Ledger:
        spec = load_spec(write_spec(sections | {"storage": str(tmp_path / "runs")}))
        store = Store(spec.location)
        store.create()
        ledger = reconcile(spec, store, EventRecorder(spec, Spool(store.driver_folder / "spool"), store))
        return ledger

    return make


def load_study(folder: Path) -> optuna.Study:
    """The last generation of the study in `study.db` of a driver's folder."""
    storage = f"sqlite:///{folder / 'study.db'}"
    names = [name for name in optuna.get_all_study_names(storage) if "#" in name]
    return optuna.load_study(study_name=max(names, key=lambda name: int(name.split("#")[1])), storage=storage)


def run_here(ledger: Ledger) -> None:
    """What Ray would do with a ledger, in this process: real trials, one after the other."""
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, end_here(ledger, config))


def end_here(ledger: Ledger, config: TrialConfig) -> TrialEnding:
    """Train a trial that a ledger has handed out, or score it from another one's weights, as a worker does it."""
    name, store = config.fingerprint, ledger.store
    with TemporaryDirectory() as scratch:
        donor, folder = ledger.live[name].donor, Path(scratch)
        place = Workplace(store, name, folder, Attempt(1, 0))
        trained = fetch_donor(store, donor, folder) if donor else None
        result = score_again(config, folder, trained) if trained else fit(config, folder, lambda row: not ledger.row(name, row))
        place.keep()
    return ending_of(result)


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A measure sweep of four trials that has ended, as MLflow holds it in runs/mlflow.db; tests only read it."""
    return track_sweep(tmp_path_factory.mktemp("tracked"), models=0)


def track_sweep(folder: Path, models: int) -> Ledger:
    """A measure sweep of four trials that has ended, with this number of logged models; the export of one takes seconds."""
    sections = measure_sections(fit__budget__amount=250, optim={"lr": 1e-2}, task__clues=[12, 14])
    sections |= {"storage": str(folder / "runs"), "tracking": {"models": models}}
    (folder / "sweep.yaml").write_text(write_yaml(sections))
    spec = load_spec(folder / "sweep.yaml")
    store = Store(spec.location)
    store.create()
    ledger = reconcile(spec, store, EventRecorder(spec, Spool(store.driver_folder / "spool"), store))
    run_here(ledger)
    ledger.close()
    ledger.tracker.delivery.start()
    assert ledger.tracker.delivery.close(), ledger.tracker.delivery.problem
    assert not ledger.tracker.spool.progress.aside
    return ledger


def stored_trial(ledger: Ledger, fingerprint: str) -> TrialConfig:
    """The trial of a fingerprint in the store of a ledger."""
    return read_stored_trial(ledger.store, ledger.spec.files_by_digest, fingerprint)


def ending(config: TrialConfig, nll: float = 0.5, **changes: Any) -> TrialEnding:
    """The ending of a trial that has completed, or that has the outcome in `changes`."""
    return ending_of(FitResult(record_of(config, nll, **changes)))


def record_of(config: TrialConfig, nll: float = 0.5, **changes: Any) -> Record:
    """The record of a trial that has completed."""
    scores = {"val/nll": nll, "test/nll": nll, "val/exact_accuracy": 0.1, "steps": 12}
    return {**describe(config), "outcome": "completed", **scores, **changes}


def train_alone(trial: Path, folder: Path, threads: int) -> Record:
    """The record of the trial, run by `rrm-trial` without an interruption."""
    arguments = [str(trial), "--out", str(folder), "--threads", str(threads)]
    ended = subprocess.run([sys.executable, "-m", "lightning_modules", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return read_result(folder / "result.json").record


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sweeps.cli.main", *arguments]


def run_command(*arguments: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """`rrm-sweep ARGUMENTS` in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    return subprocess.run(command(*arguments), cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


def call_in_child(call: Callable[[], object], folder: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Call in a forked process, which has the imports of this one, and in `folder`; what `call` returns is the exit code.

    Ray ends the process of a driver in some cases, such as a reference that outlives its cluster: no other test may end with it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with TemporaryFile("w+", encoding="utf-8") as out, TemporaryFile("w+", encoding="utf-8") as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os._exit(_call(call, folder))
        deadline = time.monotonic() + timeout
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        printed, said = (out.seek(0), out.read())[1], (err.seek(0), err.read())[1]
    return subprocess.CompletedProcess([], os.waitstatus_to_exitcode(ended[1]), printed, said)


def _call(call: Callable[[], object], folder: Path) -> int:
    """The exit code of a forked process."""
    with os.fdopen(1, "w", encoding="utf-8") as sys.stdout, os.fdopen(2, "w", encoding="utf-8") as sys.stderr:
        try:
            os.chdir(folder)
            sys.exit(call())  # type: ignore[arg-type]
        except SystemExit as end:
            if end.code is None or isinstance(end.code, int):
                return end.code or 0
            print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        return 1


@pytest.fixture
def typed(tmp_path: Path) -> Callable[..., Any]:
    """Runs `rrm-sweep ARGUMENTS`, or another command, in the test's folder and in a forked process, which spares the imports."""

    def run(*arguments: str, main: Callable[[], object] = sweeps.cli.main.main, name: str = "rrm-sweep") -> Any:
        def call() -> object:
            sys.argv = [name, *arguments]
            return main()

        return call_in_child(call, tmp_path)

    return run


def assert_refused(ended: subprocess.CompletedProcess[str], message: str, folder: Path) -> None:
    """Exit code 2, one line on stderr that says what is wrong, and nothing in the folder beside the spec."""
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert message in ended.stderr and ended.stderr.count("\n") == 1 and not ended.stdout
    assert {path.name for path in folder.iterdir()} <= {"sweep.yaml"}


class Head(NamedTuple):
    """A head node that listens."""

    address: str
    dashboard: str


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Head]:
    """A head node of its own, with token authentication on."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    commands = Path(sys.executable).parent
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    ports = (f"--port={HEAD_PORT}", f"--dashboard-port={DASHBOARD_PORT}")
    head = subprocess.Popen(
        [commands / "ray", "start", "--head", "--block", *ports, "--num-cpus=2", "--disable-usage-stats"], stdout=subprocess.DEVNULL
    )
    for port in (HEAD_PORT, DASHBOARD_PORT):
        for _ in range(240):
            with suppress(UserError):
                check_address(f"127.0.0.1:{port}")
                break
            time.sleep(0.25)
    yield Head(f"127.0.0.1:{HEAD_PORT}", f"http://127.0.0.1:{DASHBOARD_PORT}")
    head.terminate()  # with its own processes alone
    head.wait(60)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, s3_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty bucket on the server, as the environment names it."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server, "AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    objects = f"b{abs(hash(request.node.name))}"
    urlopen(Request(f"{s3_server}/{objects}", method="PUT")).close()
    yield f"s3://{objects}"
    urlopen(Request(f"{s3_server}/moto-api/reset", method="POST")).close()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """A real S3 server on this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
