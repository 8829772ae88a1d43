"""What every backend of a store keeps to, on a real folder and on an S3 server; and the lock that an object store has."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.store.backend import LOCK, Backend
from sweeps.store.find_store import find_store
from sweeps.store.folder import Folder
from sweeps.store.object_store import Lease, ObjectStore
from sweeps.store.open_backend import open_backend
from sweeps.store.store import Store
from tests.sweeps.conftest import assert_refused, measure_sections, run_command


@pytest.fixture(params=["folder", "objects"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Backend]:
    """The same backend as another process sees it."""
    location = str(tmp_path / "sweep") if request.param == "folder" else request.getfixturevalue("s3") + "/sweep"
    return lambda: open_backend(location)


@pytest.fixture
def backend(open_again: Callable[[], Backend]) -> Backend:
    made = open_again()
    made.prepare()
    return made


class TestBackendContract:
    def test_what_was_written_is_read_and_replaced(self, backend: Backend) -> None:
        assert backend.read("trials/a/result.json") is None
        backend.write("trials/a/result.json", b"one")
        backend.write("trials/a/result.json", b"two")
        assert backend.read("trials/a/result.json") == b"two"

    def test_names_are_those_below_a_prefix(self, backend: Backend) -> None:
        for name in ("trials/b/x", "trials/a/x", "trials/a/y", "spec.yaml"):
            backend.write(name, b"")
        backend.remove("trials/a/y")
        assert backend.names("trials") == ["trials/a/x", "trials/b/x"]
        assert backend.names("other") == []

    def test_the_extent_is_the_size_of_all_files_and_the_time_of_the_last_change(
        self, backend: Backend, open_again: Callable[[], Backend]
    ) -> None:
        backend.write("spec.yaml", b"12345")
        backend.write("trials/a/result.json", b"678")
        size, modified = open_again().extent()
        assert size == 8 and abs(modified - time.time()) < 60
        assert open_backend(f"{backend.location}/absent").extent() == (0, 0.0)

    def test_many_are_read_in_order(self, backend: Backend) -> None:
        names = [f"n{number}" for number in range(50)]
        for name in names:
            backend.write(name, name.encode())
        assert backend.read_many([*names, "missing"]) == [*(name.encode() for name in names), None]

    def test_lines_survive_in_order_also_over_a_restart(self, backend: Backend, open_again: Callable[[], Backend]) -> None:
        for number in range(3):
            backend.append("rows.jsonl", {"n": number})
        backend.flush()
        later = open_again()
        later.append("rows.jsonl", {"n": 3})
        later.flush()
        assert [line["n"] for line in open_again().lines("rows.jsonl")] == [0, 1, 2, 3]
        assert list(backend.lines("nothing.jsonl")) == []

    def test_a_second_driver_is_refused_until_the_first_has_ended(
        self, backend: Backend, open_again: Callable[[], Backend]
    ) -> None:
        other = open_again()
        with backend.locked():
            assert "process" in (other.holder() or "")
            with pytest.raises(UserError, match="is being run by another driver"), other.locked():
                pass
        assert other.holder() is None
        with other.locked():
            pass


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert folder.names("trials") == []
    (tmp_path / "trials").symlink_to("trials")  # a circle; a missing permission has no effect on root
    with pytest.raises(UserError, match=r"trials: cannot be read: Too many levels of symbolic links$"):
        folder.names("trials")


class TestLease:
    """The lock on an object store."""

    def test_a_dead_drivers_lock_is_taken_when_it_has_expired(self, s3: str) -> None:
        objects = ObjectStore(f"{s3}/sweep")
        dead = Lease(objects, seconds=1)
        dead._write("create", 1)  # and never renewed
        later = Lease(objects)
        with pytest.raises(UserError, match="is being run by another driver"):
            later.take()
        time.sleep(1.1)
        later.take()
        assert objects.holder() is not None
        later.release()
        assert objects.holder() is None

    def test_a_living_drivers_lock_is_renewed(self, s3: str) -> None:
        objects = ObjectStore(f"{s3}/sweep")
        lease = Lease(objects, seconds=1)
        lease.take()
        time.sleep(1.6)
        assert objects.holder() is not None
        lease.release()

    def test_of_two_that_find_an_expired_lock_one_gets_it(self, s3: str) -> None:
        objects = ObjectStore(f"{s3}/sweep")
        objects.write(LOCK, json.dumps({"holder": "a dead one", "expires": 0}).encode())
        _, tag = objects.read_version(LOCK)
        first, second = (Lease(objects) for _ in range(2))
        assert first._write({"e_tag": tag}, 60)
        assert not second._write({"e_tag": tag}, 60)

    @pytest.mark.parametrize("text", [b"{", b"", b"[]", b'{"holder": "a"}', b"\xff", b"null"])
    def test_a_damaged_lock_is_one_line_for_who_asks_and_for_who_wants_it(self, s3: str, text: bytes) -> None:
        objects = ObjectStore(f"{s3}/sweep")
        objects.write(LOCK, text)
        for use in (objects.holder, lambda: objects.locked().__enter__()):
            with pytest.raises(UserError, match=rf"^{s3}/sweep/lock: is damaged ") as error:
                use()
            assert "\n" not in str(error.value)

    def test_a_storage_that_goes_away_while_a_driver_writes_is_one_line(self, s3: str, s3_server: str) -> None:
        objects = ObjectStore(f"{s3}/sweep")
        objects.append("rows.jsonl", {"n": 0})
        objects.flush()
        message = rf"^{s3}/sweep: cannot be written: .*; restore access, then run the same command again$"
        with pytest.raises(UserError, match=message), objects.locked():
            objects.append("rows.jsonl", {"n": 1})
            urlopen(Request(f"{s3_server}/moto-api/reset", method="POST")).close()

    def test_a_driver_that_lost_its_lock_is_stopped_as_by_ctrl_c(self, s3: str, ctrl_c_raises: None) -> None:
        objects = ObjectStore(f"{s3}/sweep")
        lease = Lease(objects, seconds=3)
        lease.take()
        with pytest.raises(KeyboardInterrupt):
            objects.write(LOCK, b'{"holder": "another", "expires": 1e12}')  # well before the first renewal, at 1 s
            time.sleep(10)
        lease.release()  # leaves what is not its own
        assert objects.holder() == "another"


@pytest.mark.parametrize(
    ("location", "message"),
    [("s3://no-such-bucket/sweep", "cannot be written"), ("nowhere://bucket/sweep", "must be a folder, or a URI")],
)
def test_a_storage_that_is_not_there_is_one_line(s3: str, location: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_backend(location).prepare()
    assert "\n" not in str(caught.value)


def test_an_object_store_that_cannot_be_read_is_one_line(s3: str) -> None:
    with pytest.raises(UserError, match=r"^s3://no-such-bucket/sweep: cannot be read: ") as caught:
        Store("s3://no-such-bucket/sweep").results()
    assert "\n" not in str(caught.value)


def test_the_case_of_a_scheme_does_not_matter(s3: str) -> None:
    open_backend(f"{s3}/sweep").write("a", b"1")
    found = open_backend(f"{s3.replace('s3', 'S3', 1)}/sweep")
    assert found.read("a") == b"1" and found.location == f"{s3}/sweep"


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("file:///{folder}/runs", "must be written as a path: /"),
        ("FILE:/{folder}/runs", "must be written as a path: /"),
        ("s3:/bucket", "must be a folder, or a URI such as s3://bucket/sweeps"),
        ("nowhere://bucket", "must be a folder, or a URI such as s3://bucket/sweeps"),
        ("memory:///", "must be a folder, or a URI such as s3://bucket/sweeps"),
    ],
)
def test_plan_and_run_refuse_the_same_storages(
    typed: Callable, write_spec: Callable, tmp_path: Path, storage: str, message: str
) -> None:
    spec = str(write_spec(measure_sections() | {"storage": storage.format(folder=tmp_path)}))
    for command in ("plan", "run"):
        assert_refused(typed(command, spec), message, tmp_path)


def test_a_full_disk_leaves_the_previous_content(tmp_path: Path) -> None:
    """A process that may write no file beyond 10 kB, as on a disk without room."""
    import subprocess
    import sys

    Folder(tmp_path).write("checkpoint.ckpt", b"previous")
    code = f"""
