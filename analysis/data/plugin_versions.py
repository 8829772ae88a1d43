"""Versions of plug-ins in several sweeps: what two versions of a file define are two tasks or models, and share no cell."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from lightning_modules.yaml_file import parse_yaml
from rrm.config import Plugin
from rrm.plugins import parse_plugins

CODE = "code"  # column of trials: the plug-ins of a trial whose kinds have several versions, such as `my_model.py 4f2a9c01`
KINDS = ["task.kind", "model.kind"]
DIGEST_DIGITS = 8


def with_versions(
    trials: pd.DataFrame, specs: Sequence[Mapping[str, Any]], read_trials: Callable[[], Iterable[tuple[str, bytes]]]
) -> pd.DataFrame:
    """The trials, with the column `code` where some of equal kinds have different versions of a plug-in.

    Args:
        specs: stored specs of the sweeps.
        read_trials: the files `trial.yaml` by fingerprint; they are read where the specs name different plug-ins.
    """
    named = {frozenset(plugin.code for plugin in parse_plugins(spec.get("plugins"))) for spec in specs}
    if len(named) < 2 or not set(KINDS) <= set(trials.columns):
        return trials
    same = frozenset.intersection(*named)  # in all sweeps
    versions = {fingerprint: _versions(content, fingerprint, same) for fingerprint, content in read_trials()}
    code = trials["fingerprint"].map(versions).fillna("")
    known = code.where(code != "")
    several = known.groupby([trials[name] for name in KINDS]).transform("nunique") > 1
    return trials.assign(**{CODE: code.where(several, "")}) if several.any() else trials


def _versions(content: bytes, fingerprint: str, same: frozenset[str]) -> str:
    sections = parse_yaml(content.decode(), fingerprint)
    return ", ".join(_version(plugin) for plugin in parse_plugins(sections.get("plugins")) if plugin.code not in same)


def _version(plugin: Plugin) -> str:
    return f"{plugin.name} {plugin.sha256[:DIGEST_DIGITS] if plugin.sha256 else plugin.version}"
