"""`rrm-sweep submit`: the same spec as a Ray job, whose driver runs on the cluster and outlives this terminal; then its report."""

import asyncio
import shlex
import tempfile
from pathlib import Path
from typing import Any

from lightning_modules.atomic_write import write_atomically
from lightning_modules.config import write_plugins
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError, first_line
from sweeps.driver.ledger import stored_sections
from sweeps.driver.run import STOPPED
from sweeps.spec.sweep import SweepSpec
from sweeps.store.open_backend import URI

SPEC_FILE = "sweep.yaml"
STOP_SECONDS = 60
ENDINGS = {
    "STOPPED": "was stopped",
    "FAILED": "has failed, see above",
    "RUNNING": "runs on, but its log has ended",
    "PENDING": "has not begun",
}
# SIGINT stops a job as Ctrl-C does, and leaves it time to save.
STOP_ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}


def submit_sweep(spec: SweepSpec, address: str, wait: bool) -> int:
    """Hand a sweep to a cluster and follow its log.

    Args:
        address: the URL of the cluster's dashboard, such as http://head:8265.
        wait: follow the log until the job ends; Ctrl-C ends the following, not the job.

    Returns:
        Exit code: 0 the job succeeded (or was only handed over), 1 it failed, 130 Ctrl-C ended the following.

    Raises:
        UserError: the storage is another one on the cluster, or the cluster does not answer.
    """
    check_shared(spec.storage)
    try:
        from ray.job_submission import JobStatus, JobSubmissionClient
    except ImportError:
        raise UserError("submit", "needs the extra cluster: pip install 'rrm-sweeps[cluster]'") from None
    try:
        client = JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(address, f"does not answer as the dashboard of a Ray cluster: {first_line(error)}") from None
    with tempfile.TemporaryDirectory() as folder:
        write_submitted(Path(folder), spec)
        job = client.submit_job(
            # The driver has the credentials that the report takes into MLflow.
            entrypoint=f"rrm-sweep run {SPEC_FILE} --address auto && rrm-analyze {shlex.quote(spec.location)}",
            runtime_env={"working_dir": folder, "env_vars": STOP_ENVIRONMENT},
            metadata={"sweep": spec.name},
        )
    stop = f"ray job stop --address {address} {job}"
    print(f"job {job} runs {spec.name}; stop it with: {stop}", flush=True)
    if not wait:
        return 0
    try:
        asyncio.run(_follow(client, job))
    except KeyboardInterrupt:
        print(f"the job goes on; stop it with: {stop}", flush=True)
        return STOPPED
    try:
        status = client.get_job_status(job)
    except (OSError, RuntimeError):  # the head is gone, or has no record of the job
        status = None
    if status == JobStatus.SUCCEEDED:
        return 0
    how = ENDINGS[status.value] if status else "has an unknown state, because the cluster does not answer"
    print(f"the job {how}; submit the same spec again to go on", flush=True)
    return 1


def write_submitted(folder: Path, spec: SweepSpec) -> None:
    """Write the job's folder: the spec and the files of its plug-ins."""
    write_atomically(folder / SPEC_FILE, write_yaml(submitted_sections(spec)))
    write_plugins(folder, spec.plugins or ())


def submitted_sections(spec: SweepSpec) -> dict[str, Any]:
    """The spec for the job, which finds the version of the defaults in the storage where the user names none."""
    sections = stored_sections(spec)
    return sections if "defaults" in spec.model_fields_set else {key: sections[key] for key in sections if key != "defaults"}


async def _follow(client: Any, job: str) -> None:
    async for text in client.tail_job_logs(job):
        print(text, end="", flush=True)


def check_shared(storage: str) -> None:
    """Refuse a storage that would lie in the job's own folder.

    Raises:
        UserError: it is a relative path.
    """
    if not URI.match(storage) and not Path(storage).is_absolute():
        raise UserError("storage", f"must be a folder that all nodes share, by its absolute path, or a URI, got {storage!r}")
