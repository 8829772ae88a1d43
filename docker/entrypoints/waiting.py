"""What a container requires before it starts: settings, and other services, for which it waits at most `WAIT_SECONDS`."""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

WAIT_SECONDS = float(os.environ.get("WAIT_SECONDS", "180"))
ROLE = Path("/tmp/role")  # file with the role of this container, for the health check
STORE, MARK = Path("/store"), ".head"  # folder, and the name of a file in it that the head writes and every worker must find


def give_up(sentence: str) -> NoReturn:
    """End this container with exit code 1 and a sentence in its log."""
    print(sentence, file=sys.stderr, flush=True)
    sys.exit(1)


def need(name: str) -> str:
    """The value of an environment variable; ends the container if it is empty."""
    value = os.environ.get(name, "")
    if not value:
        give_up(f"{name} is empty: set it in docker/.env, which docker/new-env creates")
    return value


def need_writable(folder: Path) -> None:
    """End the container if this user cannot write the folder."""
    if not os.access(folder, os.W_OK):
        give_up(f"{folder} cannot be written by user {os.getuid()}: mount the store at this path, with that user as its owner")


def wait_for(what: str, answers: Callable[[], object]) -> None:
    """Return once `answers` does not raise; after `WAIT_SECONDS` end the container with its last error."""
    deadline = time.monotonic() + WAIT_SECONDS
    is_announced = False
    while True:
        try:
            answers()
            return
        except Exception as error:  # a client may raise anything while its server is absent
            if time.monotonic() > deadline:
                give_up(
                    f"{what} does not answer within {WAIT_SECONDS:g} s: {(str(error).strip().splitlines() or [repr(error)])[-1]}"
                )
            if not is_announced:
                print(f"waiting for {what} ...", flush=True)
                is_announced = True
        time.sleep(1)


def wait_for_port(what: str, address: str) -> None:
    """Return once a server listens at host:port."""
    host, port = address.rsplit(":", 1)
    wait_for(f"{what} at {address}", lambda: socket.create_connection((host, int(port)), timeout=5).close())
