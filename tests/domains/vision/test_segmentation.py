"""What goes wrong for a user who distils a model that gives every pixel a class."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from examples.scenes import render
from knowledge_distillation.domains.vision.segmentation import (
    deeplabv3,
    fcn,
    lraspp,
    mean_iou,
    pascal_voc,
    segmentation_folder,
    segmentation_signals,
)
from knowledge_distillation.errors import CheckpointError, ConfigError, ModelContractError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe
from tests.domains.vision.falling import falls
from tests.domains.vision.files import MODES, coloured, saved
from tests.training.toys import QUIET

AS_THEY_ARE: dict[str, Any] = {"resize": None, "crop": None, "batch_size": 2}


def pairs(home: Path, count: int = 6, classes: int = 3) -> Path:
    """Images of 12 x 10 pixels with masks of random classes, the first row of which is 255."""
    for number in range(count):
        saved(coloured(number), home / "images" / f"{number}.png")
        mask = np.random.default_rng(number).integers(0, classes, (10, 12), dtype=np.uint8)
        mask[0] = 255
        saved(Image.fromarray(mask), home / "masks" / f"{number}.png")
    return home


def test_a_mask_stays_with_its_image_and_255_does_not_count(tmp_path: Path) -> None:
    """Otherwise every pixel learns another one's class, or the border of the objects is a class of its own."""
    home = pairs(tmp_path)
    data = segmentation_folder(path=str(home), classes=3, mean=[0, 0, 0], std=[1, 1, 1], **AS_THEY_ARE)
    assert len(data.train.dataset) == 5  # type: ignore[arg-type]
    stored = {}
    for file in (home / "images").iterdir():
        numbers = np.array(Image.open(home / "masks" / file.name)).astype(np.int64)
        stored[np.array(Image.open(file)).tobytes()] = np.where(numbers == 255, -100, numbers)
    images, labels = next(iter(data.validation["val"]))
    assert np.array_equal(labels[0].numpy(), stored[_bytes(images[0])])
    for images, labels in data.train:  # mirrored or not, both together
        for image, label in zip(images, labels, strict=True):
            back = [(image, label), (image.flip(-1), label.flip(-1))]
            known = [(found, stored[_bytes(seen)]) for seen, found in back if _bytes(seen) in stored]
            assert len(known) == 1
            assert np.array_equal(known[0][0].numpy(), known[0][1])
    assert data.facts == {"classes": 3, "channels": 3}
    assert len(pickle.loads(pickle.dumps(data.train.dataset))[0]) >= 2  # as workers get it where they do not fork


def _bytes(image: torch.Tensor) -> bytes:
    return (image * 255).round().byte().permute(1, 2, 0).numpy().tobytes()


def test_crops_and_scales_make_batches_of_one_size_without_new_classes(tmp_path: Path) -> None:
    """Otherwise images of a real folder cannot be put into one batch, or masks are blended at their edges."""
    home = pairs(tmp_path)
    saved(coloured(9, (30, 22)), home / "images" / "9.png")
    saved(Image.fromarray(np.full((22, 30), 2, dtype=np.uint8)), home / "masks" / "9.png")
    data = segmentation_folder(path=str(home), classes=3, resize=16, crop=20, batch_size=3)
    for images, labels in data.train:
        assert images.shape == (3, 3, 20, 20)
        assert labels.shape == (3, 20, 20)
        assert set(labels.unique().tolist()) <= {-100, 0, 1, 2}


