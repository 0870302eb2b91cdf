"""What goes wrong for a user who distils a detector."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from examples.scenes import render
from knowledge_distillation.doctor import diagnose
from knowledge_distillation.domains.vision.detection import (
    AveragePrecisionPipeline,
    coco,
    detection_signals,
    faster_rcnn,
    fcos,
    pictures,
    retinanet,
    truths,
)
from knowledge_distillation.domains.vision.detection.data import collate, mirrored
from knowledge_distillation.errors import ConfigError, ExportError, ModelContractError
from knowledge_distillation.losses import FGD
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe
from tests.domains.vision.falling import falls
from tests.domains.vision.files import coloured, damaged, saved
from tests.training.toys import QUIET

LOCAL: dict[str, Any] = {"train": "boxes.json", "images": "images", "validation": 0.5, "validation_images": None}
TINY: dict[str, Any] = {"width": 32, "min_size": 64, "max_size": 64, "classes": 3}


def scenes(home: Path, objects: dict[int, list[Any]], count: int = 8, **more: Any) -> Path:
    """`count` images of 12 x 10 pixels, and COCO's annotations: image -> [category, box] or whole entries."""
    images = []
    for number in range(count):
        saved(coloured(number), home / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 12, "height": 10})
    annotations = [
        {"image_id": number, **(entry if isinstance(entry, dict) else {"category_id": entry[0], "bbox": entry[1]})}
        for number, entries in objects.items()
        for entry in entries
    ]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "bird"}, {"id": 3, "name": "boat"}],
        **more,
    }
    home.mkdir(parents=True, exist_ok=True)
    (home / "boxes.json").write_text(json.dumps(content), encoding="utf-8")
    return home


GOOD: dict[int, list[Any]] = {number: [[7, [1, 2, 3, 4]], [3, [5, 5, 6, 2]]] for number in range(8)}


def test_boxes_become_corners_and_categories_classes(tmp_path: Path) -> None:
    """Otherwise width is taken for right, ids for classes, and the first category for background."""
    data = coco(path=str(scenes(tmp_path, GOOD)), flip=False, **LOCAL)
    batch = next(iter(data.train))
    assert batch["images"].shape == (4, 3, 10, 12)
    assert batch["boxes"][0].tolist() == [[1, 2, 4, 6], [5, 5, 11, 7]]
    assert batch["labels"][0].tolist() == [2, 1]
    assert list(data.class_names) == ["background", "boat", "bird"]
    assert data.facts == {"classes": 3, "channels": 3}
    kept = coco(path=str(tmp_path), keep_ids=True, **LOCAL)
    assert len(pickle.loads(pickle.dumps(data.train.dataset))[0]) >= 2  # as workers get it where they do not fork
    assert kept.facts["classes"] == 8
    assert next(iter(kept.train))["labels"][0].tolist() == [7, 3]


def test_images_of_several_sizes_and_numbers_of_objects_make_one_batch() -> None:
    """Otherwise padding is learnt from as picture, or an object that is not there as one."""
    samples = [
        {
            "image": torch.full((3, *size), 1.0),
            "boxes": torch.ones(count, 4),
            "labels": torch.ones(count, dtype=torch.long),
            "crowd": torch.zeros(count, dtype=torch.bool),
        }
        for size, count in (((4, 6), 2), ((5, 3), 0))
    ]
    batch = collate(samples)
    assert [tuple(image.shape) for image in pictures(batch)] == [(3, 4, 6), (3, 5, 3)]
    assert float(batch["images"].sum()) == 3 * (24 + 15)
    assert [len(objects["boxes"]) for objects in truths(batch)] == [2, 0]


def test_a_mirrored_image_takes_its_boxes_along() -> None:
    """Otherwise half of the training boxes lie over the wrong place."""
    image = torch.zeros(3, 4, 10)
    image[:, 1:3, 2:5] = 1
    sample = mirrored({"image": image, "boxes": torch.tensor([[2.0, 1.0, 5.0, 3.0]])})
    left, top, right, bottom = sample["boxes"][0].int().tolist()
    assert bool((sample["image"][:, top:bottom, left:right] == 1).all())
    assert float(sample["image"].sum()) == float(image.sum())


