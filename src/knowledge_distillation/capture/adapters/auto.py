"""The usual adapter: call an ordinary PyTorch model on a batch, whatever the two look like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.signals import EMPTY, Signals

Adapter = Callable[[nn.Module, Any, float], Signals]
"""(model, batch, temperature) -> what the model says about the batch; tensors keep their graph."""
LABEL_KEYS = ("labels", "label", "targets", "target")
SIDE_KEYS = ("index", "boxes", "image_size", "from_teacher", "token_mask", "sampled_log_probs", "spans")
"""Entries of a batch that losses ask for by name, and that are no inputs of a model which does not name them."""
IGNORED = -100
FEATURE_OUTPUTS = ("last_hidden_state", "pooler_output", "hidden_states", "attentions")


def auto(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """Call an ordinary PyTorch model; the temperature is left to the losses.

    Batches: a tensor; a tuple or list whose last entry is the labels and whose other entries are the
    positional inputs (one entry alone is an input); a dict, passed by keyword without its labels and without what
    only losses ask for (`SIDE_KEYS`), which goes into the extras.

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
    positional, named, labels = split_batch(batch, model)
    extras = {key: batch[key] for key in SIDE_KEYS if key in batch} if isinstance(batch, Mapping) else EMPTY
    return read_output(call(model, positional, named), model, batch, labels, extras)


def split_batch(batch: Any, model: nn.Module | None = None) -> tuple[Sequence[Any], Mapping[str, Any], Any]:
    """What a batch holds, by the rules of `auto`.

    Args:
        batch: a tensor; a tuple or list, whose last entry of several is the labels; or a mapping, whose labels stand
            under one of `LABEL_KEYS` and whose `SIDE_KEYS` are no inputs.
        model: gets those of the side keys that its forward names, but for "index"; None for no model.

    Returns:
        Positional inputs, keyword inputs (one of the two is empty), and the labels or None.

    Raises:
        ModelContractError: if the batch has another form.
    """
    if isinstance(batch, Tensor):
        return (batch,), EMPTY, None
    if isinstance(batch, (list, tuple)) and len(batch) > 1 and all(isinstance(entry, Mapping) for entry in batch):
        raise ModelContractError(
            f"A batch must be one dict of tensors, got a {type(batch).__name__} of {len(batch)} dicts: samples that "
            "nobody has put together. Give the data loader a collate_fn that stacks them."
        )
    if isinstance(batch, (list, tuple)) and batch:
        return (batch[:-1], EMPTY, batch[-1]) if len(batch) > 1 else (batch, EMPTY, None)
    if isinstance(batch, Mapping):
        named = {key: value for key, value in batch.items() if key not in (*LABEL_KEYS, *SIDE_KEYS)}
        aside = [key for key in SIDE_KEYS[1:] if key in batch]
        if aside and model is not None:
            taken = inspect.signature(model.forward).parameters
            named |= {key: batch[key] for key in aside if key in taken}
        return (), named, next((batch[key] for key in LABEL_KEYS if key in batch), None)
    raise ModelContractError(
        f"A batch must be a tensor, a non-empty tuple or list, or a dict; got {type(batch).__name__}. "
        "Give the data loader a collate_fn, or pass an adapter: a callable (model, batch, temperature) -> Signals."
    )


def call(model: nn.Module, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """What the model returns; a ModelContractError says which inputs its forward does not take."""
    try:
        return model(*positional, **named)
    except TypeError as error:
        parameters = inspect.signature(model.forward)
        try:
            parameters.bind(*positional, **named)
        except TypeError:
            given = f"{len(positional)} inputs" if not named else f"the inputs {list(map(str, named))}"
            raise ModelContractError(
                f"The batch gives {given}, and {type(model).__name__}'s forward takes {list(parameters.parameters)} "
                f"({error}). Let the data loader yield what it takes, with the labels last or under 'labels'; or pass "
                "an adapter."
            ) from error
        raise


def read_output(output: Any, model: nn.Module, batch: Any, labels: Any, extras: Mapping[str, Any]) -> Signals:
    """The signals in what a model returned, by the rules of `auto`."""
    if isinstance(output, Tensor):
        return Signals(logits=output, **_masks(batch, output), labels=labels, extras=extras)
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
            **_masks(batch, logits if logits is not None else features.get("last_hidden_state")),
            labels=labels,
            extras=extras,
        )
    if isinstance(output, (list, tuple)):
        logits = next((entry for entry in output if isinstance(entry, Tensor)), None)
        if logits is not None:
            return Signals(logits=logits, **_masks(batch, logits), labels=labels, extras=extras)
    raise ModelContractError(
        f"{type(model).__name__} returned {type(output).__name__}; a tensor, a tuple with a tensor, a dict or a "
        "Hugging Face output is understood. Pass an adapter: a callable (model, batch, temperature) -> Signals."
    )


def _masks(batch: Any, answers: Tensor | None) -> dict[str, Any]:
    """The attention mask: of the answers where it has an entry for each, as in token-level models; else of features."""
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    if not isinstance(mask, Tensor):
        return {}
    fits = answers is not None and mask.shape == answers.shape[:-1]
    return {"mask" if fits else "feature_mask": mask.bool()}
