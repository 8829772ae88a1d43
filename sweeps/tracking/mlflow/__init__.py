"""MLflow's door: the only room that knows it. `writer` delivers events, `models` logs models and `served` answers for one
behind HTTP, `reader` reads runs back, `view` prepares what the UI shows, `server` starts one."""

import os

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the client's own retry repeats POSTs and doubles runs
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# All of it before the first `import mlflow`, which reads parts of it.

FINGERPRINT = "rrm.fingerprint"  # tag of a child run, a logged model and a model version
SWEEP = "rrm.sweep"  # on the parent run only
KIND = "rrm.kind"  # search or measure; on the parent run only
CURVES = "curves.parquet"  # artifact of the parent run
MOST_RUNS = 1000  # of one page