def test_wrong_boxes_take_their_image_out_with_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise the loss is NaN, or an object whose box was dropped is taught as background."""
    wrong = {
        0: [[7, [1, 2, 0, 4]]],
        1: [[7, [1, 2, 3, 4]], [3, [20, 2, 3, 4]]],
        2: [[9, [1, 2, 3, 4]]],
        3: [[7, ["a", 2, 3, 4]]],
    }
    objects = {**dict.fromkeys(range(12), GOOD[0]), **wrong, 11: []}
    home = scenes(tmp_path, objects, count=12)
    with caplog.at_level(logging.WARNING):
        data = coco(path=str(home), **LOCAL)
    left = [scene for loader in (data.train, data.validation["val"]) for scene in loader.dataset.scenes]
    assert sorted(int(scene.file.stem) for scene in left) == [4, 5, 6, 7, 8, 9, 10, 11]
    for said in (
        "its box [1, 2, 0, 4] has no area",
        "its box [20, 2, 3, 4] lies outside of its 12 x 10 pixels",
        "its category 9 is none of the file's",
        "is no left, top, width and height",
    ):
        assert said in caplog.text


def test_a_box_beyond_the_edge_is_cut_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise the model learns to find what cannot be seen."""
    home = scenes(tmp_path, {**GOOD, 0: [[7, [8, 6, 9, 9]]]})
    with caplog.at_level(logging.WARNING):
        data = coco(path=str(home), **LOCAL)
    assert "1 boxes stand out of their image and are cut off at its edge" in caplog.text
    boxes = [scene.boxes for loader in (data.train, data.validation["val"]) for scene in loader.dataset.scenes]
    assert ((8.0, 6.0, 12.0, 10.0),) in boxes


def test_a_category_with_two_names_is_refused(tmp_path: Path) -> None:
    """Otherwise boats are learnt, birds are scored, and the table of scores says birds."""
    scenes(tmp_path / "val", GOOD, categories=[{"id": 7, "name": "bird"}, {"id": 3, "name": "bicycle"}])
    home = scenes(tmp_path, GOOD)
    settings = {**LOCAL, "validation": "val/boxes.json", "validation_images": "val/images"}
    with pytest.raises(
        ConfigError, match=r"Category 3 .* 'boat' in the training file and 'bicycle' in val/boxes\.json"
    ):
        coco(path=str(home), **settings)
    scenes(tmp_path / "val", GOOD)
    assert coco(path=str(home), **settings).facts["classes"] == 3


