"""The best models of a sweep in MLflow: logged once each, the best one registered under the sweep's name.

A logged model has two flavours over the same files (`lightning_modules.saved_model`): `pytorch`, a program of torch.export
at D = N_sup that needs torch alone, and `python_function`, which checks each request (`pyfunc`).
"""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from lightning_modules.config import TrialConfig, validate_trial
from lightning_modules.saved_model import PROGRAM, save_model
from lightning_modules.trial_folder import TRIAL, WEIGHTS
from lightning_modules.yaml_file import parse_yaml
from rrm.errors import first_line
from rrm.export import NotExportable
from sweeps.tracking.mlflow import FINGERPRINT
from sweeps.tracking.mlflow.pyfunc import GRID, PUZZLE

ALIAS = "best"
FILES = "model"  # folder with our files, which MLflow puts into a folder named data
LOGGED = "logged"  # folder that becomes the logged model
SERVED = "sweeps.tracking.mlflow.pyfunc"
NEEDED = ["rrm-sweeps", "torch", "lightning", "numpy", "pydantic", "pyyaml", "safetensors"]  # versions are tags of the run

Files = Callable[[str, str], bytes | None]  # fingerprint, name -> content


class Unsavable(Exception):
    """A trial whose model cannot be made."""


def log_best(client: MlflowClient, experiment_id: str, sweep: str, runs: dict[str, str], files: Files) -> None:
    """Log the models of some trials, and register the first. A model that cannot be made keeps no other from being logged.

    Args:
        runs: run id by fingerprint, the best first.
        files: reads a file of a trial's folder.

    Raises:
        Unsavable: weights are gone, or a model cannot be exported; all others are logged.
    """
    problems = []
    for place, (fingerprint, run_id) in enumerate(runs.items()):
        try:
            model = _log(client, experiment_id, fingerprint, run_id, files)
        except Unsavable as error:
            problems.append(str(error))
            continue
        if place == 0:
            _register(client, sweep, fingerprint, model)
    if problems:
        raise Unsavable("; ".join(problems))


def _log(client: MlflowClient, experiment_id: str, fingerprint: str, run_id: str, files: Files) -> LoggedModel:
    logged = client.search_logged_models([experiment_id], filter_string=f"tags.`{FINGERPRINT}` = '{fingerprint}'")
    model = next(
        (model for model in logged if model.source_run_id == run_id), None
    )  # an earlier attempt at the trial has another run
    if model is None:
        run = client.get_run(run_id)
        name = run.info.run_name.replace(" ", "-").replace("=", "-").replace(".", "_").replace("/", "_")
        model = client.create_logged_model(
            experiment_id, name=name, source_run_id=run_id, tags={FINGERPRINT: fingerprint}, params=run.data.params
        )
    if model.status != LoggedModelStatus.READY:  # new, or begun by a driver that died
        with tempfile.TemporaryDirectory() as folder:
            try:
                _save(Path(folder), model, fingerprint, run_id, files)
            except Unsavable:
                client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
                raise
            client.log_model_artifacts(model.model_id, f"{folder}/{LOGGED}")
        model = client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    outputs = client.get_run(run_id).outputs
    if model.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else [])}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model


def _save(folder: Path, model: LoggedModel, fingerprint: str, run_id: str, files: Files) -> None:
    """An MLflow model in `folder/LOGGED`."""
    trial, weights = files(fingerprint, TRIAL), files(fingerprint, WEIGHTS)
    if trial is None or weights is None:
        raise Unsavable(f"the weights of trial {fingerprint} are gone")
    described = Model(artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id)
    try:
        config = validate_trial(parse_yaml(trial.decode(), TRIAL))
        save_model(folder / FILES, config, torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True))
        _describe(folder, described, config)
    except Exception as error:  # torch.export has many ways to refuse a model, and would refuse it again
        reason = str(error) if isinstance(error, NotExportable) else f"{type(error).__name__}: {first_line(error)}"
        raise Unsavable(
            f"the model of trial {fingerprint} is not logged, because it cannot be exported: {reason}"[:1000]
        ) from error


def _describe(folder: Path, described: Model, config: TrialConfig) -> None:
    """Both flavours, signature and input example around our files."""
    if (folder / FILES / PROGRAM).exists():
        described.add_flavor("pytorch", model_data=f"data/{FILES}", pytorch_version=str(torch.__version__), code=None)
    packages = [f"{plugin.package}=={plugin.version}" for plugin in config.plugins or () if plugin.package is not None]
    mlflow.pyfunc.save_model(
        str(folder / LOGGED),
        loader_module=SERVED,
        data_path=str(folder / FILES),
        mlflow_model=described,
        signature=signature(config),
        input_example=pd.DataFrame(_example(config)),
        pip_requirements=[*NEEDED, *packages],
        metadata={"fingerprint": config.fingerprint},
    )


def signature(config: TrialConfig) -> ModelSignature:
    """One row per puzzle with its tokens, as in `inputs` of the data; returns answer, supervision steps, halting probability.

    The signature has columns and no tensor, because MLflow silently cuts off fractions in a tensor.
    """
    grid: list[ColSpec | TensorSpec] = [ColSpec(Array(DataType.long), GRID)]
    puzzle: list[ColSpec | TensorSpec] = [ColSpec(DataType.long, PUZZLE)] if config.model.has_puzzle_embedding else []
    answer: list[ColSpec | TensorSpec] = [
        ColSpec(Array(DataType.long), "answer"),
        ColSpec(DataType.long, "depth"),
        ColSpec(DataType.double, "confidence"),
    ]
    params = [
        ParamSpec("depth", DataType.long, config.model.trained_depth),
        ParamSpec("halting", DataType.string, config.eval.halting),
    ]
    return ModelSignature(Schema(grid + puzzle), Schema(answer), ParamSchema(params))


def _example(config: TrialConfig) -> dict[str, list[Any]]:
    shape = config.task.shape
    example: dict[str, list[Any]] = {GRID: [[1] * shape.length]}
    return example | ({PUZZLE: [0]} if config.model.has_puzzle_embedding else {})


def _register(client: MlflowClient, sweep: str, fingerprint: str, model: LoggedModel) -> None:
    """Make a version of the sweep's registered model from this trial, and point the alias `best` to it."""
    try:
        client.create_registered_model(sweep)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{sweep}'")
    existing = next((version for version in versions if version.run_id == model.source_run_id), None)
    version = existing or client.create_model_version(
        sweep, model.artifact_location, model.source_run_id, tags={FINGERPRINT: fingerprint}, model_id=model.model_id
    )
    client.set_registered_model_alias(sweep, ALIAS, version.version)
