"""A trial that cannot begin on a worker: it is lost and no retry is spent, so that a later run begins it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightning_modules.fit import fit
from lightning_modules.trial_folder import CHECKPOINT
from sweeps.driver.capacity import Capacity
from sweeps.driver.ledger import Ledger
from sweeps.driver.tune import Ask
from sweeps.spec.resources import Resources
from sweeps.worker.messages import Job, Lost
from sweeps.worker.run_trial import _try_trial
from tests.lightning_modules.test_fit import Interrupted, interrupt_after
from tests.sweeps.conftest import measure_sections


@pytest.mark.parametrize("max_retries", [0, 2])
def test_a_checkpoint_of_a_later_version_costs_no_retry_and_a_later_run_begins_its_trial(
    open_ledger: Callable, tmp_path: Path, max_retries: int
) -> None:
    sections = measure_sections() | {"resources": {"max_retries": max_retries}}
    ledger: Ledger = open_ledger(sections)
    job = Job.from_config(Ask(ledger, Capacity(Resources(max_concurrent=1))).suggest("0"))
    config, scratch = ledger.live[job.fingerprint].config, tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(Interrupted):
        fit(config, scratch, interrupt_after(1))
    saved = torch.load(scratch / CHECKPOINT, weights_only=True)
    saved["trial"]["format"] = 99
    torch.save(saved, scratch / CHECKPOINT)
    ledger.store.keep(job.fingerprint, scratch / CHECKPOINT)
    for _ in range(3):  # as often as somebody runs the older version
        ending = _try_trial(job, scratch)
        assert ending == Lost(ending.reason, losses=0)
        place = f"{ledger.store.where(job.fingerprint)}/{CHECKPOINT}"
        assert ending.reason == f"{place}: has format 99, and this version of rrm-sweeps reads up to 1: install a newer rrm-sweeps"
        ledger.end(job.fingerprint, ending)
        assert ledger.results[job.fingerprint]["retryable"]
        ledger = open_ledger(sections)
        assert job.fingerprint not in ledger.results and ledger.ask().fingerprint == job.fingerprint
        assert not any(attempt["losses"] for attempt in ledger.store.attempts(job.fingerprint))
