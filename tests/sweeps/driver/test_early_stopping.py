from collections.abc import Callable

import pytest

from sweeps.driver.early_stopping import AshaJudge
from sweeps.spec.sweep import SweepSpec, load_spec
from tests.sweeps.conftest import search_sections


@pytest.fixture
def spec(write_spec: Callable) -> SweepSpec:
    sections = search_sections(fit__budget__amount=9)
    sections["search"]["scheduler"] = {"kind": "asha", "grace": 1 / 9, "reduction": 3}
    return load_spec(write_spec(sections))


def judge_of(spec: SweepSpec) -> AshaJudge:
    return AshaJudge(spec.search, spec.base.fit.budget)


def row(step: int, nll: float) -> dict:
    return {"step": step, "time": 0, "metrics": {"val_curve/nll": nll}, "used": {"steps": step}}


def test_the_worst_two_thirds_stop_at_a_rung(spec: SweepSpec) -> None:
    judge = judge_of(spec)
    decisions = [judge.stops(name, row(1, nll)) for name, nll in zip("abcdef", [1.0, 2.0, 0.5, 3.0, 1.5, 0.4], strict=True)]
    assert decisions == [False, True, False, True, True, False]


def test_between_rungs_and_at_the_budget_nobody_stops(spec: SweepSpec) -> None:
    judge = judge_of(spec)
    judge.stops("good", row(1, 0.1))
    assert judge.stops("bad", row(1, 5.0))
    assert not judge.stops("good", row(2, 9.0))
    assert not judge.stops("late", row(9, 99.0))


def test_replayed_rows_give_the_same_decisions(spec: SweepSpec) -> None:
    rows = [(name, row(step, nll)) for step in (1, 3) for name, nll in zip("abcd", [0.4, 0.3, 0.2, 0.1], strict=True)]
    first = judge_of(spec)
    whole = [first.stops(*entry) for entry in rows]
    second = judge_of(spec)
    for entry in rows[:5]:
        second.stops(*entry)  # type: ignore[arg-type]
    assert [second.stops(*entry) for entry in rows[5:]] == whole[5:]  # type: ignore[arg-type]
