"""`start submit SPEC [PATH=VALUE]...`: submit a spec to the head, and follow its log up to the report."""

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
        give_up(f"SPEC is missing: start submit SPEC; /specs has {list_specs()}")
    if not Path(sys.argv[1]).is_file():
        give_up(f"{sys.argv[1]} does not exist; /specs, the folder SPECS of docker/.env, has {list_specs()}")
    head = os.environ.get("RAY_API_SERVER_ADDRESS", f"http://head:{DASHBOARD}")
    wait_for(f"Ray's head at {head}", lambda: urllib.request.urlopen(f"{head}/api/gcs_healthz", timeout=5))
    # The child has its own session: Ctrl-C in a terminal then reaches it once, through this process, as a signal of an engine does.
    submitted = subprocess.Popen(["rrm-sweep", "submit", *sys.argv[1:], "--address", head], start_new_session=True)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _: submitted.send_signal(number))
    sys.exit(submitted.wait())


def list_specs() -> str:
    """The YAML files in the folder of specs."""
    return ", ".join(sorted(str(path) for path in Path("/specs").rglob("*.yaml"))) or "no *.yaml"


if __name__ == "__main__":
    main()
