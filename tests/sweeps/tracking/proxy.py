"""An HTTP proxy before a real MLflow server, which refuses what a test names."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

HOP_HEADERS = {"transfer-encoding", "content-length", "connection"}


@dataclass(frozen=True)
class Rule:
    """A kind of request and its answer."""

    path: str  # regular expression that a part of the path matches
    status: int
    body: str = "<html>no</html>"
    max_bytes: int = -1  # smaller requests pass


@dataclass
class Proxy:
    """The address, the present rules, and what was refused by path."""

    address: str
    rules: list[Rule] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@contextmanager
def proxy_before(server: str) -> Iterator[Proxy]:
    """A proxy while the block runs."""
    proxy = Proxy("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            for rule in proxy.rules:
                if re.search(rule.path, self.path) and len(body) > rule.max_bytes:
                    proxy.refused.append(self.path)
                    return self.answer(rule.status, rule.body.encode(), {"Content-Type": "text/html"})
            upstream = HTTPConnection(urlsplit(server).netloc, timeout=60)
            upstream.request(self.command, self.path, body or None, {**self.headers, "Host": urlsplit(server).netloc})
            answer = upstream.getresponse()
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_HEADERS}
            self.answer(answer.status, answer.read(), headers)
            upstream.close()

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.forward)
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    Thread(target=listener.serve_forever, daemon=True).start()
    proxy.address = f"http://127.0.0.1:{listener.server_port}"
    try:
        yield proxy
    finally:
        listener.shutdown()
        listener.server_close()
