"""The student's weights out of a checkpoint, of this toolkit or of the original."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.errors import CheckpointError
from knowledge_distillation.training.durable_files import read_checkpoint

STUDENT = "student_model."


def read_student_weights(checkpoint_path: str | Path, map_location: Any = "cpu") -> dict[str, Tensor]:
    """The student's state dict from a checkpoint of this toolkit or of the original.

    Raises:
        CheckpointError: if the file is missing, holds anything but plain data, or has no student in it.
    """
    state = read_checkpoint(checkpoint_path, map_location).get("state_dict")
    weights = own_weights(state if isinstance(state, Mapping) else {})
    student = {name.removeprefix(STUDENT): tensor for name, tensor in weights.items() if name.startswith(STUDENT)}
    if not student or not all(isinstance(tensor, Tensor) for tensor in student.values()):
        raise CheckpointError(f"The checkpoint {checkpoint_path} holds no weights under {STUDENT!r}, so no student.")
    return student


def load_student(student: nn.Module, checkpoint_path: str | Path, map_location: Any = "cpu") -> None:
    """Fill a student with its weights in a checkpoint.

    Checkpoints of the original toolkit load as well; the teacher and the hyperparameters inside them are left out. Only
    tensors and plain data are read, nothing in the file is run.

    Args:
        student: filled in place.
        checkpoint_path: a .ckpt file.
        map_location: as in `torch.load`.

    Raises:
        CheckpointError: if the file is missing, unreadable, or does not fit the student.
    """
    state = read_student_weights(checkpoint_path, map_location)
    try:
        student.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"The checkpoint {checkpoint_path} does not fit this student: {error}") from error


def own_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The student's and the objective's entries of a state dict.

    The original toolkit's checkpoints also hold the whole teacher ("teacher_model.") and hyperparameters as
    buffers; both are left out.
    """
    return {name: tensor for name, tensor in state.items() if str(name).startswith((STUDENT, "objective."))}
