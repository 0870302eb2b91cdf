"""What goes wrong for a user when weights are read from a file that does not hold them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from knowledge_distillation.errors import CheckpointError
from knowledge_distillation.training.weights import load_weights
from tests.training.toys import mlp


def test_the_weights_of_the_file_are_in_the_model(tmp_path: Path) -> None:
    """Otherwise an untrained student is shipped."""
    save_model(mlp(3), str(tmp_path / "w"))
    model = mlp(4)
    load_weights(model, tmp_path / "w")
    for name, tensor in mlp(3).state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps({"hidden.weight": 1})),
        lambda path: save_model(nn.Linear(2, 2), str(path)),
        lambda path: save_file({"hidden.weight": torch.zeros(3)}, path),
    ],
    ids=["missing", "a folder", "empty", "a pickle", "another model", "another shape"],
)
def test_what_does_not_hold_them_is_one_error_that_names_the_file(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    """Otherwise each fault is a traceback of another library."""
    write(tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors holds no weights of this model"):
        load_weights(mlp(), tmp_path / "weights.safetensors")
