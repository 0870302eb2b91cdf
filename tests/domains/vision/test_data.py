"""What goes wrong for a user when images or labels are not what the data set's name says."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.labelling import keep_labels
from knowledge_distillation.domains.vision.data import cifar10, digits, fashion_mnist, mnist
from knowledge_distillation.errors import ConfigError

UNLABELLED = -100


def everything(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels of both loaders, sorted by their pixels."""
    parts = [data.train.dataset.tensors, data.validation["test"].dataset.tensors]  # type: ignore[attr-defined]
    images, labels = (torch.cat(side).numpy() for side in zip(*parts, strict=True))
    pixels = np.round(images.reshape(len(images), -1) * 16).astype(int)
    order = np.lexsort(np.column_stack([pixels, labels]).T[::-1])
    return pixels[order], labels[order]


def test_digits_are_scikit_learns() -> None:
    """Otherwise the demo's accuracy is about other images than it says."""
    from sklearn.datasets import load_digits

    theirs = load_digits()
    pixels, labels = theirs.data.astype(int), theirs.target
    order = np.lexsort(np.column_stack([pixels, labels]).T[::-1])
    ours = everything(digits())
    assert np.array_equal(ours[0], pixels[order])
    assert np.array_equal(ours[1], labels[order])


def test_the_test_split_is_always_the_same_and_apart_from_training() -> None:
    """Otherwise scores of two seeds are over different images, or over images that were trained on."""
    first, second = digits(labelled=100, seed=0), digits(labelled=50, seed=9)
    tests = [data.validation["test"].dataset.tensors for data in (first, second)]
    assert torch.equal(tests[0][0], tests[1][0])
    assert torch.equal(tests[0][1], tests[1][1])
    train = first.train.dataset.tensors
    assert (len(train[0]), len(tests[0][0])) == (1297, 500)
    assert not (tests[0][1] == UNLABELLED).any()
    assert first.facts == {"classes": 10, "channels": 1, "size": 8}
    assert tuple(train[0].shape[1:]) == (1, 8, 8)
    assert 0 <= float(train[0].min()) < float(train[0].max()) <= 1


def test_few_labels_are_drawn_evenly_over_the_classes_and_are_the_true_ones() -> None:
    """Otherwise 100 labels may lack a digit, and the comparison measures that."""
    full = digits().train.dataset.tensors[1]
    for count, seed in ((100, 0), (100, 1), (7, 0), (1297, 0)):
        few = digits(labelled=count, seed=seed).train.dataset.tensors[1]
        kept = few != UNLABELLED
        assert int(kept.sum()) == count
        assert torch.equal(few[kept], full[kept])
        if count <= 100:
            per_class = torch.bincount(few[kept], minlength=10)
            assert int(per_class.max() - per_class.min()) <= 1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 5))
def test_labels_are_kept_as_evenly_as_the_classes_allow(labels: list[int], share: float, seed: int) -> None:
    """Otherwise rare classes lose all their labels first."""
    given = torch.tensor(labels)
    count = max(1, round(share * len(labels)))
    few = keep_labels(given, count, seed)
    kept = few != UNLABELLED
    assert int(kept.sum()) == count
    assert torch.equal(few[kept], given[kept])
    have, keep = torch.bincount(given, minlength=5), torch.bincount(given[kept], minlength=5)
    exhausted = have == keep
    if not exhausted.all():
        assert int(keep[~exhausted].max() - keep[~exhausted].min()) <= 1
        assert int(keep.max()) <= int(keep[~exhausted].min()) + 1


