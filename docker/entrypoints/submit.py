"""`start submit SPEC [PATH=VALUE]...`: hand a spec to the head and follow it, to the report beside its results."""

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
    need("RRM_STORAGE")
    if len(sys.argv) < 2:
        give_up(f"name a spec: {', '.join(sorted(str(path) for path in Path('/specs').rglob('*.yaml')))}")
    head = os.environ.get("RAY_API_SERVER_ADDRESS", f"http://head:{DASHBOARD}")
    wait_for(f"Ray's head at {head}", lambda: urllib.request.urlopen(f"{head}/api/gcs_healthz", timeout=5))
    submitted = subprocess.Popen(["rrm-sweep", "submit", *sys.argv[1:], "--address", head])
    signal.signal(signal.SIGTERM, lambda *_: submitted.terminate())
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal sends it to both
    sys.exit(submitted.wait())


if __name__ == "__main__":
    main()
