"""Read a recipe file into checked, plain data."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from knowledge_distillation import domains
from knowledge_distillation.accepted import is_whole
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.untrusted import LARGEST_YAML as LARGEST_FILE
from knowledge_distillation.untrusted import text_of, yaml_of

TRAINER_KEYS = (
    "precision", "accelerator", "devices", "strategy", "num_nodes",
    "accumulate_grad_batches", "gradient_clip_val", "deterministic",
)  # fmt: skip
TRAINING_KEYS = (
    "max_epochs", "optimizer", "learning_rate", "schedule", "warm_up_epochs", "adapter", "temperature", "seed",
    "track", "directory", "speed", "checkpoint_every", "nonfinite", "doctor", "trainer", "quantisation_aware",
    "callbacks",
    *TRAINER_KEYS,
)  # fmt: skip
CACHE_KEYS = ("directory", "signals", "views", "seed", "shard_bytes", "check_inputs")
OBJECTS = ("callbacks", "plugins", "logger")
"""Arguments of the Trainer that a recipe may only switch."""
SEVERAL = ("ensemble", "confident", "routed")
"""Teachers that are made of members."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run as plain data: the sections of a recipe file.

    Attributes:
        student: {"name": ..., settings}; "weights" names a safetensors file to start from.
        data: {"name": ..., settings}.
        teacher: {"name": ..., settings}; "weights" names a safetensors file, or "train" says how to train it first:
            training keys but "directory", plus "data" with settings that replace the data section's, and "objective"
            where it learns from more than the labels. "ensemble",
            "confident" and "routed" have "members", a list of such mappings; "ema" and "self" are made of the student.
        objective: a name, or named terms.
        training: what `distill` takes, and the commonest Trainer arguments; "quantisation_aware" lets the student
            round as int8 does while it learns.
        method: {"name": ..., settings} of another way than to distil once: "mutual", "born_again", "assistants",
            "data_free".
        cache: {"directory": ...} and settings of `write_cache`; the teacher is then asked only once, and teaches from
            what it said. Without "signals": all that the objective reads of the teacher, in float16.
        sweep: path of a setting -> the values to try, for `kd sweep`; see `search_space`. A training leaves it alone.
        description: one line for `kd list recipes`.
    """

    student: dict[str, Any]
    data: dict[str, Any]
    teacher: dict[str, Any] | None = None
    objective: Any = "kd"
    training: dict[str, Any] = field(default_factory=dict)
    method: dict[str, Any] | None = None
    cache: dict[str, Any] | None = None
    sweep: dict[str, Any] | None = None
    description: str = ""


class _Dumper(yaml.SafeDumper):
    """SafeDumper that writes out what stands in two places, since a recipe takes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def shipped() -> dict[str, Path]:
    """Recipes that come with the package, by name; each lies in the folder of its domain."""
    folder = Path(str(resources.files(domains)))
    return {path.stem: path for path in sorted(folder.glob("*/recipes/*.yaml"), key=lambda path: path.stem)}


