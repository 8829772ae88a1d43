"""A running cluster: what is refused before Ray is asked, and a node that cannot take part."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private.utils import validate_socket_filepath

from rrm.errors import UserError
from sweeps.cli.doctor import examine
from sweeps.cli.submit import check_shared
from sweeps.store.store import Store
from sweeps.worker.node_check import check_address, check_ray_folder, describe_driver, describe_node, digest_code, find_misfit
from tests.conftest import EXAMPLES, ROOT
from tests.sweeps.conftest import Head, assert_refused, command, measure_sections, run_command

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


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_whose_sockets_ray_would_refuse_is_one_line(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Ray's own rule, for every length around its limit; a letter may take two bytes."""
    refused = []
    for length in range(20, 60):
        monkeypatch.setenv(variable, "/tmp/\N{LATIN SMALL LETTER E WITH ACUTE}" + "a" * length)
        name = datetime.today().strftime(f"session_%Y-%m-%d_%H-%M-%S_%f_{os.getpid()}")
        try:
            validate_socket_filepath(f"{get_default_ray_temp_dir()}/{name}/sockets/plasma_store")
            check_ray_folder()
        except OSError:
            with pytest.raises(UserError, match=rf"^{variable}: must be \d+ bytes shorter .*: set RAY_TMPDIR=/tmp$"):
                check_ray_folder()
            refused.append(length)
    assert 0 < len(refused) < 40


def test_a_long_folder_is_refused_by_run_and_shown_by_doctor(
    write_spec: Callable, typed: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("a" * 80)))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    assert_refused(typed("run", str(write_spec(measure_sections()))), "TMPDIR: must be ", tmp_path)
    assert [finding.state for finding in examine(str(tmp_path)) if "set RAY_TMPDIR=/tmp" in str(finding)] == ["bad"]
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_ray_folder()


def test_the_command_refuses_before_it_makes_anything(write_spec: Callable, typed: Callable, tmp_path: Path) -> None:
    ended = typed("run", str(write_spec(measure_sections())), "--address", "127.0.0.1:1")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "nothing answers" in ended.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("theirs", "misfit"),
    [
        ({}, None),
        ({"token": ""}, "cannot see the storage /runs/demo: take a folder that all nodes share, or a URI"),
        ({"torch": "2.12.0"}, "differs from this driver: torch is 2.12.0 there and 2.13.0 here"),
        ({"the code": "456"}, "differs from this driver: the code is 456 there and 123 here"),
    ],
)
def test_what_keeps_a_node_from_taking_part_is_named(theirs: dict[str, str], misfit: str | None) -> None:
    assert find_misfit(OURS | theirs, OURS, "/runs/demo") == misfit


def test_a_node_says_what_it_sees(tmp_path: Path) -> None:
    store = Store(tmp_path / "sweep")
    store.create()
    assert describe_node(store.location)["token"] == ""
    driver = describe_driver(store)
    assert driver["token"] and driver["the code"] == digest_code() and driver["ray"] == ray.__version__
    assert describe_node(store.location) == driver != describe_driver(store)


@pytest.mark.parametrize("storage", ["/shared/runs", "s3://bucket/sweeps"])
def test_a_job_takes_a_storage_that_means_the_same_everywhere(storage: str) -> None:
    check_shared(storage)
    with pytest.raises(UserError, match="storage: must be a folder that all nodes share"):
        check_shared("runs")


