"""The stack of docker/, built and brought up: what is in the image, who is refused, and a sweep over workers of which one is
killed, one joins and one is cut off, and which goes on after `down` and `up`. `make test-cluster`
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightning_modules.yaml_file import write_yaml
from sweeps.store.store import Store
from tests.conftest import EXAMPLES
from tests.docker.engine import Engine, find_engine
from tests.docker.stack import SECRETS, Stack, Sweep
from tests.sweeps.conftest import measure_sections
from tests.sweeps.servers import assert_all_there_once

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TAG = "test"
IMAGE, DATABASE = f"localhost/rrm-sweeps:cpu-{TAG}", f"localhost/rrm-postgres:{TAG}"
TRIALS, STEPS, VALIDATIONS = 6, 4000, 20
CUT_SECONDS = 60.0
MAX_BYTES = 2.5e9
WORKERS_OWN = ("RAY_AUTH_TOKEN",)  # secrets that a worker has


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine with both images built."""
    engine = find_engine(tmp_path_factory.mktemp("engine"))
    base, started = engine.base_image(), time.monotonic()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda target, tag: engine.build(target, tag, base), ("postgres", "cpu"), (DATABASE, IMAGE)))
    print(f"\nimages built with {engine.program} on {base} in {time.monotonic() - started:.0f} s")
    return engine


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with two workers, up and well."""
    stack = Stack(engine, tmp_path_factory.mktemp("stack"), TAG)
    sections = measure_sections(fit__budget__amount=STEPS, eval__validations=VALIDATIONS)
    # Enough that work is left when the worker that was cut off is back.
    sections["measure"]["vary"] |= {"model.hidden_size": [16, 24, 32], "model.l_cycles": [1, 2]}
    sections["plugins"], sections["trial"]["model"]["kind"] = ["my_model.py"], "damped"
    (stack.specs / "my_model.py").write_text(EXAMPLES["my_model.py"])  # `submit` takes it along
    (stack.specs / "tiny.yaml").write_text(write_yaml(sections))
    try:
        started = time.monotonic()
        stack.compose("up", "--detach", "--no-build", "--scale", "worker=2")
        stack.wait(stack.well, 180, stack.logs)
        print(f"stack up and well after {time.monotonic() - started:.0f} s")
        yield stack
    finally:
        stack.remove(f"{stack.name}-far")


# -- the image ------------------------------------------------------------------------------------------------------------------


def test_the_image_is_small_and_says_what_it_was_built_from(engine: Engine) -> None:
    size = int(engine("image", "inspect", "--format", "{{.Size}}", IMAGE))
    print(f"the image has {size / 1e9:.2f} GB")
    assert size < MAX_BYTES
    tags = engine(
        "run", "--rm", IMAGE, "python", "-c", "from sweeps.tracking.provenance import provenance_tags; print(provenance_tags())"
    )
    assert "git.commit" in tags and "git.dirty" in tags


@pytest.mark.parametrize("image", [IMAGE, DATABASE])
def test_an_image_has_no_build_tool_and_its_user_is_not_root(engine: Engine, image: str) -> None:
    looked = "for tool in cc gcc g++ c++ clang make cmake ld as git; do command -v $tool; done; id -u"
    assert engine("run", "--rm", image, "sh", "-c", looked).split()[:-1] == []
    assert engine("run", "--rm", image, "id", "-u") != "0"


@pytest.mark.parametrize("image", [IMAGE, DATABASE])
def test_an_image_holds_no_secret(engine: Engine, image: str, stack: Stack) -> None:
    """None of the stack's, in no layer's command or setting, and no file that is made for one."""
    history = engine("history", "--no-trunc", image) + engine("image", "inspect", image)
    assert not [name for name, value in stack.secrets.items() if value in history]
    setting = json.loads(engine("image", "inspect", image))[0]["Config"]["Env"]
    assert not [line for line in setting if any(word in line.upper() for word in ("PASSWORD", "SECRET", "AUTH_TOKEN"))]
    names = "-name .env -o -name .git -o -name .pgpass -o -name id_rsa -o -name id_ed25519 -o -name pip.conf -o -name auth_token"
    look = f"find / -xdev \\( -path /proc -o -path /sys \\) -prune -o \\( {names} \\) -size +0 -print 2>/dev/null"
    assert engine("run", "--rm", "--user", "0", image, "sh", "-c", f"{look} || true") == ""


# -- who is refused -------------------------------------------------------------------------------------------------------------


def test_ports_are_on_loopback_only(stack: Stack) -> None:
    services = ("postgres", "mlflow", "head", "worker")
    bound = [
        (service, port["HostIp"])
        for service in services
        for container in stack.containers(service)
        for ports in (stack.engine.inspect(container)["NetworkSettings"]["Ports"] or {}).values()
        for port in ports or []
    ]
    assert sorted(bound) == [("head", "127.0.0.1"), ("mlflow", "127.0.0.1")]


def test_nobody_is_root(stack: Stack) -> None:
    for service in ("postgres", "mlflow", "head", "worker"):
        for container in stack.containers(service):
            owners = stack.engine("exec", container, "sh", "-c", "stat -c %u /proc/[0-9]*").split()
            assert owners and "0" not in owners, service


JOIN = "import ray; ray.init(address='head:6379', logging_level='ERROR'); print('joined')"
LIST = "from ray.job_submission import JobSubmissionClient as C; print('joined', C('http://head:8265').list_jobs())"


@pytest.mark.parametrize(("program", "token"), [(JOIN, ""), (LIST, ""), (LIST, "f" * 64)])
def test_ray_refuses_who_has_not_the_token(stack: Stack, program: str, token: str) -> None:
    shown = ["--env", f"RAY_AUTH_TOKEN={token}"] if token else ["--env", "RAY_AUTH_MODE=disabled"]
    ended = stack.engine.run("run", "--rm", "--network", stack.network, *shown, IMAGE, "timeout", "60", "python", "-c", program)
    assert ended.returncode != 0 and "joined" not in ended.stdout, ended.stdout


ASK = (
    "import os, urllib.request as u; "
    "r = u.Request('http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=5', headers=eval(os.environ['HEADERS'])); "
    "print(u.urlopen(r).status)"
)


@pytest.mark.parametrize("headers", ["{}", "{'Authorization': 'Basic cnJtOndyb25nd3Jvbmd3cm9uZw=='}"])
def test_mlflow_refuses_who_has_not_the_password(stack: Stack, headers: str) -> None:
    ended = stack.engine.run("exec", "--env", f"HEADERS={headers}", stack.container("worker"), "python", "-c", ASK)
    assert ended.returncode != 0 and "HTTP Error 401" in ended.stderr


@pytest.mark.parametrize("database", ["mlflow", "studies", "postgres"])
@pytest.mark.parametrize("user", ["mlflow", "studies", "postgres"])
@pytest.mark.parametrize("password", ["", "wrong"])
def test_postgresql_refuses_who_has_not_the_password(stack: Stack, user: str, database: str, password: str) -> None:
    connect = (
        f"import psycopg; psycopg.connect('host=postgres user={user} dbname={database} password={password} connect_timeout=5')"
    )
    ended = stack.engine.run("exec", stack.container("worker"), "python", "-c", connect)
    assert ended.returncode != 0 and ("no pg_hba.conf entry" in ended.stderr or "password" in ended.stderr), ended.stderr


def test_a_user_of_the_studies_cannot_read_mlflows_database(stack: Stack) -> None:
    connect = (
        "import psycopg; psycopg.connect('host=postgres user=studies dbname=mlflow connect_timeout=5')"  # with its own password
    )
    ended = stack.engine.run("exec", stack.container("head"), "python", "-c", connect)
    assert ended.returncode != 0 and "no pg_hba.conf entry" in ended.stderr


def test_without_env_nothing_starts_and_a_sentence_says_why(stack: Stack) -> None:
    nothing = stack.folder / "nothing"
    nothing.touch()
    whole, stack.env_file = stack.env_file, nothing
    try:
        with pytest.raises(AssertionError, match=r"run docker/new-env first, which writes docker/\.env"):
            stack.compose("config")
    finally:
        stack.env_file = whole


OTHERS = {
    "another image": (
        ["--user", "0"],
        "echo '# changed' >> /opt/project/sweeps/worker/node_check.py; start worker",
        "the code is ",
    ),
    "another store": ([], "start worker", "/store must be the store of the head: mount the same folder on both"),
}


@pytest.mark.parametrize(("options", "command", "sentence"), OTHERS.values(), ids=OTHERS.keys())
def test_a_worker_that_does_not_fit_does_not_join(stack: Stack, options: list[str], command: str, sentence: str) -> None:
    token = ["--env", f"RAY_AUTH_TOKEN={stack.secrets['RAY_AUTH_TOKEN']}", "--env", "RRM_STORAGE=/store"]
    ended = stack.engine.run("run", "--rm", "--network", stack.network, *token, *options, IMAGE, "sh", "-c", command)
    assert ended.returncode == 1 and sentence in ended.stderr, ended.stdout + ended.stderr


# -- a sweep, in the order of its troubles --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sweep(stack: Stack) -> Sweep:
    """A sweep that has been submitted."""
    return Sweep(stack, "tiny")


def test_a_sweep_survives_what_happens_to_its_workers(stack: Stack, sweep: Sweep) -> None:
    """One is killed and the other cut off, so that for a minute there is none; MLflow is started anew; another machine's joins."""
    engine, head = stack.engine, stack.container("head")
    first, second = stack.containers("worker")
    addresses = {worker: stack.address(worker) for worker in (first, second)}
    stack.wait(lambda: sweep.at_work() >= set(addresses.values()), 180, sweep.why)
    check_environment(stack, [first, second])

    engine("kill", first)
    engine("rm", "--force", first)
    network, cut = stack.network, time.monotonic()
    engine("network", "disconnect", network, second)
    sweep.tell("a worker is killed, the other one is cut off")
    stack.compose("restart", "mlflow")
    sweep.tell("MLflow was started anew")

    time.sleep(max(0.0, CUT_SECONDS - (time.monotonic() - cut)))
    reconnect(stack, network, second, addresses[second])
    linked = time.time()
    sweep.tell("the link is back, and a worker of worker.yaml joins")
    far = join_from_afar(stack)
    stack.wait(lambda: sweep.at_work(linked) >= {stack.address(second), stack.gateway(head)}, 180, sweep.why)
    sweep.tell("both are at work; the one that was cut off has joined by itself")
    check_environment(stack, [second, far])
    assert engine.inspect(second)["RestartCount"] > 0 and stack.well()


