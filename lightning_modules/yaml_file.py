"""YAML as users expect it: `1e-4` is a number, a key stands once, an empty section is a mistake."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from rrm.errors import UserError, join_keys

# YAML 1.2's floats; PyYAML's own resolver reads 1e-4 as a string.
FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$")
# Without YAML 1.1's 1:30 for 90 and 010 for 8.
INT = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)$")
DECIMAL_COMMA = re.compile(r"^[-+]?\d+,\d+(?:[eE][-+]?\d+)?$")

REPLACED = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp")}  # a date is text here
FOREIGN = {f"tag:yaml.org,2002:{kind}" for kind in ("binary", "omap", "pairs", "set", "timestamp")}  # JSON has none of them


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 numbers and without repeated keys."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        for (key, value), (further, nothing) in pairwise(node.value if node.flow_style else ()):
            if _plain(nothing) == "":  # {lr: 0,005} is lr: 0 and a key 005 without a value
                _refuse_comma(value, further, f"{key.value} ")
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be a word", key.start_mark)
            if (key.tag, key.value) in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node

    def compose_sequence_node(self, anchor: Any) -> yaml.SequenceNode:
        node = super().compose_sequence_node(anchor)
        for whole, digits in pairwise(node.value if node.flow_style else ()):
            if re.match(r"0\d", _plain(digits)):  # [0,005] is 0 and 005; no number begins like that
                _refuse_comma(whole, digits, "the list ")
        return node


def _plain(node: yaml.Node) -> str:
    """The text of a scalar without quotes; `-`, which is no number, for any other node."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) and node.style is None else "-"


def _refuse_comma(whole: yaml.Node, digits: yaml.Node, where: str) -> None:
    number = f"{_plain(whole)},{_plain(digits)}"
    if DECIMAL_COMMA.match(number):
        problem = f"{where}has a decimal comma in {number}: write {number.replace(',', '.')}"
        raise yaml.composer.ComposerError(None, None, problem, digits.start_mark)


_Loader.yaml_constructors = {
    tag: constructor for tag, constructor in yaml.SafeLoader.yaml_constructors.items() if tag not in FOREIGN
}


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would take for a number; a list that is used twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _BriefDumper(_Dumper):
    """Writes a section on one line that holds nothing deeper than lists and sections of plain values."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = all(_is_flat(value) for _, value in node.value)
        return node


def _is_flat(node: yaml.Node) -> bool:
    """Whether a node is a value, or holds values alone."""
    children = [child for pair in node.value for child in pair] if isinstance(node, yaml.MappingNode) else node.value
    return isinstance(node, yaml.ScalarNode) or all(isinstance(child, yaml.ScalarNode) for child in children)


for _side in (_Loader, _Dumper):
    _side.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in REPLACED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _side.add_implicit_resolver("tag:yaml.org,2002:int", INT, list("-+0123456789"))
    _side.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def parse_yaml(text: str, source: str) -> Any:
    """The value that `text` stands for; `source` names it in errors.

    Raises:
        UserError: the text is not YAML (with the line), a key stands twice, or JSON could not hold the value.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(source + line, f"is not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(source, f"is not valid YAML: {error}") from None
    except (ValueError, KeyError) as error:
        raise UserError(source, f"holds a value that cannot be read: {error}") from None
    except RecursionError:
        raise UserError(source, "nests too deeply") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a YAML file.

    Raises:
        UserError: the file cannot be read, is not YAML, is empty, or holds a null.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(str(path), "is not text in UTF-8") from None
    content = parse_yaml(text, str(path))
    if content is None:
        raise UserError(str(path), "is empty")
    if not isinstance(content, dict):
        raise UserError(str(path), f"must hold sections of key: value lines, got {type(content).__name__}")
    reject_nulls(content, "")
    return content


def reject_nulls(value: Any, path: str) -> None:
    """Refuse a null anywhere below `path`: absent is how a default is asked for."""
    if value is None:
        raise UserError(path, "is empty; null is not a value: leave the key out for its default")
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        reject_nulls(child, join_keys(path, key) if path else join_keys(key))


def write_flow(value: Any) -> str:
    """YAML text of a value on one line."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=math.inf, allow_unicode=True).strip()


def write_yaml(value: dict[str, Any], *, brief: bool = False) -> str:
    """`value` as YAML text that `parse_yaml` reads back equal; `brief` puts inner sections and lists on one line each."""
    dumper, style, width = (_BriefDumper, None, math.inf) if brief else (_Dumper, False, None)
    return yaml.dump(value, Dumper=dumper, sort_keys=False, default_flow_style=style, width=width, allow_unicode=True)
