"""Trials and plug-ins of a store: the files of plug-ins lie in `plugins/<sha256>/<name>`."""

from collections.abc import Iterable
from typing import Any

from lightning_modules.config import TrialConfig, validate_trial
from lightning_modules.trial_folder import TRIAL
from lightning_modules.yaml_file import parse_yaml
from rrm.config import Plugin
from rrm.errors import UserError
from rrm.plugins import files_of, hold_file, is_held, parse_plugins, stored_name
from sweeps.store.store import Store


def store_plugins(store: Store, plugins: Iterable[Plugin]) -> None:
    """Write the files of plug-ins into a store that lacks them."""
    for name, content in files_of(plugins).items():
        if store.backend.read(name) != content:
            store.backend.write(name, content)


def recall_plugins(store: Store, entries: Any) -> None:
    """Hold the files of the plug-ins that a stored spec or trial names, so that they can be imported. Absent ones are left out.

    Raises:
        UserError: an entry is not valid, or a file is damaged.
    """
    for plugin in parse_plugins(entries):
        if is_held(plugin):
            continue
        where, content = f"{store.location}/{stored_name(plugin)}", store.backend.read(stored_name(plugin))
        if content is not None and hold_file(where, content).sha256 != plugin.sha256:
            raise damaged_plugin(where)


def damaged_plugin(where: str) -> UserError:
    """The error for a file of a plug-in in a store whose content has changed."""
    return UserError(where, "is damaged: its content does not have the digest of its folder; put the file there again")


def read_config(store: Store, fingerprint: str) -> TrialConfig:
    """The trial in a folder of a store; its plug-ins are imported, and no data file is looked at.

    Raises:
        UserError: the file is not a valid trial, or a plug-in cannot be imported.
    """
    sections = parse_yaml(store.trial(fingerprint) or "", f"{store.where(fingerprint)}/{TRIAL}") or {}
    if isinstance(sections, dict):
        recall_plugins(store, sections.get("plugins"))
    return validate_trial(sections)


def read_intact_config(store: Store, fingerprint: str) -> TrialConfig:
    """`read_config` of a file that must be there and be the trial of its folder.

    Raises:
        UserError: it is absent or was edited, so that it has another fingerprint.
    """
    where, remedy = f"{store.where(fingerprint)}/{TRIAL}", "restore it or remove its folder"
    if store.trial(fingerprint) is None:
        raise UserError(where, f"is absent: {remedy}")
    config = read_config(store, fingerprint)
    if config.fingerprint != fingerprint:
        raise UserError(where, f"was edited: it is the trial {config.fingerprint} now; {remedy}")
    return config
