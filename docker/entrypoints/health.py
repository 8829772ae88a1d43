"""The health check of every container: whether the service of its role answers."""

import sys
import urllib.request

from ports import AGENT, DASHBOARD, MLFLOW, WORKER_RANGE
from waiting import ROLE

URLS = {
    "head": f"http://127.0.0.1:{DASHBOARD}/api/gcs_healthz",
    "worker": f"http://127.0.0.1:{WORKER_RANGE + AGENT}/api/local_raylet_healthz",
    "mlflow_server": f"http://127.0.0.1:{MLFLOW}/health",
}


def main() -> None:
    url = URLS.get(ROLE.read_text(encoding="utf-8") if ROLE.exists() else "")
    if url is None:  # a driver, or a command typed by a user
        return
    try:
        urllib.request.urlopen(url, timeout=4)
    except OSError as error:
        sys.exit(f"{url}: {error}")


if __name__ == "__main__":
    main()
