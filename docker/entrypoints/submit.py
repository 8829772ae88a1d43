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
    ROLE.write_text("submit", encoding="utf-8")
    need("RAY_AUTH_TOKEN")
    need("RRM_STORAGE")
    if len(sys.argv) < 2:
        give_up(f"name a spec: {list_specs()}")
    if not Path(sys.argv[1]).is_file():
        give_up(f"{sys.argv[1]} is not there; the folder that SPECS in docker/.env names has {list_specs()}")
    head = os.environ.get("RAY_API_SERVER_ADDRESS", f"http://head:{DASHBOARD}")
    wait_for(f"Ray's head at {head}", lambda: urllib.request.urlopen(f"{head}/api/gcs_healthz", timeout=5))
    # In a session of its own, so that a terminal's Ctrl-C reaches it once: by way of this process, as an engine's does.
    submitted = subprocess.Popen(["rrm-sweep", "submit", *sys.argv[1:], "--address", head], start_new_session=True)
    for way in (signal.SIGTERM, signal.SIGINT):
        signal.signal(way, lambda number, _: submitted.send_signal(number))
    sys.exit(submitted.wait())


def list_specs() -> str:
    """What is in the folder of specs."""
    return ", ".join(sorted(str(path) for path in Path("/specs").rglob("*.yaml"))) or "no *.yaml"


if __name__ == "__main__":
    main()
