"""Finished trials keep their meaning: under the name of a sweep only its design may change, and how a measure sweep is scored."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from lightning_modules.config import TrialConfig, flatten
from lightning_modules.yaml_file import parse_yaml
from rrm.config import SCORING, marked_paths
from rrm.defaults import describe_defaults, older_defaults
from rrm.errors import UserError
from sweeps.design.groups import FILE_FACTS, FILE_PATHS
from sweeps.spec.load_spec import parse_stored_spec
from sweeps.spec.sweep import SweepSpec
from sweeps.store.store import SPEC, Store
from sweeps.store.stored_trials import recall_plugins

SCORING_FIELDS = set(marked_paths(TrialConfig, SCORING))


def refuse_changed_meaning(spec: SweepSpec, store: Store, results: Mapping[str, Any]) -> None:
    """Refuse a spec that gives another meaning to the finished trials of its store.

    Args:
        results: the finished trials, by fingerprint.

    Raises:
        UserError: a setting that all trials share was another one, or the stored spec cannot be read.
    """
    text = store.spec()
    if not results or text is None:
        return
    where = f"{store.location}/{SPEC}"
    sections = parse_yaml(text, where)
    recall_plugins(store, sections.get("plugins") if isinstance(sections, dict) else None)
    stored = parse_stored_spec(text, where, spec.files_by_digest)
    before, now = _stored_digests(store, min(results)) | _meaning(stored), _meaning(spec)
    varied = varied_fields(stored) | varied_fields(spec)
    if spec.measure:
        varied |= SCORING_FIELDS  # finished trials are scored anew from their weights; a search has judged by its scores
    differing = {
        path: (before.get(path), now.get(path))
        for path in before.keys() | now.keys()
        if path.removeprefix("trial.") not in varied and before.get(path) != now.get(path)
    }
    differing |= _changed_by_defaults(stored, spec) | _changed_plugins(stored, spec, results)
    if differing:
        changes = ", ".join(f"{path} was {old!r} and is {new!r}" for path, (old, new) in sorted(differing.items()))
        begun = f"it was begun with {describe_defaults(stored.defaults)}; " if stored.defaults != spec.defaults else ""
        raise UserError(
            store.location,
            f"has finished trials under other settings ({changes}); {begun}give the new sweep another name: name=NEW",
        )


def _changed_plugins(stored: SweepSpec, spec: SweepSpec, results: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Plug-ins that finished trials use and whose code has changed: the first digits of both digests, or both versions."""
    earlier, later = stored.registry.plugins, spec.registry.plugins
    used = {(section, record.get(f"{section}.kind")) for record in results.values() for section in ("task", "model")}
    pairs = [(earlier[kind], later[kind]) for kind in earlier.keys() & later.keys() & used]
    return {now.name: (before.code[:12], now.code[:12]) for before, now in pairs if before.code != now.code}


def varied_fields(spec: SweepSpec) -> set[str]:
    """The paths in which trials differ, the digests of files that are among them, and what is filled in from such files."""
    digests = {digest for path in spec.varied_paths for digest in FILE_PATHS.get(path, ())}
    return {*spec.varied_paths, *digests, *(FILE_FACTS if digests else ())}


def _stored_digests(store: Store, fingerprint: str) -> dict[str, Any]:
    """Digests of data files that a finished trial holds: `spec.yaml` of an earlier version has none of its weights."""
    trial = flatten(parse_yaml(store.trial(fingerprint) or "", store.where(fingerprint)) or {})
    return {f"trial.{name}": trial[name] for digests in FILE_PATHS.values() for name in digests if name in trial}


def _meaning(spec: SweepSpec) -> dict[str, Any]:
    """The definition of the trials of a sweep, by path: resolved settings, digests of files, rules of choosing and stopping."""
    settings = flatten(spec.base.identity())
    base = {f"trial.{path}": value for path, value in settings.items() if path != "seed" and not path.startswith("code.")}
    how = (
        spec.search.model_dump(
            mode="json", include={"sampler", "scheduler", "objectives", "constraints", "tie", "when"}, by_alias=True
        )
        if spec.search
        else {}
    )
    return flatten({"kind": "search" if spec.search else "measure", **how}) | base


def _changed_by_defaults(stored: SweepSpec, spec: SweepSpec) -> dict[str, tuple[Any, Any]]:
    """Settings in which trials of the same values differ because their defaults have other versions: before and now."""
    if stored.defaults == spec.defaults:
        return {}
    changed: dict[str, tuple[Any, Any]] = {}
    for _, _, values in stored.corners():
        with suppress(UserError):  # values that the spec does not take any more
            before, now = (sweep.trial_with(values, "trial").flat() for sweep in (stored, spec))
            paths = older_defaults(min(stored.defaults, spec.defaults)).keys()
            changed |= {f"trial.{path}": (before.get(path), now.get(path)) for path in paths if before.get(path) != now.get(path)}
    return changed