def test_the_seed_chooses_which_labels_are_kept() -> None:
    """Otherwise every seed of a comparison sees the same labels, and the interval is too narrow."""
    labels = torch.arange(200) % 10
    draws = [keep_labels(labels, 20, seed) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(keep_labels(labels, None, 0), labels)


@pytest.mark.parametrize("count", [0, -1, 11])
def test_more_labels_than_there_are_or_none_at_all_are_refused(count: int) -> None:
    """Otherwise the student trains on nothing, or on fewer labels than reported."""
    with pytest.raises(ConfigError, match="labelled must be from 1 to 10"):
        keep_labels(torch.zeros(10, dtype=torch.long), count, 0)


@pytest.mark.parametrize("batch_size", [0, -4])
def test_a_batch_size_below_one_is_refused(batch_size: int) -> None:
    """Otherwise torch's own error leaves the setting unnamed."""
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        digits(batch_size=batch_size)


def idx(values: np.ndarray) -> bytes:
    """The IDX format by its definition: two zero bytes, type 8 (unsigned byte), rank, sizes, values."""
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def small(folder: Path, *, packed: bool = False) -> dict[str, np.ndarray]:
    """A tiny MNIST in a folder; returns its arrays."""
    random = np.random.default_rng(3)
    arrays = {}
    for part, count in (("train", 12), ("t10k", 5)):
        arrays[f"{part}-images-idx3-ubyte"] = random.integers(0, 256, (count, 4, 3), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = random.integers(0, 10, (count,), dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        content = gzip.compress(idx(array)) if packed else idx(array)
        (folder / f"{name}{'.gz' if packed else ''}").write_bytes(content)
    return arrays


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw"])
def test_idx_files_are_read_as_they_are_defined(packed: bool, place: str, tmp_path: Path) -> None:
    """Otherwise images are shifted, transposed or paired with other labels."""
    arrays = small(tmp_path / place, packed=packed)
    data = mnist(folder=str(tmp_path), batch_size=4)
    images, labels = data.train.dataset.tensors
    assert np.array_equal(
        images.numpy()[:, 0], (arrays["train-images-idx3-ubyte"] / np.float32(255)).astype(np.float32)
    )
    assert labels.tolist() == arrays["train-labels-idx1-ubyte"].tolist()
    assert data.validation["test"].dataset.tensors[1].tolist() == arrays["t10k-labels-idx1-ubyte"].tolist()
    assert mnist(folder=str(tmp_path), limit=7).train.dataset.tensors[1].tolist() == labels[:7].tolist()


def test_missing_files_name_the_places_and_the_ways_out(tmp_path: Path) -> None:
    """Otherwise the user does not learn where to put the files."""
    with pytest.raises(ConfigError, match=r"MNIST files were not found in .*Name the folder.*download"):
        mnist(folder=str(tmp_path))
    with pytest.raises(ConfigError, match="dataset-fashion-mnist"):
        fashion_mnist(folder=str(tmp_path))
    small(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ConfigError, match=r"t10k-labels-idx1-ubyte is missing"):
        mnist(folder=str(tmp_path))


def damaged(kind: str, whole: bytes) -> bytes:
    return {
        "values": whole[:-1],
        "header": whole[:9],
        "two bytes": whole[:2],
        "empty": b"",
        "longer": whole + b"\0",
        "wrong type": b"\0\0\x0d" + whole[3:],
        "text": b"<html>not found, sorry</html>" * 9,
    }[kind]


@pytest.mark.parametrize("kind", ["values", "header", "two bytes", "empty", "longer", "wrong type", "text"])
def test_a_damaged_idx_file_is_named(kind: str, tmp_path: Path) -> None:
    """Otherwise a download that broke off trains on garbage or ends in an error without a file name."""
    small(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damaged(kind, path.read_bytes()))
    with pytest.raises(ConfigError, match="train-images-idx3-ubyte"):
        mnist(folder=str(tmp_path))


@pytest.mark.parametrize("kind", ["cut", "no gzip"])
def test_a_damaged_gz_file_is_named(kind: str, tmp_path: Path) -> None:
    """Otherwise a download that broke off ends in an EOFError without a file name."""
    small(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if kind == "cut" else b"<html>" * 50)
    with pytest.raises(ConfigError, match=r"train-images-idx3-ubyte\.gz"):
        mnist(folder=str(tmp_path))


def test_images_and_labels_of_different_number_are_refused(tmp_path: Path) -> None:
    """Otherwise two mixed downloads end in an AssertionError, or in wrong pairs."""
    arrays = small(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(arrays["train-labels-idx1-ubyte"][:-2]))
    with pytest.raises(ConfigError, match=r"12.*10|10.*12"):
        mnist(folder=str(tmp_path))


def test_absent_cifar_says_how_to_get_it(tmp_path: Path) -> None:
    """Otherwise the user reads torchvision's error and not the setting's name."""
    pytest.importorskip("torchvision")
    with pytest.raises(ConfigError, match=r"CIFAR-10 is not in .*download"):
        cifar10(folder=str(tmp_path))


def test_batches_are_as_large_as_asked_and_cover_everything() -> None:
    """Otherwise the last images are never trained on."""
    sizes = [len(batch[0]) for batch in digits(batch_size=100).train]
    assert sum(sizes) == 1297
    assert set(sizes[:-1]) == {100}
    seen: list[Any] = [labels for _, labels in digits().validation["test"]]
    assert sum(map(len, seen)) == 500
