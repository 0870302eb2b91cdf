"""What goes wrong for a user whose image files are not all alike."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

from knowledge_distillation.domains.vision.folders import image_folder
from knowledge_distillation.domains.vision.images import Unusable, read_rgb
from knowledge_distillation.errors import ConfigError
from tests.domains.vision.files import MODES, coloured, damaged, saved


def folders(home: Path, train: int = 4) -> Path:
    for part, count in (("train", train), ("val", 2)):
        for number, name in enumerate(("cat", "dog")):
            for place in range(count):
                saved(coloured(10 * place + number), home / part / name / f"{place}.png")
    return home


@pytest.mark.parametrize("kind", sorted(MODES))
def test_an_image_of_another_mode_is_read_as_the_rgb_that_pillow_makes_of_it(kind: str, tmp_path: Path) -> None:
    """Otherwise a grey photograph among thousands stops the training with a shape error, or with wrong colours."""
    image = coloured().convert(MODES[kind])
    file = saved(image, tmp_path / ("image.tif" if kind == "cmyk" else "image.png"))
    read = read_rgb(file)
    assert read.mode == "RGB"
    assert read.tobytes() == Image.open(file).convert("RGB").tobytes()


def test_a_transparent_palette_is_read_without_a_warning(tmp_path: Path) -> None:
    """Otherwise Pillow warns at each epoch of it, and where warnings are errors the worker dies."""
    image = coloured().convert("P")
    image.save(tmp_path / "image.png", transparency=bytes(range(256)))
    assert read_rgb(tmp_path / "image.png").mode == "RGB"


def test_sixteen_bits_are_refused_and_not_cut(tmp_path: Path) -> None:
    """Otherwise a 16-bit image becomes white everywhere, since Pillow clips it."""
    file = saved(Image.new("I;16", (4, 4), 40_000), tmp_path / "deep.png")
    with pytest.raises(Unusable, match="8 bits"):
        read_rgb(file)


def test_other_modes_are_counted_and_what_cannot_be_read_is_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one damaged file among thousands ends the training, or is missing without a word."""
    home = folders(tmp_path)
    saved(coloured().convert("L"), home / "train" / "cat" / "grey.png")
    damaged(home / "train" / "dog" / "half.jpg")
    (home / "train" / "dog" / "empty.png").write_bytes(b"")
    (home / "val" / "dog" / "page.png").write_text("<html>not found</html>", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        data = image_folder(path=str(home), size=8, batch_size=3)
    assert len(data.train.dataset) == 9  # type: ignore[arg-type]
    assert "1 grey; all are read as RGB" in caplog.text
    assert "2 of 11 images are left out" in caplog.text
    assert "half.jpg: damaged" in caplog.text
    assert "empty.png: no readable image" in caplog.text
    assert "page.png" in caplog.text
    images, labels = next(iter(data.train))
    assert images.shape == (3, 3, 8, 8)
    assert len(pickle.loads(pickle.dumps(data.train.dataset))[0]) >= 2  # as workers get it where they do not fork
    assert set(labels.tolist()) <= {0, 1}
    assert list(data.class_names) == ["cat", "dog"]


def test_a_file_that_only_its_header_was_read_of_is_replaced_while_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one file of a million, too many to decode beforehand, stops the training after a day."""
    home = folders(tmp_path)
    damaged(home / "train" / "cat" / "half.jpg")
    data = image_folder(path=str(home), size=8, batch_size=9, decode=False)
    with caplog.at_level(logging.WARNING):
        sizes = [len(labels) for _ in range(2) for _, labels in data.train]
    assert sizes == [9, 9]
    assert caplog.text.count("half.jpg is left out, and the next image stands in") == 1


def test_folders_that_are_mostly_unreadable_are_refused(tmp_path: Path) -> None:
    """Otherwise a download that failed trains on the few images that came."""
    home = folders(tmp_path, train=1)
    for number in range(3):
        (home / "train" / "cat" / f"bad{number}.jpg").write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"3 of its 5 are none: the first is .*bad0\.jpg"):
        image_folder(path=str(home), size=8)


def test_labels_are_the_places_of_the_sorted_folders_in_both_parts(tmp_path: Path) -> None:
    """Otherwise validation numbers its classes by itself, and a missing one shifts all others."""
    home = folders(tmp_path)
    for file in (home / "val" / "cat").iterdir():
        file.unlink()
    (home / "val" / "cat").rmdir()
    data = image_folder(path=str(home), size=8)
    assert {int(label) for _, labels in data.validation["val"] for label in labels} == {1}
    saved(coloured(), home / "val" / "cow" / "0.png")
    with pytest.raises(ConfigError, match=r"has 'cow'"):
        image_folder(path=str(home), size=8)


def test_folders_of_editors_are_no_classes(tmp_path: Path) -> None:
    """Otherwise a notebook's or a desktop's hidden folder is a class of its own, or its copies are trained on."""
    home = folders(tmp_path)
    for place in ("train", "val", "train/cat"):
        saved(coloured(), home / place / ".ipynb_checkpoints" / "0-checkpoint.png")
    data = image_folder(path=str(home), size=8)
    assert list(data.class_names) == ["cat", "dog"]
    assert len(data.train.dataset) == 8  # type: ignore[arg-type]
    assert len(data.validation["val"].dataset) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["train", "val"])
def test_classes_without_an_image_are_named(part: str, tmp_path: Path) -> None:
    """Otherwise the student has an answer more than there is anything to learn of, and no word says so."""
    home = folders(tmp_path)
    for name in ("cow", "emu"):
        saved(coloured(), home / "train" / name / "0.png")
        (home / part / name / "0.png").unlink(missing_ok=True)
        (home / part / name).mkdir(parents=True, exist_ok=True)
        (home / part / name / "gone.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"must hold an image that can be read, and cow, emu hold none"):
        image_folder(path=str(home), size=8)


def test_validation_takes_the_centre_and_training_a_part(tmp_path: Path) -> None:
    """Otherwise the score depends on chance, or on the border of the image."""
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    image.paste((0, 255, 0), (8, 8, 56, 56))
    for part in ("train", "val"):
        saved(image, tmp_path / part / "only" / "0.png")
        saved(image, tmp_path / part / "other" / "0.png")
    settings = {"path": str(tmp_path), "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    pixels = next(iter(image_folder(size=28, **settings).validation["val"]))[0]  # 28 * 256 / 224 is 32
    assert torch.equal(pixels, next(iter(image_folder(size=28, **settings).validation["val"]))[0])
    assert pixels[0, :2, 0, 14].tolist() == pytest.approx([1, 0], abs=0.1)  # red: 2 of the 4 pixels of the border
    assert pixels[0, :2, 4, 14].tolist() == pytest.approx([0, 1], abs=0.1)  # green


def test_missing_folders_are_named(tmp_path: Path) -> None:
    """Otherwise the user reads a FileNotFoundError of the library."""
    with pytest.raises(ConfigError, match=r"train must be a folder with one folder"):
        image_folder(path=str(tmp_path))
