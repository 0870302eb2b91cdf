"""What a sweep tries: settings of a recipe by their path, each with a range or a list of values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.recipes.reading import Recipe, parsed, with_settings

if TYPE_CHECKING:
    from optuna.trial import Trial

_RANGE = re.compile(r"\s*(?P<low>\S+?)\s*\.\.\s*(?P<high>[^\s:]+)\s*(?P<log>:\s*log)?\s*")
FORMS = "a range such as 1..8 (whole numbers), 0.1..0.9 or 1e-4..1e-1:log, or a list such as [2, 4, 8]"


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high, both included; whole where both are written whole."""

    low: int | float
    high: int | float
    log: bool

    @property
    def examples(self) -> Sequence[int | float]:
        """Values to check a recipe with."""
        return (self.low, self.high)

    def suggest(self, trial: Trial, path: str) -> int | float:
        """The trial's value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(path, self.low, self.high, log=self.log)
        return trial.suggest_float(path, self.low, self.high, log=self.log)

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' if self.log else ''}"


@dataclass(frozen=True, slots=True)
class Choices:
    """A few values of any plain kind."""

    values: tuple[Any, ...]

    @property
    def examples(self) -> Sequence[Any]:
        """Values to check a recipe with."""
        return self.values

    def suggest(self, trial: Trial, path: str) -> Any:
        """The trial's value; Optuna knows it by its JSON text, since it takes no lists and mappings."""
        known = [json.dumps(value) for value in self.values]
        return self.values[known.index(str(trial.suggest_categorical(path, known)))]

    def __str__(self) -> str:
        return json.dumps(list(self.values))


Space = Mapping[str, Range | Choices]


def read_space(recipe: Recipe, over: Iterable[str] = ()) -> dict[str, Range | Choices]:
    """The settings to try: the recipe's sweep section, and texts that win over it.

    Args:
        recipe: has a place for each setting; one that a section does not name yet may be the last part of a path.
        over: "a.b=values" each; values as in the section.

    Raises:
        ConfigError: if there is nothing to try, values have no known form, or a path leads nowhere.
    """
    given: dict[str, Any] = {str(path): value for path, value in (recipe.sweep or {}).items()}
    for text in over:
        path, equals, values = text.partition("=")
        if not equals or not path:
            raise ConfigError(f"--over takes a.b=values, where values are {FORMS}; got {text!r}.")
        given[path] = parsed(values, f"--over {text}")
    if not given:
        raise ConfigError(
            "There is nothing to sweep over. Name settings with --over, such as "
            f"--over training.learning_rate=1e-4..1e-1:log, or in the recipe's sweep section: {FORMS}."
        )
    space = {path: _values(path, value) for path, value in given.items()}
    for path in space:
        _check_path(recipe, path)
    return space


def examples(recipe: Recipe, space: Space) -> Iterable[Recipe]:
    """Recipes in which every choice and both ends of every range stand once."""
    for place in range(max(len(values.examples) for values in space.values())):
        chosen = {path: values.examples[min(place, len(values.examples) - 1)] for path, values in space.items()}
        yield with_settings(recipe, chosen)


def _values(path: str, given: Any) -> Range | Choices:
    if isinstance(given, str):
        return _range(path, given)
    if not isinstance(given, list):
        raise ConfigError(f"The values of {path} must be {FORMS}; got {given!r}.")
    try:
        known = [json.dumps(value, allow_nan=False) for value in given]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The values of {path} must be plain and finite, got {given!r}: {error}.") from None
    if len(set(known)) < max(2, len(known)):
        raise ConfigError(f"The list for {path} must hold at least 2 values, each once; got {given!r}.")
    return Choices(tuple(given))


def _range(path: str, text: str) -> Range:
    match = _RANGE.fullmatch(text)
    ends = [parsed(match[name], path) for name in ("low", "high")] if match else []
    whole = bool(ends) and all(isinstance(end, int) for end in ends)
    numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) and math.isfinite(end) for end in ends)
    if match is None or not numbers:
        raise ConfigError(f"The values of {path} must be {FORMS}; got {text!r}.")
    low, high = ends if whole else map(float, ends)
    if low >= high or (match["log"] and low <= 0):
        above = "low < high, and low > 0 where it is logarithmic" if match["log"] else "low < high"
        raise ConfigError(f"The range of {path} must have {above}; got {text!r}.")
    return Range(low, high, bool(match["log"]))


def _check_path(recipe: Recipe, path: str) -> None:
    """Raise ConfigError unless the sections on the way to a setting are there."""
    place: Any = {entry.name: getattr(recipe, entry.name) for entry in fields(Recipe)}
    *sections, last = path.split(".")
    so_far = "the recipe"
    for section in sections:
        known = {name: value for name, value in place.items() if value is not None} if isinstance(place, dict) else {}
        if section not in known:
            raise ConfigError(f"{path}: there is no {section!r} in {so_far}. {nearest(section, known)}")
        place, so_far = known[section], section
    if not sections or not last or sections[0] == "sweep":
        raise ConfigError(f"{path!r} is no path of a setting, such as training.learning_rate.")
