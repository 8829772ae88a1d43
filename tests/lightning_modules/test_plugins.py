"""`rrm-trial` with a task and a model of two files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.__main__ import main
from lightning_modules.config import load_trial, read_trial, write_trial
from lightning_modules.fit import fit
from lightning_modules.saved_model import SavedModel, save_model
from lightning_modules.yaml_file import read_yaml, write_yaml
from rrm.errors import UserError
from rrm.models import build_model
from tests.conftest import EXAMPLES, ROOT, plugin_sections
from tests.lightning_modules.test_fit import VOLATILE

STEPS = {"batch_size": 8, "budget": {"unit": "steps", "amount": 150}}


@pytest.fixture
def trial_file(plugin_folder: Path) -> Path:
    path = plugin_folder / "trial.yaml"
    path.write_text(write_yaml(plugin_sections()))
    return path


def result_of(folder: Path) -> dict:
    """The result of a trial without what two runs differ in."""
    result = json.loads((folder / "result.json").read_text())
    curves = [{**point, "time": 0} for point in result["curves"]]
    return {name: value for name, value in result.items() if name not in {"curves", *VOLATILE}} | {"curves": curves}


def test_a_killed_trial_continues_to_the_same_numbers(trial_file: Path, tmp_path: Path) -> None:
    trial_file.write_text(write_yaml(plugin_sections(fit=STEPS, eval={"max_depth": 4, "validations": 15})))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "lightning_modules", str(trial_file), "--threads", "1", "--out", str(killed)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (killed / "checkpoint.ckpt").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "result.json").exists()
    assert main([str(trial_file), "--out", str(killed)]) == main([str(trial_file), "--out", str(whole)]) == 0
    assert result_of(killed) == result_of(whole)
    assert result_of(whole)["model.rate"] == 0.5 and result_of(whole)["outcome"] == "completed"


def test_the_folder_of_a_trial_holds_its_files_and_is_enough(trial_file: Path, tmp_path: Path) -> None:
    assert main([str(trial_file), "--out", str(tmp_path / "out")]) == 0
    named = read_yaml(tmp_path / "out/trial.yaml")["plugins"]
    files = {entry["file"]: tmp_path / "out/plugins" / entry["sha256"] / entry["file"] for entry in named}
    assert {name: path.read_text() for name, path in files.items()} == {
        name: EXAMPLES[name] for name in ("my_puzzle.py", "my_model.py")
    }
    code = "import sys; from lightning_modules.__main__ import main; sys.exit(main(sys.argv[1:]))"
    again = [sys.executable, "-c", code, str(tmp_path / "out/trial.yaml"), "--out", str(tmp_path / "out")]
    shown = subprocess.run(again, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0 and "already finished" in shown.stdout, shown.stderr


def test_a_task_without_serial_steps_is_trained_and_scored_by_its_bins(plugin_folder: Path, tmp_path: Path) -> None:
    (plugin_folder / "my_brackets.py").write_text(EXAMPLES["my_brackets.py"])
    sections = plugin_sections(plugins=["my_brackets.py"], task={"kind": "brackets", "length": 8})
    sections["model"]["kind"] = "trm"
    (plugin_folder / "trial.yaml").write_text(write_yaml(sections))
    assert main([str(plugin_folder / "trial.yaml"), "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out/result.json").read_text())
    bins = {point["metric"] for point in result["curves"] if "nesting" in point["metric"]}
    assert result["test/examples"] == 100 and len(bins) > 0


ANSWERED = """
import sys
from pathlib import Path
import numpy as np
from lightning_modules.saved_model import SavedModel
print(SavedModel(Path(sys.argv[1])).answer(np.load(sys.argv[2])).answers.tolist())
"""


@pytest.mark.more
def test_a_saved_model_brings_its_files(trial_file: Path, tmp_path: Path) -> None:
    config = load_trial(trial_file)
    torch.manual_seed(0)
    model = build_model(config.model, config.task.shape)
    save_model(tmp_path / "saved", config, model.state_dict())
    (trial_file.parent / "my_model.py").unlink()
    puzzles = np.random.default_rng(0).integers(0, 5, (3, config.task.shape.length))
    np.save(tmp_path / "puzzles.npy", puzzles)
    code = [sys.executable, "-c", ANSWERED, str(tmp_path / "saved"), str(tmp_path / "puzzles.npy")]
    ended = subprocess.run(code, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == SavedModel(tmp_path / "saved").answer(puzzles).answers.tolist()


def test_a_changed_file_is_another_trial(trial_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_trial(tmp_path, load_trial(trial_file))
    (trial_file.parent / "my_model.py").write_text(EXAMPLES["my_model.py"] + "\n# changed\n")
    assert main([str(trial_file), "--out", str(tmp_path)]) == 2
    assert "holds another trial: choose another --out" in capsys.readouterr().err


def test_a_damaged_file_of_a_trial_is_one_line(trial_file: Path, tmp_path: Path) -> None:
    (trial_file.parent / "my_model.py").write_text(EXAMPLES["my_model.py"] + "\n# a file of this test alone\n")
    config = load_trial(trial_file)
    write_trial(tmp_path, config)
    assert read_trial(tmp_path / "trial.yaml").fingerprint == config.fingerprint
    kept = next((tmp_path / "plugins").glob("*/my_model.py"))
    kept.write_text("damaged")
    code = (
        "from pathlib import Path; from lightning_modules.config import read_trial;"
        f"read_trial(Path({str(tmp_path / 'trial.yaml')!r}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "UserError: plugins.1: my_model.py has changed: its sha256 is" in ended.stderr.splitlines()[-1]


def test_a_trial_refuses_a_mistake_in_a_file_before_it_writes(
    trial_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trial_file.parent / "my_model.py").write_text("from rrm import Absent\n")
    assert main([str(trial_file), "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "my_model.py, line 1: cannot be imported: ImportError" in line
    assert not (tmp_path / "out").exists()


def test_early_training_with_other_cycles_is_understood_by_a_recursion_of_a_file(trial_file: Path) -> None:
    stage = {"until": 0.5, "h_cycles": 1, "l_cycles": 1}
    trial_file.write_text(write_yaml(plugin_sections(fit=STEPS | {"curriculum": [stage], "budget": {"amount": 4}})))
    assert fit(load_trial(trial_file)).record["outcome"] == "completed"
    direct = {"kind": "direct", "hidden_size": 16, "head_size": 8}
    trial_file.write_text(write_yaml(plugin_sections(fit=STEPS | {"curriculum": [stage]}, model=direct)))
    with pytest.raises(UserError, match="it is understood by trm, hrm, damped"):
        load_trial(trial_file)
