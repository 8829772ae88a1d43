"""What the product does on a GPU: correctness, speed and memory, in one command of at most 9 minutes.

python benchmarks/gpu.py [--only goldens,resume,syncs,memory,small,speed] [--official PATH] [--out FILE] [--device cuda|cpu]

Needs an NVIDIA card and torch, lightning, numpy, pydantic, PyYAML and safetensors, nothing else. Prints one line for each figure
as it goes, and rewrites FILE after each part. `--official` names a checkout of the official TRM code (which needs einops); it is
measured beside ours. `--device cpu` runs every part at tiny sizes: a test of this command, whose figures mean nothing.
Exit code 1: a part failed. Exit code 2: nothing was started.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from gpu_parts import ROOT
from gpu_parts.figure import Figure, Setting

from lightning_modules.atomic_write import write_atomically
from rrm.errors import UserError, suggest

MAX_SECONDS = 540.0
# The most seconds that a part may take, in the order in which parts run. Speed is last and has all the time that is left,
# because the official code compiles for minutes.
PARTS = {"goldens": 45.0, "resume": 75.0, "syncs": 45.0, "memory": 60.0, "small": 130.0, "speed": MAX_SECONDS}
MAX_EXIT_SECONDS = 20.0  # for a part's process to end after its last figure
UNKNOWN = "unknown"
Report = dict[str, Any]


def main() -> int:
    deadline = time.time() + MAX_SECONDS
    try:
        given = _arguments()
        names = _chosen_parts(given.only)
        report = _describe_machine(given.device)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    _print_head(report)
    for name in names:
        setting = Setting(given.device, min(deadline, time.time() + PARTS[name]), given.official)
        report["parts"][name] = _run(name, setting)
        if given.out is not None:
            write_atomically(given.out, json.dumps(report, indent=1))
    failed = [name for name in names if report["parts"][name]["outcome"] == "failed"]
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall parts completed")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    """What was typed; paths are absolute.

    Raises:
        UserError: a path cannot be used.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help="names with commas between them")
    parser.add_argument("--official", type=Path, metavar="PATH", help="a checkout of the official TRM repository")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the figures go as JSON")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    given = parser.parse_args()
    if given.official is not None:
        given.official = given.official.resolve()
        if not (given.official / "models" / "recursive_reasoning").is_dir():
            raise UserError("--official", f"must be a checkout of the official TRM repository, got {given.official}")
    if given.out is not None:
        given.out = given.out.resolve()
        if given.out.is_dir() or not given.out.parent.is_dir():
            raise UserError("--out", f"must be a file in a folder that exists, got {given.out}")
    return given


def _chosen_parts(only: str) -> list[str]:
    """The parts that were asked for, in the order in which they run."""
    chosen = only.split(",")
    for name in chosen:
        if name not in PARTS:
            raise UserError("--only", f"unknown part {name!r}; {suggest(name, PARTS)}")
    return [name for name in PARTS if name in chosen]


def _describe_machine(device: str) -> Report:
    """What the figures were taken on, and no parts yet.

    Raises:
        UserError: there is no card.
    """
    if device == "cpu":
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}  # else Lightning trains on the card; tiny products
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device", "torch sees no NVIDIA card: use --device cpu to test this command at tiny sizes")
    return {
        "sizes": "tiny" if device == "cpu" else "full",
        "card": torch.cuda.get_device_name() if device == "cuda" else f"none, {platform.machine()} CPU",
        "driver": _output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if device == "cuda" else "none",
        "cuda": torch.version.cuda or "none",
        "torch": torch.__version__,
        "lightning": version("lightning"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "commit": _output_of("git", "describe", "--always", "--dirty", "--match=") if (ROOT / ".git").exists() else UNKNOWN,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "parts": {},
    }


def _output_of(*command: str) -> str:
    """First line that a program prints; `unknown` where it is missing or fails."""
    try:
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return (printed.splitlines() or [UNKNOWN])[0]


def _print_head(report: Report) -> None:
    print(", ".join(f"{name} {value}" for name, value in report.items() if name != "parts"))
    if report["sizes"] == "tiny":
        print("TINY SIZES on a CPU: a test of this command, no figure of it may be quoted")
    print("\n| part | figure | value | unit | remark |\n| --- | --- | ---: | --- | --- |", flush=True)


def _run(name: str, setting: Setting) -> Report:
    """Run a part in a process of its own, so that a fault of the card or a time limit ends no other part."""
    started = time.time()
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_figures, args=(name, setting, sender))
    process.start()
    sender.close()
    try:
        figures, reason = _receive_figures(name, receiver, setting.deadline)
        if reason is None:
            process.join(min(MAX_EXIT_SECONDS, max(0.0, setting.deadline - time.time())))
            reason = f"its process ended with exit code {process.exitcode}" if process.exitcode else None
    finally:
        _end(process)
    wrong = [figure.name for figure in figures if figure.failed]
    if reason is None and wrong:
        reason = f"not as it should be: {'; '.join(wrong)}"
    if reason is not None:
        print(f"| {name} | **failed** |  |  | {reason} |", flush=True)
    return {
        "outcome": "completed" if reason is None else "failed",
        "reason": reason,
        "seconds": round(time.time() - started, 1),
        "figures": [asdict(figure) for figure in figures],
    }


def _send_figures(name: str, setting: Setting, sender: Connection) -> None:
    """The process of a part: its figures one after the other, then None, or why it failed."""
    os.setsid()  # a group of its own, to be ended with all that it has started
    try:
        for figure in importlib.import_module(f"gpu_parts.{name}").figures(setting):
            sender.send(figure)
        sender.send(None)
    except Exception as error:
        traceback.print_exc()
        sender.send(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _receive_figures(name: str, receiver: Connection, deadline: float) -> tuple[list[Figure], str | None]:
    """Print and return the figures of a part, and why it did not come to its end, if so."""
    figures: list[Figure] = []
    while receiver.poll(max(0.0, deadline - time.time())):
        try:
            message = receiver.recv()
        except EOFError:  # the process died; its exit code has the reason
            return figures, None
        if not isinstance(message, Figure):
            return figures, message
        figures.append(message)
        print(f"| {name} | {message.name} | {message.text} | {message.unit} | {message.remark} |", flush=True)
    return figures, "cut: its time was used up; the figures above are whole"


def _end(process: BaseProcess) -> None:
    """End a part with all processes that it has started."""
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; the output file holds the parts that had ended", file=sys.stderr)
        sys.exit(130)
