"""The Optuna study of a search. Its trials end as they end in the store: COMPLETE, PRUNED or FAIL."""

import math
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from lightning_modules.config import TrialConfig
from rrm.errors import UserError, first_line
from sweeps.driver.distributions import build_distribution, build_distributions
from sweeps.spec.constraints import known_costs
from sweeps.spec.search import Search
from sweeps.spec.sweep import SweepSpec
from sweeps.tracking.secrets import blank_secrets

STUDY_URL = "RRM_STUDY_URL"  # a database of a team, in place of the file beside the store
FINGERPRINT = "fingerprint"
WARM = "warm_start"  # fingerprint of a trial of another sweep
POINTS = "points"  # of the spec, that were enqueued
STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
MOST_REPEATS = 200  # proposals in a row that are known already or forbidden, after which a space counts as used up


def build_sampler(search: Search, trials_so_far: int) -> BaseSampler:
    """Optuna's sampler. Its seed moves with the study, else a restarted sweep would propose the same points again."""
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # whoever names one of these wants it
    seed = search.sampler.seed + trials_so_far
    kind = search.sampler.kind
    if kind == "tpe":
        # Conditional parameters are modelled group by group.
        return TPESampler(seed=seed, multivariate=True, group=True) if search.when else TPESampler(seed=seed)
    if kind == "qmc":  # one sequence for all drivers: where it goes on is kept in the study, and it is not seeded anew
        return QMCSampler(seed=search.sampler.seed, scramble=True, warn_independent_sampling=False)
    if kind == "cmaes":
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if kind == "gp":
        return GPSampler(seed=seed, warn_independent_sampling=False)
    return {"nsga2": NSGAIISampler, "nsga3": NSGAIIISampler, "random": RandomSampler}[kind](seed=seed)


