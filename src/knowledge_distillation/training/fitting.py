"""Start a training: look into the checkpoint first, and let Ctrl-C be Ctrl-C."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from torch import Tensor

from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.training.continuing import KEY
from knowledge_distillation.training.durable_files import read_checkpoint
from knowledge_distillation.training.keys import hiding_keys
from knowledge_distillation.training.module import DistillationModule
from knowledge_distillation.training.sharding import is_sharded
from knowledge_distillation.training.student_weights import own_weights


def fit(trainer: Trainer, module: DistillationModule, train_loader: Any, checkpoint: str | None) -> None:
    """`trainer.fit`, from a checkpoint or afresh.

    Args:
        trainer: of one training.
        module: to train.
        train_loader: becomes the module's, so that its position can be written down; None leaves the module's.
        checkpoint: path to go on from, or None.

    Raises:
        ConfigError: if Lightning refuses the settings.
        KeyboardInterrupt: after Ctrl-C, which Lightning would turn into the end of the program.
        Terminated: after SIGTERM.
    """
    if train_loader is not None:
        module.train_loader = train_loader
    with warnings.catch_warnings(), _same_interrupt():
        # The folder of a run that goes on holds its earlier checkpoints, as it should.
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        # Lightning looks for a position that it would keep itself; `continuing` keeps ours.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        try:
            hiding_keys(
                "The training broke off, perhaps in a tracker",
                lambda: trainer.fit(module, ckpt_path=checkpoint, weights_only=True),
            )
        except MisconfigurationException as error:
            raise ConfigError(f"Lightning refuses this training: {error}") from error
        except SystemExit as error:
            if not trainer.interrupted:
                raise
            raise KeyboardInterrupt from error


def score_at_end(trainer: Trainer, module: DistillationModule) -> None:
    """Score the student as it is after a training that ended within an epoch, or between two validations.

    Nothing is done where validation was turned off, or where sharded weights would have to be set up anew.

    Args:
        trainer: whose `fit` has ended.
        module: that it trained.
    """
    wanted = bool(module.val_loaders) and bool(trainer.limit_val_batches) and not trainer.fast_dev_run  # type: ignore[attr-defined]
    if wanted and module.scored_after != trainer.global_step and not is_sharded(module.student_model):
        trainer.validate(module, verbose=False)


def check_checkpoint(path: str, module: DistillationModule) -> dict[str, Any]:
    """What the file holds, if it can be read safely and holds this module's student.

    Args:
        path: of a .ckpt file.
        module: about to be trained.

    Raises:
        CheckpointError: if not.
    """
    content = read_checkpoint(path, "cpu")
    weights = content.get("state_dict")
    if not isinstance(weights, dict) or not all(isinstance(entry, Tensor) for entry in weights.values()):
        raise CheckpointError(f"The checkpoint {path} holds no weights under 'state_dict'.")
    if not isinstance(content.get(KEY, {}), dict):
        raise CheckpointError(f"The checkpoint {path} does not say where its training stood: it is not one of ours.")
    state = own_weights(content["state_dict"])
    if any(name.startswith("teacher_model.") for name in content["state_dict"]):
        raise CheckpointError(
            f"The checkpoint {path} is the original toolkit's: its optimiser also held the teacher, so the run cannot "
            "go on. Take its student with KnowledgeDistillModel.load_from_checkpoint and begin a new run from that."
        )
    expected = {f"student_model.{name}": tensor.shape for name, tensor in module.student_model.state_dict().items()}
    found = {name: tensor.shape for name, tensor in state.items() if name.startswith("student_model.")}
    differing = sorted(set(expected.items()) ^ set(found.items()))
    if differing:
        raise CheckpointError(
            f"The checkpoint {path} belongs to another student: {len({name for name, _ in differing})} entries differ, "
            f"the first is {differing[0][0]}. Build the student as it was in that run."
        )
    return content


@contextmanager
def _same_interrupt() -> Iterator[None]:
    """Give SIGINT its handler back, which Lightning replaces when it is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
