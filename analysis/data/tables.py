"""Two tidy tables: a row a trial, and a row a point of a curve."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.items import summarise_items
from analysis.data.objective import BY_ACCURACY, Objective, read_objective
from analysis.data.plugin_versions import CODE, with_versions
from analysis.data.progress import Unfinished, find_unfinished
from lightning_modules.columns import CONFIRM
from lightning_modules.config import CURVE_SETTINGS
from lightning_modules.outcome import Outcome
from lightning_modules.trial_folder import ITEMS, TRIAL
from lightning_modules.yaml_file import parse_yaml
from rrm.config import Plugin
from rrm.errors import UserError
from rrm.files import expand_home
from rrm.plugins import parse_plugins
from sweeps.design.axes import AXES, RECURSION, SIZE
from sweeps.design.groups import name_rows
from sweeps.design.short_names import axis_name
from sweeps.store.find_store import find_store
from sweeps.store.open_backend import URI
from sweeps.store.store import Store
from sweeps.store.stored_trials import recall_plugins

SECTIONS = ("task.", "model.", "loss.", "optim.", "fit.", "eval.")  # first parts of the dotted paths of a TrialConfig
CURVE_COLUMNS = ["fingerprint", "metric", "axis", "at", "value", "binned_by", "difficulty"]
BIN = r"^(?P<metric>\w+/\w+)/(?P<binned_by>[a-z_]+)(?P<difficulty>\d+)$"  # the metric of one bin, such as depth/exact_accuracy/k4
OUTCOMES = ("completed", "pruned", "failed", "running")  # of several records of a trial, the one whose outcome is first counts
OUTCOME_RANK, END_RANK, SOURCE = "outcome rank", "end rank", "number of sweep"  # columns while sweeps are merged
NO_TRIALS = "has no finished trials yet"
FIRST_COLUMNS = ["fingerprint", "sweep", "outcome", "reason", "seed"]


# From the name of a file and the fingerprints of trials (None: all): fingerprint and content for each trial that has the file.
ReadFiles = Callable[[str, Collection[str] | None], Iterable[tuple[str, bytes]]]


def no_files(name: str, trials: Collection[str] | None) -> Iterable[tuple[str, bytes]]:
    """For a table that comes without files of its trials."""
    return ()


@dataclass(frozen=True)
class Tables:
    """The measurements of one or more sweeps. `trials` has the columns of docs/formats.md, `curves` those of `CURVE_COLUMNS`.

    What follows from them is kept: other trials are another `Tables`.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    kind: str = "measure"  # or search: its trials are a sampler's choice, and are not compared as a design
    read_files: ReadFiles = no_files
    settings: frozenset[str] = frozenset()  # columns that are settings beside the dotted paths of a trial
    asked: frozenset[str] = frozenset()  # fingerprints that the spec asks for, also those without a record
    ended: Mapping[str, float] = field(default_factory=dict)  # milliseconds since 1970 by fingerprint, where known
    specs: tuple[dict[str, Any], ...] = ()  # sections of the stored specs of the sweeps, where they are known
    objective: Objective | None = BY_ACCURACY  # None for a search without a spec, and for searches with different objectives
    shared: Mapping[str, frozenset[str]] = field(default_factory=dict)  # for several sweeps: the fingerprints of each by its name
    unfinished: tuple[Unfinished, ...] = ()  # sweeps that lack trials
    notes: tuple[str, ...] = ()  # changes that were necessary to read a foreign table
    is_foreign: bool = False  # made by another program
    lookalikes: Mapping[str, str] = field(default_factory=dict)  # columns of a foreign table, by the name that they seem to mean
    columns_option: str = ""  # options of `rrm-analyze` that give them these names
    law_files: tuple[Plugin, ...] = ()  # plug-ins of the sweeps that hold laws; their contents are held

    @cached_property
    def items(self) -> pd.DataFrame:
        """Summaries of the test items of the trials, in the columns of `analysis.data.items`; read at the first access."""
        return summarise_items(self.read_files(ITEMS, None))

    @cached_property
    def members(self) -> Mapping[str, frozenset[str]]:
        """Fingerprints of the trials of each sweep; a trial may be in several."""
        if self.shared or "sweep" not in self.trials:
            return self.shared
        return {str(name): frozenset(part["fingerprint"]) for name, part in self.trials.groupby("sweep")}

    @property
    def _counts(self) -> pd.Series:
        """Which rows are completed trials that the spec asks for."""
        return (self.trials["outcome"] == Outcome.COMPLETED) & ~self.trials["outside_spec"]

    @property
    def completed(self) -> pd.DataFrame:
        """The trials that may be compared: neither pruned, failed nor unfinished, and asked for by the spec.

        A parameter that a model does not have (a one-pass model has no N_sup) is 0, or "" where it is a word.
        """
        return self._completed.copy()

    @cached_property
    def _completed(self) -> pd.DataFrame:
        chosen = self.trials[self._counts].copy()
        for name in [name for name in map(str, chosen) if is_parameter(name) or name in self.settings]:
            if chosen[name].isna().any():
                numeric = pd.api.types.is_numeric_dtype(chosen[name])
                whole = numeric and (chosen[name].dropna() % 1 == 0).all()
                chosen[name] = chosen[name].fillna(0 if numeric else "")
                chosen[name] = chosen[name].astype(int) if whole else chosen[name]
        return chosen.drop(index=self.scored_again)

    @property
    def searched(self) -> pd.DataFrame:
        """The completed trials without those of the confirm stage, which repeat the best trials of a search under fresh seeds."""
        completed = self.completed
        return completed[completed["stage"] != CONFIRM] if "stage" in completed else completed

    @cached_property
    def scored_again(self) -> pd.Index:
        """Rows of completed trials whose model was trained in another trial too, which scored it deeper, or more often.

        They differ from it in `CURVE_SETTINGS` alone. A row without a seed is a model of its own.
        """
        trials = self.trials[self._counts]
        scoring = sorted((name for name in CURVE_SETTINGS if name in trials), key=lambda name: name != "eval.max_depth")
        if not scoring or "seed" not in trials or len(trials[scoring].drop_duplicates()) < 2:
            return trials.index[:0]
        trials = trials[trials["seed"].notna()].fillna(dict.fromkeys(scoring, 0))
        settings = [name for name in map(str, trials) if self.is_setting(name) or name in ("matching", "seed")]
        ranked = trials.sort_values(scoring, ascending=False, kind="stable")
        model = name_rows({name: ranked[name].tolist() for name in settings}, len(ranked))
        is_best = (ranked[scoring] == ranked.groupby(model)[scoring].transform("first")).all(axis=1)
        return ranked.index[~is_best]

    def is_setting(self, column: str) -> bool:
        """Whether a column separates cells: a setting of the model, its data or its training, and not only of its scoring."""
        return (is_parameter(column) and column not in CURVE_SETTINGS) or column in self.settings

    @cached_property
    def varied(self) -> list[str]:
        """Parameters that differ between completed trials: the axes first, in their order, then the rest.

        Where models of several kinds are compared, what follows from the kind alone is not named.
        """
        completed = self.completed
        kinds = [part for _, part in completed.groupby("model.kind")] if "model.kind" in completed else [completed]
        settings = filter(self.is_setting, completed.columns)
        differing = [name for name in settings if any(part[name].astype(str).nunique() > 1 for part in kinds)]
        if len(kinds) > 1:
            differing.append("model.kind")
        differing += [name for name in (SIZE, RECURSION) if name in completed and _differs_within(completed, differing, name)]
        rest = sorted(set(differing) - set(AXES))
        return [axis for axis in AXES if axis in differing] + rest