def test_a_sweep_has_written_no_secret(stack: Stack, sweep: Sweep) -> None:
    """Neither into logs nor into a volume, after all that."""
    services = ("postgres", "mlflow", "head", "worker")
    logs = [stack.engine.run("logs", container) for service in services for container in stack.containers(service)]
    told = sweep.log.read_text() + "".join(ended.stdout + ended.stderr for ended in logs)
    assert not [name for name, secret in stack.secrets.items() if secret in told]
    places = {"head": "/store /spool /tmp/ray", "worker": "/tmp/ray", "mlflow": "/artifacts /tmp"}
    for service, folders in places.items():
        look = f'printf %s "$SECRETS" | grep -rlF --exclude=basic_auth.ini -f - {folders} || true'
        secrets = "\n".join(stack.secrets.values())
        assert stack.engine("exec", "--env", f"SECRETS={secrets}", stack.container(service), "sh", "-c", look) == "", service


def test_a_head_that_is_stopped_ends_its_sweep_as_ctrl_c_would(stack: Stack, sweep: Sweep) -> None:
    """And who follows a sweep can leave it alone."""
    stack.wait(sweep.at_work, 120, sweep.why)
    stack.engine("kill", "--signal", "INT", stack.container("submit"))
    assert sweep.following.wait(60) == 130 and "the job goes on; stop it with" in sweep.log.read_text(), sweep.why()
    asked = time.monotonic()
    stack.engine("stop", "--time", "90", stack.container("head"), timeout=120)
    print(f"\nthe head stopped its sweep and itself in {time.monotonic() - asked:.0f} s")
    assert "submit the same spec again to go on" in stack.engine("logs", stack.container("head"))


