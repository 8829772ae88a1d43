"""A database of MLflow's that is made once: making one takes seconds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient


@pytest.fixture(scope="session")
def copy_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Puts a database without experiments of ours at a path; returns its URI."""
    empty = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()

    def copy(path: Path) -> str:
        path.parent.mkdir(exist_ok=True)
        shutil.copy(empty, path)
        return f"sqlite:///{path}"

    return copy
