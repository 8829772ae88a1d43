"""A worker of Ray, which runs trials. It holds the token, and no password of MLflow or PostgreSQL."""

import json
import os

from ports import WORKER_RANGE, node_options
from waiting import ROLE, give_up, need, wait_for, wait_for_port


def main() -> None:
    ROLE.write_text("worker")
    need("RAY_AUTH_TOKEN")
    head = os.environ.get("HEAD_ADDRESS", "head:6379")
    check_store(os.environ.get("RRM_STORAGE", ""))
    wait_for_port("Ray's head", head)
    check_version(head)
    command = ["ray", "start", f"--address={head}", "--block", "--disable-usage-stats"]
    command += [f"--num-cpus={os.environ.get('WORKER_CPUS', '1')}", *node_options(WORKER_RANGE)]
    if os.environ.get("WORKER_GPUS"):  # else those that Ray finds
        command.append(f"--num-gpus={os.environ['WORKER_GPUS']}")
    os.execvp("ray", command)


def check_store(storage: str) -> None:
    """A folder must be there and be writable for this user; a URI is asked by the driver."""
    if storage.startswith("/") and not os.access(storage, os.W_OK):
        give_up(f"{storage} cannot be written by user {os.getuid()}: mount the store there, owned by that user")


def check_version(head: str) -> None:
    """Refuse to join a head that runs another image."""
    from ray._raylet import GcsClient

    from sweeps.nodes import describe_code

    found: dict[str, str] = {}

    def read() -> None:
        text = GcsClient(address=head).internal_kv_get(b"image", b"rrm")
        if text is None:
            raise LookupError("it has not said which image it is")
        found.update(json.loads(text))

    wait_for(f"Ray's head at {head}", read)
    for name, ours in describe_code().items():
        if found.get(name) != ours:
            give_up(f"this image is not the head's: {name} is {ours} here and {found.get(name)} there; take the same tag")


if __name__ == "__main__":
    main()
