"""What is typed wrong is one line on stderr with exit code 2: rule, value, choices, and where to read more."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import analysis.cli
import lightning_modules.__main__
import sweeps.cli.main
from sweeps.cli.typer_app import run_app
from tests.sweeps.conftest import assert_refused, run_command

MISTYPED = {
    "no command": ("", "error: Missing command; commands: new, plan, run, "),
    "unknown command": ("frobnicate", "error: No such command 'frobnicate'; commands: new, plan, run, "),
    "misspelt command": ("rum a.yaml", "error: No such command 'rum'. Did you mean 'run'? commands: new, plan, run, "),
    "no spec": ("run", "error: Missing argument 'SPEC' (rrm-sweep run --help)"),
    "unknown option": ("run a.yaml --nope", "error: No such option: --nope (rrm-sweep run --help)"),
    "misspelt option": ("run a.yaml --storag x", "error: No such option: --storag (Possible options: --storage) (rrm-sweep run"),
    "option without value": ("doctor --storage", "error: Option '--storage' requires an argument (rrm-sweep"),
    "left over": ("doctor a.yaml", "error: Got unexpected extra argument(s) (a.yaml) (rrm-sweep doctor --help)"),
    "missing spec": ("plan missing.yaml", "missing.yaml: cannot be read: No such file or directory"),
    "folder for a spec": ("plan .", ".: cannot be read: Is a directory"),
    "missing sweep": ("status runs/missing", "runs/missing: is not a sweep: there is no such file or folder; runs holds no sweeps"),
}  # fmt: skip
MISTYPED_ANALYZE = {
    "no sweep": ("", "error: Missing argument 'SWEEP...', or --csv FILE (rrm-analyze --help)"),
    "unknown option": ("a --nope", "error: No such option: --nope (rrm-analyze --help)"),
    "misspelt option": ("a --tracking-url x", "(Possible options: --tracking-uri"),
    "missing sweep": ("runs/missing", "runs/missing: is not a sweep: there is no such file or folder; runs holds no sweeps"),
}
MISTYPED_TRIAL = {
    "no trial": ("", "error: the following arguments are required: TRIAL.yaml (rrm-trial --help)"),
    "unknown option": ("a.yaml --nope", "error: unrecognized arguments: --nope (rrm-trial --help)"),
    "word for a number": ("a.yaml --threads two", "error: argument --threads: invalid int value: 'two' (rrm-trial --help)"),
    "missing trial": ("missing.yaml", "missing.yaml: cannot be read: No such file or directory"),
}


@pytest.mark.parametrize(("line", "message"), MISTYPED.values(), ids=MISTYPED.keys())
def test_a_mistyped_rrm_sweep_is_one_line(typed: Callable, tmp_path: Path, line: str, message: str) -> None:
    assert_refused(typed(*line.split()), message, tmp_path)


@pytest.mark.parametrize(("line", "message"), MISTYPED_ANALYZE.values(), ids=MISTYPED_ANALYZE.keys())
def test_a_mistyped_rrm_analyze_is_one_line(typed: Callable, tmp_path: Path, line: str, message: str) -> None:
    assert_refused(typed(*line.split(), main=analysis.cli.main, name="rrm-analyze"), message, tmp_path)


@pytest.mark.parametrize(("line", "message"), MISTYPED_TRIAL.values(), ids=MISTYPED_TRIAL.keys())
def test_a_mistyped_rrm_trial_is_one_line(typed: Callable, tmp_path: Path, line: str, message: str) -> None:
    assert_refused(typed(*line.split(), main=lightning_modules.__main__.main, name="rrm-trial"), message, tmp_path)


def test_ctrl_c_before_anything_was_started_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.command()
    def wait() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["rrm-sweep"])
    with pytest.raises(SystemExit) as ended:
        run_app(app, "rrm-sweep")
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped before anything was started; type it again: rrm-sweep\n"


def test_sigterm_is_ctrl_c_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sweeps.cli.main, "run_app", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        with pytest.raises(KeyboardInterrupt):
            sweeps.cli.main.main()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_help_is_no_mistake(tmp_path: Path) -> None:
    ended = run_command("run", "--help", cwd=tmp_path)
    assert ended.returncode == 0 and ended.stdout.startswith("Usage: rrm-sweep run ") and not ended.stderr
