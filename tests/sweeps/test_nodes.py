"""A running cluster: what is refused before Ray is asked, and a node that cannot take part."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from rrm.errors import UserError
from sweeps.nodes import _compare, check_address, describe_node, digest_code, has_room
from sweeps.spec import Resources
from sweeps.store import Store
from sweeps.submit import check_shared
from tests.sweeps.conftest import Head, measure_sections, run_command

OURS = {"token": "abc", "torch": "2.13.0", "the code": "123"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "must be auto or host:port, such as head:6379, got 'ray://head:10001'"),
        ("head", "must be auto or host:port"),
        ("127.0.0.1:1", "nothing answers at 127.0.0.1:1 (Connection refused)"),
        ("127.0.0.1:99999", "nothing answers at 127.0.0.1:99999"),
    ],
)
def test_an_address_without_a_cluster_is_one_line(address: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"--address: {message}")):
        check_address(address)


def test_the_command_refuses_before_it_makes_anything(write_spec: Callable, tmp_path: Path) -> None:
    ended = run_command("run", str(write_spec(measure_sections())), "--address", "127.0.0.1:1", cwd=tmp_path)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "nothing answers" in ended.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"token": ""}, "node 10.0.0.2: cannot see the storage /runs/demo"),
        ({"torch": "2.12.0"}, "node 10.0.0.2: differs from this driver: torch is 2.12.0 there and 2.13.0 here"),
        ({"the code": "456"}, "node 10.0.0.2: differs from this driver: the code is 456 there and 123 here"),
    ],
)
def test_a_node_that_cannot_take_part_is_named(theirs: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        _compare("10.0.0.2", OURS | theirs, OURS, "/runs/demo")


def test_a_node_says_what_it_sees(tmp_path: Path) -> None:
    store = Store(tmp_path / "sweep")
    store.create()
    assert describe_node(store.location)["token"] == ""
    store.place.write("token", b"abc")
    described = describe_node(store.location)
    assert described["token"] == "abc" and described["the code"] == digest_code() and described["ray"] == ray.__version__


def test_room_is_what_one_node_has() -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    assert has_room(Resources(cpus=2), nodes)
    assert not has_room(Resources(cpus=4), nodes) and not has_room(Resources(gpus=0.5), nodes)


@pytest.mark.parametrize(
    ("resources", "there", "count"),
    [
        (Resources(cpus=0.1), {"CPU": 1.0}, 10),
        (Resources(gpus=0.25), {"CPU": 16.0, "GPU": 1.0}, 4),
        (Resources(memory_gb=2), {"CPU": 16.0, "memory": 5e9}, 2),
        (Resources(cpus=3), {"CPU": 2.0}, 0),
    ],
)
def test_trials_that_fit_are_counted(resources: Resources, there: dict[str, float], count: int) -> None:
    assert resources.fit_into(there) == count


@pytest.mark.parametrize("storage", ["/shared/runs", "s3://bucket/sweeps"])
def test_a_job_takes_a_storage_that_means_the_same_everywhere(storage: str) -> None:
    check_shared(storage)
    with pytest.raises(UserError, match="storage: must be a folder that all nodes share"):
        check_shared("runs")


@pytest.mark.ray
def test_a_sweep_runs_on_a_cluster_that_is_there(cluster: Head, write_spec: Callable, tmp_path: Path) -> None:
    ended = run_command("run", str(write_spec(measure_sections())), "--address", cluster.address, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 nodes see the storage and run the same code" in ended.stdout
    assert len(Store(tmp_path / "runs/tiny").results()) == 4


@pytest.mark.slow
def test_a_sweep_runs_as_a_job_and_is_stopped_with_time_to_save(cluster: Head, write_spec: Callable, tmp_path: Path) -> None:
    spec = str(write_spec(measure_sections() | {"storage": str(tmp_path / "shared")}))
    followed = run_command("submit", spec, "--address", cluster.dashboard, cwd=tmp_path)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert "runs tiny; stop it with: ray job stop" in followed.stdout and "best trial: h" in followed.stdout
    assert len(Store(tmp_path / "shared/tiny").results()) == 4

    more = ("name=long", "trial.fit.budget.amount=20000", "trial.eval.validations=400", "--no-wait")
    submitted = run_command("submit", spec, *more, "--address", cluster.dashboard, cwd=tmp_path)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    stop = submitted.stdout.split("stop it with: ")[1].split()
    store, deadline = Store(tmp_path / "shared/long"), time.monotonic() + 120
    while len(store.rows()) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    stopped = subprocess.run(stop, capture_output=True, text=True, timeout=120)
    assert stopped.returncode == 0 and "was stopped" in stopped.stdout + stopped.stderr
    log = subprocess.run([word.replace("stop", "logs") for word in stop], capture_output=True, text=True, timeout=60)
    assert "continue with: rrm-sweep run sweep.yaml" in log.stdout
    assert store.begun() and not store.finished() and store.holder() is None
