"""The Optuna study of a search. The state of a trial follows from its outcome in the store: COMPLETE, PRUNED or FAIL."""

import json
import math
from collections.abc import Collection, Mapping, Set
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from lightning_modules.config import TrialConfig
from lightning_modules.record import Record
from rrm.errors import UserError
from sweeps.driver.distributions import build_distribution, build_distributions
from sweeps.driver.finished_trials import STATES, finished_trial, objective_values
from sweeps.driver.samplers import build_sampler
from sweeps.driver.study_database import FINGERPRINT, Generations, database_id, open_storage
from sweeps.spec.constraints import known_costs
from sweeps.spec.sweep import SweepSpec

Results = Mapping[str, Record]  # records of finished trials by fingerprint

WARM = "warm_start"  # user attribute: fingerprint of a trial of another sweep
POINTS = "points"  # user attribute of a study: points of the spec that were enqueued
USED_UP = "used_up"  # user attribute of a study: the search, as JSON, that can propose no further trial, and why
LOCATION = "location"  # user attribute of a study: location of its store at the last run
QMC = "qmc:"  # prefix of the system attributes of a study in which Optuna keeps the positions in its sequences
MAX_REPEATS = 5  # proposals of known trials after which an untried point replaces the sampler's proposal
MAX_MISSES = 200  # proposals in a row of known or forbidden trials after which the space is treated as used up
MAX_LISTED = 2000  # largest number of points of a space whose untried points are listed
SAME_VALUE = 1e-6  # relative; a database may keep fewer digits of an objective
NEW_SPACE = "the search space has changed"