def read_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe by the name of a shipped one or by path.

    Args:
        name: such as "digits" or "my_recipe.yaml".
        overrides: "a.b=value" each; the value is YAML.

    Raises:
        ConfigError: if there is no such recipe, it is no plain YAML, or a key is unknown.
    """
    path = Path(name) if Path(name).suffix in (".yaml", ".yml") else shipped().get(str(name))
    if path is None:
        raise ConfigError(
            f"There is no recipe named {str(name)!r}. {nearest(str(name), shipped())} Or give a path to a .yaml file."
        )
    if not path.is_file():
        raise ConfigError(f"There is no recipe file {path}. Shipped recipes: {', '.join(shipped())}.")
    try:
        text = text_of(path, LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise ConfigError(f"The recipe {path} must be a small text in UTF-8, and is not: {error}.") from None
    content = parsed(text, str(path))
    if not isinstance(content, dict):
        raise ConfigError(
            f"The recipe {path} must hold sections (teacher, student, data, ...), got {type(content).__name__}."
        )
    for override in overrides:
        _override(content, override)
    try:
        return check_recipe(content, str(path))
    except ConfigError:
        raise
    except ValueError as error:  # Python does not print whole numbers of more than 4,300 digits
        raise ConfigError(f"{path} holds a number that is none of a recipe's: {error}.") from None


def as_yaml(sections: Mapping[str, Any]) -> str:
    """The text of a recipe file that `read_recipe` takes."""
    text: str = yaml.dump(dict(sections), Dumper=_Dumper, sort_keys=False)
    return text


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """A copy of the recipe with other values.

    Args:
        recipe: is left as it is.
        settings: "a.b" -> value.

    Raises:
        ConfigError: if a path leads through a value, or the recipe is none any more.
    """
    content = {entry.name: copy.deepcopy(getattr(recipe, entry.name)) for entry in fields(Recipe)}
    for path, value in settings.items():
        _put(content, path, copy.deepcopy(value), path)
    return check_recipe(content, ", ".join(f"{path}={value!r}" for path, value in settings.items()))


def check_recipe(content: Mapping[str, Any], source: str) -> Recipe:
    """Check keys and forms of all sections.

    Raises:
        ConfigError: naming the section and the key.
    """
    _known(content, [entry.name for entry in fields(Recipe)], source)
    for section in ("student", "data"):
        if content.get(section) is None:
            raise ConfigError(f"{source} lacks the section {section!r}.")
    sections = {**content, "training": content.get("training") or {}}
    for section in ("student", "data", "teacher", "method"):
        if sections.get(section) is not None:
            sections[section] = _named(sections[section], f"{source}: {section}")
    _check_training(sections["training"], TRAINING_KEYS, f"{source}: training")
    if sections.get("sweep") is not None and not isinstance(sections["sweep"], dict):
        raise ConfigError(f"{source}: sweep must map settings to the values to try, got {sections['sweep']!r}.")
    if sections.get("cache") is not None:
        _check_cache(sections["cache"], sections.get("teacher"), f"{source}: cache")
    _check_weights(sections["student"], f"{source}: student")
    if sections.get("teacher") is not None:
        sections["teacher"] = _check_teacher(sections["teacher"], f"{source}: teacher")
    return Recipe(**sections)


def _named(value: Any, source: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ConfigError(f"{source} must be a name, or a mapping with 'name'; got {value!r}.")
    return value


def _check_teacher(teacher: dict[str, Any], source: str) -> dict[str, Any]:
    if "train" in teacher:
        # it lies in the run's directory, and teaches in full precision
        own = [key for key in TRAINING_KEYS if key not in ("directory", "quantisation_aware", "callbacks")]
        _check_training(teacher["train"], [*own, "data", "objective"], f"{source}.train")
    if teacher["name"] not in SEVERAL:
        _check_weights(teacher, source)
        return teacher
    members = teacher.get("members")
    if not isinstance(members, list) or not members:
        raise ConfigError(f"{source}.members must be a list of teachers, got {members!r}.")
    return {**teacher, "members": [_check_teacher(_named(entry, source), f"{source}.members") for entry in members]}


def _check_training(training: Any, known: Iterable[str], source: str) -> None:
    if not isinstance(training, dict):
        raise ConfigError(f"{source} must be a mapping, got {training!r}.")
    _known(training, known, source)
    seed = training.get("seed", 0)
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ConfigError(f"{source}.seed must be a whole number from 0 to 2**32 - 1, got {seed!r}.")
    if not isinstance(training.get("directory"), (str, type(None))):
        raise ConfigError(f"{source}.directory must be the path of a folder, got {training['directory']!r}.")
    for key in ("trainer", "data"):
        if not isinstance(training.get(key) or {}, Mapping):
            raise ConfigError(f"{source}.{key} must be a mapping, got {training[key]!r}.")
    if training.get("callbacks") is not None:
        if not isinstance(training["callbacks"], list):
            raise ConfigError(f"{source}.callbacks must be a list of names, got {training['callbacks']!r}.")
        training["callbacks"] = [_named(callback, f"{source}.callbacks") for callback in training["callbacks"]]
    given = training.get("trainer") or {}
    for key in OBJECTS:
        if not isinstance(given.get(key), (bool, type(None))):
            raise ConfigError(
                f"{source}.trainer.{key} takes objects of Python, and a recipe holds data. Call kd.distill in Python."
            )


def _check_cache(cache: Any, teacher: Any, source: str) -> None:
    if not isinstance(cache, dict) or not isinstance(cache.get("directory"), str):
        raise ConfigError(
            f"{source} must be a mapping with 'directory', where the teacher's answers are kept; got {cache!r}."
        )
    _known(cache, CACHE_KEYS, source)
    if not isinstance(cache.get("check_inputs", True), bool):
        raise ConfigError(f"{source}.check_inputs must be true or false, got {cache['check_inputs']!r}.")
    if teacher is None:
        raise ConfigError(f"{source} keeps a teacher's answers, and the recipe has no teacher section.")


def _check_weights(model: Mapping[str, Any], source: str) -> None:
    if not isinstance(model.get("weights", ""), (str, type(None))):
        raise ConfigError(f"{source}.weights must be the path of a safetensors file, got {model['weights']!r}.")


def parsed(text: str, source: str) -> Any:
    """Plain YAML as data; `source` is where it stands, for the ConfigError."""
    try:
        return yaml_of(text)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{source} is no plain YAML: {error}") from None


def settings_from(overrides: Iterable[str]) -> dict[str, Any]:
    """The settings that "a=value" texts give, the values read as YAML.

    Raises:
        ConfigError: if a text has no "=", or its value is no plain YAML.
    """
    settings: dict[str, Any] = {}
    for override in overrides:
        _override(settings, override)
    return settings


def _override(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set takes a.b=value, got {override!r}.")
    _put(content, path, parsed(text, f"--set {override}"), f"--set {override}")


def _put(content: dict[str, Any], path: str, value: Any, source: str) -> None:
    place = content
    *sections, last = path.split(".")
    for section in sections:
        if isinstance(place.get(section), str):
            place[section] = {"name": place[section]}
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{source}: {section!r} holds a value, not a section.")
    place[last] = value


def _known(content: Mapping[str, Any], known: Iterable[str], source: str) -> None:
    names = list(known)
    for key in content:
        if key not in names:
            raise ConfigError(f"{source} has an unknown key {key!r}. {nearest(str(key), names)}")
