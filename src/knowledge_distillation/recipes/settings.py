"""Check a recipe's settings against what a function takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from knowledge_distillation.accepted import check_accepted
from knowledge_distillation.errors import ConfigError, nearest


def check_settings(kind: str, name: str, function: Callable[..., Any], settings: Mapping[str, Any], given: str) -> None:
    """Raise ConfigError unless the function takes every setting, and its value as far as annotations tell.

    Args:
        kind: what `name` is, for the message.
        name: as the recipe has it.
        function: takes the settings by keyword.
        settings: from the recipe.
        given: parameters, separated by spaces, that do not come from the recipe.
    """
    accepted = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in given.split() and parameter.kind is not parameter.VAR_KEYWORD
    ]
    for setting in settings:
        if setting not in accepted:
            raise ConfigError(f"The {kind} {name!r} has no setting {setting!r}. {nearest(str(setting), accepted)}")
    check_accepted(f"The {kind} {name!r}", function, settings)
