"""Rules of the house that a tool can hold."""

import ast
import subprocess
import sys

from tests.conftest import ROOT


def test_imports_point_one_way() -> None:
    ended = subprocess.run(["lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, env=_environment())
    assert ended.returncode == 0, ended.stdout


def test_analysis_loads_neither_torch_nor_ray() -> None:
    assert _loads("analysis.report.build, analysis.data.csv_import", {"torch", "ray", "lightning", "mlflow"}) == "[]"


def test_the_config_of_a_trial_is_read_without_torch() -> None:
    assert _loads("lightning_modules.config", {"torch", "lightning", "ray", "mlflow", "pandas"}) == "[]"


def test_help_status_and_list_load_no_torch() -> None:
    assert _loads("sweeps.cli.main, sweeps.cli.status, sweeps.cli.listing", {"torch", "lightning", "ray", "mlflow"}) == "[]"


def test_a_spec_is_read_without_torch() -> None:
    assert _loads("sweeps.spec.sweep", {"torch", "lightning", "ray", "mlflow", "optuna", "pandas"}) == "[]"


def test_a_store_is_read_without_torch() -> None:
    assert _loads("sweeps.store.store, sweeps.store.attempts", {"torch", "lightning", "ray", "mlflow", "optuna"}) == "[]"


def test_a_design_loads_numpy_alone() -> None:
    rooms = ", ".join(f"sweeps.design.{path.stem}" for path in (ROOT / "sweeps/design").glob("[a-z]*.py"))
    code = (
        f"import sys, importlib.metadata; before = set(sys.modules); import {rooms};"
        "packages = importlib.metadata.packages_distributions();"
        "print(sorted({name for module in sys.modules.keys() - before for name in packages.get(module.split('.')[0], [])}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert set(ast.literal_eval(ended.stdout)) <= {"numpy", "rrm-sweeps"}, ended.stdout + ended.stderr


def test_models_and_trials_load_neither_ray_nor_mlflow() -> None:
    assert _loads("lightning_modules.fit, rrm.models", {"ray", "mlflow", "optuna", "pandas"}) == "[]"


OPENERS = {"open", "read_text", "write_text", "fdopen", "TemporaryFile", "NamedTemporaryFile"}
OTHER_OPENERS = {"os.open", "archive.open", "Image.open", "webbrowser.open", "self._generations.open"}  # of no text file


def test_every_text_file_states_its_encoding() -> None:
    """Else a locale decides it, and a file that one machine wrote cannot be read on another."""
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    calls = {
        f"{name}:{call.lineno}": call
        for name in tracked
        if not name.startswith("tests/")
        for call in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
    }
    assert len(calls) > 1000
    assert [where for where, call in calls.items() if _depends_on_the_locale(call)] == []


def _depends_on_the_locale(call: ast.Call) -> bool:
    """Whether a call opens a file or starts a process as text without an encoding."""
    name, options = ast.unparse(call.func), {option.arg: ast.unparse(option.value) for option in call.keywords}
    if "encoding" in options or name in OTHER_OPENERS:
        return False
    modes = [argument.value for argument in call.args[:2] if isinstance(argument, ast.Constant)]
    binary = any("b" in str(mode) for mode in [*modes, options.get("mode", "")])
    opens_bytes = name.endswith("TemporaryFile") and not modes and "mode" not in options
    return options.get("text") == "True" or (name.split(".")[-1] in OPENERS and not binary and not opens_bytes)


def _loads(modules: str, packages: set[str]) -> str:
    """Which of the packages a fresh Python has loaded after it imported the modules, as a list's text."""
    code = f"import sys, {modules}; print(sorted({packages} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def _environment() -> dict[str, str]:
    """The project's own tools stand beside its Python."""
    import os
    from pathlib import Path

    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
