"""The JSON Schema of a sweep, with which editors complete and check the YAML. Descriptions are the docstrings of the fields."""

from typing import Any

from lightning_modules.config import trial_class
from rrm.plugins import extension_points
from rrm.registry import BUILT_IN, Registry
from sweeps.spec.spec_class import samplers_of, spec_class

Json = dict[str, Any]


def sweep_schema(registry: Registry = BUILT_IN) -> Json:
    """Schema of a spec file, with the fields of `trial` of all kinds and the short forms that YAML may take."""
    installed = [point.name for point in extension_points("sampler")]
    schema = spec_class(samplers_of(registry, installed)).model_json_schema(by_alias=True)
    trial = trial_class(registry).model_json_schema()
    del trial["properties"]["plugins"]  # it stands at the top of a sweep
    definitions = schema.setdefault("$defs", {}) | trial.pop("$defs")
    vary = definitions["Measure"]["properties"]["vary"]
    definitions["Measure"]["properties"]["vary"] = _vary() | {"description": vary["description"]}
    plugins = schema["properties"]["plugins"]
    plugins |= {"anyOf": [{"type": "array", "items": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Plugin"}]}}]}
    schema["$defs"] = _any_of(definitions)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"]["trial"] = _any_of(trial) | {"description": schema["properties"]["trial"]["description"]}
    return schema


def _vary() -> Json:
    """One block of paths and values or a list of blocks; a single value needs no list."""
    scalar = {"type": ["boolean", "integer", "number", "string"]}
    block = {"type": "object", "minProperties": 1, "additionalProperties": {"anyOf": [scalar, {"type": "array", "items": scalar}]}}
    return {"title": "Vary", "anyOf": [block, {"type": "array", "items": block, "minItems": 1}]}


def _any_of(node: Any) -> Any:
    """The schema with `anyOf` for `oneOf`, as a section without `kind` fits several kinds, and without null, which YAML refuses."""
    if isinstance(node, dict):
        kept = {key: value for key, value in node.items() if key != "discriminator" and (key, value) != ("default", None)}
        return {("anyOf" if key == "oneOf" else key): _any_of(value) for key, value in kept.items()}
    return [_any_of(item) for item in node if item != {"type": "null"}] if isinstance(node, list) else node
