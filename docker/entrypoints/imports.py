"""The last step of a build: everything that a role needs can be imported, and the commands are there."""

import importlib
import subprocess

MODULES = "torch lightning ray.tune ray.dashboard.dashboard mlflow.server.auth optuna psycopg obstore pyarrow sweeps.run analysis.report"

for name in MODULES.split():
    importlib.import_module(name)
for command in ("rrm-sweep", "rrm-trial", "rrm-analyze"):
    subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)
