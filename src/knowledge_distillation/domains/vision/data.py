"""Image data sets: scikit-learn's digits (shipped), MNIST and Fashion-MNIST from IDX files, CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.labelling import keep_labels
from knowledge_distillation.errors import ConfigError, MissingExtraError

LARGEST_IDX = 2**30
"""Values of an IDX file."""
FASHION_FOLDERS = (Path("/usr/share/datasets/fashion-mnist"),)
GARMENTS = (
    "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def digits(*, batch_size: int = 64, labelled: int | None = None, seed: int = 0, workers: int = 0) -> Data:
    """The 1,797 real handwritten digits of 8 x 8 pixels that scikit-learn ships; 500 are kept for the test.

    Args:
        batch_size: of the training loader.
        labelled: how many training images keep their label; the others get -100. None keeps all.
        seed: chooses which keep it. The test split is always the same.
        workers: of the loaders.
    """
    with resources.files(__package__).joinpath("digits.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        images = torch.from_numpy(stored["images"].astype(np.float32) / 16.0).unsqueeze(1)
        labels = torch.from_numpy(stored["labels"].astype(np.int64))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    test, train = order[:500], order[500:]
    return _tensors(
        images[train], labels[train], images[test], labels[test],
        batch_size=batch_size, labelled=labelled, seed=seed, workers=workers,
    )  # fmt: skip


def mnist(
    *,
    folder: str | None = None,
    download: bool = False,
    batch_size: int = 128,
    labelled: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """MNIST: 60,000 + 10,000 images of 28 x 28 pixels, from a folder of IDX files or torchvision's download.

    Args:
        folder: holds train-images-idx3-ubyte and its three companions, plain or .gz; or where to download to.
        download: let torchvision download the files to the folder.
        batch_size: of the training loader.
        labelled: how many training images keep their label; the others get -100. None keeps all.
        limit: use only the first so many training images.
        seed: chooses which images keep their label.
        workers: of the loaders.
    """
    return _idx_data("MNIST", folder, (), download, batch_size, labelled, limit, seed, workers)


def fashion_mnist(
    *,
    folder: str | None = None,
    download: bool = False,
    batch_size: int = 128,
    labelled: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Fashion-MNIST: 60,000 + 10,000 images of clothes, 28 x 28 pixels; arguments as for `mnist`.

    Without a folder, the files of the Debian package dataset-fashion-mnist are used where it is installed.
    """
    data = _idx_data("FashionMNIST", folder, FASHION_FOLDERS, download, batch_size, labelled, limit, seed, workers)
    return replace(data, class_names=GARMENTS)


def _idx_data(
    name: str,
    folder: str | None,
    usual: Sequence[Path],
    download: bool,
    batch_size: int,
    labelled: int | None,
    limit: int | None,
    seed: int,
    workers: int,
) -> Data:
    root = Path(folder) if folder else Path("data")
    if download:
        _download(name, root)
    places = [root, root / "raw", root / name / "raw", *([] if folder else usual)]
    for place in places:
        if _idx_file(place, "train-images-idx3-ubyte") is not None:
            break
    else:
        package = "or install the Debian package dataset-fashion-mnist, " if name == "FashionMNIST" else ""
        raise ConfigError(
            f"The {name} files were not found in {', '.join(map(str, places))}. Name the folder with the IDX files "
            f"(data.folder, or --folder), {package}or let torchvision download them: pip install "
            "'knowledge-distillation-toolkit[vision]' and set download to true."
        )
    train, test = ("train", "t10k")
    images, labels = _read_pair(place, train)
    test_images, test_labels = _read_pair(place, test)
    return _tensors(
        images[:limit], labels[:limit], test_images, test_labels,
        batch_size=batch_size, labelled=labelled, seed=seed, workers=workers,
    )  # fmt: skip


def _read_pair(place: Path, part: str) -> tuple[Tensor, Tensor]:
    images = _read_idx(place, f"{part}-images-idx3-ubyte", 3)
    labels = _read_idx(place, f"{part}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise ConfigError(
            f"{place} holds {len(images)} images in {part}-images-idx3-ubyte and {len(labels)} labels in "
            f"{part}-labels-idx1-ubyte: they do not belong together. Download both again."
        )
    return torch.from_numpy(images.astype(np.float32) / 255.0).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def _idx_file(place: Path, name: str) -> Path | None:
    return next((path for path in (place / name, place / f"{name}.gz") if path.is_file()), None)


