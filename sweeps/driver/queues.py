"""Which trial comes next: the queue of a measure sweep holds a design, that of a search asks Optuna and repeats the best trials."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lightning_modules.columns import CONFIRM
from lightning_modules.config import TrialConfig
from lightning_modules.record import Record, Row
from sweeps.driver.early_stopping import build_judge, objective_value
from sweeps.driver.study import Study
from sweeps.spec.search import Search
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import Store

ReadTrial = Callable[[str], TrialConfig]  # the trial of a fingerprint in the store


@dataclass(frozen=True)
class Members:
    """Trials of a store that belong to the sweep as its spec is now."""

    finished: dict[str, Record]
    unfinished: list[TrialConfig]  # begun by an earlier driver; they continue before new trials begin


class Queue(ABC):
    """Chooses trials. The ledger calls it, keeps the files, and holds the trials that run."""

    objectives: list[str]  # metrics that a completed trial has, as finite numbers
    notes: Sequence[str] = ()  # lines for the user about what `reconcile` changed

    @property
    def shortfall(self) -> str | None:
        """Why a queue that is used up gave fewer trials than the spec requests; None where it gave all."""
        return None

    @abstractmethod
    def requests(self, fingerprint: str, record: Record) -> bool:
        """Whether the spec requests this finished trial."""

    @abstractmethod
    def reconcile(self, results: Mapping[str, Record], begun: set[str]) -> Members:
        """Compare the queue with the store; call it once, before all methods below.

        Args:
            results: the finished trials of the store.
            begun: fingerprints of all trials in the store.
        """

    @abstractmethod
    def next(self) -> TrialConfig | None:
        """A trial that has not begun; None where there is none now."""

    @property
    @abstractmethod
    def is_used_up(self) -> bool:
        """Whether `next` returns None from now on."""

    def stops(self, fingerprint: str, row: Row) -> bool:
        """Judge a row; True stops its trial. Every row is passed once, in order, also after a restart."""
        return False

    def report(self, fingerprint: str, row: Row) -> None:  # noqa: B027
        """A running trial reported a new row."""

    def stage(self, fingerprint: str) -> str | None:
        """The column `stage` of a trial."""
        return None

    def end(self, fingerprint: str, record: Record) -> None:  # noqa: B027
        """A trial ended, and the store has its record."""


class MeasureQueue(Queue):
    """The trials of a design, in its order."""

    def __init__(self, spec: SweepSpec, store: Store) -> None:
        self.design, self.store = {config.fingerprint: config for config in spec.design}, store
        self.objectives = ["test/nll"]
        self._waiting: list[TrialConfig] = []
        self._training: dict[str, str] = {}  # training fingerprints of the trials that were handed out and have not ended

    def requests(self, fingerprint: str, record: Record) -> bool:
        return fingerprint in self.design

    def reconcile(self, results: Mapping[str, Record], begun: set[str]) -> Members:
        open_trials = {name: config for name, config in self.design.items() if name not in results}
        self.store.write_design(list(self.design))
        finished = {name: results[name] for name in self.design if name in results}
        # Of trials that train the same weights one goes on; the others wait, to be scored from its weights.
        first: dict[str, str] = {}  # names by training fingerprint
        for name in [name for name in open_trials if name in begun]:
            first.setdefault(open_trials[name].training_fingerprint, name)
        self._training = {name: training for training, name in first.items()}
        self._waiting = [config for name, config in open_trials.items() if name not in self._training]
        return Members(finished, [open_trials[name] for name in self._training])

    def next(self) -> TrialConfig | None:
        """A trial waits while another one trains the same weights, from which it is scored then."""
        taken = self._training.values()
        config = next((config for config in self._waiting if config.training_fingerprint not in taken), None)
        if config is not None:
            self._waiting.remove(config)
            self._training[config.fingerprint] = config.training_fingerprint
        return config

    def end(self, fingerprint: str, record: Record) -> None:
        self._training.pop(fingerprint, None)

    @property
    def is_used_up(self) -> bool:
        return not self._waiting


class SearchQueue(Queue):
    """The trials that the study proposes, then the confirm stage: the best of them under other seeds."""

    def __init__(self, spec: SweepSpec, search: Search, study: Study, warm: Mapping[str, Record], read_trial: ReadTrial) -> None:
        """
        Args:
            warm: results of other sweeps from which the sampler starts.
        """
        self.search, self.study, self.warm, self.read_trial = search, study, warm, read_trial
        self.notes = study.notes
        self.seed = spec.base.seed
        self.objectives = [objective.metric for objective in search.objectives]
        self.judge = build_judge(search, spec.base.fit.budget)
        self._searching: set[str] = set()  # proposed trials that have begun and not ended
        self._searched: dict[str, Record] = {}
        self._repeated: set[str] = set()  # finished trials of the confirm stage
        self._to_confirm: list[TrialConfig] | None = None  # None until the search itself has ended

    @property
    def shortfall(self) -> str | None:
        return self.study.shortfall

    def requests(self, fingerprint: str, record: Record) -> bool:
        return record.get("stage") == CONFIRM or self.study.could_propose(fingerprint, record)

    def reconcile(self, results: Mapping[str, Record], begun: set[str]) -> Members:
        searched = {name: record for name, record in results.items() if record.get("stage") != CONFIRM}
        self._repeated = set(results) - set(searched)
        configs = [self.read_trial(name) for name in sorted(begun - results.keys())]
        unfinished = {config.fingerprint: config for config in configs if config.seed == self.seed}  # other seeds repeat a trial
        self._searching = set(self.study.reconcile(searched, unfinished, self.warm))
        self._searched = {name: searched[name] for name in self.study.fingerprints() if name in searched and name in begun}
        self._begin_to_confirm()
        continued = [config for name, config in unfinished.items() if name in self._searching]
        return Members(self._searched | {name: results[name] for name in results if name in self._repeated}, continued)

    def next(self) -> TrialConfig | None:
        config = self.study.ask()
        if config is not None:
            self._searching.add(config.fingerprint)
            return config
        self._begin_to_confirm()
        return self._to_confirm.pop(0) if self._to_confirm else None

    def _begin_to_confirm(self) -> None:
        """Choose the trials of the confirm stage once the search itself has ended."""
        if self._to_confirm is not None or self._searching or not self.study.is_full:
            return
        confirm = self.search.confirm
        best = self.search.best(list(self._searched.values()), confirm.top) if confirm else []
        seeds = range(1, confirm.seeds + 1) if confirm else ()
        chosen = [self.read_trial(r["fingerprint"]).model_copy(update={"seed": seed}) for r in best for seed in seeds]
        self._to_confirm = [config for config in chosen if config.fingerprint not in self._repeated]

    @property
    def is_used_up(self) -> bool:
        return self._to_confirm is not None and not self._to_confirm

    def stops(self, fingerprint: str, row: Row) -> bool:
        return self.judge is not None and self.study.knows(fingerprint) and self.judge.stops(fingerprint, row)

    def report(self, fingerprint: str, row: Row) -> None:
        value = objective_value(self.search, row)
        if value is not None and self.study.knows(fingerprint):
            self.study.report(fingerprint, row["step"], value)

    def stage(self, fingerprint: str) -> str | None:
        return None if self.study.knows(fingerprint) else CONFIRM

    def end(self, fingerprint: str, record: Record) -> None:
        if not self.study.knows(fingerprint):
            self._repeated.add(fingerprint)
            return
        self.study.tell(fingerprint, record)
        self._searched[fingerprint] = record
        self._searching.discard(fingerprint)
        self._begin_to_confirm()