def test_files_that_are_missing_damaged_or_of_another_size_are_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise boxes lie over another picture than the one that was annotated."""
    home = scenes(tmp_path, dict.fromkeys(range(10), GOOD[0]), count=10)
    (home / "images" / "0.png").unlink()
    damaged(home / "images" / "1.png")
    saved(coloured(2, (24, 20)), home / "images" / "2.png")
    with caplog.at_level(logging.WARNING):
        coco(path=str(home), **LOCAL)
    assert "0.png: missing" in caplog.text
    assert "1.png" in caplog.text
    assert "it is 24 x 20 pixels, and its annotations are of 12 x 10" in caplog.text


def test_annotations_of_images_that_are_not_listed_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise they are lost without a word, or stop a file that is good otherwise."""
    home = scenes(tmp_path, {**GOOD, 99: [[7, [1, 1, 2, 2]]]})
    with caplog.at_level(logging.WARNING):
        coco(path=str(home), **LOCAL)
    assert "1 of 17 annotations are left out, of 1 images that the file does not list: [99]" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "must be JSON in COCO's format"),
        ("[]", "must hold lists of objects under 'images', 'annotations', 'categories'"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "must have file_name, width and height"),
        ('{"images": [{"id": "x"}], "annotations": [], "categories": []}', "'id' must be a whole number"),
    ],
)
def test_a_file_that_is_no_cocos_is_refused(content: str, said: str, tmp_path: Path) -> None:
    """Otherwise the user reads a KeyError."""
    (tmp_path / "boxes.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        coco(path=str(tmp_path), **LOCAL)


def test_images_without_objects_are_background_but_not_all_of_them(tmp_path: Path) -> None:
    """Otherwise a detector cannot learn what is nothing; or learns nothing at all, for hours."""
    data = coco(path=str(scenes(tmp_path / "some", {**GOOD, 0: [], 1: []})), **LOCAL)
    empty = [scene for loader in (data.train, data.validation["val"]) for scene in loader.dataset.scenes]
    assert sum(not scene.boxes for scene in empty) == 2
    with pytest.raises(ConfigError, match="must hold an object in at least one image"):
        coco(path=str(scenes(tmp_path / "none", {})), **LOCAL)


def test_a_category_that_training_lacks_is_refused(tmp_path: Path) -> None:
    """Otherwise it is numbered as another one."""
    scenes(tmp_path, GOOD, categories=[{"id": 3, "name": "boat"}, {"id": 7, "name": "bird"}])
    content = json.loads((tmp_path / "boxes.json").read_text(encoding="utf-8"))
    content["categories"].append({"id": 8, "name": "bus"})
    (tmp_path / "val.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"category 8 \(bus\), which the training file has not"):
        coco(path=str(tmp_path), **{**LOCAL, "validation": "val.json"})


def test_an_object_that_the_model_has_no_class_for_is_refused() -> None:
    """Otherwise torchvision fails in an index, or on a GPU ends the process."""
    model = retinanet("mobilenet_v3_small", **TINY)
    with pytest.raises(ModelContractError, match="An object is of class 3, and RetinaNet has the classes 0 to 2"):
        detection_signals(model.train(), batch_of(label=3))


def batch_of(label: int = 1, size: tuple[int, int] = (32, 64), *, crowd: bool = False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sample = {
        "image": torch.rand(3, *size, generator=generator),
        "boxes": torch.tensor([[4.0, 4.0, 20.0, 24.0], [30.0, 8.0, 60.0, 30.0]]),
        "labels": torch.tensor([label, 1]),
        "crowd": torch.tensor([False, crowd]),
    }
    return collate([sample, sample])


@pytest.mark.parametrize("make", [faster_rcnn, retinanet, fcos])
def test_a_student_gives_torchvisions_losses_and_its_pyramid(make: Any) -> None:
    """Otherwise the task is not what torchvision trains, or the terms compare other maps than the heads read."""
    model = make("mobilenet_v3_small", **TINY).train()
    model.backbone.eval()  # batch statistics would differ between two calls
    batch = batch_of()
    torch.manual_seed(0)
    said = detection_signals(model, batch)
    torch.manual_seed(0)
    targets = [{"boxes": batch["boxes"][0], "labels": batch["labels"][0]}] * 2
    theirs = model(list(batch["images"]), targets)
    assert set(said.loss_terms) == set(theirs)
    assert all(torch.allclose(said.loss_terms[name], value) for name, value in theirs.items())
    listed, _ = model.transform(list(batch["images"]))
    levels = list(model.backbone(listed.tensors).values())
    assert list(said.features) == [f"fpn.{place}" for place in range(len(levels))]
    assert all(torch.allclose(said.features[f"fpn.{place}"], level) for place, level in enumerate(levels))
    detected = detection_signals(model.eval(), batch)
    assert detected.loss_terms == {}
    assert detected.features["fpn.0"].shape == said.features["fpn.0"].shape


def test_boxes_for_losses_lie_where_the_models_transform_puts_them() -> None:
    """Otherwise FGD takes background for objects wherever images are scaled or padded."""
    model = retinanet("mobilenet_v3_small", **{**TINY, "min_size": 64, "max_size": 256}).eval()
    said = detection_signals(model, batch_of(size=(32, 48), crowd=True))
    assert said.extras["image_size"] == (64, 96)  # doubled, then padded to multiples of 32
    boxes = said.extras["boxes"]
    assert boxes[0, 0].tolist() == [8.0, 8.0, 40.0, 48.0]
    assert boxes[0, 1, 2] < boxes[0, 1, 0]  # the crowd is no object
    loss = FGD(32)(said.features["fpn.0"], said.features["fpn.0"] + 1, **said.extras)
    assert torch.isfinite(loss)


def test_models_of_another_kind_are_refused() -> None:
    """Otherwise a classifier fails in a missing attribute."""
    with pytest.raises(ModelContractError, match="Linear is no detector"):
        detection_signals(nn.Linear(2, 2), batch_of())
    with pytest.raises(ModelContractError, match="must be a dict with 'images' and 'sizes'"):
        detection_signals(retinanet("mobilenet_v3_small", **TINY), (torch.zeros(1), torch.zeros(1)))
    with pytest.raises(ConfigError, match=r"no backbone named 'resnet19' for a detector.*resnet18"):
        fcos("resnet19")


@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (faster_rcnn, "fasterrcnn_resnet50_fpn"),
        (retinanet, "retinanet_resnet50_fpn"),
        (fcos, "fcos_resnet50_fpn"),
    ],
)
def test_weights_of_torchvisions_own_detectors_fit(make: Any, theirs: str) -> None:
    """Otherwise its published weights cannot teach."""
    from torchvision.models import get_model

    with torch.device("meta"):
        ours = make().state_dict()
        known = get_model(theirs, weights=None, weights_backbone=None).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in known.items()}


