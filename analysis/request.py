"""What the arguments of `rrm-analyze` ask for: which options go together, and which runs are read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rrm.errors import UserError, usage_error
from rrm.files import expand_home
from rrm.plugins import read_file
from sweeps.store.find_store import find_store
from sweeps.store.store import Store

if TYPE_CHECKING:
    from analysis.data.tables import Tables

MAX_PORT = 65536


@dataclass(frozen=True)
class Request:
    """The arguments; a list that was not given is empty."""

    sweeps: Sequence[str]
    storage: str | None
    out: Path | None
    tracking_uri: str | None
    csv: Path | None
    curves: Path | None
    columns: list[str]
    settings: list[str]
    percent: list[str]
    inference_flops: list[float]
    train_flops: list[float]
    fits_only: bool
    watch: bool
    port: int | None
    verbose: bool
    laws: list[Path]

    @property
    def budgets(self) -> dict[str, list[float]]:
        """FLOPs by name of the cost."""
        return {"inference_flops": self.inference_flops, "train_flops": self.train_flops}

    @cached_property
    def stores(self) -> list[Store]:
        """Those of the sweeps; empty where a table or MLflow is read.

        Raises:
            UserError: a target is no sweep.
        """
        return [] if self.csv or self.tracking_uri else select_stores(self.sweeps, self.storage)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return Path(expand_home(self.out)) if self.out else self.stores[0].driver_folder / "report"

    def check(self) -> None:
        """Refuses options that do not go together, and values that no table can have.

        Raises:
            UserError: the option, the rule, and what to do.
        """
        self._check_watch()
        self._check_source()
        for name, amounts in self.budgets.items():
            if any(not 0 < amount < math.inf for amount in amounts):
                raise UserError(_option_of(name), f"must be a number of FLOPs above 0, got {min(amounts):g}")

    def check_costs(self, tables: "Tables") -> None:
        """A budget needs the cost that it is of."""
        for name, amounts in self.budgets.items():
            if amounts and name not in tables.completed:
                raise UserError(_option_of(name), f"needs the column {name}, which the table does not have")

    def read(self) -> "Tables":
        """The runs of all sweeps, or of the table, as one.

        Raises:
            UserError: they cannot be read, none is complete, or several sweeps have no folder for their report.
        """
        tables = self._read_table() if self.csv else self._read_sweeps()
        if tables.completed.empty:
            raise UserError(", ".join(self.sweeps or [str(self.csv)]), "has no completed trial yet: nothing to compare")
        return self.with_laws(tables)

    def with_laws(self, tables: "Tables") -> "Tables":
        """The tables with the files of `--laws`, each in the place of a sweep's file of that name.

        Raises:
            UserError: a file cannot be read.
        """
        files = [read_file(Path(expand_home(path))) for path in self.laws]
        named = {file.name for file in files}
        others = [file for file in tables.law_files if file.name not in named]
        return replace(tables, law_files=tuple(dict.fromkeys([*others, *files])))

    def _read_table(self) -> "Tables":
        from analysis.data.csv_import import load_csv

        assert self.csv is not None
        return load_csv(self.csv, self.curves, self.columns, self.settings, self.percent)

    def _read_sweeps(self) -> "Tables":
        from analysis.data.tables import load, load_store, merge

        if len(self.stores) > 1 and self.out is None:
            raise UserError("--out", "is needed for several sweeps: a folder for the report of all, such as --out report")
        if self.tracking_uri:
            return merge([load(name, self.tracking_uri) for name in dict.fromkeys(self.sweeps)])
        return merge(list(map(load_store, self.stores)))

    def _check_source(self) -> None:
        """Refuses options that do not go together."""
        if not self.sweeps and self.csv is None:
            raise usage_error("Missing argument 'SWEEP...', or --csv FILE", "rrm-analyze")
        if self.sweeps and self.csv is not None:
            raise usage_error("needs either sweeps or --csv FILE, got both", "rrm-analyze")
        if self.csv is not None and self.tracking_uri is not None:
            raise UserError("--tracking-uri", "has no effect with --csv: leave one of them out")
        if self.csv is None and (self.curves or self.columns or self.settings or self.percent):
            raise UserError("--curves, --columns, --settings and --percent", "have no effect without --csv")
        if self.storage is not None and (self.tracking_uri is not None or self.csv is not None):
            raise UserError("--storage", "has no effect with --tracking-uri and --csv: leave it out")
        if self.out is None and (self.tracking_uri is not None or self.csv is not None):
            raise UserError("--out", "is needed with --tracking-uri and --csv: a folder to write into")

    def _check_watch(self) -> None:
        """Refuses what --watch has no use for, and --port without it."""
        if not self.watch:
            if self.port is not None:
                raise UserError("--port", "has no effect without --watch: leave it out")
            return
        others: dict[str, object] = {
            "--fits-only": self.fits_only, "--csv": self.csv, "--tracking-uri": self.tracking_uri, "--out": self.out,
            "--verbose": self.verbose,
        }  # fmt: skip
        given = next((name for name, value in others.items() if value), None)
        if given is not None:
            raise UserError(
                "--watch",
                f"serves the report of a sweep from its store, writes no file and prints a line a page: leave out {given}",
            )
        if len(self.sweeps) > 1:
            raise UserError("--watch", f"follows one sweep, got {len(self.sweeps)}: {', '.join(self.sweeps)}")
        if self.port is not None and not 0 < self.port < MAX_PORT:
            raise UserError("--port", f"must be between 1 and {MAX_PORT - 1}, got {self.port}")


def _option_of(cost: str) -> str:
    return f"--{cost.replace('_', '-')}"


def select_stores(targets: Sequence[str], storage: str | None) -> list[Store]:
    """The stores of the sweeps, each once; among several targets, a path that holds no sweep (`runs/*`) is skipped with a line."""
    from analysis.data.tables import NO_TRIALS

    stores: dict[str, Store] = {}
    skipped: dict[str, str] = {}
    for target in targets:
        try:
            store = find_store(target, storage)
        except UserError as error:
            if len(targets) == 1 or error.where == "--storage" or not Path(expand_home(target)).exists():
                raise  # a mistyped name or an option without effect is not skipped
            skipped[target] = error.problem.partition("; ")[0]
            continue
        if len(targets) > 1 and not store.finished():
            skipped[target] = NO_TRIALS
        else:
            stores.setdefault(store.location, store)
    if not stores:
        raise UserError(", ".join(targets), "none of these is a sweep with finished trials")
    for target, reason in skipped.items():
        typer.echo(f"skipped {target}: {reason}")
    return list(stores.values())
