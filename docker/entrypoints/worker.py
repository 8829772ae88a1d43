"""A worker of Ray, which runs trials. It holds the token, and no password of MLflow or PostgreSQL."""

import json
import os
from pathlib import Path

from ports import WORKER_RANGE, node_options
from waiting import MARK, ROLE, give_up, need, need_writable, wait_for, wait_for_port


def main() -> None:
    ROLE.write_text("worker", encoding="utf-8")
    need("RAY_AUTH_TOKEN")
    head = os.environ.get("HEAD_ADDRESS", "head:6379")
    storage = os.environ.get("RRM_STORAGE", "")
    if storage.startswith("/"):
        need_writable(Path(storage))
    wait_for_port("Ray's head", head)
    compare(ask(head), storage)
    command = ["ray", "start", f"--address={head}", "--block", "--disable-usage-stats"]
    command += [f"--num-cpus={os.environ.get('WORKER_CPUS', '1')}", *node_options(WORKER_RANGE)]
    if os.environ.get("WORKER_GPUS"):  # by default Ray uses all GPUs that it finds
        command.append(f"--num-gpus={os.environ['WORKER_GPUS']}")
    os.execvp("ray", command)


def ask(head: str) -> dict[str, str]:
    """The facts that the head has published about itself."""
    from ray._raylet import GcsClient

    facts: dict[str, str] = {}

    def read() -> None:
        text = GcsClient(address=head).internal_kv_get(b"head", b"rrm")
        if text is None:
            raise LookupError("it has not published its versions yet")
        facts.update(json.loads(text))

    wait_for(f"Ray's head at {head}", read)
    return facts


def compare(theirs: dict[str, str], storage: str) -> None:
    """Refuse to join a head with another image or store: a driver compares only the nodes that are present when it starts."""
    from sweeps.worker.node_check import describe_code

    for name, ours in describe_code().items():
        if theirs.get(name) != ours:
            give_up(
                f"the image must be that of the head: {name} is {ours} here and {theirs.get(name)} on the head; use the same TAG"
            )
    mark = Path(storage, MARK)
    if storage.startswith("/") and not (mark.exists() and mark.read_text(encoding="utf-8") == theirs[MARK]):
        give_up(f"{storage} must be the store of the head: mount the same folder on both, or use an object store")


if __name__ == "__main__":
    main()