class Finds(nn.Module):
    """Detects what it was told to, in each image."""

    def __init__(self, found: list[tuple[list[float], int, float]]) -> None:
        super().__init__()
        boxes, labels, scores = zip(*found, strict=True)
        self.found = {
            "boxes": torch.tensor(boxes),
            "labels": torch.tensor(labels),
            "scores": torch.tensor(scores),
        }

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [self.found for _ in images]


def test_average_precision_is_that_of_the_found_boxes() -> None:
    """Otherwise the score is of other boxes, or a crowd that is found counts as an error."""
    batch = batch_of()
    both = [([4.0, 4.0, 20.0, 24.0], 1, 0.9), ([30.0, 8.0, 60.0, 30.0], 1, 0.8)]
    score = AveragePrecisionPipeline().run_inference_pipeline
    assert score(Finds(both), [batch])["inference_result"] == pytest.approx(1.0)
    half = score(Finds(both[:1]), [batch])
    assert half["map_50"] == pytest.approx(51 / 101, abs=1e-3)  # precision 1 up to a recall of a half
    crowd = score(Finds(both), [batch_of(crowd=True)])
    assert crowd["inference_result"] == pytest.approx(1.0)
    wrong = [(box, 2, confidence) for box, _, confidence in both]
    assert score(Finds(wrong), [batch])["inference_result"] == pytest.approx(0.0)
    parts = [AveragePrecisionPipeline().measure_part(Finds(both[:1]), [batch]) for _ in range(2)]
    assert AveragePrecisionPipeline().combine(parts)["count"] == 4


def test_the_doctor_asks_a_detector_for_its_losses_and_leaves_no_trace() -> None:
    """Otherwise every distillation of a detector begins with a false alarm: it has losses in train mode alone."""
    model = retinanet("mobilenet_v3_small", **TINY).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    teacher = retinanet("mobilenet_v3_small", **TINY)
    objective = {
        "task": {"loss": "own", "student": "*"},
        "pkd": {"loss": "pkd_features", "student": "fpn.0", "teacher": "fpn.0"},
    }
    for quick in (True, False):
        found = diagnose(
            teacher, model, [batch_of()] * 2, {}, objective=objective, adapter=detection_signals, quick=quick
        )
        assert [finding.fault for finding in found.findings if finding.severity == "error"] == []
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


@pytest.mark.slow
def test_a_recipe_trains_and_evaluates_a_detector(tmp_path: Path) -> None:
    """Otherwise the way from annotated images to a smaller detector ends in a traceback, or teaches nothing."""
    render(tmp_path / "scenes", 8, 4)
    once = {**QUIET, "check_val_every_n_epoch": 10}
    models = "{name: retinanet, backbone: mobilenet_v3_small, width: 32, min_size: 64, max_size: 64, anchor: 16"
    train = "{task: {loss: own, student: '*'}}"
    changes = [
        f"data.path={tmp_path / 'scenes'}", "data.batch_size=8", f"student={models}}}",
        f"teacher={models}, train: {{objective: {train}, max_epochs: 10, trainer: {once}}}}}",
        "objective.fgd={loss: fgd, weight: 10, student: fpn.0, teacher: fpn.0, teacher_channels: auto}",
        "training.max_epochs=10", "training.learning_rate=5e-4", "training.schedule=''", f"training.trainer={once}",
    ]  # fmt: skip
    recipe = read_recipe(Path(__file__).parents[3] / "examples" / "detection.yaml", changes)
    run = run_recipe(recipe, directory=tmp_path / "run")
    assert 0 <= run.scores["val"] <= 1
    falls(run, ("task", "pkd_0", "fgd"))
    found = run.evaluate(cost=False, layers=None)
    assert found.models["student"]["quality"]["value"] == pytest.approx(run.scores["val"], abs=1e-6)
    with pytest.raises(ExportError, match="must answer batches of any size"):
        run.export("safetensors")
    assert (run.directory / "student.safetensors").is_file()
