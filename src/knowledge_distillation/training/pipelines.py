"""Inference pipelines: the original toolkit's protocol for scoring a model, and a default one."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.teachers.cache import TaughtBatch

logger = logging.getLogger(__name__)
LOWER_IS_BETTER = ("wer", "cer", "loss", "error", "perplexity", "ppl", "rmse", "mae", "mse", "nll")


@runtime_checkable
class InferencePipeline(Protocol):
    """Anything that scores a model on a loader.

    `higher_is_better` (default True) may say which way is up; `answers_classes = False` that outputs are no scores of
    classes, so that the highest of them is no answer.
    """

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        """Score the model.

        Args:
            model: the student, in eval mode, on its training device.
            data_loader: one validation loader, whole.

        Returns:
            A dict with "inference_result": one number.
        """


@runtime_checkable
class PartwisePipeline(InferencePipeline, Protocol):
    """What a pipeline offers besides, if parts of a loader can be scored apart. Then processes share the loader."""

    def measure_part(self, model: nn.Module, data_loader: Any) -> Any:
        """What this part of the loader comes to, such as a sum and a count; plain data or tensors on the CPU.

        A part may hold no batch at all.
        """

    def combine(self, parts: Sequence[Any]) -> dict[str, Any]:
        """The result that the whole loader has, out of what its parts came to."""


class AccuracyPipeline:
    """Share of items whose highest logit is at the label: the default where nothing else is given.

    Args:
        adapter: reads logits and labels from the model and the batch.
        ignore_index: items with this label do not count.
    """

    higher_is_better = True

    def __init__(self, adapter: str | Adapter = "auto", ignore_index: int = -100) -> None:
        self.adapter = adapter_pair(adapter)[0]
        self.ignore_index = ignore_index

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": accuracy from 0 to 1, "count": items}.

        Raises:
            ModelContractError: if batches carry no labels, or no item counts.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> tuple[int, int]:
        """How many items are right, and how many count.

        Raises:
            ModelContractError: if batches carry no labels.
        """
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        right = torch.zeros((), dtype=torch.long, device=device)
        seen = torch.zeros((), dtype=torch.long, device=device)
        with undisturbed(model):
            for batch in data_loader:
                signals = self.adapter(model, to_device(batch, device), 1.0)
                if signals.logits is None or signals.labels is None:
                    raise ModelContractError(
                        "Accuracy needs logits and labels, and a validation batch gave none. Yield (inputs, labels), "
                        "or pass your own inference pipeline."
                    )
                counted = signals.labels != self.ignore_index
                right += ((signals.logits.argmax(dim=-1) == signals.labels) & counted).sum()
                seen += counted.sum()
        return int(right), int(seen)

    def combine(self, parts: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The accuracy of all parts together.

        Raises:
            ModelContractError: if no item counts.
        """
        right, seen = (sum(part[place] for part in parts) for place in (0, 1))
        if seen == 0:
            raise ModelContractError("The validation loader gave no labelled item, so there is no accuracy to report.")
        return {"inference_result": right / seen, "count": seen}


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in its tuples, lists and mappings on the device."""
    movable = (Tensor, TaughtBatch)
    return map_leaves(batch, lambda leaf: leaf.to(device, non_blocking=True) if isinstance(leaf, movable) else leaf)


def score(pipeline: InferencePipeline, model: nn.Module, data_loader: Any, name: str) -> float:
    """Run a pipeline and return its number.

    Raises:
        ModelContractError: if the result is no dict with a numeric "inference_result".
    """
    return number_of(pipeline.run_inference_pipeline(model, data_loader), name)


def number_of(result: Any, name: str) -> float:
    """The number in what a pipeline returned for the loader of this name; errors as of `score`."""
    if not isinstance(result, dict) or "inference_result" not in result:
        given = sorted(map(str, result)) if isinstance(result, dict) else type(result).__name__
        raise ModelContractError(
            f"run_inference_pipeline on {name!r} must return a dict with 'inference_result', got {given}: the student "
            "could be neither scored nor saved as best. Return {'inference_result': number}."
        )
    value = result["inference_result"]
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor of several numbers
        raise ModelContractError(
            f"'inference_result' on {name!r} must be one number, got {type(value).__name__}. Reduce it first."
        ) from error
    if math.isnan(number):
        logger.warning(
            "'inference_result' on %r is nan: no checkpoint is the best by it, and no comparison is possible. Look for "
            "empty batches or a division by 0 in run_inference_pipeline.",
            name,
        )
    return number


def higher_is_better(pipeline: Any, name: str) -> bool:
    """Which way the score of this loader improves: what the pipeline says, else what its name suggests, else up."""
    said = getattr(pipeline, "higher_is_better", None)
    if said is not None:
        return bool(said)
    words = re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", name)
    return not any(word.lower() in LOWER_IS_BETTER for word in words)


def answers_classes(pipeline: Any) -> bool:
    """Whether outputs may be read as scores of classes; None and pipelines that do not say leave that open: True."""
    return bool(getattr(pipeline, "answers_classes", True))


def check_pipeline(pipeline: Any) -> None:
    """Raise ConfigError unless the object has a callable `run_inference_pipeline`."""
    if isinstance(pipeline, type):
        raise ConfigError(f"The inference pipeline must be an instance, and {pipeline.__name__} is a class. Call it.")
    if not callable(getattr(pipeline, "run_inference_pipeline", None)):
        raise ConfigError(
            f"The inference pipeline must have a method run_inference_pipeline(model, data_loader); "
            f"{type(pipeline).__name__} has none."
        )
