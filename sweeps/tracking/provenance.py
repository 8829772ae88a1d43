"""The origin of a run: the code and its changes, versions, the machine."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from platform import machine, node, python_version
from subprocess import run

import torch

import rrm
from sweeps.tracking.secrets import blank_secrets

SOURCE = Path(rrm.__file__).parent.parent
PACKAGES = ("torch", "lightning", "ray", "optuna", "mlflow")
MAX_DIFF_BYTES = 1_000_000
BUILT_FROM = "sweeps/built_from.json"  # the build of an image writes this file, because the image has no git


def provenance_tags(source: Path = SOURCE) -> dict[str, str]:
    """Commit of the code, whether it was changed, versions, host and hardware."""
    tags = {f"version.{package}": version(package) for package in PACKAGES}
    tags |= {
        "version.python": python_version(),
        "host": node(),
        "hardware": describe_hardware(),
        "user": os.environ.get("USER") or f"user {os.getuid()}",
    }
    state = _find_commit(source)
    if state is not None:
        tags |= {"git.commit": state[0], "git.dirty": str(state[1]).lower()}
    return tags


def _find_commit(source: Path) -> tuple[str, bool] | None:
    """The commit, and whether tracked files differ from it, according to git or to the build of the image."""
    commit = _git(source, "rev-parse", "HEAD")
    if commit is not None:
        return commit.strip(), bool(_git(source, "status", "--porcelain", "-uno"))
    try:
        built_from = json.loads((source / BUILT_FROM).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return built_from["commit"], built_from["dirty"]


def describe_hardware() -> str:
    """The driver's machine in words: `x86_64, 8 cores, 2 x NVIDIA H100`."""
    gpus = torch.cuda.device_count()
    parts = [machine(), f"{os.cpu_count()} cores"] + ([f"{gpus} x {torch.cuda.get_device_name(0)}"] if gpus else [])
    return ", ".join(parts)


def read_diff(source: Path = SOURCE) -> str:
    """Changes in tracked files since the commit, without secrets; empty where there are none, or no git."""
    diff = blank_secrets(_git(source, "diff", "HEAD") or "")
    if len(diff.encode()) <= MAX_DIFF_BYTES:
        return diff
    return diff.encode()[:MAX_DIFF_BYTES].decode(errors="ignore") + f"\n(cut off at {MAX_DIFF_BYTES:,} bytes)\n"


def _git(source: Path, *command: str) -> str | None:
    """The output of git; None without git or outside a repository."""
    try:
        ended = run(["git", "-C", source, *command], capture_output=True, encoding="utf-8", errors="replace", check=False)
    except FileNotFoundError:
        return None
    return ended.stdout if ended.returncode == 0 else None
