"""`rrm-sweep ui`: MLflow on a sweep, or the Optuna dashboard on its study, until Ctrl-C."""

import os
import shlex
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from threading import Thread

from rrm.errors import UserError
from sweeps.store.store import STUDY, Store

MLFLOW_PORT, DASHBOARD_PORT = 5000, 8080
DONE, STOPPED = 0, 130
print_line = partial(print, flush=True)  # not by rich, which prints a line twice after a Ctrl-C within it


def show_runs(store: Store, port: int | None, open_browser: bool) -> int:
    """Send MLflow what it lacks of a sweep, print the links to it, and open the first; serve a local database until Ctrl-C.

    Returns:
        Exit code: 130 after Ctrl-C before there were links, else 0.

    Raises:
        UserError: there is no such sweep, it has no finished trials, MLflow does not take it, or the port is taken.
    """
    links = dict[str, str]()
    try:
        with _served_links(store, port) as (links, is_own_server):
            if is_own_server:
                _wait(links, open_browser)
            else:
                _show(links, open_browser)
    except KeyboardInterrupt:
        if not links:
            again = shlex.join(["rrm-sweep", *sys.argv[1:]])
            print_line(f"stopped before there were links; the same command goes on from what MLflow holds: {again}")
            return STOPPED
    return DONE


@contextmanager
def _served_links(store: Store, port: int | None) -> Iterator[tuple[dict[str, str], bool]]:
    """Links to a sweep by name, served while the block runs, and whether a server of our own serves them."""
    from sweeps.tracking.backfill import filled_destination
    from sweeps.tracking.mlflow.address import local_root
    from sweeps.tracking.mlflow.server import find_links, running_server  # mlflow takes seconds to import

    with filled_destination(store, print_line) as destination:
        uri, name = destination.uri, destination.sweep
        if uri.startswith(("http:", "https:")):
            yield find_links(uri, uri.rstrip("/"), name), False
            return
        artifacts = destination.artifact_root or local_root(store.location.rpartition("/")[0]) / "mlartifacts"
        free = _free_port(port, MLFLOW_PORT)
        print_line("starting MLflow's server ...")
        with running_server(uri, artifacts, free) as address:
            yield find_links(address, address, name), True


def show_study(store: Store, port: int | None, open_browser: bool) -> int:
    """Serve the Optuna dashboard on a search's study until Ctrl-C; returns exit code 0.

    Raises:
        UserError: it is not installed, the sweep has no study, its database cannot be used, or the port is taken.
    """
    if find_spec("optuna_dashboard") is None:
        raise UserError("--study", "needs the Optuna dashboard: pip install 'rrm-sweeps[dashboard]'")
    database = store.driver_folder / STUDY
    from optuna_dashboard import run_server

    from sweeps.driver.study_database import STUDY_URL, open_storage  # torch and optuna take seconds to import

    if not os.environ.get(STUDY_URL) and not database.exists():
        raise UserError(store.location, "has no study on this machine: it is a measure sweep, or another machine ran the search")
    free, storage = _free_port(port, DASHBOARD_PORT), open_storage(database)
    # The dashboard's server swallows a Ctrl-C that comes during a request; a thread other than the main one receives no signal.
    served = Thread(target=run_server, args=(storage, "127.0.0.1", free), daemon=True)
    served.start()
    _wait({"study": f"http://127.0.0.1:{free}/dashboard"}, open_browser, served.join)
    return DONE


def _free_port(asked: int | None, usual: int) -> int:
    """A free port: the one that was asked for, else the usual one, else any.

    Raises:
        UserError: the port that was asked for is not free.
    """
    for port in (asked,) if asked is not None else (usual, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise UserError("--port", f"must be a free port, got {asked}: another program uses it; choose another one, or leave --port out")


def _show(links: dict[str, str], open_browser: bool) -> None:
    """Print links by name, and open the first."""
    for name, link in links.items():
        print_line(f"{name:7} {link}")
    if open_browser:
        webbrowser.open(next(iter(links.values())))


def _wait(links: dict[str, str], open_browser: bool, until: Callable[[], object] = signal.pause) -> None:
    """Show links until Ctrl-C or SIGTERM, or until the server ends by itself."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have set SIGINT to be ignored
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        _show(links, open_browser)
        print_line("Ctrl-C ends it")
        until()