def _read_idx(place: Path, name: str, dimensions: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    path = _idx_file(place, name)
    if path is None:
        raise ConfigError(f"{place / name} is missing, plain or .gz.")
    start = 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(start)
            if head[:4] != bytes([0, 0, 8, dimensions]) or len(head) < start:
                raise ConfigError(
                    f"{path} is no IDX file of bytes with {dimensions} dimensions: it begins with {head!r}. "
                    "Download it again."
                )
            shape = tuple(map(int, np.frombuffer(head, dtype=">u4", offset=4)))
            size = math.prod(shape)
            if size > LARGEST_IDX:
                raise ConfigError(f"{path} must hold at most {LARGEST_IDX:,} values, and says that it holds {size:,}.")
            values = np.frombuffer(file.read(size + 1), dtype=np.uint8)  # a small .gz may unpack to far more
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read: {error}. If it is damaged, download it again.") from error
    if values.size != size:
        found = "more" if values.size > size else f"{values.size:,}"
        raise ConfigError(f"{path} is no complete IDX file: {found} values for the shape {shape}.")
    return values.reshape(shape)


def _download(name: str, root: Path) -> None:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise MissingExtraError(
            "Downloading needs torchvision: pip install 'knowledge-distillation-toolkit[vision]'"
        ) from error
    getattr(datasets, name)(root, download=True)


def cifar10(*, folder: str = "data", download: bool = False, batch_size: int = 128, workers: int = 0) -> Data:
    """CIFAR-10 through torchvision: 50,000 + 10,000 colour images of 32 x 32 pixels, with crop and flip.

    Args:
        folder: torchvision's root.
        download: let torchvision download there.
        batch_size: of both loaders.
        workers: of both loaders.
    """
    return _cifar(
        "CIFAR10", 10, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616), folder, download, batch_size, workers
    )


def cifar100(*, folder: str = "data", download: bool = False, batch_size: int = 64, workers: int = 0) -> Data:
    """CIFAR-100 through torchvision: as `cifar10`, with 100 classes and RepDistiller's mean and deviation."""
    return _cifar(
        "CIFAR100", 100, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), folder, download, batch_size, workers
    )


def _cifar(
    name: str,
    classes: int,
    mean: Sequence[float],
    deviation: Sequence[float],
    folder: str,
    download: bool,
    batch_size: int,
    workers: int,
) -> Data:
    shown = f"CIFAR-{classes}"
    try:
        from torchvision import datasets
        from torchvision.transforms import v2
    except ImportError as error:
        raise MissingExtraError(
            f"{shown} needs torchvision: pip install 'knowledge-distillation-toolkit[vision]'"
        ) from error
    scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(deviation))]
    shift = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *scale])
    try:
        train = getattr(datasets, name)(folder, train=True, download=download, transform=shift)
        test = getattr(datasets, name)(folder, train=False, download=download, transform=v2.Compose(scale))
    except RuntimeError as error:
        raise ConfigError(
            f"{shown} is not in {folder!r}: {error}. Name another folder or set download to true."
        ) from error
    return Data(
        train=DataLoader(train, batch_size=batch_size, shuffle=True, num_workers=workers, drop_last=True),
        validation={"test": DataLoader(test, batch_size=batch_size, num_workers=workers)},
        facts={"classes": classes, "channels": 3, "size": 32},
        class_names=train.classes,
    )


def _tensors(
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    *,
    batch_size: int,
    labelled: int | None,
    seed: int,
    workers: int,
) -> Data:
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}.")
    train: Dataset[Any] = TensorDataset(images, keep_labels(labels, labelled, seed))
    return Data(
        train=DataLoader(train, batch_size=batch_size, shuffle=True, num_workers=workers),
        validation={"test": DataLoader(TensorDataset(test_images, test_labels), batch_size=1000, num_workers=workers)},
        facts={"classes": 10, "channels": 1, "size": images.shape[-1]},
    )