def label(names: Sequence[str], values: tuple[object, ...]) -> str:
    """`width 16, n 3`: the settings of a cell or of a line, without those that its model does not have."""
    had = [(name, value) for name, value in zip(names, values, strict=True) if value != "" and (value != 0 or name not in AXES)]
    return ", ".join(f"{axis_name(name)} {value}" for name, value in had)


def _differs_within(trials: pd.DataFrame, names: list[str], column: str) -> bool:
    """Whether a column differs between trials that are alike in `names`."""
    known = trials[trials[column].notna()]
    return bool((known.groupby(names)[column].nunique() > 1).any() if names else known[column].nunique() > 1)


def is_parameter(column: str) -> bool:
    """Whether a column is a resolved parameter: a dotted path."""
    return "." in column and "/" not in column


def load(target: str | Path, tracking_uri: str | None = None, storage: str | None = None) -> Tables:
    """Read one sweep.

    Args:
        target: folder (`runs/demo`), URI, spec, or name in the storage; with `tracking_uri` the name of an experiment of MLflow.
        tracking_uri: read MLflow instead of a store.
        storage: folder or URI that holds the sweep; RRM_STORAGE, else what the spec states, else `runs` where absent.

    Raises:
        UserError: there is no such sweep, or it has no trials.
    """
    if tracking_uri is not None:
        return _from_mlflow(tracking_uri, str(target))
    return load_store(find_store(str(target), storage))


