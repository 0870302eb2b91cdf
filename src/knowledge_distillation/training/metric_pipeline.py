"""Any metric of torchmetrics as the score of a student."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torchmetrics import Metric

from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.training.pipelines import to_device


class MetricPipeline:
    """Score a model by a metric on its logits and the labels; several processes share the work.

    Args:
        metric: updated with (logits, labels) of every batch, as `torchmetrics.classification.MulticlassF1Score` is.
            Its `higher_is_better` says which way is up. A copy is used.
        adapter: reads logits and labels from the model and the batch.

    Raises:
        ConfigError: if metric is no `torchmetrics.Metric`.
    """

    def __init__(self, metric: Metric, adapter: str | Adapter = "auto") -> None:
        if not isinstance(metric, Metric):
            raise ConfigError(f"metric must be a torchmetrics.Metric, got {type(metric).__name__}. Build it first.")
        self.metric = copy.deepcopy(metric)
        self.metric.sync_on_compute = False  # it would wait for processes that do not compute
        self.adapter = adapter_pair(adapter)[0]
        if metric.higher_is_better is not None:
            self.higher_is_better = metric.higher_is_better

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": the metric's value}.

        Raises:
            ModelContractError: if a batch gives no logits or no labels.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> Metric:
        """A metric that has seen this part, on the CPU; errors as of `run_inference_pipeline`."""
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        metric = copy.deepcopy(self.metric).to(device)
        metric.reset()
        with undisturbed(model):
            for batch in data_loader:
                signals = self.adapter(model, to_device(batch, device), 1.0)
                if signals.logits is None or signals.labels is None:
                    raise ModelContractError(
                        f"{type(metric).__name__} needs logits and labels, and a validation batch gave none. Yield "
                        "(inputs, labels), or pass your own inference pipeline."
                    )
                metric.update(signals.logits, signals.labels)
        return metric.cpu()

    def combine(self, parts: Sequence[Metric]) -> dict[str, Any]:
        """The value over all parts.

        Raises:
            RuntimeError: by torchmetrics, if there are several parts and the metric cannot be merged.
        """
        whole = copy.deepcopy(parts[0])
        for part in parts[1:]:
            whole.merge_state(part)
        return {"inference_result": whole.compute()}
