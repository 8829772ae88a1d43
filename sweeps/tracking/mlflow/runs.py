"""All runs of an experiment. The analysis imports this without torch, which `experiment` needs."""

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

MAX_RUNS_PER_PAGE = 1000


def all_runs(client: MlflowClient, experiment_id: str, view: int = ViewType.ACTIVE_ONLY) -> Iterator[Run]:
    """Every run of an experiment."""
    token = None
    while True:
        page = client.search_runs([experiment_id], run_view_type=view, max_results=MAX_RUNS_PER_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
