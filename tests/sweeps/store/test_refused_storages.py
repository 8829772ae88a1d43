"""A storage behind a URI that cannot be opened, read or written is one line with exit code 2, whichever command meets it."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import analysis.cli
from analysis.data.tables import load
from rrm.errors import UserError
from sweeps.planning.load_sweep import load_sweep
from sweeps.store.find_store import find_store
from sweeps.store.object_store import Lease, ObjectStore
from sweeps.store.store import Store
from tests.sweeps.conftest import assert_refused, measure_sections, run_command

SWEEP = "s3://bucket/sweeps/tiny"
COMMANDS = {
    "status": ["status", SWEEP],
    "ui": ["ui", SWEEP, "--no-browser"],
    "plan": ["plan", "sweep.yaml", "--storage", "s3://bucket/sweeps"],
    "run": ["run", "sweep.yaml", "--storage", "s3://bucket/sweeps"],
    "analyze": [SWEEP],
}


VERBS = ("GET", "PUT", "HEAD", "POST", "DELETE")


class Refusing(BaseHTTPRequestHandler):
    """Answers every request with the status of its server."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


for verb in VERBS:
    setattr(Refusing, f"do_{verb}", Refusing.answer)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Starts a server that refuses with a status, as the endpoint of S3."""
    servers = []

    def start(status: int) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
        server.status = status  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        set_credentials(monkeypatch, f"http://127.0.0.1:{server.server_port}")

    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def set_credentials(monkeypatch: pytest.MonkeyPatch, endpoint: str, key: str = "key") -> None:
    for name, value in (
        ("ACCESS_KEY_ID", key),
        ("SECRET_ACCESS_KEY", "secret"),
        ("REGION", "us-east-1"),
        ("ENDPOINT_URL", endpoint),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)


def refused_line(typed: Callable, write_spec: Callable, command: str) -> str:
    """What a command prints for a storage that it cannot use."""
    write_spec(measure_sections())
    names = {"main": analysis.cli.main, "name": "rrm-analyze"} if command == "analyze" else {}
    ended = typed(*COMMANDS[command], **names)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and not ended.stdout, ended.stdout + ended.stderr
    return str(ended.stderr)


def test_status_of_a_server_that_denies_access_is_one_line(answering: Callable, tmp_path: Path) -> None:
    """In a process of its own: the client's threads do not live on in a forked one."""
    answering(403)
    ended = run_command(*COMMANDS["status"], cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n"), ended.stdout) == (2, 1, "")
    assert ended.stderr.startswith(f"{SWEEP}: cannot be read: ")


def test_what_other_commands_begin_with_refuses_a_server_that_denies_access(answering: Callable, write_spec: Callable) -> None:
    answering(403)
    spec = write_spec(measure_sections())
    first_calls = (
        lambda: load_sweep(spec, ["storage=s3://bucket/sweeps"]),  # plan, run
        lambda: find_store(SWEEP),  # ui
        lambda: load(SWEEP),  # rrm-analyze
    )
    for call in first_calls:
        with pytest.raises(UserError, match=rf"^{SWEEP}: cannot be read: "):
            call()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("endpoint", ["localhost:9000", "not a url", "/path", "http://"])
def test_every_command_refuses_an_endpoint_that_is_no_address_in_one_line(
    typed: Callable, write_spec: Callable, monkeypatch: pytest.MonkeyPatch, command: str, endpoint: str
) -> None:
    """The client ends its process with a stack of its own otherwise."""
    set_credentials(monkeypatch, endpoint)
    line = refused_line(typed, write_spec, command)
    assert line == f"AWS_ENDPOINT_URL: must be the address of a server such as http://localhost:9000, got {endpoint!r}\n"


@pytest.mark.parametrize("uri", ["s3://", "s3:///", "s3:///folder", "S3://", "gs://", "az://"])
def test_a_uri_without_a_bucket_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=rf"must name a bucket: {uri[:2].lower()}://BUCKET/FOLDER$"):
        find_store(uri)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_uri_without_a_bucket(typed: Callable, write_spec: Callable, tmp_path: Path, command: str) -> None:
    write_spec(measure_sections())
    names = {"main": analysis.cli.main, "name": "rrm-analyze"} if command == "analyze" else {}
    arguments = [word.replace(SWEEP, "s3://").replace("s3://bucket/sweeps", "s3://") for word in COMMANDS[command]]
    assert_refused(typed(*arguments, **names), "must name a bucket: s3://BUCKET/FOLDER\n", tmp_path)


def test_credentials_with_a_line_break_are_one_line_that_does_not_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch, "http://127.0.0.1:1", key="planted\n")
    with pytest.raises(UserError, match=r"^AWS_ACCESS_KEY_ID: must be one line") as error:
        ObjectStore(SWEEP)
    assert "planted" not in str(error.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_server_that_refuses_is_one_line_for_every_way_to_read_and_for_the_first_write(answering: Callable, status: int) -> None:
    answering(status)
    store = Store(SWEEP)
    if status == 404:
        assert store.spec() is None and store.holder() is None  # as before the first run
    else:
        for read in (store.spec, store.design, store.holder, store.identity):
            with pytest.raises(UserError, match="cannot be read"):
                read()
    for read in (store.finished, store.results, store.rows):
        with pytest.raises(UserError, match="cannot be read"):
            read()
    with pytest.raises(UserError, match="cannot be written"):
        store.create()


@pytest.mark.parametrize("status", [400, 403, 404, 409, 412])
def test_a_server_that_refuses_later_is_one_line_for_every_way_to_write(answering: Callable, status: int) -> None:
    answering(status)
    store = Store(SWEEP)
    writes = [lambda: store.write_spec("name: tiny"), lambda: store.write_result("a", "{}"), lambda: store.write_killed("a", "b")]
    if status not in {404, 409, 412}:  # what is not there is removed, and another driver may have the lock
        writes += [lambda: store.remove_result("a"), lambda: store.locked().__enter__()]
    for write in writes:
        with pytest.raises(UserError, match=rf"^{SWEEP}: cannot be written: .*; restore access, then run the same command again$"):
            write()


def test_appended_lines_that_do_not_go_up_and_a_lock_that_is_not_freed_are_one_line(answering: Callable) -> None:
    answering(403)
    backend = ObjectStore(SWEEP)
    backend._next_part["rows.jsonl"] = 0
    backend.append("rows.jsonl", {"n": 1})
    for write in (backend.flush, lambda: Lease(backend)._write({"e_tag": "a"}, 0.0)):
        with pytest.raises(UserError, match=rf"^{SWEEP}: cannot be written: "):
            write()


def test_without_credentials_the_variables_to_set_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://169.254.0.1:1")  # where a machine of the cloud would ask
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(
        UserError, match="cannot be read: no credentials are found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ):
        Store(SWEEP).spec()
