"""Models, one file a family: a class of settings with a `kind`, and the model's class, whose `Config` it is (docs/models.md)."""

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, TypeAdapter

from rrm.config import BaseModelConfig, RuleError
from rrm.kinds import import_modules, kind_of, union_by_kind
from rrm.models import base
from rrm.tasks.task import PuzzleShape

DEFAULT_KIND = "trm"


def _find_models() -> dict[str, type[base.TrialModel[Any]]]:
    """The models in the files of this folder, by their kind; the default one first."""
    held: list[Any] = [value for module in import_modules(__name__) for value in vars(module).values() if isinstance(value, type)]
    models: dict[str, type[base.TrialModel[Any]]] = {}
    for model in [value for value in held if "Config" in vars(value)]:
        kind = model.Config.model_fields["kind"].default
        if models.setdefault(kind, model) is not model:
            raise TypeError(f"{model.__module__} and {models[kind].__module__} define models of one kind, {kind!r}")
    return {DEFAULT_KIND: models.pop(DEFAULT_KIND)} | models


MODELS = _find_models()
CONFIGS: dict[str, type[BaseModelConfig]] = {kind: model.Config for kind, model in MODELS.items()}


def _refuse_other_kinds(given: Any) -> Any:
    """Refuse a field that the given kind does not have and another kind has."""
    kind = kind_of(given, DEFAULT_KIND)
    config = CONFIGS.get(kind) if isinstance(given, dict) and isinstance(kind, str) else None
    if config is None:
        return given
    for name in sorted(map(str, given.keys() - config.model_fields.keys())):
        owners = [other for other, settings in CONFIGS.items() if name in settings.model_fields]
        if owners and given[name] is not None:
            understood = f"it is understood by {', '.join(owners)}"
            raise RuleError(f"{name} has no effect on the kind {kind!r}: leave it out ({understood})", name, "kind")
    return {name: value for name, value in given.items() if value is not None}


if TYPE_CHECKING:
    TaggedModelConfig = BaseModelConfig
else:
    TaggedModelConfig = Annotated[union_by_kind(CONFIGS, DEFAULT_KIND), BeforeValidator(_refuse_other_kinds)]
_ADAPTER: TypeAdapter[BaseModelConfig] = TypeAdapter(TaggedModelConfig)


def model_config(kind: str = DEFAULT_KIND, **fields: Any) -> BaseModelConfig:
    """The validated config of a model.

    Raises:
        ValidationError: a field is not valid.
    """
    return _ADAPTER.validate_python({"kind": kind, **fields})


@cache
def model_class(kind: str) -> type[base.TrialModel[Any]]:
    """The class of a kind, with torch."""
    from rrm.reasoner import Reasoner
    from rrm.trial_model import TrialModel

    model = MODELS[kind]
    if issubclass(model, TrialModel):  # its file imports torch, which `status` and `rrm-analyze` then load too
        return model
    whole = Reasoner if issubclass(model, base.Reasoner) else TrialModel
    return type(model.__name__, (model, whole), {"__doc__": model.__doc__, "__module__": model.__module__})


def build_model(config: BaseModelConfig, shape: PuzzleShape) -> base.TrialModel[Any]:
    """A freshly initialised model; its weights follow torch's global random state."""
    return model_class(config.kind)(config, shape)


__all__ = ["CONFIGS", "MODELS", "TaggedModelConfig", "build_model", "model_class", "model_config"]
