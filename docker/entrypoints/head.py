"""Ray's head. It runs drivers, which hold the credentials of MLflow and of the studies, and no trials.

SIGTERM first ends the running jobs as Ctrl-C does: their trials keep their checkpoints, from which the same spec goes on.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid

from ports import DASHBOARD, HEAD, HEAD_RANGE, node_options
from waiting import MARK, ROLE, STORE, need, need_writable, wait_for, wait_for_port

MAX_STOP_SECONDS = 75.0  # limit for the end of the jobs; compose kills the container after 90 s


def main() -> None:
    ROLE.write_text("head", encoding="utf-8")
    need("RAY_AUTH_TOKEN")
    need_writable(STORE)
    wait_for_port("PostgreSQL", os.environ.get("POSTGRES_ADDRESS", "postgres:5432"))
    command = ["ray", "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=0", "--num-gpus=0", f"--port={HEAD}"]
    command += [f"--dashboard-host={os.environ.get('DASHBOARD_HOST', '0.0.0.0')}", f"--dashboard-port={DASHBOARD}"]
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    ray = subprocess.Popen([*command, *node_options(HEAD_RANGE)])
    publish(ray)
    while ray.poll() is None and not signals:
        time.sleep(0.5)
    if signals:
        stop(ray)
    sys.exit(ray.wait() if not signals else 0)  # an exit code of Ray makes the engine start the container again


def publish(ray: subprocess.Popen[bytes]) -> None:
    """Give workers the facts that they compare: versions, the digest of the code, and the mark in the store."""
    from ray._raylet import GcsClient

    from lightning_modules.atomic_write import write_atomically
    from sweeps.worker.node_check import describe_code

    facts = describe_code() | {MARK: uuid.uuid4().hex}
    write_atomically(STORE / MARK, facts[MARK])  # in one step, because workers may read it

    def put() -> None:
        if ray.poll() is not None:
            sys.exit(ray.returncode)
        GcsClient(address=f"127.0.0.1:{HEAD}").internal_kv_put(b"head", json.dumps(facts).encode(), True, b"rrm")

    wait_for("Ray", put)


def stop(ray: subprocess.Popen[bytes]) -> None:
    """End the jobs, then Ray, after at most `MAX_STOP_SECONDS`."""
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(f"http://127.0.0.1:{DASHBOARD}")
        running = [job.submission_id for job in client.list_jobs() if job.submission_id and not job.status.is_terminal()]
        for job in running:
            print(f"stopping {job}: submit the same spec again to go on", flush=True)
            client.stop_job(job)
        deadline = time.monotonic() + MAX_STOP_SECONDS
        while time.monotonic() < deadline and not all(client.get_job_status(job).is_terminal() for job in running):
            time.sleep(0.5)
    finally:
        ray.terminate()


if __name__ == "__main__":
    main()