def merge(tables: list[Tables]) -> Tables:
    """Several sweeps as one, the same in any order of the sweeps.

    A trial that several sweeps hold counts once: completed before pruned, failed and unfinished, then the one that ended later.
    It is inside the spec if the spec of any of the sweeps asks for it.

    Raises:
        UserError: some sweeps are searches and others measure sweeps.
    """
    ordered = sorted(tables, key=lambda table: (*sorted(table.trials["sweep"].astype(str).unique()), table.trials.to_csv()))
    kinds = {table.kind for table in ordered}
    if len(kinds) > 1:
        names = ", ".join(f"{table.trials['sweep'].iloc[0]} ({table.kind})" for table in ordered)
        raise UserError(
            names,
            "cannot be analyzed together: only a search chooses its trials by their scores",
        )
    records = pd.concat([_ranked(table, number) for number, table in enumerate(ordered)], ignore_index=True)
    chosen = records.sort_values([OUTCOME_RANK, END_RANK, SOURCE], kind="stable").drop_duplicates("fingerprint")
    owners = dict(zip(chosen["fingerprint"], chosen[SOURCE], strict=True))
    asked = frozenset[str]().union(*(table.asked for table in ordered))
    outside = records.groupby("fingerprint")["outside_spec"].all()
    chosen = chosen.assign(outside_spec=chosen["fingerprint"].map(outside) & ~chosen["fingerprint"].isin(asked))
    curves = [table.curves[table.curves["fingerprint"].map(owners) == number] for number, table in enumerate(ordered)]
    specs = tuple(spec for table in ordered for spec in table.specs)
    versioned = with_versions(chosen, specs, lambda: _files_of(ordered, owners, TRIAL, None))
    settings = frozenset[str]().union(*(table.settings for table in ordered))
    return Tables(
        versioned.sort_values(["sweep", "fingerprint"]).drop(columns=[OUTCOME_RANK, END_RANK, SOURCE]).reset_index(drop=True),
        pd.concat(curves, ignore_index=True).drop_duplicates(["fingerprint", "metric", "axis", "at", "binned_by", "difficulty"]),
        kinds.pop(),
        lambda name, trials: _files_of(ordered, owners, name, trials),
        settings=settings | ({CODE} & set(versioned.columns)),
        asked=asked,
        specs=specs,
        shared=_members_of(ordered),
        unfinished=tuple(one for table in ordered for one in table.unfinished),
        objective=ordered[0].objective if len({table.objective for table in ordered}) == 1 else None,
        notes=tuple(note for table in ordered for note in table.notes),
        law_files=tuple(dict.fromkeys(plugin for table in ordered for plugin in table.law_files)),
    )


def _members_of(tables: Sequence[Tables]) -> dict[str, frozenset[str]]:
    """The trials of each sweep by its name, those included whose record comes from another sweep."""
    members: dict[str, frozenset[str]] = {}
    for table in tables:
        for name, fingerprints in table.members.items():
            members[name] = members.get(name, frozenset()) | fingerprints
    return members


def _ranked(table: Tables, number: int) -> pd.DataFrame:
    """Trials with the columns that choose one of several records of a trial: outcome, end, and the number of the sweep."""
    records = table.trials.copy()
    records[OUTCOME_RANK] = records["outcome"].map(OUTCOMES.index)
    records[END_RANK] = -records["fingerprint"].map(table.ended).astype(float).fillna(-math.inf)
    records[SOURCE] = number
    return records


def _files_of(
    tables: Sequence[Tables], owners: Mapping[str, int], name: str, trials: Collection[str] | None
) -> Iterator[tuple[str, bytes]]:
    """A file of each trial, from the sweep whose record of it counts."""
    for number, table in enumerate(tables):
        for fingerprint, content in table.read_files(name, trials):
            if owners.get(fingerprint) == number:
                yield fingerprint, content


