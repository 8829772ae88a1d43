"""A loss is counted where a process died and its node and driver lived on."""

from pathlib import Path

import pytest

from sweeps.store.attempts import Attempt, Worker, begin_attempt, count_losses, note_losses
from sweeps.store.store import Store

WORKER = Worker(host="laptop", address="127.0.0.1", process=7, node="a")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "sweep")
    made.create()
    return made


def never(node: str) -> bool:
    raise AssertionError(f"the node {node} was asked for")


def test_the_first_attempt_has_no_losses_and_is_written_down(store: Store) -> None:
    assert begin_attempt(store, "t", "session", 0, WORKER, never) == Attempt(1, 0)
    (line,) = store.attempts("t")
    assert line.keys() == {"time", "session", "losses", "host", "address", "process", "node", "from_checkpoint"}
    assert line["node"] == "a" and line["from_checkpoint"] == 0


def test_an_attempt_in_one_session_on_a_living_node_is_a_loss(store: Store) -> None:
    begin_attempt(store, "t", "session", 0, WORKER, never)
    assert begin_attempt(store, "t", "session", 4, WORKER, lambda node: False) == Attempt(2, 1)
    assert begin_attempt(store, "t", "session", 4, WORKER, lambda node: False) == Attempt(3, 2)
    assert count_losses(store, "t") == 2


def test_a_node_that_has_died_costs_no_loss(store: Store) -> None:
    asked: list[str] = []
    begin_attempt(store, "t", "session", 0, WORKER, never)

    def has_died(node: str) -> bool:
        asked.append(node)
        return True

    assert begin_attempt(store, "t", "session", 4, WORKER, has_died) == Attempt(2, 0)
    assert asked == ["a"]


def test_the_attempt_of_a_later_driver_costs_no_loss_and_asks_for_no_node(store: Store) -> None:
    begin_attempt(store, "t", "session", 0, WORKER, never)
    assert begin_attempt(store, "t", "another", 4, WORKER, never) == Attempt(2, 0)


def test_losses_are_carried_over_to_a_later_driver(store: Store) -> None:
    note_losses(store, "t", 2)
    assert begin_attempt(store, "t", "another", 4, WORKER, never) == Attempt(2, 2)