def test_what_is_down_comes_up_again_and_the_same_spec_goes_on(
    stack: Stack, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the checkpoints, and to the end: every trial once and whole, in the store and in MLflow, and the report."""
    down = time.time()
    stack.compose("down", file="worker.yaml", project=f"{stack.name}-far")
    stack.compose("down", "--remove-orphans")
    assert not stack.containers("head")
    stack.compose("up", "--detach", "--no-build", "--scale", "worker=2")
    stack.wait(stack.well, 180, stack.logs)

    sweep.submit()
    sweep.tell("up again, and the same spec submitted")
    assert sweep.following.wait(400) == 0, sweep.why()
    sweep.tell(f"the sweep has ended\n{sweep.log.read_text()[-1500:]}")
    told = sweep.log.read_text()
    assert "report: /store/tiny/report/report.html" in told and "in MLflow: tiny" in told
    assert "compare in MLflow: http://mlflow:5000, experiment tiny" in told

    store = fetch(stack, "tiny", tmp_path, monkeypatch)
    check_complete(store)
    after = {name for name in store.results() if store.attempts(name)[-1]["time"] > down}
    before = {name for name in after if store.attempts(name)[0]["time"] < down}
    assert before and all(store.attempts(name)[-1]["from_checkpoint"] > 0 for name in before)
    assert_all_there_once(store, f"http://127.0.0.1:{stack.ports['MLFLOW_PORT']}")
    assert (tmp_path / "tiny/report/report.html").stat().st_size > 10_000


def test_all_data_can_be_removed(stack: Stack) -> None:
    """As docker/README.md says; the last test."""
    volumes = ("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={stack.name}")
    stack.compose("down", "--remove-orphans")
    assert len(stack.engine(*volumes).split()) == 4
    stack.compose("down", "--volumes")
    assert stack.engine(*volumes) == ""


def join_from_afar(stack: Stack) -> str:
    """A container of worker.yaml, on this machine's own network: what another machine would be."""
    head, project = stack.container("head"), f"{stack.name}-far"
    mounts = stack.engine.inspect(head)["Mounts"]
    (store,) = (mount["Source"] for mount in mounts if mount["Destination"] == "/store")
    with stack.env_file.open("a") as file:
        file.write(f"HEAD_ADDRESS={stack.address(head)}:6379\nNODE_ADDRESS={stack.gateway(head)}\nSTORE={store}\n")
    stack.compose("up", "--detach", "--no-build", file="worker.yaml", project=project)
    return stack.containers("worker", project)[0]


def reconnect(stack: Stack, network: str, container: str, address: str) -> None:
    """Give a worker its link back, with the address that it had where the engine allows to ask for it."""
    asked = stack.engine.run("network", "connect", "--ip", address, network, container)
    if asked.returncode != 0:
        stack.engine("network", "connect", network, container)


def check_environment(stack: Stack, workers: list[str]) -> None:
    """No process of a worker, trials included, has a password."""
    for worker in workers:
        seen = stack.engine("exec", worker, "sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'")
        assert "ray::" in stack.engine("exec", worker, "ps", "-eo", "args") and "RRM_STORAGE=/store" in seen
        assert not [name for name in SECRETS if name not in WORKERS_OWN and stack.secrets[name] in seen]
        assert not [line for line in seen.splitlines() if line.startswith(("MLFLOW_", "PG", "RRM_STUDY_URL"))]


def check_complete(store: Store) -> None:
    """Every trial of the spec, each step once, on at least two nodes, and no trial blamed for a lost node."""
    results = store.results()
    assert len(results) == TRIALS and {record["outcome"] for record in results.values()} == {"completed"}
    assert {record["steps"] for record in results.values()} == {STEPS}
    rows = Counter((row["fingerprint"], row["row"]["step"]) for row in store.rows())
    assert len(rows) == TRIALS * VALIDATIONS and max(rows.values()) == 1
    attempts = {fingerprint: store.attempts(fingerprint) for fingerprint in results}
    assert all(attempt["losses"] == 0 for tries in attempts.values() for attempt in tries)
    assert len({tries[-1]["address"] for tries in attempts.values()}) >= 2
    began = [[attempt["from_checkpoint"] for attempt in tries] for tries in attempts.values() if len(tries) > 1]
    print(f"trials that went on elsewhere began at steps {began}")


def fetch(stack: Stack, sweep: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of a store out of its volume; MLflow may be asked from here from now on."""
    stack.engine("cp", f"{stack.container('head')}:/store/{sweep}", str(folder / sweep))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "rrm")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", stack.secrets["MLFLOW_PASSWORD"])
    return Store(folder / sweep)
