"""What a container needs before it begins: settings that must be there, and other services, waited for with a limit."""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

WAIT_SECONDS = float(os.environ.get("WAIT_SECONDS", "180"))
ROLE = Path("/tmp/role")  # what the health check asks after
STORE, MARK = Path("/store"), ".head"  # a file that the head writes there, and every worker must find


def give_up(sentence: str) -> NoReturn:
    """End this container with a sentence in its log."""
    print(sentence, file=sys.stderr, flush=True)
    sys.exit(1)


def need(name: str) -> str:
    """A setting that must not be empty."""
    value = os.environ.get(name, "")
    if not value:
        give_up(f"{name} is empty: it comes from docker/.env, which docker/new-env writes")
    return value


def need_writable(folder: Path) -> None:
    """A folder that this user may write."""
    if not os.access(folder, os.W_OK):
        give_up(f"{folder} cannot be written by user {os.getuid()}: mount the store there, owned by that user")


def wait_for(what: str, answers: Callable[[], object]) -> None:
    """Return once `answers` does not raise; its last word is told when the limit is over."""
    deadline = time.monotonic() + WAIT_SECONDS
    said = False
    while True:
        try:
            answers()
            return
        except Exception as error:  # whatever a client raises while its server is not there
            if time.monotonic() > deadline:
                give_up(f"{what} does not answer within {WAIT_SECONDS:g} s: {str(error).strip().splitlines()[-1:] or error!r}")
            if not said:
                print(f"waiting for {what} ...", flush=True)
                said = True
        time.sleep(1)


def wait_for_port(what: str, address: str) -> None:
    """Return once something listens at host:port."""
    host, port = address.rsplit(":", 1)
    wait_for(f"{what} at {address}", lambda: socket.create_connection((host, int(port)), timeout=5).close())
