"""Where a training stands within its epoch, written into every checkpoint and found again from it.

Lightning keeps its own counters; what it does not keep is here: the position in the data, the random generators of
every process, gradients that wait for more batches, and whether a validation was due.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from knowledge_distillation.errors import CheckpointError
from knowledge_distillation.training.random_state import random_state, restore_random_state
from knowledge_distillation.training.resumable_loader import ResumableLoader, WalkedLoader

KEY = "distillation"
WITHIN, BETWEEN = "within an epoch", "between epochs"


@dataclass(slots=True)
class Standing:
    """A process's own part of a checkpoint, as `own_part` wrote it.

    Attributes:
        place: WITHIN or BETWEEN.
        validates: whether a validation was due and not done.
        part: everything else.
    """

    place: str
    validates: bool
    part: dict[str, Any]


def describe(
    trainer: Trainer, module: nn.Module, checkpoint: dict[str, Any], *, validating_since: dict[str, Any] | None
) -> dict[str, Any]:
    """What `find` needs, for this process; corrects Lightning's counters in the checkpoint to fit it.

    Args:
        trainer: that is about to write a checkpoint.
        module: its parameters may hold gradients.
        checkpoint: what Lightning has put together.
        validating_since: the random state before a validation that is not finished, or None.
    """
    loop = trainer.fit_loop.epoch_loop
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = loop.batch_progress.current
    between = epochs.processed == epochs.started
    after_batch = batches.completed < batches.processed
    fetcher: Any = trainer.fit_loop._data_fetcher
    validates = not between and (
        validating_since is not None or (after_batch and fetcher is not None and loop._should_check_val_fx(fetcher))
    )
    if after_batch and not between:
        _count_as_completed(checkpoint, steps=int(not validates and not loop._should_accumulate()))
    if validating_since is not None:
        _count_as_not_begun(checkpoint)
    loader = train_loader(trainer)
    return {
        "place": BETWEEN if between else WITHIN,
        "validates": validates,
        "batches": batches.ready,
        "epoch_seed": getattr(loader, "epoch_seed", None),
        "loader_generators": loader.generator_states() if loader is not None else [],
        "random_state": validating_since or random_state(),
        "gradients": _gradients(module) if loop._should_accumulate() and not between else {},
    }


def find(checkpoint: Mapping[str, Any], rank: int, world: int) -> Standing | None:
    """This process's part of a checkpoint, or None where there is none, as in those of Lightning itself.

    Raises:
        CheckpointError: if it was written within an epoch by another number of processes.
    """
    parts = checkpoint.get(KEY, {}).get("processes")
    if parts is None:
        return None
    if len(parts) != world and parts[0]["place"] == WITHIN:
        raise CheckpointError(
            f"The checkpoint was written within an epoch by {len(parts)} processes, and there are {world} now: each "
            "would see other samples than those left. Continue with as many, or from a checkpoint at an epoch's end."
        )
    part = parts[rank if rank < len(parts) else 0]
    return Standing(part["place"], part["validates"], part)


def train_loader(trainer: Trainer) -> ResumableLoader | WalkedLoader | None:
    """The loader that the trainer walks, if its position can be written down."""
    combined: Any = trainer.fit_loop._combined_loader
    flat = combined.flattened if combined is not None else []
    return flat[0] if len(flat) == 1 and isinstance(flat[0], (ResumableLoader, WalkedLoader)) else None


def continue_within(trainer: Trainer, module: nn.Module, standing: Standing) -> None:
    """Go on after the last batch that was trained on; called when training starts, before any batch is fetched."""
    part, loader = standing.part, train_loader(trainer)
    loop: Any = trainer.fit_loop
    if loader is not None and part["epoch_seed"] is not None:
        _set_epoch(loader, loop.epoch_progress.current.processed)
        loader.begin_from(part["epoch_seed"], part["batches"])
        iter(loop._data_fetcher)
        loader.restore_generators(part["loader_generators"])
    if standing.validates:  # Lightning takes a checkpoint after the last batch for one after the validation
        validation: Any = loop.epoch_loop.val_loop
        validation.batch_progress.reset_on_run()
        validation.restarting = False
        validation._restart_stage = "restarted_mid_evaluation"
    for name, parameter in module.named_parameters():
        if name in part["gradients"]:
            parameter.grad = part["gradients"][name].to(parameter.device, copy=True)
    restore_random_state(part["random_state"])


def continue_between(trainer: Trainer, state: dict[str, Any], standing: Standing | None) -> None:
    """Begin the epoch after the checkpoint as it would have begun; called at its start.

    Lightning makes the first iterator of a resumed training before any hook, so the loader's seed is drawn from the
    wrong state; and a checkpoint written at the end of an epoch misses that epoch's step of the schedule.
    """
    restore_random_state(state)
    loader = train_loader(trainer)
    loop: Any = trainer.fit_loop
    if loader is not None and standing is not None:
        loader.restore_generators(standing.part["loader_generators"])
    if loop.is_resuming or loop.epoch_loop.restarting:
        if loader is not None:
            _set_epoch(loader, loop.epoch_progress.current.processed)
        iter(loop._data_fetcher)
    for configuration in trainer.lr_scheduler_configs:
        scheduler: Any = configuration.scheduler
        while configuration.interval == "epoch" and scheduler.last_epoch < trainer.current_epoch:
            scheduler.step()


def gathered(trainer: Trainer, part: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of all processes, by rank; every process must call this."""
    if trainer.world_size == 1 or not torch.distributed.is_initialized():
        return [part]
    parts: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(parts, part)
    return parts


def _count_as_completed(checkpoint: dict[str, Any], steps: int) -> None:
    """A checkpoint written at the end of a batch: the batch is done, and with it what Lightning would count later."""
    loops = checkpoint["loops"]["fit_loop"]
    for count in (loops["epoch_loop.batch_progress"]["total"], loops["epoch_loop.batch_progress"]["current"]):
        count["completed"] = count["processed"]
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] += steps


def _count_as_not_begun(checkpoint: dict[str, Any]) -> None:
    """A checkpoint written within a validation, which is done again as a whole."""
    counts = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
    earlier = counts["total"]["completed"] - counts["current"]["completed"]
    counts["total"] = dict.fromkeys(counts["total"], earlier)


def _gradients(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad.detach().cpu().clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def _set_epoch(loader: Any, epoch: int) -> None:
    places: list[Any] = [loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)]
    for place in places:
        if hasattr(place, "set_epoch"):
            place.set_epoch(epoch)


def is_fitting(module: LightningModule) -> bool:
    """Whether a module stands in a training that has an epoch."""
    trainer = module._trainer
    return trainer is not None and trainer.fit_loop._data_fetcher is not None
