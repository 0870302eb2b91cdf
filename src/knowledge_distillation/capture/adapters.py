"""Adapters: call a model on a batch and turn whatever it returns into `Signals`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ModelContractError, nearest
from knowledge_distillation.signals import EMPTY, Signals

Adapter = Callable[[nn.Module, Any, float], Signals]
"""(model, batch, temperature) -> what the model says about the batch; tensors keep their graph."""
LABEL_KEYS = ("labels", "label", "targets", "target")
GIVEN_PROB = "given:prob"
"""The signal under which the original's "prob" is kept; no module path has a colon."""
FEATURE_OUTPUTS = ("last_hidden_state", "pooler_output", "hidden_states", "attentions")


def auto(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """Call an ordinary PyTorch model; the temperature is left to the losses.

    Batches: a tensor; a tuple or list whose last entry is the labels and whose other entries are the
    positional inputs (one entry alone is an input); a dict, passed by keyword without its labels.

    Outputs: a tensor (the logits); a tuple or list (its first tensor is the logits); a dict or a Hugging Face
    output with "logits" (or "out", as torchvision's segmentation models name it), or with hidden states only.
    A dict of scalars under "loss" becomes the model's own loss terms.

    Args:
        model: called once, in whatever mode and gradient context the caller set.
        batch: one batch, already on the model's device.
        temperature: accepted for the adapter's signature; not used, so `logits` are raw scores.

    Raises:
        ModelContractError: if the batch or the output has another form.
    """
    positional, named, labels = split_batch(batch)
    extras = {"index": batch["index"]} if isinstance(batch, Mapping) and "index" in batch else EMPTY
    return _read(model(*positional, **named), model, batch, labels, extras)


def split_batch(batch: Any) -> tuple[Sequence[Any], Mapping[str, Any], Any]:
    """What a batch holds, by the rules of `auto`.

    Args:
        batch: a tensor; a tuple or list, whose last entry of several is the labels; or a mapping, whose labels stand
            under one of `LABEL_KEYS` and whose "index" is no input.

    Returns:
        Positional inputs, keyword inputs (one of the two is empty), and the labels or None.

    Raises:
        ModelContractError: if the batch has another form.
    """
    if isinstance(batch, Tensor):
        return (batch,), EMPTY, None
    if isinstance(batch, (list, tuple)) and batch:
        return (batch[:-1], EMPTY, batch[-1]) if len(batch) > 1 else (batch, EMPTY, None)
    if isinstance(batch, Mapping):
        named = {key: value for key, value in batch.items() if key not in (*LABEL_KEYS, "index")}
        return (), named, next((batch[key] for key in LABEL_KEYS if key in batch), None)
    raise ModelContractError(
        f"A batch must be a tensor, a non-empty tuple or list, or a dict; got {type(batch).__name__}. "
        "Give the data loader a collate_fn, or pass an adapter: a callable (model, batch, temperature) -> Signals."
    )


def _read(output: Any, model: nn.Module, batch: Any, labels: Any, extras: Mapping[str, Any]) -> Signals:
    if isinstance(output, Tensor):
        return Signals(logits=output, mask=_fitting_mask(batch, output), labels=labels, extras=extras)
    if isinstance(output, Signals):
        return output
    if isinstance(output, Mapping):
        logits = output.get("logits", output.get("out"))
        features = {key: output[key] for key in FEATURE_OUTPUTS if output.get(key) is not None}
        if logits is None and not features:
            raise ModelContractError(
                f"{type(model).__name__} returned a dict with keys {sorted(map(str, output))}, none of which is "
                "'logits', 'out' or a hidden state, so nothing can be compared. Return 'logits', or pass an adapter."
            )
        own = output.get("loss")
        return Signals(
            logits=logits,
            features=features,
            loss_terms=dict(own) if isinstance(own, Mapping) else EMPTY,
            mask=_fitting_mask(batch, logits),
            labels=labels,
            extras=extras,
        )
    if isinstance(output, (list, tuple)):
        logits = next((entry for entry in output if isinstance(entry, Tensor)), None)
        if logits is not None:
            return Signals(logits=logits, mask=_fitting_mask(batch, logits), labels=labels, extras=extras)
    raise ModelContractError(
        f"{type(model).__name__} returned {type(output).__name__}; a tensor, a tuple with a tensor, a dict or a "
        "Hugging Face output is understood. Pass an adapter: a callable (model, batch, temperature) -> Signals."
    )


def _fitting_mask(batch: Any, logits: Tensor | None) -> Tensor | None:
    """The attention mask, where it has one entry per item of the logits (token-level models)."""
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    return mask.bool() if isinstance(mask, Tensor) and logits is not None and mask.shape == logits.shape[:-1] else None


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


ADAPTERS: Mapping[str, tuple[Adapter, Adapter]] = {
    "auto": (auto, auto),
    "original": (original_student, original_teacher),
}


def adapter_pair(adapter: str | Adapter | tuple[Adapter, Adapter]) -> tuple[Adapter, Adapter]:
    """The student's and the teacher's adapter, from a name, one callable for both, or a pair.

    Raises:
        ConfigError: if the name is unknown or the value is not callable.
    """
    if isinstance(adapter, str):
        if adapter not in ADAPTERS:
            raise ConfigError(f"There is no adapter named {adapter!r}. {nearest(adapter, ADAPTERS)}")
        return ADAPTERS[adapter]
    pair = adapter if isinstance(adapter, tuple) else (adapter, adapter)
    if len(pair) != 2 or not all(map(callable, pair)):
        raise ConfigError(
            f"adapter must be a name, a callable (model, batch, temperature) -> Signals, or two; got {adapter!r}."
        )
    return pair


def check_normalised(signals: Signals, whose: str) -> str | None:
    """Look once at given probabilities: they must be finite and sum to 1 over the last axis.

    Args:
        signals: with `log_probs` of shape [*batch, classes].
        whose: "student" or "teacher", for the message.

    Returns:
        A warning to show, or None. Rows that sum to something else may be meant (independent labels).

    Raises:
        ModelContractError: if there is NaN, or if the softmax was taken over the batch axis.
    """
    if signals.log_probs is None:
        return None
    probs = signals.log_probs.detach().float().exp()
    if bool(torch.isnan(probs).any()):
        raise ModelContractError(
            f"The {whose}'s probabilities hold NaN on the first batch; every loss would be NaN. Look for empty inputs, "
            "log of negative numbers, or overflow in half precision."
        )
    over_classes = probs.sum(dim=-1)
    if bool((over_classes - 1).abs().max() < 0.02):
        return None
    over_batch = probs.sum(dim=0)
    if probs.shape[0] > 1 and bool((over_batch - 1).abs().max() < 0.02):
        raise ModelContractError(
            f"The {whose} normalises its probabilities over the batch (dim=0): each column sums to 1, the rows do not. "
            "The student would learn which sample is most typical of a class, not which class a sample has. "
            "Use softmax(..., dim=-1)."
        )
    return (
        f"The {whose}'s probabilities sum to {over_classes.min():.3g}..{over_classes.max():.3g} over the classes, "
        "not to 1: kd_loss is then no divergence between distributions. Use softmax and log_softmax over the last axis."
    )
