"""What the MLflow UI shows of a sweep when it is opened by our link.

MLflow keeps a shared view of an experiment's page as a tag of the experiment: JSON of the page's state, undocumented; a
browser test guards it.
"""

import json
from typing import Any, Literal

from mlflow import MlflowClient

KEY = "rrm"  # of our view among the shared ones
TAG = f"mlflow.sharedViewState.{KEY}"
# Few: MLflow puts the columns of metrics before those of params.
METRICS = ("test/exact_accuracy", "params", "layers_executed", "train_flops", "inference_flops")


def prepare_view(client: MlflowClient, experiment_id: str, axes: list[str], objective: dict[str, str]) -> None:
    """Best first, the axes, outcome, scores and costs as columns, depth curves over their depth.

    Args:
        axes: dotted paths of what differs between trials.
        objective: `metric` and `goal` that say what is best.
    """
    columns = [
        *(f"params.`{path}`" for path in axes),
        "params.`seed`",
        "tags.`outcome`",
        *(f"metrics.`{name}`" for name in dict.fromkeys((objective["metric"], *METRICS))),
    ]
    state: dict[str, Any] = {
        # A metric that only children have: the list is flat then, and its charts are not empty.
        "orderByKey": f"metrics.`{objective['metric']}`",
        "orderByAsc": objective["goal"] == "minimize",
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
        "globalLineChartConfig": {"xAxisKey": "step"},
    }
    client.set_experiment_tag(experiment_id, TAG, json.dumps(state))


def view_path(experiment_id: str, mode: Literal["CHART", "TABLE"]) -> str:
    """Where the view is, behind the server's address. Without `workflowType` MLflow opens in another mode, for prompts."""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={KEY}&compareRunsMode={mode}"
