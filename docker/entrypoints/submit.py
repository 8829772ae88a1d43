"""`start submit SPEC [PATH=VALUE]...`: hand a spec to the head, follow it, and write the report beside its results."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from ports import DASHBOARD
from waiting import ROLE, give_up, need, wait_for


def main() -> None:
    ROLE.write_text("submit")
    need("RAY_AUTH_TOKEN")
    storage = need("RRM_STORAGE")
    if len(sys.argv) < 2:
        give_up(f"name a spec: {', '.join(sorted(str(path) for path in Path('/specs').rglob('*.yaml')))}")
    head = os.environ.get("RAY_API_SERVER_ADDRESS", f"http://head:{DASHBOARD}")
    wait_for(f"Ray's head at {head}", lambda: urllib.request.urlopen(f"{head}/api/gcs_healthz", timeout=5))
    submitted = subprocess.Popen(["rrm-sweep", "submit", *sys.argv[1:], "--address", head])
    signal.signal(signal.SIGTERM, lambda *_: submitted.terminate())
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal sends it to both
    if submitted.wait() != 0:
        sys.exit(submitted.returncode)
    sys.exit(subprocess.run(["rrm-analyze", find_store(sys.argv[1], sys.argv[2:], storage)]).returncode)


def find_store(spec: str, overrides: list[str], storage: str) -> str:
    """Where the results lie."""
    from sweeps.spec import load_spec

    fields = [override for override in overrides if not override.startswith("-")]
    return load_spec(Path(spec), [*fields, f"storage={storage}"]).location


if __name__ == "__main__":
    main()
