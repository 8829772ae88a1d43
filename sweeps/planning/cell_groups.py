"""Which cells of a design belong to one fit."""

from typing import Any

from lightning_modules.config import CURVE_SETTINGS, TrialConfig
from sweeps.design.axes import independent_axes
from sweeps.design.groups import find_splitting, name_rows


def distinct_models(cells: list[TrialConfig]) -> list[TrialConfig]:
    """The cells without those that score a model of another cell deeper or more often: a report counts a model once."""
    models: dict[tuple[tuple[str, str], ...], TrialConfig] = {}
    for cell in cells:
        models.setdefault(tuple((path, str(value)) for path, value in cell.flat().items() if path not in CURVE_SETTINGS), cell)
    return list(models.values())


def find_splitting_paths(cells: list[TrialConfig]) -> list[str]:
    """Settings by which cells fall into groups that no law may span."""
    flats = [cell.flat() for cell in cells]
    paths = dict.fromkeys(path for flat in flats for path in flat)
    axes = independent_axes(paths)
    settings = [path for path in paths if path not in (*axes, *CURVE_SETTINGS)]
    return find_splitting(_columns(flats, settings), _columns(flats, axes), len(cells))


def group_cells(cells: list[TrialConfig], paths: list[str]) -> dict[str, list[TrialConfig]]:
    """Cells with equal values at these paths, by a text of the values."""
    groups: dict[str, list[TrialConfig]] = {}
    for key, cell in zip(name_rows(_columns([cell.flat() for cell in cells], paths), len(cells)), cells, strict=True):
        groups.setdefault(key, []).append(cell)
    return groups


def _columns(flats: list[dict[str, Any]], paths: list[str]) -> dict[str, list[Any]]:
    return {path: [flat.get(path) for flat in flats] for path in paths}
