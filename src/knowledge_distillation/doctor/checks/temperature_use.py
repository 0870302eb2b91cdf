"""A temperature that is applied twice, or never."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, auto
from knowledge_distillation.capture.paths import modules_by_path, unwrap
from knowledge_distillation.doctor.asking import ask_student, logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import first_items
from knowledge_distillation.doctor.patient import FEW_ITEMS, Patient
from knowledge_distillation.doctor.whose import both_sides
from knowledge_distillation.signals import Signals

FIX_TWICE = "Leave the logits raw and soften them in the loss alone."


def temperature_use(patient: Patient) -> Iterator[Finding]:
    """The temperature is applied twice (by the model and by the loss), or never.

    Given probabilities are compared with the softmax of the logits at the temperature; logits with those that the same
    model gives when it is called with twice the temperature, and with what its last linear layer gives.
    """
    temperature = float(patient.plan.temperature)
    softened = [look for look in patient.objective.bound if _temperature(look.loss) not in (None, 1.0)]
    yield from _unheard(patient, temperature)
    for bound in softened:
        if "log_probs" in (bound.student, bound.teacher) and temperature != 1 and bound.loss.facts.signal == "logits":
            yield Finding(
                "error",
                f"Term {bound.name!r} softens log-probabilities that are softened already.",
                f"They are made at {temperature:g}, and its loss divides them by {_temperature(bound.loss):g}.",
                "The temperature is applied twice: what is taught is flatter than meant.",
                "Let the term read 'logits', or use kd_from_log_probs.",
            )
    for whose, signals in both_sides(patient):
        yield from _given(whose, signals, temperature)
    if not softened:
        return
    names = ", ".join(bound.name for bound in softened)
    for whose, divisor in _divided(patient, temperature):
        yield Finding(
            "error",
            f"The {whose} softens its logits itself, and a loss softens them again.",
            f"Its logits are the raw scores divided by {divisor:.4g}; {names} divides by "
            f"{_temperature(softened[0].loss):g} once more.",
            "The temperature is applied twice: what is taught is flatter than meant, and its gradient smaller.",
            FIX_TWICE,
        )


def _unheard(patient: Patient, temperature: float) -> Iterator[Finding]:
    deaf = patient.student_adapter is auto and patient.teacher_adapter is auto
    used = {_temperature(bound.loss) for bound in patient.objective.bound}
    if temperature != 1 and deaf and temperature not in used:
        kept = sorted(value for value in used if value is not None)
        yield Finding(
            "warning",
            "The temperature is never applied.",
            f"temperature={temperature:g} was given; the adapter 'auto' leaves it to the losses, whose own are "
            f"{kept or 'none'}.",
            "The teacher is asked at another temperature than meant.",
            f"Set it in the loss: objective={{'kd': {{'loss': 'kd', 'temperature': {temperature:g}}}, ...}}.",
        )


def _given(whose: str, signals: Signals, temperature: float) -> Iterator[Finding]:
    logits = logits_or_none(signals)
    if temperature == 1 or logits is None or signals.log_probs is None or logits.shape != signals.log_probs.shape:
        return
    given = signals.log_probs.detach().float().exp()
    scores = logits.detach().float()
    candidates = {"once": temperature, "never": 1.0, "twice": temperature**2}
    errors = {name: _distance(given, scores / divisor) for name, divisor in candidates.items()}
    best = min(errors, key=lambda name: errors[name])
    if best != "once" and errors[best] < 2e-3 < errors["once"]:
        yield Finding(
            "error",
            f"The {whose}'s probabilities have the temperature applied {best}.",
            f"At temperature {temperature:g} they differ from softmax(logits / {temperature:g}) by "
            f"{errors['once']:.2g}, from softmax(logits / {candidates[best]:g}) by {errors[best]:.1e}.",
            "Teacher and student are compared at other temperatures than meant, or at two different ones.",
            "Return softmax(logits / temperature) and the raw logits.",
        )


def _divided(patient: Patient, temperature: float) -> Iterator[tuple[str, float]]:
    """(whose, the number that the raw scores were divided by), for each model that softens its logits."""
    few = first_items(patient.batches[0], FEW_ITEMS)
    content = getattr(few, "content", few)
    for whose, model, adapter in (
        ("student", patient.student, patient.student_adapter),
        *(("teacher", model, patient.teacher_adapter) for model in patient.teacher_models[:1]),
    ):
        signals = _with_last_linear(model, adapter, content, temperature)
        logits = logits_or_none(signals)
        if logits is None:
            continue
        raw = next((value for value in signals.features.values() if isinstance(value, Tensor)), None)
        divisor = _ratio(raw, logits)
        if divisor is None and adapter is not auto and temperature != 1:
            divisor = _ratio(logits_or_none(_with_last_linear(model, adapter, content, 1.0)), logits)
        if divisor is not None and divisor > 1.01:
            yield whose, divisor


def _with_last_linear(model: nn.Module, adapter: Adapter, content: Any, temperature: float) -> Signals:
    linear = [path for path, module in modules_by_path(unwrap(model)).items() if isinstance(module, nn.Linear)]
    return ask_student(model, adapter, content, temperature=temperature, wanted=linear[-1:])


def _ratio(raw: Tensor | None, logits: Tensor) -> float | None:
    """The one number that divides all of `raw` to give the logits, or None."""
    if raw is None or raw.shape != logits.shape or float(logits.abs().max()) == 0:
        return None
    ratio = float((raw.float() * logits.float()).sum() / logits.float().square().sum())
    return ratio if torch.allclose(raw.float(), ratio * logits.float(), rtol=1e-3, atol=1e-4) else None


def _temperature(loss: Any) -> float | None:
    value = getattr(loss, "temperature", None)
    if value is None and hasattr(loss, "settings"):
        value = loss.settings.get("temperature")
    return float(value) if isinstance(value, (int, float)) else None


def _distance(given: Tensor, scores: Tensor) -> float:
    return float((given - scores.softmax(dim=-1)).abs().max())
