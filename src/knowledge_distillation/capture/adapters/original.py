"""The original toolkit's contract: models called with a temperature, which return a dict of three."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.signals import Signals

GIVEN_PROB = "given:prob"
"""The signal under which the original's "prob" is kept; no module path has a colon."""


def original_teacher(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """The original toolkit's contract for a teacher: `model(*batch, temperature=T)` -> dict with "prob" and "logits".

    Args:
        model: returns "prob" (softmax over the last axis at the temperature, shape [*batch, classes]) and
            "logits" (same shape); other keys are ignored.
        batch: a tuple or list, unpacked as the positional inputs.
        temperature: passed on by keyword.

    Raises:
        ModelContractError: if the batch is no tuple or list, or a key is missing.
    """
    output = _call_original(model, batch, temperature, required=("prob", "logits"), whose="teacher")
    prob = output["prob"]
    return Signals(logits=output["logits"], log_probs=prob.log(), features={GIVEN_PROB: prob})


def original_student(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """The original toolkit's contract for a student: as a teacher's, plus "log_prob" and optionally "loss".

    Args:
        model: returns "prob", "logits", "log_prob" (shape [*batch, classes]) and optionally "loss", a dict of
            scalars (tensors or numbers) by name. The dict is copied, never changed.
        batch: a tuple or list, unpacked as the positional inputs.
        temperature: passed on by keyword.

    Raises:
        ModelContractError: if the batch is no tuple or list, a key is missing, or "loss" is no dict of scalars.
    """
    output = _call_original(model, batch, temperature, required=("prob", "logits", "log_prob"), whose="student")
    own = output.get("loss")
    if own is None:
        own = {}
    if not isinstance(own, Mapping):
        raise ModelContractError(
            f"The student's 'loss' must be a dict of name -> scalar, got {type(own).__name__}. "
            'Return {"loss": {"student_loss": value}}.'
        )
    for name, value in own.items():
        if not isinstance(name, str):
            raise ModelContractError(f"The names in the student's 'loss' must be text, got {name!r}.")
        if not (isinstance(value, (int, float, np.number)) or (isinstance(value, Tensor) and value.numel() == 1)):
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ModelContractError(f"The student's loss {name!r} must be one number, got {shape}. Reduce it first.")
    return Signals(
        logits=output["logits"],
        log_probs=output["log_prob"],
        features={GIVEN_PROB: output["prob"]},
        loss_terms=dict(own),
    )


def _call_original(
    model: nn.Module, batch: Any, temperature: float, *, required: tuple[str, ...], whose: str
) -> Mapping[str, Any]:
    if not isinstance(batch, (tuple, list)):
        raise ModelContractError(
            f"A training batch must be a tuple or list, unpacked as {whose}(*batch, temperature=T); got "
            f"{type(batch).__name__}. A bare tensor would be split along its first axis. "
            "Let the collate_fn return a tuple: `return inputs,`."
        )
    try:
        output = model(*batch, temperature=temperature)
    except TypeError as error:
        complaint = _call_complaint(model, batch, whose)
        if complaint is None:
            raise
        raise ModelContractError(complaint) from error
    if not isinstance(output, Mapping):
        raise ModelContractError(f"The {whose} must return a dict with {list(required)}, got {type(output).__name__}.")
    missing = [key for key in required if key not in output]
    if missing:
        raise ModelContractError(
            f"The {whose}'s output lacks {missing}; it must hold {list(required)} and holds "
            f"{sorted(map(str, output))}. Return softmax, raw scores and log_softmax over the last axis at the given "
            "temperature."
        )
    for key in required:
        if not isinstance(output[key], Tensor) or not output[key].is_floating_point() or output[key].dim() == 0:
            raise ModelContractError(f"The {whose}'s {key!r} must be a floating-point tensor [*batch, classes].")
    return output


def _call_complaint(model: nn.Module, batch: Sequence[Any], whose: str) -> str | None:
    """Why `model(*batch, temperature=T)` cannot be called, from the signature of its forward; None if it can."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    names = [parameter.name for parameter in parameters]
    if "temperature" not in names:
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return None
        return (
            f"The {whose} must accept temperature by keyword, and its forward takes {names}. Write "
            "forward(self, ..., temperature=1)."
        )
    before = names.index("temperature")
    if len(batch) > before and parameters[before].kind is parameters[before].POSITIONAL_OR_KEYWORD:
        return (
            f"A batch of {len(batch)} entries is unpacked into the {whose}'s forward, which takes {before} before "
            f"temperature ({names[:before]}). Let the collate_fn return only the inputs, without labels, or let "
            "forward take them."
        )
    return None