import resource
from pathlib import Path
from sweeps.store.find_store import find_store
from sweeps.store.folder import Folder
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    Folder(Path({str(tmp_path)!r})).write("checkpoint.ckpt", bytes(20_000))
except OSError as error:
    print(error.strerror)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "File too large\n"
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.ckpt"]
    assert Folder(tmp_path).read("checkpoint.ckpt") == b"previous"


@pytest.mark.ray
@pytest.mark.more
def test_a_sweep_on_s3_is_continued_on_another_machine(s3: str, write_spec: Callable, tmp_path: Path) -> None:
    spec = str(write_spec(measure_sections() | {"storage": s3}))
    first = run_command("run", spec, cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    store = Store(f"{s3}/tiny")
    results = store.results()
    assert len(results) == 4 and {record["outcome"] for record in results.values()} == {"completed"}
    assert len(store.rows()) == 4 * 3 and store.holder() is None
    for name in ("checkpoint.ckpt", "best.pt", "weights.pt", "trial.yaml"):
        assert sum(key.endswith(name) for key in store.backend.names("trials")) == 4
    other = tmp_path / "other"
    other.mkdir()
    more = run_command("run", spec, "measure.seeds=2", cwd=other)
    assert more.returncode == 0 and "goes on: 4 of 8 trials are finished" in more.stdout, more.stdout + more.stderr
    again = run_command("run", spec, "measure.seeds=2", cwd=other)
    assert again.returncode == 0 and "is finished: 8 trials, nothing to run" in again.stdout
    assert "8 of 8 trials have ended (8 completed)" in run_command("status", f"{s3}/tiny", cwd=other).stdout


@pytest.fixture
def ctrl_c_raises() -> Iterator[None]:
    """Python's own answer to SIGINT, also where a shell that runs the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_sweep_in_an_object_store_is_found_by_uri_name_and_spec(s3: str, write_spec: Callable, monkeypatch) -> None:
    store, spec = Store(f"{s3}/tiny"), str(write_spec(measure_sections()))
    store.create()
    store.write_spec(write_yaml(measure_sections()))
    for target, storage in ((f"{s3}/tiny", None), ("tiny", s3), (spec, f"{s3}/")):
        assert find_store(target, storage).location == store.location
    monkeypatch.setenv("RRM_STORAGE", s3)
    assert find_store("tiny").location == store.location
    with pytest.raises(UserError, match=rf"^tin: is neither .* no {s3}/tin/spec.yaml; sweeps in {s3}: tiny$"):
        find_store("tin")