def test_bad_pairs_are_left_out_with_their_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise one wrong mask among thousands stops the training in the middle, or teaches nonsense."""
    home = pairs(tmp_path, count=12)
    saved(Image.fromarray(np.zeros((9, 12), dtype=np.uint8)), home / "masks" / "0.png")
    saved(Image.fromarray(np.full((10, 12), 77, dtype=np.uint8)), home / "masks" / "1.png")
    saved(coloured(), home / "masks" / "2.png")
    (home / "masks" / "3.png").unlink()
    with caplog.at_level(logging.WARNING):
        data = segmentation_folder(path=str(home), classes=3, **AS_THEY_ARE)
    assert len(data.train.dataset) + len(data.validation["val"].dataset) == 8  # type: ignore[arg-type]
    for said in (
        "it is 12 x 10 pixels, and its mask 12 x 9",
        "its mask holds [77], where classes are 0 to 2, or 255",
        "its mask is RGB, where one number a pixel must be the class",
        "its mask 3.png is missing",
    ):
        assert said in caplog.text


def test_images_of_other_modes_become_rgb_and_deep_ones_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a grey photograph stops the training, and one of 16 bits is learnt from as white."""
    home = pairs(tmp_path, count=12)
    for number, kind in enumerate(sorted(MODES)):
        if kind != "cmyk":  # no PNG holds it
            saved(coloured().resize((12, 10)).convert(MODES[kind]), home / "images" / f"{number}.png")
    saved(Image.new("I;16", (12, 10), 40_000), home / "images" / "11.png")
    with caplog.at_level(logging.WARNING):
        data = segmentation_folder(path=str(home), classes=3, validation=0.2, **AS_THEY_ARE)
    assert "all are read as RGB" in caplog.text
    assert "11.png: mode I;16, which does not fit into 8 bits a channel" in caplog.text
    shapes = {tuple(image.shape) for part in (data.train, data.validation["val"]) for image, _ in part.dataset}
    assert shapes == {(3, 10, 12)}


def test_too_few_classes_are_an_error_and_no_list(tmp_path: Path) -> None:
    """Otherwise a folder whose classes were miscounted trains on the masks that happen to lack the last one."""
    with pytest.raises(ConfigError, match=r"5 of its 5 are none: .*where classes are 0 to 1"):
        segmentation_folder(path=str(pairs(tmp_path)), classes=2, **AS_THEY_ARE)


def test_masks_of_0_and_255_are_no_perfect_student(tmp_path: Path) -> None:
    """Otherwise every pixel of the object is void, all that is left is background, and any student scores 1."""
    home = pairs(tmp_path)
    for file in (home / "masks").iterdir():
        saved(Image.fromarray(np.where(np.arange(120).reshape(10, 12) % 3 == 0, 255, 0).astype(np.uint8)), file)
    with pytest.raises(ConfigError, match=r"and hold \[0, 255\], of which 255 \(ignore\) does not count"):
        segmentation_folder(path=str(home), classes=2, **AS_THEY_ARE)


