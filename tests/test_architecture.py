"""Rules of the house that a tool can hold."""

import subprocess
import sys

from tests.conftest import ROOT


def test_imports_point_one_way() -> None:
    ended = subprocess.run(["lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, env=_environment())
    assert ended.returncode == 0, ended.stdout


def test_analysis_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys, analysis.report, analysis.tables; print(sorted({'torch', 'ray', 'lightning', 'mlflow'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr


def test_help_and_status_load_no_torch() -> None:
    code = "import sys, sweeps.cli, sweeps.status; print(sorted({'torch', 'lightning', 'ray', 'mlflow'} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr


def test_a_spec_is_read_without_lightning() -> None:
    code = "import sys, sweeps.spec; print(sorted({'lightning', 'ray', 'mlflow', 'pandas'} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr


def test_models_and_trials_load_neither_ray_nor_mlflow() -> None:
    code = (
        "import sys, lightning_modules.fit, rrm.models; print(sorted({'ray', 'mlflow', 'optuna', 'pandas'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr


def _environment() -> dict[str, str]:
    """The project's own tools stand beside its Python."""
    import os
    from pathlib import Path

    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
