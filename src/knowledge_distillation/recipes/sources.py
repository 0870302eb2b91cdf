"""The teacher of a recipe: one model, several as one, one made of the student, or one outside the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from knowledge_distillation.capture.adapters import adapter_pair
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.recipes.reading import Recipe
from knowledge_distillation.recipes.settings import check_settings
from knowledge_distillation.teachers import (
    BlackBoxTeacher,
    ByLabel,
    ConfidentTeacher,
    EMATeacher,
    EnsembleTeacher,
    RoutedTeacher,
    SelfTeacher,
    ServedTeacher,
    Teacher,
)

One = Callable[[Mapping[str, Any], str], nn.Module]
"""(a teacher's mapping, the name of its directory) -> the model, trained first if the mapping says so."""

SOURCES: Mapping[str, Callable[..., Teacher]] = {
    "ensemble": EnsembleTeacher,
    "confident": ConfidentTeacher,
    "routed": RoutedTeacher,
    "ema": EMATeacher,
    "self": SelfTeacher,
    "served": ServedTeacher,
    "black_box": BlackBoxTeacher,
}


def make_teacher(
    recipe: Recipe,
    spec: Mapping[str, Any],
    student: nn.Module | None,
    one: One,
    extra: Mapping[str, Any],
    place: str = "teacher",
    *,
    adapter: Any = "auto",
) -> Teacher | nn.Module:
    """Make what a teacher section describes.

    Args:
        recipe: whose training section names temperature and seed.
        spec: the section, or one of its members.
        student: of which "ema" makes its copy.
        one: makes a single model.
        extra: the user's own models and functions by name; a model there wins over a source of the same name.
        place: directory for a teacher that is trained; members get a number behind it.
        adapter: how the models of several are called; see `capture.adapters`.

    Raises:
        ConfigError: if a setting or a route is unknown.
    """
    name = spec["name"]
    if name not in SOURCES or name in extra:
        return one(spec, place)
    settings = {key: value for key, value in spec.items() if key not in ("name", "members")}
    if name == "routed":
        settings["route"] = _route(settings.get("route"), extra)
    if name == "black_box":
        settings["answer"] = _answer(settings.get("answer"), extra)
    check_settings("teacher", name, SOURCES[name], settings, "self teachers student adapter")
    if name == "self":
        return SelfTeacher(**settings)
    if name == "served":
        return _served(settings)
    if name == "black_box":
        return BlackBoxTeacher(**settings)
    adapters = adapter_pair(adapter)
    settings.setdefault("temperature", recipe.training.get("temperature", 1.0))
    if name == "ema":
        if student is None:  # check_student refuses this
            raise AssertionError("a teacher made of the student, and a student made from the teacher")
        return EMATeacher(student, adapter=adapters[0], **settings)
    members = [
        make_teacher(
            recipe, _seeded(member, recipe, number), student, one, extra, f"{place}-{number + 1}", adapter=adapter
        )
        for number, member in enumerate(spec["members"])
    ]
    return SOURCES[name](members, adapter=adapters[1], **settings)


def _seeded(member: Mapping[str, Any], recipe: Recipe, number: int) -> Mapping[str, Any]:
    """Members that are trained first get a seed each: equal ones would say the same."""
    if "train" not in member:
        return member
    seed = recipe.training.get("seed", 0) + number
    return {**member, "train": {"seed": seed, **member["train"]}}


def _served(settings: Mapping[str, Any]) -> Teacher:
    lacking = [key for key in ("url", "model", "vocabulary") if key not in settings]
    if lacking:
        raise ConfigError(f"The teacher 'served' needs {lacking}: nobody could be asked. Add them to its section.")
    return ServedTeacher(**settings)


def _answer(answer: Any, extra: Mapping[str, Any]) -> Any:
    if isinstance(answer, str) and answer in extra:
        return extra[answer]
    raise ConfigError(
        "A black-box teacher's answer must be the name of a function of your own --module, batch -> class ids; got "
        f"{answer!r}. {nearest(str(answer), extra)}"
    )


def _route(route: Any, extra: Mapping[str, Any]) -> Any:
    if isinstance(route, list):
        return ByLabel(route)
    if isinstance(route, str) and route in extra:
        return extra[route]
    raise ConfigError(
        "A routed teacher's route must be a list with the classes of each member, such as [[0, 1], [2, 3]], or the "
        f"name of a function of your own --module; got {route!r}. {nearest(str(route), extra)}"
    )
