"""The class of a spec: `SweepSpec`, with the settings of the samplers that plug-ins define."""

from functools import lru_cache
from typing import Any, Literal, get_args

from pydantic import Field, create_model

from rrm.errors import UserError, suggest
from rrm.extensions import kinds_of_family
from rrm.kinds import kind_of, union_by_kind
from rrm.registry import Registry
from sweeps.spec.sampler import BuiltInKind, BuiltInSampler, Sampler, SamplerOptions, StoredSampler
from sweeps.spec.search import Search
from sweeps.spec.sweep import SweepSpec

BUILT_IN_KINDS = get_args(BuiltInKind)
DEFAULT_KIND = BuiltInSampler().kind


def samplers_of(registry: Registry, kinds: list[str]) -> tuple[type[Sampler], ...]:
    """The samplers of the plug-in files, and those of installed packages that have one of some kinds.

    Raises:
        UserError: a package cannot be imported, a kind is built in, or options do not derive from `Sampler.Options`.
    """
    named = dict.fromkeys([*kinds_of_family(registry.extensions, "sampler"), *kinds])
    samplers = []
    for kind in named:
        sampler = registry.find_extension("sampler", kind)
        if sampler is None:
            continue
        source = registry.plugins.get(("sampler", kind))
        where = f"plugins: {source.name if source else f'entry point {kind}'}"
        if kind in BUILT_IN_KINDS:
            raise UserError(where, f"defines the sampler {kind!r}, which is built in: choose another kind")
        assert issubclass(sampler, Sampler)
        if not (isinstance(sampler.Options, type) and issubclass(sampler.Options, SamplerOptions)):
            rule = f"Options of {sampler.__name__} must be a class that derives from Sampler.Options"
            raise UserError(where, f"{rule}, got {sampler.Options!r}: derive it")
        samplers.append(sampler)
    return tuple(samplers)


def spec_class_for(sections: dict[str, Any], registry: Registry) -> type[SweepSpec]:
    """The class of a spec that a user wrote.

    Raises:
        UserError: no sampler has the kind that it chooses, whose options are not known then; or a package cannot be imported.
    """
    search = sections.get("search")
    kind = kind_of(search.get("sampler"), DEFAULT_KIND) if isinstance(search, dict) else DEFAULT_KIND
    samplers = samplers_of(registry, [kind] if isinstance(kind, str) else [])
    known = {*BUILT_IN_KINDS, *registry.extension_kinds("sampler")}
    if isinstance(kind, str) and kind not in known:
        raise UserError("search.sampler.kind", f"got {kind!r}; {suggest(kind, known)}")
    return spec_class(samplers)


@lru_cache(maxsize=64)
def spec_class(samplers: tuple[type[Sampler], ...]) -> type[SweepSpec]:
    """`SweepSpec` whose search may have these samplers beside the built-in ones."""
    if not samplers:
        return SweepSpec
    options = {sampler.kind: _with_kind(sampler.Options, sampler.kind) for sampler in samplers}
    built_in: dict[str, type[SamplerOptions]] = dict.fromkeys(BUILT_IN_KINDS, BuiltInSampler)
    return _with_sampler(union_by_kind(built_in | options, DEFAULT_KIND), BuiltInSampler())  # type: ignore[arg-type]


def _with_kind(options: type[SamplerOptions], kind: str) -> type[SamplerOptions]:
    """The settings of a sampler with its kind as the only one."""
    description = SamplerOptions.model_fields["kind"].description
    fields: dict[str, Any] = {"kind": (Literal[kind], Field(kind, description=description))}
    name = options.__qualname__.replace(".", "")  # `Options` within the class of a sampler is the usual name of several
    return create_model(name, __base__=options, __doc__=options.__doc__, **fields)


def _with_sampler(annotation: Any, default: SamplerOptions) -> type[SweepSpec]:
    """`SweepSpec` whose search has this annotation of its sampler."""
    field = Field(default, description=Search.model_fields["sampler"].description)
    search = create_model("Search", __base__=Search, __doc__=Search.__doc__, sampler=(annotation, field))
    outer = Field(None, description=SweepSpec.model_fields["search"].description)
    return create_model("SweepSpec", __base__=SweepSpec, __doc__=SweepSpec.__doc__, search=(search | None, outer))


STORED_SPEC = _with_sampler(StoredSampler, StoredSampler(kind=DEFAULT_KIND))
"""The class of a spec in a store: it takes the sampler of any plug-in."""
