"""Models, one file a family: a class of settings with a `kind`, and the model's class, whose `Config` it is (docs/models.md)."""

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Discriminator, Tag, TypeAdapter

from rrm.config import AnyModelConfig, RuleError
from rrm.models.base import Reasoner as Model
from rrm.tasks.task import PuzzleShape

if TYPE_CHECKING:
    from rrm.reasoner import Reasoner

DEFAULT_KIND = "trm"


def _find_models() -> dict[str, Any]:
    """The models in the files of this folder, by their kind."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    held = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    found = [value for value in held if issubclass(value, Model) and "Config" in vars(value)]
    models: dict[str, Any] = {}
    for model in found:
        kind = model.Config.model_fields["kind"].default
        if models.setdefault(kind, model) is not model:
            raise TypeError(f"{model.__module__} and {models[kind].__module__} define models of one kind, {kind!r}")
    return {DEFAULT_KIND: models.pop(DEFAULT_KIND)} | models


MODELS: dict[str, Any] = _find_models()
CONFIGS: dict[str, type[AnyModelConfig]] = {kind: model.Config for kind, model in MODELS.items()}


def _kind(given: Any) -> Any:
    return given.get("kind", DEFAULT_KIND) if isinstance(given, dict) else getattr(given, "kind", DEFAULT_KIND)


def _refuse_other_kinds(given: Any) -> Any:
    """Refuse a field that the given kind does not have and another kind has."""
    config = CONFIGS.get(_kind(given)) if isinstance(given, dict) and isinstance(_kind(given), str) else None
    if config is None:
        return given
    for name in sorted(map(str, given.keys() - config.model_fields.keys())):
        owners = [kind for kind, other in CONFIGS.items() if name in other.model_fields]
        if owners and given[name] is not None:
            understood = f"it is understood by {', '.join(owners)}"
            problem = f"{name} has no effect on the kind {_kind(given)!r}: leave it out ({understood})"
            raise RuleError(problem, name, "kind")
    return {name: value for name, value in given.items() if value is not None}


if TYPE_CHECKING:
    TaggedModelConfig = AnyModelConfig
else:
    TaggedModelConfig = Annotated[
        Union[tuple(Annotated[config, Tag(kind)] for kind, config in CONFIGS.items())],  # noqa: UP007
        Discriminator(_kind),
        BeforeValidator(_refuse_other_kinds),
    ]
_ADAPTER: TypeAdapter[AnyModelConfig] = TypeAdapter(TaggedModelConfig)


def model_config(kind: str = DEFAULT_KIND, **fields: Any) -> AnyModelConfig:
    """The validated config of a model.

    Raises:
        ValidationError: a field is not valid.
    """
    return _ADAPTER.validate_python({"kind": kind, **fields})


@cache
def reasoner_class(kind: str) -> "type[Reasoner]":
    """The class of a kind, with torch."""
    from rrm.reasoner import Reasoner

    model = MODELS[kind]
    return type(model.__name__, (model, Reasoner), {"__doc__": model.__doc__, "__module__": model.__module__})


def build_reasoner(config: AnyModelConfig, shape: PuzzleShape) -> "Reasoner":
    """A freshly initialised model; its weights follow torch's global random state."""
    return reasoner_class(config.kind)(config, shape)


__all__ = ["CONFIGS", "MODELS", "TaggedModelConfig", "build_reasoner", "model_config", "reasoner_class"]
