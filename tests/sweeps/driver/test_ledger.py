"""The ledger's own rules, with a real store, study and spool; trials are ended by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from lightning_modules.config import TrialConfig
from lightning_modules.trial_folder import RESULT
from rrm.errors import UserError
from sweeps.driver.capacity import Capacity
from sweeps.driver.ledger import Ledger
from sweeps.driver.queues import CONFIRM
from sweeps.driver.run import fit_until_done
from sweeps.driver.tune import Ask, Decide, End
from sweeps.spec.resources import Resources
from sweeps.worker.messages import ENDING, ROW, Lost, write_ending
from tests.sweeps.conftest import Sections, ending, load_study, measure_sections, search_sections


def run_all(ledger: Ledger) -> list[TrialConfig]:
    """Run whatever the ledger asks for, one at a time; a larger learning rate is better, seeds hardly matter."""
    asked = []
    while (config := ledger.ask()) is not None:
        asked.append(config)
        ledger.end(config.fingerprint, ending(config, nll=1 - config.optim.lr + 1e-6 * config.seed))
    return asked


def confirming(top: int = 2, seeds: int = 3) -> Sections:
    sections = search_sections()
    sections["search"] |= {"num_trials": 5, "confirm": {"top": top, "seeds": seeds}}
    return sections


def test_a_search_ends_with_its_best_trials_over_fresh_seeds(open_ledger: Callable) -> None:
    ledger = open_ledger(confirming())
    asked = run_all(ledger)
    searched, confirmed = asked[:5], asked[5:]
    best = sorted(searched, key=lambda config: -config.optim.lr)[:2]
    assert [(config.optim.lr, config.seed) for config in confirmed] == [
        (config.optim.lr, seed) for config in best for seed in (1, 2, 3)
    ]
    assert ledger.finished and ledger.spec.total == 11 == len(ledger.results)
    assert {name for name, record in ledger.results.items() if record.get("stage") == CONFIRM} == {c.fingerprint for c in confirmed}
    assert len(load_study(ledger.store.driver_folder).trials) == 5


def test_the_last_stage_waits_for_the_search_to_end(open_ledger: Callable) -> None:
    ledger = open_ledger(confirming())
    asked = [ledger.ask() for _ in range(5)]
    assert ledger.ask() is None
    for config in asked:
        ledger.end(config.fingerprint, ending(config))
    assert not ledger.finished and ledger.ask().seed == 1


def test_a_restart_in_the_last_stage_runs_what_is_missing(open_ledger: Callable) -> None:
    first = open_ledger(confirming())
    for _ in range(5):
        config = first.ask()
        first.end(config.fingerprint, ending(config, nll=1 - config.optim.lr))
    done, begun = first.ask(), first.ask()
    first.end(done.fingerprint, ending(done))
    again = open_ledger(confirming())
    rest = run_all(again)
    assert begun.fingerprint in {config.fingerprint for config in rest} and done.fingerprint not in {c.fingerprint for c in rest}
    assert len(rest) == 5 and again.finished
    third = open_ledger(confirming(top=3))
    assert len(run_all(third)) == 3  # the third best, over three seeds


def test_warm_start_gives_the_sampler_what_others_found(open_ledger: Callable) -> None:
    other = search_sections() | {"name": "other"}
    run_all(open_ledger(other))
    sections = search_sections()
    sections["search"]["warm_start"] = ["other"]
    sections["search"]["space"]["optim.lr"] = {"log_uniform": [1e-3, 1e-2]}  # some of them lie outside
    for _ in range(2):  # a second start adds nothing
        ledger = open_ledger(sections)
    trials = load_study(ledger.store.driver_folder).trials
    assert 0 < len(trials) <= 6 and all(t.state == TrialState.COMPLETE and t.params["optim.lr"] >= 1e-3 for t in trials)
    assert len(run_all(ledger)) == 6  # they do not count


def test_warm_start_from_nothing_is_refused(open_ledger: Callable) -> None:
    sections = search_sections()
    sections["search"]["warm_start"] = ["nobody"]
    with pytest.raises(UserError, match=r"search.warm_start.0: has no completed trials"):
        open_ledger(sections)


@pytest.mark.parametrize("sections", [measure_sections(), search_sections()], ids=["measure", "search"])
def test_a_lost_trial_is_tried_again_up_to_its_limit(open_ledger: Callable, sections: Sections) -> None:
    sections = sections | {"resources": {"max_retries": 1}}
    ledger = open_ledger(sections)
    config = ledger.ask()
    ledger.end(config.fingerprint, Lost("its process was lost"))
    second = open_ledger(sections)
    assert config.fingerprint not in second.results
    assert second.ask().fingerprint == config.fingerprint
    second.end(config.fingerprint, Lost("its process was lost"))
    third = open_ledger(sections)
    assert third.results[config.fingerprint]["outcome"] == "failed"
    assert third.ask().fingerprint != config.fingerprint
    if "search" in sections:
        states = [trial.state for trial in third.queue.study._study.trials]
        assert states[:2] == [TrialState.FAIL, TrialState.FAIL]


def test_a_trial_that_failed_by_itself_is_not_tried_again(open_ledger: Callable) -> None:
    ledger = open_ledger(measure_sections())
    config = ledger.ask()
    ledger.end(config.fingerprint, ending(config, nll=float("nan")))
    again = open_ledger(measure_sections())
    assert again.results[config.fingerprint]["reason"] == "test/nll is nan"
    assert again.ask().fingerprint != config.fingerprint


def test_a_trial_of_an_earlier_driver_takes_no_room_before_it_is_handed_out(open_ledger: Callable) -> None:
    first = open_ledger(measure_sections())
    config = first.ask()
    metrics = {"val_curve/exact_accuracy": 0.1, "val_curve/nll": 0.5}
    first.row(config.fingerprint, {"step": 4, "time": 0, "metrics": metrics, "used": {"steps": 4}})
    assert first.running == 1
    again = open_ledger(measure_sections())
    assert config.fingerprint in again.live and again.running == 0
    assert again.ask().fingerprint == config.fingerprint and again.running == 1
    again.requeue()  # Ray gave up
    assert again.running == 0


def test_a_stop_that_a_killed_driver_did_not_carry_out_is_carried_out_by_the_next_one(open_ledger: Callable) -> None:
    sections = search_sections(fit__budget__amount=9)
    sections["search"]["scheduler"] = {"kind": "asha", "grace": 1 / 9, "reduction": 3}
    first = open_ledger(sections)
    running, stopped = first.ask().fingerprint, first.ask().fingerprint
    for fingerprint, nll in ((running, 0.1), (stopped, 9.0)):
        metrics = {"val_curve/exact_accuracy": 0.1, "val_curve/nll": nll}
        is_stopped = first.row(fingerprint, {"step": 1, "time": 0, "metrics": metrics, "used": {"steps": 1}})
        assert is_stopped == (fingerprint == stopped)
    again = open_ledger(sections)
    assert {name: record["outcome"] for name, record in again.results.items()} == {stopped: "pruned"}
    assert again.ask().fingerprint == running


def test_a_begun_trial_of_the_last_stage_reports_each_row_once_after_a_restart(open_ledger: Callable) -> None:
    first = open_ledger(confirming())
    for _ in range(5):
        config = first.ask()
        first.end(config.fingerprint, ending(config))
    config = first.ask()
    row = {"step": 4, "time": 0, "metrics": {"val_curve/nll": 0.5}, "used": {"steps": 4}}
    first.row(config.fingerprint, row)
    again = open_ledger(confirming())
    assert again.ask() == config
    again.row(config.fingerprint, row)
    assert [line["fingerprint"] for line in again.store.rows()] == [config.fingerprint]


class Abort(Exception):
    """What Tune raises when it gives up as a whole."""


def test_after_an_abort_what_was_live_goes_on(open_ledger: Callable) -> None:
    ledger = open_ledger(measure_sections())
    calls = []

    def fit() -> None:
        calls.append([ledger.ask().fingerprint for _ in range(2)])
        if len(calls) == 1:
            raise Abort
        for config in [trial.config for trial in ledger.live.values()]:
            ledger.end(config.fingerprint, ending(config))
        run_all(ledger)

    fit_until_done(ledger, fit, (Abort,))
    assert calls[0] == calls[1] and ledger.finished and len(ledger.results) == 4


def test_a_trial_that_is_there_at_several_aborts_without_a_row_of_its_own_is_blamed(open_ledger: Callable) -> None:
    ledger = open_ledger(measure_sections())
    first = ledger.ask()
    poison = first.fingerprint
    ledger.requeue()

    aborts = 0

    def fit() -> None:
        nonlocal aborts
        while (config := ledger.ask()) is not None:
            if config.fingerprint == poison:
                aborts += 1
                raise Abort("a worker was killed\nand here is how")
            ledger.end(config.fingerprint, ending(config))

    fit_until_done(ledger, fit, (Abort,))
    outcomes = {name: record["outcome"] for name, record in ledger.results.items()}
    assert outcomes.pop(poison) == "failed" and set(outcomes.values()) == {"completed"} and len(outcomes) == 3
    assert ledger.results[poison]["reason"] == "Ray gave up 3 times in a row while it ran: a worker was killed"
    assert aborts == 3 == 1 + ledger.spec.resources.max_retries


def test_an_abort_without_a_trial_is_raised(open_ledger: Callable) -> None:
    def fit() -> None:
        raise Abort

    with pytest.raises(Abort):
        fit_until_done(open_ledger(measure_sections()), fit, (Abort,))


def test_a_trial_that_a_watchdog_ended_fails_with_its_reason_and_is_not_tried_again(open_ledger: Callable) -> None:
    ledger = open_ledger(measure_sections())
    config = ledger.ask()
    ledger.store.write_killed(config.fingerprint, "used 9 GB")
    ledger.end(config.fingerprint, Lost("its process was lost"))
    assert ledger.results[config.fingerprint]["reason"] == "used 9 GB"
    assert open_ledger(measure_sections()).ask().fingerprint != config.fingerprint


class TestATrialThatTuneRunsAgainAfterItsEnd:
    """`TuneController.stop_trial` calls `on_trial_complete`, and takes an exception behind it for a failure to recover from."""

    def adapters(self, ledger: Ledger) -> tuple[Decide, End, Any]:
        capacity = Capacity(Resources(max_concurrent=2))
        ask, decide = Ask(ledger, capacity), Decide(ledger)
        trial = SimpleNamespace(config=ask.suggest("0"), run_metadata=SimpleNamespace(error_filename=None), local_path=None)
        return decide, End(ledger, capacity, decide, lambda line: None), trial

    def test_it_stays_as_it_ended(self, open_ledger: Callable) -> None:
        ledger: Ledger = open_ledger(measure_sections())
        decide, end, trial = self.adapters(ledger)
        fingerprint = trial.config["fingerprint"]
        record = ending(ledger.live[fingerprint].config)
        decide.on_trial_result(None, trial, {ENDING: write_ending(record)})
        end.on_trial_complete(1, [], trial)
        before = dict(ledger.results[fingerprint])
        end.on_trial_recover(1, [], trial)
        row = {"step": 1, "time": 0, "metrics": {}, "used": {}}
        assert decide.on_trial_result(None, trial, {ROW: json.dumps(row)}) == TrialScheduler.STOP
        end.on_trial_complete(1, [], trial)
        end.on_trial_error(1, [], trial)
        assert ledger.results[fingerprint] == before and ledger.problem is None and ledger.store.rows() == []

    def test_the_first_problem_of_the_driver_is_the_one_with_which_it_ends(self, open_ledger: Callable) -> None:
        ledger: Ledger = open_ledger(measure_sections())
        decide, end, trial = self.adapters(ledger)
        fingerprint = trial.config["fingerprint"]
        decide.endings[fingerprint] = ending(ledger.live[fingerprint].config)
        Path(ledger.store.where(fingerprint), RESULT).mkdir()  # in the place of the file that the ending is written to
        with pytest.raises(IsADirectoryError):
            end.on_trial_complete(1, [], trial)
        first = ledger.problem
        with pytest.raises(IsADirectoryError):
            end.on_trial_recover(1, [], trial)
        assert ledger.problem is first