class Study:
    """Trials of a search as Optuna holds them, with the fingerprints of their configs."""

    def __init__(self, spec: SweepSpec, database: Path, identity: str = "", begun: Collection[str] = ()) -> None:
        """Open or make the study of a store.

        Args:
            identity: that of the store.
            begun: fingerprints of all trials in the store.

        Raises:
            UserError: the database cannot be used, or the study has other goals.
        """
        if spec.search is None:
            raise ValueError("a measure sweep has no study")
        self.spec, self.search = spec, spec.search
        self._finished: Set[str] = set()  # fingerprints with a result in the store
        self.notes: list[str] = []  # lines for the user about what `reconcile` changed
        self.shortfall: str | None = None  # why the search ends with fewer trials than it asks for
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = open_storage(database)
        self._generations = Generations(self._storage, spec.name, identity, self.search)
        self._use(self._generations.open(begun))

    def _use(self, study: optuna.Study) -> None:
        trials = study.get_trials(deepcopy=False)
        self._study = study
        self._seed_samplers(len(trials))
        self._numbers = {t.user_attrs[FINGERPRINT]: database_id(t) for t in trials if FINGERPRINT in t.user_attrs}

    def _seed_samplers(self, trials_so_far: int) -> None:
        self._sampler = self._study.sampler = build_sampler(self.spec, trials_so_far)
        self._random = Random(self.search.sampler.seed + trials_so_far)

    @property
    def location(self) -> str | None:
        """Location of this study's store at the last run; None for a new study."""
        return self._study.user_attrs.get(LOCATION)

    @location.setter
    def location(self, location: str) -> None:
        if location != self.location:
            self._study.set_user_attr(LOCATION, location)

    # -- at the start ---------------------------------------------------------------------------------------------

    def reconcile(self, results: Results, unfinished: Mapping[str, TrialConfig], warm: Results | None = None) -> list[str]:
        """Make the study equal to the trials of the store that lie in the space.

        Args:
            results: records of the finished trials in the store.
            unfinished: trials in the store that were begun and have no result.
            warm: results of other sweeps from which the sampler starts; they do not count as trials of this one.

        Returns:
            Fingerprints of the unfinished trials that this search continues.
        """
        warm, held = warm or {}, results.keys() | unfinished.keys()
        self._finished = results.keys()
        self._reject_waiting()
        change = self._find_change(results, warm)
        if change is not None:
            self._begin_next_generation(results, held)
            also = "; the QMC sequence starts again" if change == NEW_SPACE and self.search.sampler.kind == "qmc" else ""
            fitting = f"{len(self._numbers)} of {len(results)} finished trials"
            self.notes.append(f"{change}: the study goes on as generation {self._generations.number}, with {fitting}{also}")
        self._learn_from(warm)
        for fingerprint, record in results.items():
            self._add_finished(fingerprint, record)
        for config in unfinished.values():
            self._add_running(config)
        self._drop_missing(held)
        self._enqueue_points()
        search, reason = self._study.user_attrs.get(USED_UP, ("", ""))
        if search == self._search_as_json() and not self._waiting() and not self.is_full:
            self._stop(reason)
        outside = len(results.keys() - self._numbers.keys())
        if outside:
            self.notes.append(
                f"finished trials outside the search space: {outside}; they stay in the store, "
                "and count neither for search.num_trials nor for the sampler"
            )
        return [fingerprint for fingerprint in unfinished if self.knows(fingerprint)]

    def _find_change(self, results: Results, warm: Results) -> str | None:
        """Why the sampler cannot continue with this study; None where it can."""
        for trial in self._study.get_trials(deepcopy=False):
            fingerprint, other = trial.user_attrs.get(FINGERPRINT), trial.user_attrs.get(WARM)
            if not self._was_drawn_from_the_space(trial, whole=fingerprint is not None or other is not None):
                return NEW_SPACE
            if other is not None and other not in warm:
                return "search.warm_start has lost trials"
            if fingerprint is None or trial.state not in STATES.values():
                continue
            record = results.get(fingerprint)
            if trial.state == TrialState.FAIL and (record is None or self._numbers[fingerprint] != database_id(trial)):
                continue  # it is or was run anew, and a sampler ignores failures
            if record is None:
                return "the store has lost trials"
            if STATES[record["outcome"]] != trial.state or not self._has_values(trial, record):
                return "the store has other results"
        return None

    def _has_values(self, trial: FrozenTrial, record: Mapping[str, Any]) -> bool:
        """Whether a trial of the study has the objectives of a record, if it has any."""
        if trial.state != TrialState.COMPLETE:
            return True
        return np.allclose(trial.values, objective_values(self.search, record), rtol=SAME_VALUE, atol=0)

    def _was_drawn_from_the_space(self, trial: FrozenTrial, whole: bool) -> bool:
        """Whether the parameters of a trial have today's domains; with `whole`, also whether none is absent."""
        domains = build_distributions(self.search.space_at(trial.params))
        drawn = trial.distributions
        return drawn == domains if whole else all(domains.get(path) == domain for path, domain in drawn.items())

    def _begin_next_generation(self, results: Results, held: Set[str]) -> None:
        """Replace the study by an empty one, which gets the values that wait to be tried and the positions in sequences."""
        before = self._study
        waiting = self._waiting()
        given = [point for point in before.user_attrs.get(POINTS, []) if point not in waiting]
        missing = [self._storage.get_trial(number).params for name, number in self._numbers.items() if name not in held]
        again = [values for values in (*waiting, *missing) if values not in self.search.points]
        sequences = {
            name: value for name, value in self._storage.get_study_system_attrs(database_id(before)).items() if name.startswith(QMC)
        }
        self._use(self._generations.begin_next())
        for name, value in sequences.items():
            self._storage.set_study_system_attr(database_id(self._study), name, value)
        self._study.set_user_attr(POINTS, given)
        for values in again:
            self._enqueue(values)
        for fingerprint, record in results.items():
            self._add_finished(fingerprint, record)
        self._seed_samplers(len(self._study.get_trials(deepcopy=False)))
        self.location = before.user_attrs.get(LOCATION, "")
        self._generations.complete()

    def _learn_from(self, warm: Results) -> None:
        """Add the completed trials of other sweeps that lie in the space, each once; they do not count as trials of this one."""
        known = {trial.user_attrs.get(WARM) for trial in self._study.get_trials(deepcopy=False)}
        for fingerprint, record in warm.items():
            has_scores = all(objective.metric in record for objective in self.search.objectives)
            if fingerprint not in known and has_scores and self.search.drawn_values(record) is not None:
                self._study.add_trial(finished_trial(self.search, record, {WARM: fingerprint}))

    def _add_finished(self, fingerprint: str, record: Record) -> None:
        """Take a result of the store: end its trial in the study, or add the trial where the study lacks it."""
        if self.knows(fingerprint):
            self.tell(fingerprint, record)
        elif self.could_propose(fingerprint, record):
            self._add(fingerprint, finished_trial(self.search, record, {FINGERPRINT: fingerprint}))

    def _add_running(self, config: TrialConfig) -> None:
        """Take a begun trial. One that has ended in the study is added anew: Optuna cannot reopen a trial."""
        if self.knows(config.fingerprint) and self._state(config.fingerprint) == TrialState.RUNNING:
            return
        if not self.could_propose(config.fingerprint, config.flat()):
            self._numbers.pop(config.fingerprint, None)
            return
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=self.search.drawn_values(config.flat()),
            distributions=build_distributions(self.search.space_at(config.flat())),
            user_attrs={FINGERPRINT: config.fingerprint},
        )
        self._add(config.fingerprint, trial)

    def _drop_missing(self, held: Set[str]) -> None:
        """Have the values of trials that the store lacks tried again: a driver ended, or a user removed their folders."""
        for trial in self._study.get_trials(deepcopy=False):
            fingerprint = trial.user_attrs.get(FINGERPRINT)
            if fingerprint in held or trial.user_attrs.get(WARM) is not None:
                continue
            if trial.state == TrialState.RUNNING:
                self._storage.set_trial_user_attr(database_id(trial), "reason", "the driver ended before the trial started")
                self._storage.set_trial_state_values(database_id(trial), TrialState.FAIL)
            was_counted = self._numbers.pop(fingerprint, None) is not None
            if was_counted or trial.state == TrialState.RUNNING:
                self._enqueue(trial.params or trial.system_attrs.get("fixed_params", {}))

    def _enqueue_points(self) -> None:
        """Enqueue the points of the spec that the study has not received, each once."""
        given = self._study.user_attrs.get(POINTS, [])
        fresh = [point for point in self.search.points if point not in given]
        for point in fresh:
            self._study.enqueue_trial(point)
        if fresh:
            self._study.set_user_attr(POINTS, given + fresh)

    def _enqueue(self, values: dict[str, Any]) -> None:
        """Enqueue values, unless they are in the queue or lie outside the space."""
        if values and self.search.allows(values) and values not in self._waiting():
            self._study.enqueue_trial(values)

    def _reject_waiting(self) -> None:
        """Remove values from the queue that lie outside the space of today."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if not self.search.allows(trial.system_attrs["fixed_params"]):
                self._storage.set_trial_state_values(database_id(trial), TrialState.FAIL)

    def _waiting(self) -> list[dict[str, Any]]:
        """The values in the queue."""
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return [trial.system_attrs["fixed_params"] for trial in waiting]

    def could_propose(self, fingerprint: str, settings: Mapping[str, Any]) -> bool:
        """Whether this search could have proposed this trial: settings outside the space may differ too."""
        values = self.search.drawn_values(settings)
        if values is None:
            return False
        try:
            return self.spec.trial_with(values, "search.space").fingerprint == fingerprint
        except UserError:
            return False

    # -- while it runs --------------------------------------------------------------------------------------------

    def ask(self) -> TrialConfig | None:
        """A config that the study has not seen and no constraint forbids, or None when there is none left."""
        misses = repeats = 0
        while not self.is_full:
            if misses == MAX_MISSES:
                self._give_up(f"search.space and search.constraints forbade {MAX_MISSES} proposals in a row")
                return None
            if repeats >= MAX_REPEATS and not self._leave_the_sampler():
                self._give_up("the search space holds no further trial")
                return None
            trial, values = self._propose()
            self._study.sampler = self._sampler
            misses += 1
            try:
                config = self.spec.trial_with(values, "search.space")
            except UserError as error:  # values that are valid one by one and not together cost nothing
                self._reject(trial, TrialState.FAIL, str(error))
                continue
            if config.fingerprint in self._numbers or config.fingerprint in self._finished:
                self._reject(trial, TrialState.FAIL, f"same as {config.fingerprint}")
                repeats += 1
                continue
            broken = self._constrain(trial, known_costs(config)) if self.search.constraints else []
            if broken:  # PRUNED, because a sampler uses it; a sampler ignores FAIL
                self._reject(trial, TrialState.PRUNED, f"breaks {' and '.join(broken)} before it costs anything")
                continue
            trial.set_user_attr(FINGERPRINT, config.fingerprint)
            self._numbers[config.fingerprint] = database_id(trial)
            return config
        return None

    def _leave_the_sampler(self) -> bool:
        """Replace the next proposal of a sampler that repeats itself by an untried point; False where every point was tried."""
        points = self.search.list_points(MAX_LISTED)
        if points is None:
            self._study.sampler = RandomSampler(self._random.randrange(2**32))
            return True
        trials = self._study.get_trials(deepcopy=False)
        tried = {_as_key(trial.params) for trial in trials if WARM not in trial.user_attrs}
        untried = [point for point in points if _as_key(point) not in tried]
        if untried:
            self._study.enqueue_trial(self._random.choice(untried))
        return bool(untried)

    def _reject(self, trial: optuna.Trial, state: TrialState, reason: str) -> None:
        """End a proposal that is not run."""
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=state)

    def _propose(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """A trial and its values, with those of the conditional parameters that they open."""
        trial = self._study.ask(build_distributions(self.search.space))
        values = dict(trial.params)
        for path, domain in self.search.opened_by(values).items():
            values[path] = trial._suggest(path, build_distribution(domain))  # the public `suggest_...` take no distribution
        return trial, values

    def _constrain(self, trial: optuna.Trial, values: dict[str, Any]) -> list[str]:
        """Add the constraints whose metrics are in `values` to a trial, each once; returns the broken ones."""
        present = self._storage.get_trial_system_attrs(database_id(trial))
        broken = []
        for limit in self.search.limits:
            if limit.metric in values and f"constraints:{limit.text}" not in present:
                violation = limit.violation(values)
                trial.set_constraint(limit.text, violation)
                broken += [limit.text] if violation > 0 else []
        return broken

    @property
    def is_full(self) -> bool:
        """Whether no further trial will be proposed."""
        return self.shortfall is not None or len(self._numbers) >= self.search.num_trials

    def _give_up(self, reason: str) -> None:
        """Propose no more trials, also after a restart, until the search is changed."""
        self._study.set_user_attr(USED_UP, (self._search_as_json(), reason))
        self._stop(reason)

    def _stop(self, reason: str) -> None:
        """Propose no more trials, although the search requests more."""
        self.shortfall = f"{reason}: the search ends with {len(self._numbers)} of search.num_trials = {self.search.num_trials}"

    def _search_as_json(self) -> str:
        """The settings that decide which trials the space holds."""
        search = self.search.model_dump(mode="json", include={"space", "when", "tie", "constraints"}, by_alias=True)
        return json.dumps([search, self.spec.trial], sort_keys=True)

    def _state(self, fingerprint: str) -> TrialState:
        return self._storage.get_trial(self._numbers[fingerprint]).state

    def report(self, fingerprint: str, step: int, value: float) -> None:
        """Add an intermediate value of the first objective; Optuna accepts none in a study with several objectives."""
        if len(self.search.objectives) == 1 and math.isfinite(value):
            self._storage.set_trial_intermediate_value(self._numbers[fingerprint], step, value)

    def tell(self, fingerprint: str, record: Record) -> None:
        """End a trial: completed with its values, pruned, or failed with its reason. A second call changes nothing."""
        number = self._numbers.get(fingerprint)
        if number is None:
            return
        state = STATES[record["outcome"]]
        completed = state == TrialState.COMPLETE
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            if record.get("reason"):
                self._storage.set_trial_user_attr(number, "reason", record["reason"])
            if completed and self.search.constraints:
                self._constrain(optuna.Trial(self._study, number), record)
            self._storage.set_trial_state_values(number, state, objective_values(self.search, record) if completed else None)

    def _add(self, fingerprint: str, trial: FrozenTrial) -> None:
        self._numbers[fingerprint] = self._storage.create_new_trial(database_id(self._study), template_trial=trial)

    def knows(self, fingerprint: str) -> bool:
        """Whether the sampler proposed this trial."""
        return fingerprint in self._numbers

    def fingerprints(self) -> list[str]:
        """Every trial that was started, in order."""
        return list(self._numbers)


def _as_key(values: dict[str, Any]) -> str:
    """The same text for the same values; 1, 1.0 and true have different texts."""
    return json.dumps(values, sort_keys=True)
