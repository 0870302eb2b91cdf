"""Compute a language model's head on the valid tokens of a padded batch only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.capture.calls import undisturbed

MASK_KEY = "attention_mask"


class HeadOnValidTokens:
    """Hooks on the last linear layer: its input [batch, length, width] is packed to [valid tokens, width], and its
    output [valid tokens, vocabulary] is unpacked to [batch, length, vocabulary] with zeros where the mask has none.

    What comes after the head in the model sees the usual shape. An input that does not fit the mask goes through
    as it is, as does every input without a mask. Taps on the head see the unpacked tensors, and its input whole if they
    were there before.

    Counting the valid tokens needs their number on the host, so a GPU is waited for once a call.

    Args:
        head: called with one tensor.
    """

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.mask: Tensor | None = None
        self._kept: tuple[Tensor, Tensor] | None = None
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Put the hooks on the head."""
        if not self._handles:
            self._handles = [
                self.head.register_forward_pre_hook(self._pack),
                self.head.register_forward_hook(self._unpack, prepend=True),
            ]

    def detach(self) -> None:
        """Take the hooks off."""
        while self._handles:
            self._handles.pop().remove()
        self.mask = self._kept = None

    def look_at(self, batch: Any) -> None:
        """Take the mask of the batch that comes next; None where the batch has none."""
        mask = batch.get(MASK_KEY) if isinstance(batch, Mapping) else None
        self.mask = mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None
        self._kept = None

    def _pack(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor] | None:
        mask = self.mask
        if mask is None or len(inputs) != 1 or inputs[0].shape[:-1] != mask.shape:
            return None
        rows = mask.flatten().nonzero().squeeze(1)
        self._kept = mask, rows
        return (inputs[0].flatten(0, 1).index_select(0, rows),)

    def _unpack(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if self._kept is None:
            return None
        (mask, rows), self._kept = self._kept, None
        whole = output.new_zeros(mask.numel(), output.shape[-1])
        return whole.index_copy_(0, rows, output).view(*mask.shape, -1)


def find_head(model: nn.Module, adapter: Adapter, batch: Any, temperature: float = 1.0) -> str | None:
    """The path of the linear layer whose output, [batch, length, vocabulary], the model gives as its logits.

    Args:
        model: called once in eval mode without gradient, and left as it was.
        adapter: (model, batch, temperature) -> Signals.
        batch: a mapping with an "attention_mask" [batch, length].
        temperature: handed to the adapter.

    Returns:
        None where there is no such layer or it is called more than once, the batch has no such mask, or the logits are
        made further after the layer: then it cannot be known that every token stands for itself.
    """
    mask = batch.get(MASK_KEY) if isinstance(batch, Mapping) else None
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        return None
    calls: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _, __, output, path=path: calls.append((path, output)))
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with undisturbed(model):
            logits = adapter(model, batch, temperature).logits
    finally:
        for handle in handles:
            handle.remove()
    if logits is None or logits.dim() != 3 or logits.shape[:-1] != mask.shape:
        return None
    paths = [path for path, output in calls if output is logits]
    return paths[0] if len(paths) == 1 and sum(path == paths[0] for path, _ in calls) == 1 else None
