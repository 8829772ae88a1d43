"""The health check of every container: does what this one is here for answer?"""

import os
import sys
import urllib.request

from ports import DASHBOARD, MLFLOW, WORKER_RANGE, agent_port
from waiting import ROLE

ASKED = {
    "head": f"http://127.0.0.1:{DASHBOARD}/api/gcs_healthz",
    "worker": f"http://127.0.0.1:{agent_port(int(os.environ.get('FIRST_PORT', WORKER_RANGE)))}/api/local_raylet_healthz",
    "mlflow_server": f"http://127.0.0.1:{MLFLOW}/health",
}


def main() -> None:
    url = ASKED.get(ROLE.read_text() if ROLE.exists() else "")
    if url is None:  # a driver, or a command that somebody typed
        return
    try:
        urllib.request.urlopen(url, timeout=4)
    except OSError as error:
        sys.exit(f"{url}: {error}")


if __name__ == "__main__":
    main()