def test_classes_that_no_training_mask_holds_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise classes numbered from 1 leave the last one untaught, and the score does not show it."""
    home = pairs(tmp_path)
    with caplog.at_level(logging.WARNING):
        segmentation_folder(path=str(home), classes=["sky", "road", "car", "tree", "dog"], **AS_THEY_ARE)
    assert "2 of 5 classes are in no training mask, so that no label teaches them: tree, dog." in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        segmentation_folder(path=str(home), classes=3, **AS_THEY_ARE)
    assert "no training mask" not in caplog.text


def test_folders_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    """Otherwise the list in the log has as many lines as there are images."""
    home = pairs(tmp_path)
    for file in (home / "masks").iterdir():
        file.rename(file.with_name(f"mask-{file.name}"))
    with pytest.raises(ConfigError, match=r"No image in .* has a mask of the same name"):
        segmentation_folder(path=str(home), classes=3)


def test_few_masks_leave_the_other_images_to_the_teacher(tmp_path: Path) -> None:
    """Otherwise a comparison with few labels is one with all of them."""
    data = segmentation_folder(path=str(pairs(tmp_path)), classes=3, labelled=2, **{**AS_THEY_ARE, "batch_size": 1})
    labels = [label for _, labels in data.train for label in labels]
    assert sum(bool((label != -100).any()) for label in labels) == 2
    assert all(bool((label != -100).any()) for _, labels in data.validation["val"] for label in labels)


def test_pascal_voc_is_read_as_it_lies_on_the_disk(tmp_path: Path) -> None:
    """Otherwise palette masks are taken for colours, or lists of names are not those of the split."""
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for number in range(5):
        saved(coloured(number, (24, 20)), tmp_path / "JPEGImages" / f"2007_{number}.jpg")
        mask = Image.fromarray(np.full((20, 24), 5 * number, dtype=np.uint8)).convert("P")
        mask.putpalette([channel for colour in range(256) for channel in (colour, 255 - colour, 7)])
        saved(mask, tmp_path / "SegmentationClass" / f"2007_{number}.png")
    (lists / "train.txt").write_text("2007_0\n2007_1\n2007_2\n", encoding="utf-8")
    (lists / "val.txt").write_text("2007_4\n", encoding="utf-8")
    data = pascal_voc(path=str(tmp_path), resize=None, crop=None, batch_size=3)
    assert {int(value) for _, labels in data.train for value in labels.unique()} == {0, 5, 10}
    assert next(iter(data.validation["val"]))[1].unique().tolist() == [20]
    assert data.class_names[20] == "tv monitor"
    (lists / "train.txt").write_text("2007_0\n2007_9\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"of 2 names 1 are not there, among them '2007_9'"):
        pascal_voc(path=str(tmp_path))


def scenes_in_cities(home: Path) -> Path:
    """Two cities with an image of the same name each, and one of a name with a blank; masks tell which is which."""
    for value, name in enumerate(("aachen/1", "bonn/1", "bonn/2", "bonn/old town")):
        saved(coloured(value), home / "images" / f"{name}.png")
        mask = np.full((10, 12), value, dtype=np.uint8)
        mask[0] = 4
        saved(Image.fromarray(mask), home / "masks" / f"{name}.png")
    return home


def towns(loader: Any) -> list[int]:
    """The masks' numbers of a loader's samples."""
    return sorted({int(loader.dataset[place][1][-1, -1]) for place in range(len(loader.dataset))})


def test_lists_tell_images_of_one_name_in_several_folders_apart(tmp_path: Path) -> None:
    """Otherwise a split lists images of one city, and those of another are trained on or scored."""
    home = scenes_in_cities(tmp_path)
    (home / "train.txt").write_text("bonn/1.png\nbonn/old town\n", encoding="utf-8")
    (home / "val.txt").write_text("aachen/1\n2 1 further words\n", encoding="utf-8")
    named = {"path": str(home), "classes": 5, "train": "train.txt", "validation": "val.txt"}
    data = segmentation_folder(**named, **AS_THEY_ARE)
    assert (towns(data.train), towns(data.validation["val"])) == ([1, 3], [0, 2])
    rest = segmentation_folder(**{**named, "train": None}, **AS_THEY_ARE)
    assert towns(rest.train) == [1, 3]


def test_a_name_of_several_images_is_refused(tmp_path: Path) -> None:
    """Otherwise the one that is found last is learnt from, and the other never."""
    home = scenes_in_cities(tmp_path)
    (home / "val.txt").write_text("1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'1' is the name of 2, such as aachen/1\.png and bonn/1\.png"):
        segmentation_folder(path=str(home), classes=5, validation="val.txt", **AS_THEY_ARE)


@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (fcn, "fcn_resnet50"),
        (deeplabv3, "deeplabv3_resnet50"),
        (lambda **settings: deeplabv3("mobilenet_v3_large", **settings), "deeplabv3_mobilenet_v3_large"),
        (lraspp, "lraspp_mobilenet_v3_large"),
    ],
)
def test_weights_of_torchvisions_own_models_fit(make: Any, theirs: str) -> None:
    """Otherwise its published weights cannot teach."""
    from torchvision.models import get_model

    with torch.device("meta"):
        aux = {} if "lraspp" in theirs else {"aux_loss": True}
        ours = make(**aux).state_dict()
        known = get_model(theirs, weights=None, weights_backbone=None, **aux).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in known.items()}


def test_backbones_are_named_and_take_local_weights(tmp_path: Path) -> None:
    """Otherwise a mistyped backbone ends in a traceback of the library, or a pretrained one is random."""
    from safetensors.torch import save_file
    from torchvision.models import mobilenet_v3_small

    with pytest.raises(ConfigError, match=r"no backbone named 'resnet81'.*resnet18"):
        fcn("resnet81")
    with pytest.raises(ConfigError, match=r"no backbone named 'resnet50' for this model.*mobilenet_v3"):
        lraspp("resnet50")
    weights = mobilenet_v3_small().state_dict()
    save_file({name: value.clone() for name, value in weights.items()}, tmp_path / "w.safetensors")
    built = lraspp("mobilenet_v3_small", backbone_weights=str(tmp_path / "w.safetensors")).state_dict()
    assert torch.equal(built["backbone.0.0.weight"], weights["features.0.0.weight"])
    with pytest.raises(CheckpointError, match="gone"):
        lraspp("mobilenet_v3_small", backbone_weights=str(tmp_path / "gone.safetensors"))


class Maps(nn.Module):
    """Gives what it was told to."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: torch.Tensor) -> Any:
        return self.output


