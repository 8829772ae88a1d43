"""The last step of a build: imports every module that a role uses, and starts every command."""

import importlib
import subprocess

TRIALS = "torch lightning ray.tune optuna sweeps.driver.run"
SERVERS = "ray.dashboard.dashboard mlflow.server.auth psycopg"
FILES = "obstore pyarrow analysis.report.build"

for name in f"{TRIALS} {SERVERS} {FILES}".split():
    importlib.import_module(name)
for command in ("rrm-sweep", "rrm-trial", "rrm-analyze"):
    subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)
