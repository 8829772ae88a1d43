"""MLflow: runs with params, metrics, artifacts and models."""

from sweeps.tracking.mlflow.tracker import MlflowTracker as MlflowTracker