def test_the_second_heads_maps_are_a_feature_for_terms() -> None:
    """Otherwise the auxiliary loss of the reference training cannot be had."""
    maps, aux = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    batch = (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))
    said = segmentation_signals(Maps({"out": maps, "aux": aux}), batch)
    assert said.logits is maps
    assert said.features["aux"] is aux
    assert said.labels is batch[1]


@pytest.mark.parametrize("output", [torch.zeros(2, 3), torch.zeros(2, 3, 2, 2)])
def test_maps_without_pixels_or_of_another_size_are_refused(output: torch.Tensor) -> None:
    """Otherwise a classifier, or a model that does not scale up, fails in the loss with shapes alone."""
    batch = (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))
    with pytest.raises(ModelContractError, match="score maps"):
        segmentation_signals(Maps(output), batch)


def test_mean_iou_is_the_mean_of_intersection_over_union() -> None:
    """Otherwise the score is pixel accuracy, to which the background alone gives most."""
    labels = torch.tensor([[[0, 0, 1, 1], [0, 2, 2, -100]]])
    answer = torch.tensor([[[0, 1, 1, 1], [0, 2, 0, 0]]])
    model = Maps(nn.functional.one_hot(answer, 3).movedim(-1, 1).float())
    result = mean_iou(3).run_inference_pipeline(model, [(torch.zeros(1, 3, 2, 4), labels)])
    assert float(result["inference_result"]) == pytest.approx((2 / 4 + 2 / 3 + 1 / 2) / 3)


def test_a_class_that_nobody_sees_is_left_out_of_the_mean() -> None:
    """Otherwise a perfect student scores 2/3 because the pictures show no dog, or a page says so."""
    labels = torch.tensor([[[0, 0, 1, 1]]])
    model = Maps(nn.functional.one_hot(labels, 3).movedim(-1, 1).float())
    result = mean_iou(3).run_inference_pipeline(model, [(torch.zeros(1, 3, 1, 4), labels)])
    assert float(result["inference_result"]) == 1.0


@pytest.mark.parametrize("preset", ["cwd", "pixel_kd"])
def test_presets_take_the_labels_of_this_data(preset: str) -> None:
    """Otherwise the presets for segmentation, whose void label is 255, refuse the data sets' -100."""
    labels = torch.tensor([[[0, -100], [1, 255]]])
    batch = (torch.zeros(1, 3, 2, 2), labels)
    said = segmentation_signals(Maps(torch.randn(1, 2, 2, 2)), batch)
    total, parts = as_objective(preset)(said, said)
    expected = nn.functional.cross_entropy(said.logits.permute(0, 2, 3, 1)[0][[0, 1], [0, 0]], torch.tensor([0, 1]))
    assert float(parts["cross_entropy"]) == pytest.approx(float(expected), abs=1e-6)
    assert torch.isfinite(total)


@pytest.mark.slow
def test_a_recipe_trains_evaluates_and_ships_a_segmenter(tmp_path: Path) -> None:
    """Otherwise the way from a folder of masks to a smaller model ends in a traceback, or teaches nothing."""
    render(tmp_path / "scenes", 8, 4)
    once = {**QUIET, "check_val_every_n_epoch": 12}
    changes = [
        f"data.path={tmp_path / 'scenes'}", "data.labelled=4", "data.batch_size=8", "data.validation_batch_size=4",
        "objective.pixel_kd.weight=5", "teacher.name=fcn", "teacher.backbone=resnet18", "teacher.train.max_epochs=12",
        "training.max_epochs=12", "training.schedule=''", f"training.trainer={once}", f"teacher.train.trainer={once}",
    ]  # fmt: skip
    recipe = read_recipe(Path(__file__).parents[3] / "examples" / "segmentation.yaml", changes)
    run = run_recipe(recipe, directory=tmp_path / "run")
    assert 0 <= run.scores["val"] <= 1
    assert run.best_scores == pytest.approx(dict(run.scores))  # scored once
    falls(run, ("pixel_kd", "cross_entropy"))
    found = run.evaluate(cost=False)
    assert found.models["student"]["quality"]["value"] == pytest.approx(run.scores["val"], abs=1e-6)
    assert found.fidelity["student"]["items"] > 0
    exported = run.export("onnx")
    assert exported.file.stat().st_size > 0