@pytest.mark.ray
@pytest.mark.more
def test_a_sweep_runs_on_a_cluster_that_is_there(cluster: Head, write_spec: Callable, tmp_path: Path) -> None:
    ended = run_command("run", str(write_spec(measure_sections())), "--address", cluster.address, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nodes that see the storage and run the same code: 1" in ended.stdout
    assert len(Store(tmp_path / "runs/tiny").results()) == 4


@pytest.mark.slow
def test_a_sweep_runs_as_a_job_and_is_stopped_with_time_to_save(cluster: Head, write_spec: Callable, tmp_path: Path) -> None:
    """The model is a file beside the spec, which the job takes along."""
    (tmp_path / "my_model.py").write_text(EXAMPLES["my_model.py"])
    sections = measure_sections() | {"storage": str(tmp_path / "shared"), "plugins": ["my_model.py"]}
    sections["trial"]["model"]["kind"] = "damped"
    spec = str(write_spec(sections))
    followed = run_command("submit", spec, "--address", cluster.dashboard, cwd=tmp_path)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert "runs tiny; stop it with: ray job stop" in followed.stdout and "best trial: width=" in followed.stdout
    assert len(Store(tmp_path / "shared/tiny").results()) == 4

    handed_over = run_command("submit", spec, "--no-wait", "--address", cluster.dashboard, cwd=tmp_path)
    assert handed_over.returncode == 0 and handed_over.stdout.count("\n") == 1, handed_over.stdout + handed_over.stderr

    more = ("name=long", "trial.fit.budget.amount=20000", "trial.eval.validations=400")
    followed_log = tmp_path / "submit.log"
    with followed_log.open("wb") as output:
        following = subprocess.Popen(
            command("submit", spec, *more, "--address", cluster.dashboard), cwd=tmp_path, stdout=output, stderr=output
        )
    store, deadline = Store(tmp_path / "shared/long"), time.monotonic() + 120
    while len(store.rows()) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    stop = followed_log.read_text().split("stop it with: ")[1].splitlines()[0].split()
    stopped = subprocess.run(stop, capture_output=True, text=True, timeout=120)
    assert stopped.returncode == 0 and "was stopped" in stopped.stdout + stopped.stderr
    log = subprocess.run([word.replace("stop", "logs") for word in stop], capture_output=True, text=True, timeout=60)
    assert "continue with: rrm-sweep run sweep.yaml" in log.stdout
    assert following.wait(60) == 1
    assert "the job was stopped; submit the same spec again to go on" in followed_log.read_text()
    assert store.begun() and not store.finished() and store.holder() is None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_with_other_code_that_joins_gets_no_trials(cluster: Head, write_spec: Callable, tmp_path: Path) -> None:
    """It has room and is offered a trial; the driver says why it gets none, and the sweep goes on without it."""
    other = tmp_path / "other"
    for package in ("rrm", "lightning_modules", "sweeps"):
        shutil.copytree(ROOT / package, other / package)
    with (other / "rrm/errors.py").open("a") as file:
        file.write("# changed\n")
    sections = measure_sections(fit__budget__amount=2000, eval__validations=40)
    sections["measure"]["vary"]["model.hidden_size"] = [16, 24, 32, 40, 48]
    log, store = tmp_path / "driver.log", Store(tmp_path / "runs/tiny")
    with log.open("wb") as output:
        driver = subprocess.Popen(
            command("run", str(write_spec(sections)), "--address", cluster.address), cwd=tmp_path, stdout=output, stderr=output
        )
    while not store.rows():
        assert driver.poll() is None, log.read_text()
        time.sleep(0.2)
    join = [Path(sys.executable).with_name("ray"), "start", "--block", f"--address={cluster.address}", "--num-cpus=1"]
    node = subprocess.Popen(join, env=os.environ | {"PYTHONPATH": str(other)}, stdout=subprocess.DEVNULL)
    try:
        assert driver.wait(600) == 0, log.read_text()
    finally:
        node.terminate()
        node.wait(60)
    (refusal,) = [line for line in log.read_text().splitlines() if "gets no trials" in line]
    assert f"it differs from this driver: the code is {digest_code(other)} there and {digest_code()} here" in refusal
    results = store.results()
    assert len(results) == 10 and {record["outcome"] for record in results.values()} == {"completed"}
    assert {len(store.attempts(fingerprint)) for fingerprint in results} == {1}
