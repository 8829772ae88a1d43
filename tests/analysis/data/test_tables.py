"""Sweeps that are read together."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.data.tables import CURVE_COLUMNS, Tables, label, load, merge
from analysis.laws.fit_all import fit_laws
from analysis.report.build import build_report
from lightning_modules.trial_folder import ITEMS
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
            whole = {"sweep": name, "outcome": "completed", "seed": 0, "params": 1, "curves": []} | record
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
    def read(name: str, outcome: str, *curves: Record) -> Tables:
        tables = make_store(name, [{"fingerprint": "f", "curves": list(curves)}])
        return replace(tables, trials=tables.trials.assign(outcome=outcome))  # MLflow has runs of trials that have not ended

    one, other = read("one", worse, point(1.0, 9_000)), read("other", better, point(2.0, 1_000))
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
        (tmp_path / name / "trials/f/attempts.jsonl").write_text(
            json.dumps({"time": seconds, "session": "", "losses": 0}) + "\n", encoding="utf-8"
        )
    for merged in both_orders(load(tmp_path / "a"), load(tmp_path / "b")):
        assert merged.trials["reason"].tolist() == ["late"]


def test_the_items_of_a_trial_are_those_of_the_record_that_counts(make_store: Callable, tmp_path: Path) -> None:
    one = make_store("one", [{"fingerprint": "f", "curves": [point(1.0, 1)]}])
    other = make_store("other", [{"fingerprint": "f", "curves": [point(1.0, 2)]}])
    for name in ("one", "other"):
        (tmp_path / name / "trials/f/items.parquet").write_bytes(name.encode())
    assert [list(merged.read_files(ITEMS, None)) for merged in both_orders(one, other)] == [[("f", b"other")]] * 2


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


def scored_at(tables: Tables, depth: int, name: str, trials: int = 24) -> pd.DataFrame:
    """The same trained models as trials of another depth of scoring."""
    rows = tables.trials.head(trials)
    return rows.assign(**{"eval.max_depth": depth, "fingerprint": rows["fingerprint"] + name})


def test_trials_that_differ_in_how_they_are_scored_are_one_replicate_the_one_scored_deepest() -> None:
    tables = made_tables()
    shallow, deep = scored_at(tables, 4, "-4"), scored_at(tables, 16, "-16", trials=12)
    both = dataclasses.replace(tables, trials=pd.concat([shallow, deep], ignore_index=True))
    assert sorted(both.completed["fingerprint"]) == sorted([*deep["fingerprint"], *shallow["fingerprint"][12:]])
    assert "eval.max_depth" not in both.varied
    cells = build_report(both).cells
    assert len(cells) == 8 and set(cells["seeds"]) == {3}
    assert any(str(sentence).startswith("12 trials are not counted: another") for sentence in build_report(both).answer)


def test_rows_without_a_seed_are_models_of_their_own() -> None:
    tables = made_tables()
    trials = tables.trials.assign(**{"eval.max_depth": [4, 8, 16] * 8, "seed": None})
    assert len(dataclasses.replace(tables, trials=trials).completed) == 24


def test_how_often_a_model_is_validated_does_not_split_cells_or_laws() -> None:
    tables = made_tables()
    trials = tables.trials.assign(**{"eval.validations": [5, 10, 20] * 8})
    mixed = dataclasses.replace(tables, trials=trials)
    assert len(mixed.completed) == 24 and "eval.validations" not in mixed.varied
    assert len(build_report(mixed).cells) == 8
    assert len({str(fit.group) for fit in fit_laws(mixed) if fit.form == "one_exponent"}) <= 1


def test_how_answers_are_chosen_still_tells_cells_apart() -> None:
    tables = made_tables()
    others = tables.trials.assign(**{"eval.rollouts": 8, "fingerprint": tables.trials["fingerprint"] + "-8"})
    both = dataclasses.replace(tables, trials=pd.concat([tables.trials.assign(**{"eval.rollouts": 1}), others], ignore_index=True))
    assert len(both.completed) == 48 and "eval.rollouts" in both.varied


@pytest.mark.parametrize(("name", "value", "text"), [
    ("model.damping", 0.0, "damping 0.0"), ("optim.ema_warmup", False, "ema warmup False"), ("model.l_cycles", 0, ""),
    ("model.state_reset", "", ""),
])  # fmt: skip
def test_a_cell_is_named_by_every_setting_that_its_model_has(name: str, value: object, text: str) -> None:
    assert label([name], (value,)) == text
