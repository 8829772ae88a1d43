"""After a search: the measure sweep around its best setting, over size and recursion with fresh seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.data.tables import Tables
from analysis.laws.draft import MAX_NAME_LETTERS, is_valid
from analysis.statistics.confirmation import Confirmed
from lightning_modules.config import EvalConfig, TrialConfig
from lightning_modules.yaml_file import write_yaml
from rrm.errors import UserError
from sweeps.design.axes import CYCLES, LATENT_UPDATES, LAYERS, SUPERVISION_STEPS, WIDTH
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.search import Search
from sweeps.spec.space import Sections, with_values
from sweeps.spec.sweep import HEAD_SIZE, SweepSpec

SEEDS = 3
RECURSIONS = (LATENT_UPDATES, SUPERVISION_STEPS, CYCLES)


def best_trial(tables: Tables, confirmed: Sequence[Confirmed]) -> pd.Series | None:
    """The trial of the search with the best setting: the best confirmed one, else the best by the first objective."""
    if confirmed:
        return confirmed[0].selected
    if tables.objective is None:
        return None
    return tables.objective.best(tables.searched, tables.objective.goals[0])


def measure_around(tables: Tables, best: pd.Series) -> str | None:
    """The spec of a measure sweep over the size and the recursion of a trial: its value, half and twice; all else is fixed.

    None where the spec of the search cannot be read, or no valid design has several sizes or recursions.
    """
    spec = _parent_of(tables, best)
    if spec is None or spec.search is None:
        return None
    record = {str(name): _plain(value) for name, value in best.items() if pd.notna(value)}
    drawn = spec.search.drawn_values(record)
    if drawn is None:
        return None
    config = spec.trial_with(drawn, "trial")
    axes = {path: _levels(path, config) for path in _axes(spec.search, config)}
    fixed = drawn | {tie.solve: record[tie.solve] for tie in spec.ties if tie.solve in record}
    trial = with_values(spec.trial, {path: value for path, value in fixed.items() if path not in axes})
    if config.fit.budget.unit == "seconds":  # trials of a design do equal work, which a time on one machine does not fix
        trial = with_values(trial, {"fit.budget": {"unit": "steps", "amount": int(record["steps"])}})
    trial = _deepened(trial, axes, config)
    text = _write(spec, trial, axes, _fresh_seed(tables), set(map(str, tables.trials["sweep"])))
    return text if axes and is_valid(text) else None


def _parent_of(tables: Tables, best: pd.Series) -> SweepSpec | None:
    """The search that the trial belongs to."""
    for sections in tables.specs:
        if sections.get("name") in (best.get("sweep"), None) or len(tables.specs) == 1:
            try:
                return parse_stored_spec(write_yaml(sections), "spec.yaml", {})
            except UserError:
                return None
    return None


def _axes(search: Search, config: TrialConfig) -> list[str]:
    """One axis of size and one of recursion that the model has: those that the search varied most."""
    settings, chosen = config.flat(), []
    for axes in ((WIDTH, LAYERS), RECURSIONS):
        present = [path for path in axes if settings.get(path)]
        if present:
            chosen.append(max(present, key=lambda path: _count_values(search, path)))
    return chosen


def _count_values(search: Search, path: str) -> float:
    """How many values the space gives a path; 0 where it does not vary it."""
    domains = search.domains(path)
    return max((len(values) if (values := domain.list_values(1000)) else 1000 for domain in domains), default=0)


def _levels(path: str, config: TrialConfig) -> list[int]:
    """The value, half and twice, a width in whole heads; where no half exists, four times the value instead."""
    value = int(config.flat()[path])
    grain = int(config.flat().get("model.head_size", HEAD_SIZE)) if path == WIDTH else 1
    half = max(grain, value // 2 // grain * grain)
    return [half, value, 2 * value] if half < value else [value, 2 * value, 4 * value]


def _deepened(trial: Sections, axes: Mapping[str, list[int]], config: TrialConfig) -> Sections:
    """Depth curves reach twice as deep as trials are supervised."""
    steps = max(axes.get(SUPERVISION_STEPS, [0]))
    depth = config.eval.max_depth or EvalConfig().max_depth
    return with_values(trial, {"eval.max_depth": 2 * steps}) if steps > depth else trial


def _fresh_seed(tables: Tables) -> int:
    """A seed by whose scores nothing was selected."""
    return int(tables.trials["seed"].max()) + 1


def _write(spec: SweepSpec, trial: Sections, axes: Mapping[str, list[int]], seed: int, taken: set[str]) -> str:
    sections: dict[str, Any] = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True, by_alias=True)
    for name in ("search", "description"):
        sections.pop(name, None)
    name = f"{spec.name[:MAX_NAME_LETTERS]}_around_best"
    names = [name, *(f"{name}_{number}" for number in range(2, len(taken) + 2))]
    unit = trial.get("fit", {}).get("budget", {}).get("unit", spec.budget_unit)
    measure = {"vary": dict(axes), "seeds": SEEDS, "first_seed": seed, "matching": unit}
    return write_yaml(
        {"name": next(one for one in names if one not in taken), "defaults": spec.defaults}
        | {key: value for key, value in sections.items() if key not in ("name", "defaults")}
        | {"trial": trial, "measure": measure},
        brief=True,
    )


def _plain(value: Any) -> Any:
    """A scalar of numpy as Python's type, which a spec can hold."""
    return value.item() if hasattr(value, "item") else value
