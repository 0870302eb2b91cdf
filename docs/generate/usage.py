"""How each loss is called in a plain loop and written in a recipe."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import yaml

from knowledge_distillation.losses.catalogue import Entry

READ_BY_ADAPTERS = ("labels", "index")
"""Inputs beside the two signals that the named adapters find in a batch."""
ONE_LAYER = {
    "feature map": "layer3",
    "features": "layer3",
    "class activation maps": "maps",
    "features of several views": "layer3",
    "hidden states": "encoder.layer.3",
    "embeddings": "pooler",
    "vectors": "pooler",
    "attention scores": "encoder.layer.3.attention",
    "attention probabilities": "attentions",
}
"""Signal -> an example of a path for it; models differ."""
SEVERAL_LAYERS = {
    "feature maps": ("layer2", "layer3"),
    "queries, keys and values": ("query", "key", "value"),
    "hidden states and attention scores": ("embeddings", "layer.0", "layer.1", "attention.0", "attention.1"),
    "means and log variances": ("mean", "log_variance"),
    "objectness, boxes and class scores": ("objectness", "boxes", "class_scores"),
    "class scores and boxes": ("class_scores", "boxes"),
}
MODEL_OUTPUTS = {
    "log_probs": "log_probs",
    "log_probs of the tokens of response pairs": "token_log_probs",
}
FROM_THE_OUTPUT = ("logits", "predictions", "relevance scores", "logits and sampled class ids")
"""Signals that are the model's own output, so that a term needs no name for them."""
SETTINGS: dict[str, Any] = {
    "student_channels": 64,
    "teacher_channels": 256,
    "student_width": 312,
    "teacher_width": 768,
    "width": 128,
    "samples": 50000,
    "batch_size": 64,
}
"""Example values for settings that depend on the models or the data."""
RECIPE_SETTINGS: dict[str, dict[str, Any]] = {
    "srrl": {"classifier": "auto"},
    "simkd": {"classifier": "auto", "teacher_size": "auto"},
    "hybrid_uld": {"student_ids": [5, 9, 12], "teacher_ids": [3, 9, 27]},
}
"""Settings that the line of a recipe has besides: parts of the teacher, and ids that only two tokenizers know."""
RECIPE_NOTES = {
    "srrl": "`classifier: auto` is the teacher's last linear layer.",
    "simkd": "`classifier: auto` is the teacher's last linear layer, through which the finished student answers.",
    "hybrid_uld": "The ids are examples: of the same tokens in both vocabularies, in one order.",
    "projection_kl": "The projection is read from both tokenizers by the [language domain](../tokenizers.md)'s data.",
    "sampled_cross_entropy": (
        "The draws come from a [teacher cache](../cache.md): `cache: {signals: {logits: {name: sampled, draws: 12}}}`."
    ),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """How one loss is used.

    Attributes:
        make: the line that builds the module; empty where the function does.
        call: the line that computes the loss.
        recipe: the objective of a recipe with this loss as its one term.
        notes: what must be known besides.
    """

    make: str
    call: str
    recipe: str
    notes: tuple[str, ...]


def usage(entry: Entry) -> Usage:
    """The lines for one loss."""
    settings = example_settings(entry)
    as_module = bool(entry.facts.learns or settings or _missing_from_function(entry))
    inputs = [name for name, parameter in _parameters(entry.module.forward).items() if _is_signal(parameter)]
    arguments = ", ".join([*inputs, *(f"{name}={name}" for name in entry.facts.needs)])
    if as_module:
        given = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        given = {
            "hybrid_uld": "student_ids, teacher_ids",
            "projection_kl": "projection",
            "srrl": f"{given}, classifier=teacher.fc",
        }.get(entry.name, given)
        make, call = f"criterion = kd.losses.{entry.module.__name__}({given})", f"loss = criterion({arguments})"
    else:
        make, call = "", f"loss = kd.losses.{entry.name}({arguments})"
    return Usage(make=make, call=call, recipe=_recipe(entry, settings), notes=tuple(_notes(entry)))


def example_settings(entry: Entry) -> dict[str, Any]:
    """Values for the settings without which the module cannot be built, or learns nothing."""
    several = entry.facts.signal in SEVERAL_LAYERS
    found = {}
    for name, parameter in inspect.signature(entry.module).parameters.items():
        required = parameter.default is parameter.empty
        sizes = entry.facts.learns and name.startswith(("student_", "teacher_")) and name in SETTINGS
        if (required or sizes) and name in SETTINGS:
            value = SETTINGS[name]
            found[name] = [value // 2, value] if several and name.endswith("_channels") else value
    return found


def _recipe(entry: Entry, settings: dict[str, Any]) -> str:
    term: dict[str, Any] = {"loss": entry.name, "weight": 1.0}
    signal = entry.facts.signal
    if signal not in FROM_THE_OUTPUT and entry.facts.uses_teacher:
        for side in ("student", "teacher"):  # a list of its own for each: YAML would write an alias
            several = SEVERAL_LAYERS.get(signal)
            term[side] = list(several) if several else ONE_LAYER.get(signal) or MODEL_OUTPUTS[signal]
    required = inspect.signature(entry.module).parameters
    chosen = {name: value for name, value in settings.items() if required[name].default is not inspect.Parameter.empty}
    chosen |= RECIPE_SETTINGS.get(entry.name, {})
    line = yaml.safe_dump({**term, **chosen}, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return f"objective:\n  {entry.name}: {line}"


def _notes(entry: Entry) -> list[str]:
    notes = []
    signal = entry.facts.signal
    if signal == "log_probs":
        notes.append("Log-probabilities come from the adapter `original`, or from one of your own.")
    elif signal in ONE_LAYER or signal in SEVERAL_LAYERS or signal in MODEL_OUTPUTS:
        notes.append(
            "The names after `student` and `teacher` are examples: module paths of your models, or features that "
            "your adapter gives."
        )
    if entry.name in RECIPE_NOTES:
        notes.append(RECIPE_NOTES[entry.name])
    required = [name for name, value in _parameters(entry.module).items() if value.default is value.empty]
    if set(required) - RECIPE_SETTINGS.get(entry.name, {}).keys():
        notes.append("Sizes that the module needs and the recipe leaves out are read from the first batch.")
    foreign = [need for need in entry.facts.needs if need not in READ_BY_ADAPTERS]
    if foreign:
        listed = " and ".join(f"`{need}`" for need in foreign)
        notes.append(
            f"The named adapters do not read {listed}: pass an adapter of your own in Python that puts "
            f"{'it' if len(foreign) == 1 else 'them'} into `Signals.extras`, or let the model return `Signals`."
        )
    return notes


def _missing_from_function(entry: Entry) -> list[str]:
    return [
        name
        for name, parameter in _parameters(entry.function).items()
        if parameter.kind is parameter.KEYWORD_ONLY
        and parameter.default is parameter.empty
        and name not in entry.facts.needs
    ]


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    return {name: value for name, value in inspect.signature(function).parameters.items() if name != "self"}


def _is_signal(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is parameter.empty
