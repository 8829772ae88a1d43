"""The hub's client against a server that answers as the hub does, on this machine."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from rrm.errors import UserError
from rrm.tasks.sudoku import Sudoku, SudokuConfig
from tests.rrm.tasks.test_sudoku import HEADER, row

FILES = {
    "/datasets/sapientinc/sudoku-extreme/resolve/main/train.csv": "\n".join([HEADER, *[row()] * 10, ""]).encode(),
    "/datasets/sapientinc/sudoku-extreme/resolve/main/test.csv": "\n".join([HEADER, *[row()] * 3, ""]).encode(),
}


class Hub(BaseHTTPRequestHandler):
    """Answers HEAD and GET of a file, with the headers that the client asks for."""

    def do_HEAD(self) -> None:
        content = FILES.get(self.path)
        self.send_response(200 if content else 404)
        if content:
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content)))
        else:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(FILES.get(self.path, b""))

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `hub` is not installed")
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield address
    server.shutdown()


def test_sudoku_extreme_comes_from_the_hub_and_is_kept(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    located = SudokuConfig(size=9, hub="sudoku-extreme").located(tmp_path)
    assert located.train is None and located.train_sha256 == hashlib.sha256(FILES[next(iter(FILES))]).hexdigest()
    assert Sudoku(located).counts == {"train": 9, "validation": 1, "test": 3}
    assert "sudoku-extreme" in str(located.identity())


def test_a_hub_that_cannot_be_reached_is_one_line(hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "/datasets/sapientinc/sudoku-extreme/resolve/main/train.csv", b"")
    with pytest.raises(UserError, match="cannot be downloaded from the hub") as error:
        SudokuConfig(size=9, hub="sudoku-extreme").located(tmp_path)
    assert "\n" not in str(error.value)


def test_without_its_client_the_hub_is_refused_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'rrm-sweeps\[hub\]'"):
        SudokuConfig(size=9, hub="sudoku-extreme").located(tmp_path)
