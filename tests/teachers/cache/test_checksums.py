"""What goes wrong for a user whose samples are compared in the batch, where one could slip through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision import tv_tensors

from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers import CachedTeacher, write_cache
from knowledge_distillation.teachers.cache.checksums import batch_checksums, inputs_checksum
from tests.training.toys import FEATURES, mlp


class Made(Dataset[Any]):
    """Samples as a function makes them of their number."""

    def __init__(self, make: Callable[[int], Any], count: int = 6) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def row(index: int, shape: tuple[int, ...] = (FEATURES,)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(index))


STACKED = {
    "a tensor": lambda index: row(index),
    "with a label": lambda index: (row(index), index),
    "in a list": lambda index: [row(index), torch.tensor(index)],
    "alone in a tuple": lambda index: (row(index),),
    "two inputs": lambda index: (row(index, (2, 3)), row(index + 9).double(), index),
    "named": lambda index: {"pixels": row(index), "labels": index, "again": row(index + 9, (2, 2)), "index": index},
    "labels alone": lambda index: {"labels": index},
    "turned and cut": lambda index: (row(index, (3, 8, 8))[:, 1:5, ::2].transpose(1, 2), index),
    "numbers": lambda index: (row(index, ()), index),
    "nothing": lambda index: (row(index, (0, 3)), index),
    "bytes": lambda index: ((row(index) * 9).to(torch.uint8), index),
    "yes and no": lambda index: (row(index, ()) > 0, row(index) > 0, index),
    "bfloat16": lambda index: (row(index).bfloat16(), row(index, ()).bfloat16(), index),
    "images": lambda index: (tv_tensors.Image(row(index, (3, 4, 4))), index),
    "with gradients": lambda index: (row(index).requires_grad_(), index),
}


@pytest.mark.parametrize("form", STACKED)
def test_a_sample_has_the_same_checksum_in_its_batch(form: str) -> None:
    """Otherwise a sound cache would be refused, or every sample counted twice."""
    samples = [STACKED[form](index) for index in range(5)]
    assert batch_checksums(default_collate(samples), samples) == [inputs_checksum(sample) for sample in samples]


@pytest.mark.parametrize(
    "samples",
    [
        [(np.ones(3, dtype=np.float32), 0)] * 2,
        [np.ones(3, dtype=np.float32)] * 2,
        [(1.0, 0)] * 2,
        [1.0, 2.0],
        [("one", 0), ("two", 1)],
        ["one", "two"],
        [{"inputs": {"pixels": torch.ones(3)}, "labels": 0}] * 2,
        [([torch.ones(3), torch.ones(3)], 0)] * 2,
        [(torch.ones(3), 0), (torch.ones(3, dtype=torch.float64), 0)],
        [{"pixels": torch.ones(3)}, {"pixels": torch.ones(3), "left out": torch.ones(3)}],
    ],
)
def test_what_is_no_stack_of_the_samples_is_not_counted_in_the_batch(samples: list[Any]) -> None:
    """The batch holds something else than the samples: other types, or less."""
    assert batch_checksums(default_collate(samples), samples) is None


def test_checksums_are_those_of_the_caches_that_there_are() -> None:
    """Otherwise every cache that was ever written is refused."""
    image = torch.arange(12.0).view(3, 2, 2)
    assert inputs_checksum((image, 7)) == 1852251831
    assert inputs_checksum({"input_ids": [1, 2], "pixels": image.bfloat16(), "labels": 3}) == 1927098775


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param(lambda i: (row(i), i), lambda i: (row(i + (i == 3)), i), id="another sample"),
        pytest.param(lambda i: (row(i), i), lambda i: (row(i, (FEATURES + (i == 3),)), i), id="cannot be stacked"),
        pytest.param(lambda i: (row(i), i), lambda i: (row(i).double() if i == 3 else row(i), i), id="another dtype"),
        pytest.param(lambda i: (row(i), i), lambda i: (row(i).numpy() if i == 3 else row(i), i), id="an array"),
        pytest.param(
            lambda i: {"inputs": row(i), "labels": i},
            lambda i: {"inputs": row(i), "labels": i, **({"more": row(i)} if i == 3 else {})},
            id="an input that the batch leaves out",
        ),
        pytest.param(lambda i: (row(i).numpy(), i), lambda i: ((row(i) + (i == 3)).numpy(), i), id="arrays"),
    ],
)
@pytest.mark.parametrize("collate", [default_collate, lambda rows: default_collate(rows)], ids=["default", "own"])
def test_one_sample_that_differs_is_named(
    tmp_path: Path, written: Callable[[int], Any], read: Callable[[int], Any], collate: Callable[[list[Any]], Any]
) -> None:
    """In whatever way it differs, and whatever becomes of it in the batch."""
    write_cache(Takes(), DataLoader(Made(written), batch_size=3, collate_fn=collate), tmp_path)
    loader = CachedTeacher(tmp_path).loader(DataLoader(Made(read), batch_size=6, collate_fn=collate))
    with pytest.raises(CacheError, match="Sample 3, view 0, is not what the teacher saw"):
        list(loader)


class Takes(nn.Module):
    """Answers to samples of all forms above, and to rows of any number."""

    def __init__(self) -> None:
        super().__init__()
        self.model = mlp()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs.view(len(inputs), -1, FEATURES).mean(1))
        return logits


def test_a_sound_batch_that_cannot_be_collated_says_why(tmp_path: Path) -> None:
    """Samples of two lengths, each as it was: the cache is right, and the collate function is the matter."""
    lengths = Made(lambda index: (row(index, (2 + index % 2, FEATURES)), index))
    write_cache(Takes(), DataLoader(lengths, batch_size=1), tmp_path)
    with pytest.raises(RuntimeError, match="equal size"):
        list(CachedTeacher(tmp_path).loader(DataLoader(lengths, batch_size=2)))


def test_a_collate_function_may_take_samples_apart(tmp_path: Path) -> None:
    """Many pop the labels; what they leave of a sample is not what is compared."""

    def popped(rows: list[dict[str, Any]]) -> Any:
        return torch.stack([row.pop("inputs") for row in rows]), torch.tensor([row.pop("labels") for row in rows])

    loader = DataLoader(Made(lambda i: {"inputs": row(i), "labels": i}), batch_size=3, collate_fn=popped)
    write_cache(Takes(), loader, tmp_path)
    assert [batch.content[1].tolist() for batch in CachedTeacher(tmp_path).loader(loader)] == [[0, 1, 2], [3, 4, 5]]


def test_a_dataset_that_fills_one_tensor_again_and_again_is_found(tmp_path: Path) -> None:
    """Each sample is right when it is made, and the batch holds the last one as often as it is long."""
    write_cache(Takes(), DataLoader(Made(lambda i: (row(i), i)), batch_size=3), tmp_path)
    held = torch.empty(FEATURES)
    loader = DataLoader(Made(lambda i: (held.copy_(row(i)), i)), batch_size=3)
    with pytest.raises(CacheError, match="Sample 0, view 0, is not what the teacher saw"):
        list(CachedTeacher(tmp_path).loader(loader))
