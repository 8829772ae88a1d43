"""Sweeps that are read together."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.data.tables import CURVE_COLUMNS, Tables, load, merge
from analysis.laws.fit_all import fit_laws
from analysis.report.build import build_report
from tests.analysis.conftest import made_tables

Record = dict[str, Any]


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Tables]:
    """Writes a store of finished trials and reads it."""

    def make(name: str, records: list[Record], asked: list[str] | None = None) -> Tables:
        folder = tmp_path / name
        for record in records:
            trial = folder / "trials" / record["fingerprint"]
            trial.mkdir(parents=True)
            whole = {"sweep": name, "outcome": "completed", "seed": 0, "curves": []} | record
            (trial / "result.json").write_text(json.dumps(whole), encoding="utf-8")
        (folder / "design.json").write_text(json.dumps(asked or [record["fingerprint"] for record in records]), encoding="utf-8")
        (folder / "spec.yaml").write_text("measure: {}\n", encoding="utf-8")
        return load(folder)

    return make


def point(value: float, time: int) -> Record:
    return {"metric": "depth/nll", "axis": "depth", "at": 1, "value": value, "time": time}


def both_orders(one: Tables, other: Tables) -> list[Tables]:
    return [merge([one, other]), merge([other, one])]


@pytest.mark.parametrize(("better", "worse"), itertools.combinations(["completed", "pruned", "failed", "running"], 2))
def test_of_two_records_of_a_trial_the_one_that_got_further_counts(make_store: Callable, better: str, worse: str) -> None:
    one = make_store("one", [{"fingerprint": "f", "outcome": worse, "curves": [point(1.0, 9_000)]}])
    other = make_store("other", [{"fingerprint": "f", "outcome": better, "curves": [point(2.0, 1_000)]}])
    for merged in both_orders(one, other):
        assert merged.trials[["outcome", "sweep"]].values.tolist() == [[better, "other"]]
        assert merged.curves["value"].tolist() == [2.0]


def test_of_two_completed_records_of_a_trial_the_later_counts(make_store: Callable) -> None:
    late = make_store("a", [{"fingerprint": "f", "test/nll": 2.0, "curves": [point(2.0, 5_000)]}])
    early = make_store("b", [{"fingerprint": "f", "test/nll": 1.0, "curves": [point(1.0, 4_000)]}])
    for merged in both_orders(late, early):
        assert merged.trials["test/nll"].tolist() == [2.0] and merged.curves["value"].tolist() == [2.0]


def test_a_trial_without_curves_ended_after_its_last_attempt_began(make_store: Callable, tmp_path: Path) -> None:
    make_store("a", [{"fingerprint": "f", "outcome": "failed", "reason": "late"}])
    make_store("b", [{"fingerprint": "f", "outcome": "failed", "reason": "early"}])
    for name, seconds in (("a", 20.0), ("b", 10.0)):
        (tmp_path / name / "trials/f/attempts.jsonl").write_text(json.dumps({"time": seconds}) + "\n", encoding="utf-8")
    for merged in both_orders(load(tmp_path / "a"), load(tmp_path / "b")):
        assert merged.trials["reason"].tolist() == ["late"]


def test_the_items_of_a_trial_are_those_of_the_record_that_counts(make_store: Callable, tmp_path: Path) -> None:
    one = make_store("one", [{"fingerprint": "f", "curves": [point(1.0, 1)]}])
    other = make_store("other", [{"fingerprint": "f", "curves": [point(1.0, 2)]}])
    for name in ("one", "other"):
        (tmp_path / name / "trials/f/items.parquet").write_bytes(name.encode())
    assert [list(merged.read_items()) for merged in both_orders(one, other)] == [[("f", b"other")]] * 2


def test_a_trial_is_inside_the_spec_if_any_of_the_sweeps_asks_for_it(make_store: Callable) -> None:
    holder = make_store("holder", [{"fingerprint": "f"}, {"fingerprint": "g"}, {"fingerprint": "h"}], asked=["h"])
    other = make_store("other", [{"fingerprint": "f", "curves": [point(1.0, 1)]}, {"fingerprint": "i"}], asked=["f", "g", "i"])
    assert holder.trials["outside_spec"].tolist() == [True, True, False]
    for merged in both_orders(holder, other):
        assert merged.trials["fingerprint"].sort_values().tolist() == ["f", "g", "h", "i"]
        assert not merged.trials["outside_spec"].any()


def test_the_order_of_sweeps_changes_nothing_in_a_report() -> None:
    whole = made_tables()
    one, other = (whole.trials["seed"] < 2), (whole.trials["seed"] > 0)  # seed 1 is in both
    first = dataclasses.replace(whole, trials=whole.trials[one].assign(sweep="second"))
    second = dataclasses.replace(whole, trials=whole.trials[other].assign(sweep="first")[list(reversed(whole.trials.columns))])
    second.trials.loc[second.trials["seed"] == 1, "outcome"] = "failed"
    reports = [build_report(merged) for merged in both_orders(first, second)]
    assert reports[0].figures == reports[1].figures and reports[0].answer == reports[1].answer
    for frames in zip(
        *((report.cells, report.outcomes, report.tables.trials, report.tables.curves) for report in reports), strict=True
    ):
        pd.testing.assert_frame_equal(*frames)
    fits = [[fit.to_json() for fit in fit_laws(report.tables)] for report in reports]
    assert json.dumps(fits[0]) == json.dumps(fits[1])
    assert (reports[0].tables.trials["outcome"] == "completed").all() and len(reports[0].tables.trials) == len(whole.trials)


def test_sweeps_of_one_name_are_read_in_an_order_that_their_content_gives() -> None:
    records = [{"fingerprint": "f", "sweep": "s", "outcome": "completed", "outside_spec": False, "seed": 0, "test/nll": nll}
               for nll in (1.0, 2.0)]  # fmt: skip
    one, other = (Tables(pd.DataFrame([record]), pd.DataFrame(columns=CURVE_COLUMNS)) for record in records)
    assert len({merged.trials["test/nll"].iloc[0] for merged in both_orders(one, other)}) == 1
