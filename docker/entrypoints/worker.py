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
    if os.environ.get("WORKER_GPUS"):  # else those that Ray finds
        command.append(f"--num-gpus={os.environ['WORKER_GPUS']}")
    os.execvp("ray", command)


def ask(head: str) -> dict[str, str]:
    """What the head has told of itself."""
    from ray._raylet import GcsClient

    found: dict[str, str] = {}

    def read() -> None:
        text = GcsClient(address=head).internal_kv_get(b"head", b"rrm")
        if text is None:
            raise LookupError("it has not said which image it is")
        found.update(json.loads(text))

    wait_for(f"Ray's head at {head}", read)
    return found


def compare(theirs: dict[str, str], storage: str) -> None:
    """Refuse to join a head that runs another image or sees another store; a driver asks only who is there when it starts."""
    from sweeps.worker.node_check import describe_code

    for name, ours in describe_code().items():
        if theirs.get(name) != ours:
            give_up(f"this image is not the head's: {name} is {ours} here and {theirs.get(name)} there; take the same tag")
    mark = Path(storage, MARK)
    if storage.startswith("/") and not (mark.exists() and mark.read_text(encoding="utf-8") == theirs[MARK]):
        give_up(f"{storage} is not the head's: mount the same folder on both, or take an object store")


if __name__ == "__main__":
    main()