def load_store(store: Store) -> Tables:
    """Read the sweep in a store.

    Raises:
        UserError: it has no finished trials.
    """
    results = store.results()
    if not results:
        raise UserError(store.location, NO_TRIALS)
    asked = set(store.design())
    records, points, ended = [], [], {}
    for fingerprint, result in results.items():
        curves = result.pop("curves")
        records.append(result | {"outside_spec": bool(asked) and fingerprint not in asked})
        points += [{"fingerprint": fingerprint, **point} for point in curves]
        times = [point["time"] for point in curves] or [1000 * attempt["time"] for attempt in store.attempts(fingerprint)]
        ended[fingerprint] = max(times, default=0.0)
    spec = parse_yaml(store.spec() or "", store.location) or {}
    recall_plugins(store, spec.get("plugins"))  # a design that extends the sweep has its kinds
    return Tables(
        _trials(records),
        split_bins(pd.DataFrame(points, columns=CURVE_COLUMNS)),
        "search" if "search" in spec else "measure",
        partial(_stored_files, store, [str(record["fingerprint"]) for record in records if record["outcome"] == Outcome.COMPLETED]),
        asked=frozenset(asked),
        ended=ended,
        unfinished=() if (unfinished := find_unfinished(store, spec, results)) is None else (unfinished,),
        specs=(_at(store, spec),) if {"measure", "search"} & spec.keys() else (),
        objective=read_objective(spec),
        law_files=tuple(plugin for plugin in parse_plugins(spec.get("plugins")) if "law" in (plugin.holds or ())),
    )


def _at(store: Store, spec: dict[str, Any]) -> dict[str, Any]:
    """A stored spec with the present storage: the folder may have been moved, or the current folder is another one."""
    storage, _, name = store.location.rpartition("/")
    given = expand_home(str(spec.get("storage", "runs")))
    is_there = URI.match(store.location) or Path(given, name).resolve() == Path(store.location).resolve()
    return spec if is_there else spec | {"storage": storage}


def _stored_files(store: Store, completed: list[str], name: str, trials: Collection[str] | None) -> Iterator[tuple[str, bytes]]:
    for fingerprint in completed:
        content = store.file(fingerprint, name) if trials is None or fingerprint in trials else None
        if content is not None:
            yield fingerprint, content


def _from_mlflow(tracking_uri: str, sweep: str) -> Tables:
    from sweeps.tracking.mlflow.reader import read_files, read_runs  # takes seconds to import

    tracked = read_runs(tracking_uri, sweep)
    if tracked is None or not tracked.records:
        raise UserError(tracking_uri, f"has no experiment with trials named {sweep!r}")
    records = [record | {"sweep": sweep, "outside_spec": False} for record in tracked.records]
    curves = split_bins(tracked.curves.to_pandas())
    spec = parse_yaml(tracked.spec, sweep) if tracked.spec is not None else {tracked.kind: {}}
    return Tables(
        _trials(records),
        curves,
        tracked.kind,
        partial(read_files, tracking_uri, sweep),
        ended=tracked.ended,
        specs=(spec,) if tracked.spec is not None else (),
        objective=read_objective(spec),
    )


def _trials(records: list[dict[str, Any]]) -> pd.DataFrame:
    # A list becomes text, as in MLflow and in CSV, because text can be compared.
    plain = [{name: str(value) if isinstance(value, list) else value for name, value in record.items()} for record in records]
    trials = pd.DataFrame(plain)
    first = [column for column in FIRST_COLUMNS if column in trials]
    return trials[first + [column for column in trials if column not in first]]


def split_bins(points: pd.DataFrame) -> pd.DataFrame:
    """Points with the bin of a metric in columns of its own; they are empty where a value is over all rows.

    A table that has these columns keeps what is in them.
    """
    further = [name for name in points if name not in CURVE_COLUMNS]
    curves = points.reindex(columns=[*CURVE_COLUMNS, *further])
    parts = curves["metric"].astype(str).str.extract(BIN)
    binned = parts["difficulty"].notna()
    curves.loc[binned, "metric"] = parts.loc[binned, "metric"]
    curves["binned_by"] = parts["binned_by"].where(binned, curves["binned_by"])
    curves["difficulty"] = pd.to_numeric(parts["difficulty"].where(binned, curves["difficulty"]))
    return curves