class Study:
    """Trials of a search as Optuna knows them. A trial bears the fingerprint of its config."""

    def __init__(self, spec: SweepSpec, database: Path) -> None:
        assert spec.search is not None
        self.spec, self.search = spec, spec.search
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = open_storage(database)
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=spec.name,
            directions=[objective.goal for objective in self.search.objectives],
            load_if_exists=True,
        )
        self._study.sampler = build_sampler(self.search, len(self._study.trials))
        self._used_up = False  # the sampler proposed nothing new for long
        self._numbers = {t.user_attrs[FINGERPRINT]: t._trial_id for t in self._study.trials if FINGERPRINT in t.user_attrs}
        self._enqueue_points()

    def learn_from(self, results: dict[str, dict[str, Any]]) -> None:
        """Completed trials of other sweeps, each once, as far as they lie in the space; they do not count as trials of this one."""
        known = {trial.user_attrs.get(WARM) for trial in self._study.get_trials(deepcopy=False)}
        for fingerprint, record in results.items():
            if fingerprint not in known and self._lies_in_the_space(record):
                self._study.add_trial(self._finished_trial(record, {WARM: fingerprint}))

    def _lies_in_the_space(self, record: dict[str, Any]) -> bool:
        space = self.search.space | self.search.opened_by(record)
        has_values = all(path in record and domain.contains(record[path]) for path, domain in space.items())
        return has_values and all(objective.metric in record for objective in self.search.objectives)

    def open_again(self, fingerprint: str) -> None:
        """A failed trial runs once more: as a new trial, since Optuna opens none that has ended."""
        if not self.knows(fingerprint):  # of the last stage, or the study was lost: the folder says that it was begun
            return
        old = self._storage.get_trial(self._numbers[fingerprint])
        again = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=old.params, distributions=old.distributions, user_attrs={FINGERPRINT: fingerprint}
        )
        self._add(fingerprint, again)

    def adopt(self, config: TrialConfig) -> bool:
        """A trial that was begun under a study that is gone; whether this search could have proposed it."""
        values = {**config.flat(), "seed": config.seed}
        space = self.search.space | self.search.opened_by(values)
        if self.knows(config.fingerprint) or not all(
            path in values and domain.contains(values[path]) for path, domain in space.items()
        ):
            return False
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={path: values[path] for path in space},
            distributions=build_distributions(space),
            user_attrs={FINGERPRINT: config.fingerprint},
        )
        self._add(config.fingerprint, trial)
        return True

    def _enqueue_points(self) -> None:
        """Points of the spec that the study has not been given yet, each once."""
        given = self._study.user_attrs.get(POINTS, [])
        fresh = [point for point in self.search.points if point not in given]
        for point in fresh:
            self._study.enqueue_trial(point)
        if fresh:
            self._study.set_user_attr(POINTS, given + fresh)

    def ask(self) -> TrialConfig | None:
        """A config that the study has not seen and no constraint forbids, or None when there is none left."""
        for _ in range(MOST_REPEATS):
            if self.is_full:
                return None
            trial, values = self._propose()
            try:
                config = self.spec.trial_with(values, "search.space")
            except UserError as error:  # values that are valid one by one and not together cost nothing
                trial.set_user_attr("reason", str(error))
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            if config.fingerprint in self._numbers:
                trial.set_user_attr("reason", f"same as {config.fingerprint}")
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            broken = self._constrain(trial, known_costs(config)) if self.search.constraints else []
            if broken:  # told as pruned, from which a sampler learns; from a failure it learns nothing
                trial.set_user_attr("reason", f"breaks {' and '.join(broken)} before it costs anything")
                self._study.tell(trial, state=TrialState.PRUNED)
                continue
            trial.set_user_attr(FINGERPRINT, config.fingerprint)
            self._numbers[config.fingerprint] = trial._trial_id
            return config
        self._used_up = True
        return None

    def _propose(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """A trial and its values, those of the conditional parameters that these open included."""
        trial = self._study.ask(build_distributions(self.search.space))
        values = dict(trial.params)
        for path, domain in self.search.opened_by(values).items():
            values[path] = trial._suggest(path, build_distribution(domain))
        return trial, values

    def _constrain(self, trial: optuna.Trial, values: dict[str, Any]) -> list[str]:
        """Tell a trial those constraints whose metrics are there, each once; the ones that it breaks."""
        told = self._storage.get_trial_system_attrs(trial._trial_id)
        broken = []
        for limit in self.search.limits:
            if limit.metric in values and f"constraints:{limit.text}" not in told:
                violation = limit.violation(values)
                trial.set_constraint(limit.text, violation)
                broken += [limit.text] if violation > 0 else []
        return broken

    @property
    def is_full(self) -> bool:
        """Whether no further trial will be proposed."""
        return self._used_up or len(self._numbers) >= self.search.num_trials

    def report(self, fingerprint: str, step: int, value: float) -> None:
        """An intermediate value of the first objective; Optuna takes none in a study with several."""
        if len(self.search.objectives) == 1 and math.isfinite(value):
            self._storage.set_trial_intermediate_value(self._numbers[fingerprint], step, value)

    def tell(self, fingerprint: str, record: dict[str, Any]) -> None:
        """The end of a trial: completed with its values, pruned, or failed with its reason. Told twice is told once."""
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
            self._storage.set_trial_state_values(number, state, self.values(record) if completed else None)

    def values(self, record: dict[str, Any]) -> list[float]:
        """The objectives of a completed trial."""
        return [float(record[objective.metric]) for objective in self.search.objectives]

    def reconcile(self, results: dict[str, dict[str, Any]]) -> list[str]:
        """Add finished trials that the study does not know, fail those killed between proposal and start.

        Returns:
            Fingerprints that are still running.
        """
        for fingerprint, record in results.items():
            if fingerprint not in self._numbers:
                self._add(fingerprint, self._finished_trial(record, {FINGERPRINT: fingerprint}))
        running = []
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if FINGERPRINT in trial.user_attrs:
                running.append(trial.user_attrs[FINGERPRINT])
            else:
                self._storage.set_trial_user_attr(trial._trial_id, "reason", "the driver ended before the trial started")
                self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return running

    def _finished_trial(self, record: dict[str, Any], attributes: dict[str, Any]) -> FrozenTrial:
        """A finished trial of a store, in Optuna's words."""
        completed = record["outcome"] == "completed"
        space = self.search.space | self.search.opened_by(record)
        return optuna.trial.create_trial(
            state=STATES[record["outcome"]],
            values=self.values(record) if completed else None,
            params={path: record[path] for path in space},
            distributions=build_distributions(space),
            user_attrs=attributes | ({"reason": record["reason"]} if record.get("reason") else {}),
            constraints={limit.text: limit.violation(record) for limit in self.search.limits} if completed else None,
        )

    def _add(self, fingerprint: str, trial: FrozenTrial) -> None:
        self._numbers[fingerprint] = self._storage.create_new_trial(self._study._study_id, template_trial=trial)

    def knows(self, fingerprint: str) -> bool:
        """Whether the sampler proposed this trial."""
        return fingerprint in self._numbers

    def fingerprints(self) -> list[str]:
        """Every trial that was started, in order."""
        return list(self._numbers)


def objective_value(search: Search, metrics: dict[str, float]) -> float | None:
    """The first objective in a reported row, if it is measured during training."""
    return metrics.get(search.objectives[0].metric.replace("val/", "val_curve/"))


def open_storage(database: Path) -> optuna.storages.RDBStorage:
    """The database that the environment names, else the file.

    Raises:
        UserError: what is named cannot be used.
    """
    url = os.environ.get(STUDY_URL)
    if not url:
        return _sqlite(database)
    try:
        return optuna.storages.RDBStorage(url)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:  # the last where MLflow has its tables there
        reason = first_line(error, blank_secrets)
        raise UserError(
            f"names no database that can be used, such as postgresql+psycopg://user@host/studies: {reason}", STUDY_URL
        ) from None


def _sqlite(database: Path) -> optuna.storages.RDBStorage:
    """One writer beside the store: write-ahead logging halves the time of a trial."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{database}")

    def pragma(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(storage.engine, "connect", pragma)
    storage.engine.dispose()
    return storage
