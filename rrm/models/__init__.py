"""Models, one file a family: a class of settings with a `kind`, and the model's class, whose `Config` it is (docs/models.md)."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, TypeAdapter

from rrm.config import BaseModelConfig, RuleError
from rrm.kinds import classes_in, configs_by_kind, default_first, kind_of, union_by_kind
from rrm.models import base
from rrm.tasks.task import PuzzleShape

DEFAULT_KIND = "trm"


def find_models(classes: Iterable[type]) -> dict[str, type[BaseModelConfig]]:
    """The settings of the models among some classes, by kind. A class that states its `Config` is a model.

    Raises:
        TypeError: a model is not complete, or two models have one kind.
    """
    models: list[Any] = [value for value in classes if issubclass(vars(value).get("Config", object), BaseModelConfig)]
    for model in models:
        if "TrialModel" not in [part.__name__ for part in model.__mro__]:
            raise TypeError(f"{model.__name__} must derive from Reasoner or TrialModel")
    return configs_by_kind((model, model.Config) for model in models)


CONFIGS = default_first(find_models(classes_in(__name__)), DEFAULT_KIND)


def tagged_union(configs: Mapping[str, type[BaseModelConfig]]) -> Any:
    """The annotation of a field that holds the settings of one of these models, by its `kind`."""

    def refuse_other_kinds(given: Any) -> Any:
        """Refuse a field that the given kind does not have and another kind has."""
        kind = kind_of(given, DEFAULT_KIND)
        config = configs.get(kind) if isinstance(given, dict) and isinstance(kind, str) else None
        if config is None:
            return given
        for name in sorted(map(str, given.keys() - config.model_fields.keys())):
            owners = [other for other, settings in configs.items() if name in settings.model_fields]
            if owners and given[name] is not None:
                understood = f"it is understood by {', '.join(owners)}"
                raise RuleError(f"{name} has no effect on the kind {kind!r}: leave it out ({understood})", name, "kind")
        return {name: value for name, value in given.items() if value is not None}

    return Annotated[union_by_kind(configs, DEFAULT_KIND), BeforeValidator(refuse_other_kinds)]


if TYPE_CHECKING:
    TaggedModelConfig = BaseModelConfig
else:
    TaggedModelConfig = tagged_union(CONFIGS)
_ADAPTER: TypeAdapter[BaseModelConfig] = TypeAdapter(TaggedModelConfig)


def model_config(kind: str = DEFAULT_KIND, **fields: Any) -> BaseModelConfig:
    """The validated config of a built-in model.

    Raises:
        ValidationError: a field is not valid.
    """
    return _ADAPTER.validate_python({"kind": kind, **fields})


@cache
def model_class(config: type[BaseModelConfig]) -> type[base.TrialModel[Any]]:
    """The class of a model with these settings, with torch."""
    from rrm.reasoner import Reasoner
    from rrm.trial_model import TrialModel

    model: type[base.TrialModel[Any]] = config.built_class
    if issubclass(model, TrialModel):  # its file imports torch, which `status` and `rrm-analyze` then load too
        return model
    whole = Reasoner if issubclass(model, base.Reasoner) else TrialModel
    return type(model.__name__, (model, whole), {"__doc__": model.__doc__, "__module__": model.__module__})


def build_model(config: BaseModelConfig, shape: PuzzleShape) -> base.TrialModel[Any]:
    """A freshly initialised model; its weights follow torch's global random state."""
    return model_class(type(config))(config, shape)


__all__ = ["CONFIGS", "TaggedModelConfig", "build_model", "find_models", "model_class", "model_config", "tagged_union"]
