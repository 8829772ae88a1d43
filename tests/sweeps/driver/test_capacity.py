"""Where trials may run: what nodes have room for, and nodes that were refused."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher

from sweeps.driver.capacity import Capacity, count_fitting, place_trial
from sweeps.driver.tune import Ask, Decide, End
from sweeps.spec.resources import Resources
from sweeps.worker.messages import Job, NodeRefused
from tests.sweeps.conftest import ending, measure_sections


def node(**resources: float) -> dict[str, Any]:
    return {"Resources": resources}


@pytest.mark.parametrize(
    ("resources", "there", "count"),
    [
        (Resources(cpus=0.1), {"CPU": 1.0}, 10),
        (Resources(gpus=0.25), {"CPU": 16.0, "GPU": 1.0}, 4),
        (Resources(memory_gb=2), {"CPU": 16.0, "memory": 5e9}, 2),
        (Resources(cpus=3), {"CPU": 2.0}, 0),
    ],
)
def test_trials_that_fit_are_counted(resources: Resources, there: dict[str, float], count: int) -> None:
    assert resources.fit_into(there) == count == count_fitting(resources, {"a": node(**there)})


def test_no_trial_is_spread_over_nodes_or_put_on_one_that_is_refused() -> None:
    nodes = {"a": node(CPU=2.0), "b": node(CPU=3.0)}
    assert count_fitting(Resources(cpus=2), nodes) == 2 and count_fitting(Resources(cpus=4), nodes) == 0
    assert count_fitting(Resources(), nodes) == 5 and count_fitting(Resources(), nodes, refused=["b"]) == 2


def test_a_trial_is_placed_on_nodes_that_were_not_refused() -> None:
    job = Job("t", "runs/tiny", "session", None, {"CPU": 1, "GPU": 0.5}, [], 2, None, None, False)
    anywhere, elsewhere = place_trial(job.to_config()), place_trial(replace(job, refused=["a", "b"]).to_config())
    assert anywhere.bundles == elsewhere.bundles == [{"CPU": 1, "GPU": 0.5}] and anywhere != elsewhere
    assert elsewhere._kwargs == {"bundle_label_selector": [{"ray.io/node-id": "!in(a, b)"}]}


def test_a_trial_that_was_offered_to_a_misfit_is_asked_for_again_and_the_node_is_named_once(open_ledger: Callable) -> None:
    ledger, said = open_ledger(measure_sections()), []
    capacity = Capacity(Resources(max_concurrent=2))
    ask, decide = Ask(ledger, capacity), Decide(ledger)
    end = End(ledger, capacity, decide, said.append)
    jobs = [ask.suggest("0"), ask.suggest("1")]
    assert ask.suggest("2") is None and [job["refused"] for job in jobs] == [[], []]
    for job in jobs:
        decide.endings[job["fingerprint"]] = NodeRefused("a", "10.0.0.2", "differs from this driver")
        end.on_trial_complete(1, [], SimpleNamespace(config=job))
    assert said == ["node 10.0.0.2 gets no trials: it differs from this driver"]
    again = [ask.suggest("2"), ask.suggest("3")]
    assert [job["fingerprint"] for job in again] == [job["fingerprint"] for job in jobs] and not ledger.results
    assert [job["refused"] for job in again] == [["a"], ["a"]]


def test_the_last_trial_may_be_given_back_too(open_ledger: Callable) -> None:
    """Tune asks no more once it was told that a sweep is finished."""
    ledger = open_ledger(measure_sections())
    capacity = Capacity(Resources(max_concurrent=8))
    ask, decide = Ask(ledger, capacity), Decide(ledger)
    end = End(ledger, capacity, decide, print)
    jobs = [ask.suggest(str(number)) for number in range(4)]
    assert ask.suggest("4") is None
    decide.endings[jobs[3]["fingerprint"]] = NodeRefused("a", "10.0.0.2", "differs from this driver")
    end.on_trial_complete(1, [], SimpleNamespace(config=jobs[3]))
    assert ask.suggest("5")["fingerprint"] == jobs[3]["fingerprint"]
    for job in jobs:
        fingerprint = job["fingerprint"]
        ledger.end(fingerprint, ending(ledger.live[fingerprint].config))
    assert ask.suggest("6") == Searcher.FINISHED and ledger.finished
