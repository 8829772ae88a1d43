"""All modules that import mlflow.

address        finds the server or database, and checks its URI
destination    describes the experiment of a sweep, before it is opened
tracker        implements the interface of trackers
experiment     finds or creates the experiment of a sweep, and refuses that of another sweep
run_index      finds or creates the runs of an experiment
writer         sends what runs need, each event once
batches        sends params, metrics and tags in few requests
parts          sends datasets, artifacts, models and the view
words          translates states, outcomes and tags
refusals       decides whether a failed request can be repeated
missing        finds the trials that MLflow lacks
runs           lists the runs of an experiment
reader         reads the runs of a sweep back
model_logging  logs and registers the best models
pyfunc         answers requests for a logged model over HTTP
server         starts a local MLflow server
view           prepares the columns and charts of MLflow's UI
reports        attaches a report to the run of its sweep
"""

import os

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the client's own retry repeats POSTs and doubles runs
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("PGCONNECT_TIMEOUT", "5")  # seconds; without it an unreachable PostgreSQL holds a request for minutes
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# These lines come before the first `import mlflow`, which reads some of the variables.

FINGERPRINT = "rrm.fingerprint"  # tag of a child run, a logged model and a model version
SWEEP = "rrm.sweep"  # on the parent run only
ATTEMPT = "rrm.attempt"  # on a child run: 2 for the second time that its trial begins at step 0
IDENTITY, LOCATION = "rrm.identity", "rrm.location"  # on the experiment: identity and location of its store
KIND = "rrm.kind"  # search or measure; on the parent run only
SPEC, CURVES = "spec.yaml", "curves.parquet"  # artifacts of the parent run
