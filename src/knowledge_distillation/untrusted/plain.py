"""Text, JSON and YAML as plain data, whatever stands in the file: no code, no bombs, no end of memory."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from knowledge_distillation.errors import ConfigError

LARGEST_TEXT = 64 * 2**20
"""Bytes of a text file; the JSON files of a run and of a cache are far below it."""
LARGEST_YAML = 1_000_000
"""Bytes of a recipe; PyYAML needs some ten seconds for as many."""

LONGEST_NUMBER = 4096
"""Bits of a whole number; Python does not even show one of more than some 14,000."""


def text_of(path: Path, largest: int = LARGEST_TEXT) -> str:
    """The text of a UTF-8 file.

    Raises:
        OSError: if it is no file, or cannot be read.
        ValueError: if it is larger than `largest` bytes, or not UTF-8.
    """
    if not path.is_file():  # a pipe would be waited for, for ever
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it is larger than {largest} bytes")
    return content.decode("utf-8")


def json_of(path: Path) -> Any:
    """What a JSON file holds; errors as of `text_of`."""
    try:
        return json.loads(text_of(path))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def yaml_of(text: str) -> Any:
    """Plain YAML as data: no tags but those of plain values, no aliases, no key twice.

    Raises:
        ValueError: if it is anything else; a ConfigError where the text is YAML and not what we take.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader  # noqa: S506  # nosec B506
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number, as JSON does, and refuses duplicate keys and aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ConfigError(
                "A recipe must not use YAML aliases (*name): they can expand without bound. Write values out."
            )
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: Any) -> int:
        number: int = super().construct_yaml_int(node)
        if number.bit_length() > LONGEST_NUMBER:
            raise ConfigError(
                f"A whole number in a recipe must have at most {LONGEST_NUMBER} bits, and one has "
                f"{number.bit_length():,}: nothing here counts so far. Write a smaller one."
            )
        return number

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        counts = Counter(key for key in keys if isinstance(key, Hashable))  # PyYAML refuses the others itself
        repeated = sorted(str(key) for key, count in counts.items() if count > 1)
        if repeated:
            raise ConfigError(f"A recipe names {repeated} twice; the second would silently win.")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
