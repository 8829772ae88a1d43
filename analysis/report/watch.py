"""`rrm-analyze --watch`: the report of a sweep at a local address, made anew when results come, until Ctrl-C."""

import hashlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Thread
from typing import Any

from rrm.errors import UserError
from sweeps.store.store import Store

HOST = "127.0.0.1"  # the report is served to this machine alone
POLL_SECONDS = 2.0
ROUTES = {"/": "text/html", "/version": "text/plain"}
WAITING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title></head>
<body style="font: 15px/1.5 system-ui, sans-serif; margin: 3rem">
<h1>{name}</h1><p>{reason} The report appears here by itself.</p>
</body></html>
"""


class ReportServer(ThreadingHTTPServer):
    """Serves one page, which asks for its version and loads itself anew when that has changed."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        """Port 0 is any free port.

        Raises:
            UserError: the port is taken.
        """
        self.content: dict[str, bytes] = {}
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError):
            problem = f"must be a free port, got {port}: another program uses it; choose another one, or leave --port out"
            raise UserError("--port", problem) from None

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/"

    def show(self, page: str) -> None:
        """Replace the page."""
        version = hashlib.sha256(page.encode()).hexdigest()[:16]
        script = files("analysis.report").joinpath("watch.js").read_text(encoding="utf-8").replace("VERSION", version)
        body = page.replace("</body>", f"<script>\n{script}</script>\n</body>")
        self.content = {"/": body.encode(), "/version": version.encode()}


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        body = self.server.content.get(path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", f"{ROUTES[path]}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        with suppress(ConnectionError):  # the reader has closed the page
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print no line for a request."""


def watch(store: Store, make_page: Callable[[], str], port: int | None, say: Callable[[str], None]) -> None:
    """Serve the report of a sweep until Ctrl-C or SIGTERM.

    Args:
        make_page: the page of the results so far.
        port: None for any free port.

    Raises:
        UserError: the port is taken.
    """
    name = store.location.rstrip("/").rpartition("/")[2]
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have set SIGINT to be ignored
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), _served(port or 0) as server:
        server.show(WAITING.format(name=name, reason="The report is being made."))
        say(f"report: {server.address}; it follows the results, Ctrl-C ends it")
        shown: object = None
        while True:
            state = _state_of(store)
            if state != shown:
                shown = state
                try:
                    server.show(make_page())
                except UserError as error:
                    server.show(WAITING.format(name=name, reason=f"{escape(error.problem)}."))
                    say(str(error))
            time.sleep(POLL_SECONDS)


def _state_of(store: Store) -> object:
    """What the report depends on: finished trials, the spec, and whether a driver runs."""
    return store.finished(), store.spec(), store.holder()


@contextmanager
def _served(port: int) -> Iterator[ReportServer]:
    with ReportServer(port) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
