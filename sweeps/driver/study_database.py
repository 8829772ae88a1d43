"""The database of a study, and the generations of a store's study in it.

A study belongs to one store: it is named `<sweep>@<identity of the store>#<generation>`. Optuna can neither remove a trial nor
change the domain of a parameter; where one of them is needed, a next generation takes the place of the last one.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from rrm.errors import UserError, first_line
from rrm.files import expand_home
from sweeps.spec.search import Search
from sweeps.store.store import SQLITE
from sweeps.tracking.secrets import blank_secrets

STUDY_URL = "RRM_STUDY_URL"  # environment variable with a team's database, which replaces the file beside the store
FINGERPRINT = "fingerprint"  # user attribute of a trial that was started: the fingerprint of its config
COMPLETE = "complete"  # user attribute of a generation whose making has ended; a crash may leave one without it


class Generations:
    """The studies of one store in a database."""

    def __init__(self, storage: RDBStorage, sweep: str, identity: str, search: Search) -> None:
        self.storage, self.sweep = storage, sweep
        self.prefix = f"{sweep}@{identity}#"
        self.directions = [objective.goal for objective in search.objectives]
        numbers = [name.removeprefix(self.prefix) for name in optuna.get_all_study_names(storage) if name.startswith(self.prefix)]
        self.number = max(map(int, numbers), default=0)  # number of the last generation; 0 where no study exists

    def open(self, begun: Collection[str]) -> optuna.Study:
        """The last generation. The first one is made from the study of an older version if the store had one.

        Args:
            begun: fingerprints of all trials in the store.

        Raises:
            UserError: its trials have other goals.
        """
        if self.number and not self._load().user_attrs.get(COMPLETE):
            optuna.delete_study(study_name=self._name, storage=self.storage)
            self.number -= 1
        if not self.number:
            self.number = 1
            study, old = self._create(), self._find_old(begun)
            if old is not None:
                self._copy(old, study, begun)
            self.complete()
        study = self._load()
        goals = [direction.name.lower() for direction in study.directions]
        if goals == self.directions:
            return study
        if any(trial.user_attrs.get(FINGERPRINT) in begun for trial in study.get_trials(deepcopy=False)):
            raise UserError(
                "search.objectives",
                f"must keep the goals of the trials that were begun, {', '.join(goals)}, got {', '.join(self.directions)}; "
                "give the new sweep another name: name=NEW",
            )
        following = self.begin_next()
        self.complete()
        return following

    def begin_next(self) -> optuna.Study:
        """Make an empty next generation, which counts once `complete` is called."""
        self.number += 1
        return self._create()

    def complete(self) -> None:
        """Mark the last generation as complete: from now on it counts."""
        self._load().set_user_attr(COMPLETE, True)

    @property
    def _name(self) -> str:
        return f"{self.prefix}{self.number}"

    def _create(self) -> optuna.Study:
        return optuna.create_study(storage=self.storage, study_name=self._name, directions=self.directions)

    def _load(self) -> optuna.Study:
        return optuna.load_study(study_name=self._name, storage=self.storage)

    def _find_old(self, begun: Collection[str]) -> optuna.Study | None:
        """The study that an older version made for this store: it has the name of the sweep and a trial of the store."""
        if not begun or self.sweep not in optuna.get_all_study_names(self.storage):
            return None
        study = optuna.load_study(study_name=self.sweep, storage=self.storage)
        is_ours = any(trial.user_attrs.get(FINGERPRINT) in begun for trial in study.get_trials(deepcopy=False))
        return study if is_ours and [direction.name.lower() for direction in study.directions] == self.directions else None

    def _copy(self, old: optuna.Study, study: optuna.Study, begun: Collection[str]) -> None:
        """Copy what an older version kept, without the trials of another store that shared its study."""
        for name, value in self.storage.get_study_system_attrs(database_id(old)).items():
            self.storage.set_study_system_attr(database_id(study), name, value)
        for name, value in old.user_attrs.items():
            study.set_user_attr(name, value)
        for trial in old.get_trials(deepcopy=False):
            if trial.user_attrs.get(FINGERPRINT) in {None, *begun}:
                self.storage.create_new_trial(database_id(study), template_trial=trial)


def database_id(item: optuna.Study | optuna.Trial | FrozenTrial) -> int:
    """The id of a study or a trial in the database, for which Optuna has no public name."""
    return item._study_id if isinstance(item, optuna.Study) else item._trial_id


def open_storage(database: Path) -> RDBStorage:
    """The database that the environment names, else the SQLite file.

    Raises:
        UserError: the named database cannot be used.
    """
    url = os.environ.get(STUDY_URL)
    if not url:
        return _sqlite(database)
    if url.startswith(SQLITE):
        url = SQLITE + expand_home(url.removeprefix(SQLITE))
    try:
        return RDBStorage(url)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:  # the last where MLflow has its tables there
        reason = first_line(error, blank_secrets)
        raise UserError(
            STUDY_URL, f"names no database that can be used, such as postgresql+psycopg://user@host/studies: {reason}"
        ) from None


def _sqlite(database: Path) -> RDBStorage:
    """A SQLite database. It has one writer, and write-ahead logging halves the time of a trial."""
    storage = RDBStorage(f"sqlite:///{database}")

    def pragma(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(storage.engine, "connect", pragma)
    storage.engine.dispose()
    return storage
