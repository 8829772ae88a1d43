"""`rrm-sweep ui`: MLflow on a sweep, or the Optuna dashboard on its study, until Ctrl-C."""

import os
import shlex
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from threading import Thread

from rich.console import Console

from rrm.errors import UserError
from sweeps.store.store import STUDY, Store, local_root

MLFLOW_PORT, DASHBOARD_PORT = 5000, 8080
DONE, STOPPED = 0, 130


def show_runs(store: Store, port: int | None, open_browser: bool, console: Console) -> int:
    """Print the links to a sweep in the MLflow UI and open the first; serve them until Ctrl-C, unless a team's server does.

    MLflow gets from the store what it lacks of the sweep.

    Returns:
        Exit code: 130 after Ctrl-C before there were links, else 0.

    Raises:
        UserError: there is no such sweep, it has no finished trials, MLflow does not take it, or the port is taken.
    """
    links = dict[str, str]()
    try:
        with _served_links(store, port, console) as (links, is_own_server):
            if is_own_server:
                _wait(links, open_browser, console)
            else:
                _show(links, open_browser, console)
    except KeyboardInterrupt:
        if not links:
            again = shlex.join(["rrm-sweep", *sys.argv[1:]])
            _say(console, f"stopped before there were links; the same command goes on from what MLflow holds: {again}")
            return STOPPED
    return DONE


@contextmanager
def _served_links(store: Store, port: int | None, console: Console) -> Iterator[tuple[dict[str, str], bool]]:
    """Links to a sweep by name, served while the block runs, and whether a server of our own serves them."""
    from sweeps.tracking.fill import filled_destination
    from sweeps.tracking.mlflow.server import find_links, running_server  # mlflow takes seconds to import

    with filled_destination(store, lambda text: _say(console, text)) as destination:
        uri, name = destination.uri, destination.sweep
        if uri.startswith(("http:", "https:")):
            yield find_links(uri, uri.rstrip("/"), name), False
            return
        artifacts = destination.artifact_root or local_root(store.location.rpartition("/")[0]) / "mlartifacts"
        free = _free_port(port, MLFLOW_PORT)
        _say(console, "starting MLflow's server ...")
        with running_server(uri, artifacts, free) as address:
            yield find_links(address, address, name), True


def _say(console: Console, text: str) -> None:
    """A line as it is: not wrapped, so that links and paths can be copied. After a Ctrl-C within it rich would print it twice."""
    print(text, file=console.file, flush=True)


def show_study(store: Store, port: int | None, open_browser: bool, console: Console) -> int:
    """Serve the Optuna dashboard on a search's study until Ctrl-C; returns exit code 0.

    Raises:
        UserError: it is not installed, the sweep has no study, its database cannot be used, or the port is taken.
    """
    if find_spec("optuna_dashboard") is None:
        raise UserError("--study", "needs the Optuna dashboard: pip install 'rrm-sweeps[dashboard]'")
    own = store.driver_folder / STUDY
    from optuna_dashboard import run_server

    from sweeps.driver.study_database import STUDY_URL, open_storage  # torch and optuna take seconds to import

    if not os.environ.get(STUDY_URL) and not own.exists():
        raise UserError(store.location, "has no study here: it is a measure sweep, or was searched from another machine")
    free, storage = _free_port(port, DASHBOARD_PORT), open_storage(own)
    # Its server swallows a Ctrl-C that comes during a request: beside the main thread, where signals do not go, it gets none.
    served = Thread(target=run_server, args=(storage, "127.0.0.1", free), daemon=True)
    served.start()
    _wait({"study": f"http://127.0.0.1:{free}/dashboard"}, open_browser, console, served.join)
    return DONE


def _free_port(asked: int | None, usual: int) -> int:
    """The port that was asked for, which must be free; else the usual one, or any."""
    for port in (asked,) if asked is not None else (usual, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise UserError("--port", f"must be free, got {asked}, which something listens at")


def _show(links: dict[str, str], open_browser: bool, console: Console) -> None:
    """Print links by name, and open the first."""
    for name, link in links.items():
        _say(console, f"{name:7} {link}")
    if open_browser:
        webbrowser.open(next(iter(links.values())))


def _wait(links: dict[str, str], open_browser: bool, console: Console, until: Callable[[], object] = signal.pause) -> None:
    """Show links until Ctrl-C or a polite kill, or until what is served ends by itself."""
    for way in (signal.SIGINT, signal.SIGTERM):  # the first may have been ignored by whoever started this
        signal.signal(way, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        _show(links, open_browser, console)
        console.print("Ctrl-C ends it")
        until()
