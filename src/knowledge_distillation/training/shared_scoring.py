"""One score of a student that several processes hold."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from torch import distributed, nn

from knowledge_distillation.teachers.cache.replay import view_seed
from knowledge_distillation.training.pipelines import InferencePipeline, PartwisePipeline, number_of, score
from knowledge_distillation.training.resumable_loader import shared
from knowledge_distillation.training.sharding import is_sharded


def score_together(pipeline: InferencePipeline, model: nn.Module, loader: Any, name: str, trainer: Trainer) -> float:
    """The score of a model on a whole loader, the same in every process; every process must call it.

    A pipeline that can put parts together, over a DataLoader whose samples have numbers, is given a share of the
    batches in each process: every sample is scored once, and the result is that of one process. Other pipelines score
    all of it in the first process, while the others wait. Where the model's parameters are sharded, each forward needs
    all processes, so all of them score all of it.

    Args:
        pipeline: scores the model.
        model: in eval mode. Its buffers become those of the first process, which are also what a checkpoint holds.
        loader: the validation loader.
        name: of the loader.
        trainer: whose processes these are.

    Raises:
        ModelContractError: as of `score`.
    """
    if trainer.world_size == 1:
        return score(pipeline, model, loader, name)
    for buffer in model.buffers():
        distributed.broadcast(buffer, src=0)
    share = shared(loader, trainer.global_rank, trainer.world_size, view_seed(0, trainer.global_step))
    together = is_sharded(model)
    if together or share is None or not isinstance(pipeline, PartwisePipeline):
        value = score(pipeline, model, loader, name) if together or trainer.is_global_zero else 0.0
        return float(trainer.strategy.broadcast(value))
    parts: list[Any] = [None] * trainer.world_size
    distributed.all_gather_object(parts, pipeline.measure_part(model, share))
    return number_of(pipeline.combine(parts), name)
