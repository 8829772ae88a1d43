"""A law of your own is one file: nothing else names it."""

import json
from pathlib import Path

import pytest

import analysis.laws
from analysis import cli
from analysis.laws.fit_all import find_laws
from tests.analysis.laws.test_fit_all import table

LOGISTIC = '''"""A logistic law: exact accuracy = 1 / (1 + exp(-(a + b log R)))."""
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import Drawing, Fit, Group, Law, Quality, Reason, Sentence
from analysis.statistics.regression import fit_linear, r_squared


class Logistic(Law):
    """Exact accuracy against recursion."""

    name = "logistic"
    needs = (("test/exact_accuracy",), ("recursion",))
    grows = ("recursion",)
    drawing = Drawing("A logistic law", "R", "exact accuracy", y_scale="linear", misfit_label="misfit (share)")

    def fit(self, group: Group) -> list[Fit]:
        fit = Fit(self, "test/exact_accuracy", **group.facts, fitted_range=group.range_of("recursion"))
        x, y = (group.trials[name].to_numpy(dtype=float) for name in ("recursion", "test/exact_accuracy"))
        if len(np.unique(x)) < 3:
            return [replace(fit, reason=Reason.TOO_FEW_SCALES)]
        line = fit_linear(np.column_stack([np.ones(len(x)), np.log(x)]), np.log(y / (1 - y)), x)
        fitted = 1 / (1 + np.exp(-line.coefficients[0] - line.coefficients[1] * np.log(x)))
        points = pd.DataFrame({"line": "", "x": x, "measured": y, "fitted": fitted, "misfit": y - fitted})
        estimates = {"b": line.interval(np.array([0.0, 1.0]))}
        return [replace(fit, estimates=estimates, quality=Quality(r_squared(y - fitted, y)), points=points)]

    def sentence(self, fit: Fit) -> list[Sentence]:
        return [Sentence(f"the logit of accuracy rises by {fit.estimates['b'].estimate:.2f} a step in log R.", "law_logistic")]
'''


@pytest.fixture
def one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The law in a folder that the package of laws has beside its own one."""
    (tmp_path / "laws").mkdir()
    (tmp_path / "laws/logistic.py").write_text(LOGISTIC)
    monkeypatch.setattr(analysis.laws, "__path__", [*analysis.laws.__path__, str(tmp_path / "laws")])
    return tmp_path


def analyze(depths: list[int], folder: Path, *options: str) -> list[dict]:
    """`rrm-analyze` of runs whose logit of accuracy is log R; returns the entries of the law in fits.json."""
    trials = table([16, 32, 64], depths).trials
    trials["test/exact_accuracy"] = 1 / (1 + (3.0 * trials["model.supervision_steps"]) ** -1 * (1 + 0.01 * trials["seed"]))
    trials.to_csv(folder / "runs.csv", index=False)
    cli.app(["--csv", str(folder / "runs.csv"), "--out", str(folder / "out"), *options], standalone_mode=False)
    return [fit for fit in json.loads((folder / "out/fits.json").read_text()) if fit["law"] == "logistic"]


def test_a_law_in_one_file_is_in_fits_json_on_the_terminal_and_in_the_report(
    one_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fit,) = analyze([1, 2, 4], one_file, "--verbose")
    assert fit["status"] == "fitted" and fit["estimates"]["b"]["estimate"] == pytest.approx(1, abs=0.01)
    lines = capsys.readouterr().out
    assert "logistic: b 1 (" in lines and "The logit of accuracy rises by 1.00 a step in log R." in lines
    page = (one_file / "out/report.html").read_text()
    assert "The logit of accuracy rises by 1.00" in page and "A logistic law" in page
    assert (one_file / "out/law_logistic.png").exists() and (one_file / "out/misfit_logistic.svg").exists()


def test_a_refusal_of_a_law_in_one_file_has_its_reason_and_a_design_with_more_recursion(one_file: Path) -> None:
    (fit,) = analyze([1, 2], one_file, "--fits-only")
    assert fit["reason"] == "too_few_scales"
    assert "model.supervision_steps: [1, 2, 4, 8]" in fit["suggestion"] and "model.hidden_size: [16, 32, 64]" in fit["suggestion"]


def test_laws_have_different_names_and_stand_in_the_order_of_fits_json() -> None:
    names = [law.name for law in find_laws()]
    assert names == ["recurrence", "power_params", "power_depth", "log_depth", "test_time", "required_depth",
                     "compute_optimal", "iso_flop", "data_term"]  # fmt: skip
