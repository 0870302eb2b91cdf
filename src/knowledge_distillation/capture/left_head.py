"""Leave a language model's head to the loss: its hidden states and weight in the place of whole logits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.kernels.products import HALF
from knowledge_distillation.kernels.task import Shaping
from knowledge_distillation.losses import Projected

logger = logging.getLogger(__name__)
SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap")
"""As configurations of Transformers name the bound of the logits."""
ROUNDED, EXACT = 0.03, 0.002
"""Of the largest logit: what half precision and TF32 round off a sum, not what a forgotten factor changes."""


class LeftHead:
    """Calls a model whose head computes one token alone, and keeps what it was given for all of them.

    A reader makes one, and hands it as `head` to an adapter that takes it. The model's forward runs as a whole, through
    whatever wraps it. The one token's logits tell on the first batch whether the kept states, the weight and the
    softcap and scale of the config make the logits of this model. Where they do not, or the head is no plain linear
    layer (quantised, with added matrices, compiled), the model makes its logits itself, and the log says why.
    """

    def __init__(self, whose: str = "student") -> None:
        self.whose = whose
        self._checked = self._refused = False

    def call(self, model: nn.Module, forward: Callable[[], Any]) -> tuple[Any, Projected | None]:
        """What `forward` returns, and what stands in the place of its logits; None where these are whole.

        Args:
            model: that `forward` calls once, of Transformers, with `get_output_embeddings`.
            forward: () -> output with logits [samples, 1, vocabulary] if the head is left, else of all tokens.

        Returns:
            The output and `Projected` with hidden states [samples, tokens, width] and the head's own parameters, all
            with their graph.

        Raises:
            ModelContractError: if the model calls its head more than once a forward.
        """
        head = None if self._refused else output_layer(model)
        if head is None or is_compiled(model):
            return self._whole("it is compiled, or has no linear layer that get_output_embeddings gives", forward)
        shaping, kept = _shaping(model), list[Projected]()

        def keep(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor] | None:
            if torch.compiler.is_compiling() or not _is_plain(head) or len(inputs) != 1 or inputs[0].dim() != 3:
                return None
            # read here, where a sharded head is whole
            kept.append(Projected(inputs[0], head.weight, head.bias, shaping.softcap, shaping.scale))
            return (inputs[0][:, -1:],)

        handle = head.register_forward_pre_hook(keep)
        try:
            output = forward()
        finally:
            handle.remove()
        if not kept:
            return self._whole("its head is compiled, or its weight does not lie here in plain numbers", lambda: output)
        if len(kept) > 1:
            raise ModelContractError(
                f"A language model must call its head once a forward, and {type(model).__name__} called it "
                f"{len(kept)} times: which call makes its logits is not known. Use a loss on whole logits, such as "
                "'forward_kl'."
            )
        if not self._checked:
            if not _makes(kept[0], output):
                return self._whole("it changes its logits after the head in a way that is not known", forward)
            self._checked = True
        return output, kept[0]

    def _whole(self, reason: str, forward: Callable[[], Any]) -> tuple[Any, None]:
        if not self._refused:
            logger.warning("The %s's logits are made whole, which takes more memory: %s.", self.whose, reason)
            self._refused = True
        return forward(), None


def output_layer(model: nn.Module) -> nn.Linear | None:
    """The layer that makes the logits, or None where the model does not say."""
    find = getattr(unwrap(model), "get_output_embeddings", None)
    found = find() if callable(find) else None
    return found if isinstance(found, nn.Linear) else None


def is_compiled(model: nn.Module) -> bool:
    """Whether torch.compile runs the model: hooks that come and go are not seen in its graph."""
    return hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None


def _is_plain(head: nn.Linear) -> bool:
    """Whether its weight holds the numbers that its forward multiplies by."""
    return type(head).forward is nn.Linear.forward and type(head.weight) in (Tensor, nn.Parameter)


def _shaping(model: nn.Module) -> Shaping:
    """What the model does to its head's scores, as its configuration says."""
    config: Any = getattr(unwrap(model), "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    softcap = next((cap for name in SOFTCAPS if (cap := getattr(config, name, None)) is not None), None)
    factor, divisor = getattr(config, "logit_scale", None), getattr(config, "logits_scaling", None)
    if isinstance(factor, (int, float)):  # Cohere; MPT has a word there, and ignores it
        return Shaping(softcap=softcap, scale=factor)
    return Shaping(softcap=softcap, scale=1.0 / (divisor or 1.0))  # Granite


@torch.no_grad()
def _makes(kept: Projected, output: Any) -> bool:
    """Whether these are the model's logits at the last token, as nearly as half precision can tell."""
    logits = output.get("logits") if isinstance(output, Mapping) else output
    if not isinstance(logits, Tensor):
        return False
    scores = nn.functional.linear(kept.hidden[:, -1:], kept.weight, kept.bias)
    expected = Shaping(scale=kept.scale, softcap=kept.softcap).apply(scores)
    if expected.shape != logits.shape:
        return False
    tolerance = ROUNDED if scores.dtype in HALF else EXACT
    return bool((expected - logits).abs().max() <= tolerance * expected.abs().max())
