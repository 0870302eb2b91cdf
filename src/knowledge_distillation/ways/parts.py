"""Score and save one part of a model that holds several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from knowledge_distillation.training.pipelines import InferencePipeline


class PartLoader:
    """A validation loader that is there for one part of the model.

    Args:
        loader: any validation loader.
        part: path of the sub-module that is to be scored on it.
    """

    def __init__(self, loader: Any, part: str) -> None:
        self.loader = loader
        self.part = part

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)


class PartPipeline:
    """Hand the part that a `PartLoader` names, and the loader in it, to an ordinary inference pipeline.

    Args:
        pipeline: scores one part as if it were the whole model.
    """

    def __init__(self, pipeline: InferencePipeline) -> None:
        self.pipeline = pipeline
        said = getattr(pipeline, "higher_is_better", None)
        if said is not None:
            self.higher_is_better = said

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        """What the inner pipeline says about the part."""
        part = model.get_submodule(data_loader.part)
        return self.pipeline.run_inference_pipeline(part, data_loader.loader)
