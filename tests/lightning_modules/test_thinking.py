"""`thinking.npz` agrees with the curves of its trial, and shows rows as people know the task."""

import io
from pathlib import Path

import numpy as np
import pytest

from lightning_modules import thinking
from lightning_modules.datamodule import load_splits
from lightning_modules.fit import fit
from lightning_modules.thinking import read_thinking
from lightning_modules.trial_folder import THINKING
from rrm.errors import UserError
from tests.conftest import tiny_trial


@pytest.mark.parametrize("batch_size", [256, 2])
def test_the_answers_are_those_of_the_first_rows_and_the_counts_add_up_to_the_curve(tmp_path: Path, batch_size: int) -> None:
    config = tiny_trial(fit__budget__amount=60, optim={"lr": 5e-3}, eval__max_depth=6, eval__batch_size=batch_size)
    result = fit(config, tmp_path)
    content = (tmp_path / THINKING).read_bytes()
    arrays, test = read_thinking(content, THINKING), load_splits(config.task).splits["test"]
    assert arrays["answers"].shape == (3, 6, 16) and len(content) < 5000
    for name in ("inputs", "labels", "unknown"):
        assert (arrays[name] == getattr(test, name)[:3]).all()
    assert tuple(arrays["grid"]) == (4, 4) and str(arrays["kind"]) == "sudoku"
    right = np.cumsum(arrays["fixed"] - arrays["broken"]) / test.unknown.sum()
    curve = [point["value"] for point in result.curves if point["metric"] == "depth/token_accuracy"]
    assert arrays["broken"][0] == 0 and arrays["fixed"].sum() > 0 and np.allclose(right, curve, rtol=0, atol=1e-12)


def test_rows_that_are_too_long_have_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinking, "MAX_TOKENS", 15)
    fit(tiny_trial(fit__budget__amount=1), tmp_path)
    assert not (tmp_path / THINKING).exists()


def test_a_file_of_a_later_format_is_refused_in_one_line() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, format=np.array(9))
    with pytest.raises(UserError, match=r"^thinking.npz: has format 9, .* install a newer rrm-sweeps$"):
        read_thinking(buffer.getvalue(), THINKING)
