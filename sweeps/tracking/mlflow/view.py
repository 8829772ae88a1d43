"""The columns and charts that the MLflow UI shows when a user opens our link to a sweep.

MLflow keeps a shared view of an experiment's page as a tag of the experiment: JSON of the page's state, undocumented; a
browser test guards it.
"""

import json
from typing import Any, Literal
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Experiment

from sweeps.tracking.events import Objective

KEY = "rrm"  # name of our view among the shared views
TAG = f"mlflow.sharedViewState.{KEY}"
SCORE = "test/exact_accuracy"  # metric by which the page compares runs
# A short list, because MLflow puts the columns of metrics before those of params.
METRICS = (SCORE, "params", "layers_executed", "train_flops", "inference_flops")

MAX_COMPARED = 10
NOTE = "mlflow.note.content"  # tag that MLflow shows as the description of an experiment
DESCRIPTION = (
    "Scores are `val/...`, `test/...` and `ood/...`. `depth/...`, `val_depth/...` and `ood_depth/...` are curves over the "
    "inference depth: where MLflow lists one number of them, it is that of the largest depth, and no score."
)


def prepare_view(client: MlflowClient, experiment_id: str, axes: list[str], objective: Objective) -> None:
    """Write the view: best run first, the axes, outcome, scores and costs as columns, depth curves over their depth.

    Args:
        axes: dotted paths of what differs between trials.
        objective: its metric orders the runs.
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
    if NOTE not in client.get_experiment(experiment_id).tags:  # a user may have written one
        client.set_experiment_tag(experiment_id, NOTE, DESCRIPTION)


def view_path(experiment_id: str, mode: Literal["CHART", "TABLE"]) -> str:
    """The path of the view on a server. Without `workflowType` MLflow opens in another mode, for prompts."""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={KEY}&compareRunsMode={mode}"


def comparison_path(client: MlflowClient, experiment: Experiment) -> str | None:
    """The path of the page that compares the best runs by their score on test; None where no run has a score.

    MLflow's page for any two runs begins with the metric that was logged first and lists the last point of each curve.
    """
    state = json.loads(experiment.tags.get(TAG, "{}"))
    order = [f"{state['orderByKey']} {'ASC' if state.get('orderByAsc') else 'DESC'}"] if "orderByKey" in state else []
    scored = f"metrics.`{SCORE}` >= 0"
    runs = client.search_runs([experiment.experiment_id], scored, order_by=order, max_results=MAX_COMPARED)
    if not runs:
        return None
    parts = {
        "runs": [run.info.run_id for run in runs],
        "metric": SCORE,
        "experiments": [experiment.experiment_id],
        "plot_metric_keys": [SCORE],
        "plot_layout": {},
    }
    query = "&".join(f"{name}={quote(json.dumps(value))}" for name, value in parts.items())
    return f"/#/metric?{query}&x_axis=step&y_axis_scale=linear&line_smoothness=1&show_point=true"
