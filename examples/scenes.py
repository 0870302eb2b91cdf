"""Real digits pasted on rendered backgrounds, where every pixel and every box is known; segmented, or detected.

    python examples/scenes.py [segmentation | detection] [--small]

The scenes are written to data/scenes, in the formats that the data sets `segmentation_folder` and `coco` read, and then
examples/segmentation.yaml or examples/detection.yaml is run on them. Your own folder takes their place: set data.path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from knowledge_distillation.domains.vision import digits
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe

SIDE, LEAST, MOST, OBJECTS, KINDS = 64, 32, 56, 2, 4
"""Pixels of a scene, of the smallest and the largest digit; digits in a scene at most; the first so many of the ten."""
BACKGROUND, BORDER = 0, 255


def render(folder: Path, train: int, validation: int) -> None:
    """Write scenes as images/*.png, masks/*.png, train.txt, val.txt, and COCO's annotations as train.json, val.json.

    Digits that are trained on are never in a scene for validation.
    """
    data = digits()
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sources = {"train": data.train.dataset.tensors, "val": data.validation["test"].dataset.tensors}
    for seed, (part, count) in enumerate({"train": train, "val": validation}.items()):
        pictures, labels = sources[part]
        pictures, labels = pictures[labels < KINDS], labels[labels < KINDS]
        generator = torch.Generator().manual_seed(seed)
        images, annotations = [], []
        for number in range(count):
            name = f"{part}_{number:05d}.png"
            scene, mask, objects = compose(pictures, labels, generator)
            Image.fromarray((scene.permute(1, 2, 0) * 255).byte().numpy()).save(folder / "images" / name)
            Image.fromarray(mask.byte().numpy()).save(folder / "masks" / name)
            images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
            for label, box in objects:
                annotations.append(
                    {"id": len(annotations), "image_id": number, "category_id": label, "bbox": box, "iscrowd": 0}
                )
        names = "\n".join(image["file_name"] for image in images)
        (folder / f"{part}.txt").write_text(names, encoding="utf-8")
        categories = [{"id": digit, "name": str(digit)} for digit in range(KINDS)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{part}.json").write_text(json.dumps(content), encoding="utf-8")


def compose(
    pictures: Tensor, labels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, list[tuple[int, list[int]]]]:
    """One scene [3, SIDE, SIDE], its mask [SIDE, SIDE], and (digit, [left, top, width, height]) of its objects."""

    def drawn(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    coarse = torch.rand(1, 3, drawn(3, 13), drawn(3, 13), generator=generator)
    grain = torch.rand(1, 3, SIDE, SIDE, generator=generator)
    scene = 0.8 * F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")[0] + 0.2 * grain[0]
    mask = torch.zeros(SIDE, SIDE)
    taken = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    objects = []
    for _ in range(drawn(1, OBJECTS + 1)):
        side, which = drawn(LEAST, MOST + 1), drawn(0, len(labels))
        top, left = drawn(0, SIDE - side), drawn(0, SIDE - side)
        place = (slice(top, top + side), slice(left, left + side))
        if taken[place].any():
            continue
        taken[place] = True
        ink = F.interpolate(pictures[which][None], size=(side, side), mode="bicubic")[0, 0].clamp(0, 1)
        solid = ink > 0.5
        if not solid.any():
            continue
        colour = torch.rand(3, 1, 1, generator=generator)
        scene[(slice(None), *place)] = torch.lerp(scene[(slice(None), *place)], colour.expand(3, side, side), ink)
        patch = mask[place]
        patch[(ink > 0.3) & ~solid] = BORDER
        patch[solid] = int(labels[which]) + 1
        rows, columns = solid.nonzero().unbind(dim=1)
        box = [left + int(columns.min()), top + int(rows.min())]
        box += [int(columns.max() - columns.min()) + 1, int(rows.max() - rows.min()) + 1]
        objects.append((int(labels[which]), box))
    return scene.clamp(0, 1), mask, objects


def main() -> None:
    small = "--small" in sys.argv
    tasks = [task for task in ("segmentation", "detection") if task in sys.argv] or ["segmentation", "detection"]
    folder = Path("data") / "scenes"
    render(folder, *((32, 8) if small else (800, 200)))
    quick = ["training.max_epochs=1", "teacher.train.max_epochs=1", "data.labelled=16"]
    for task in tasks:
        changes = [change for change in quick if task == "segmentation" or "labelled" not in change] if small else []
        recipe = read_recipe(Path(__file__).with_name(f"{task}.yaml"), changes)
        run = run_recipe(recipe, directory=Path("runs") / task)
        found = run.evaluate(cost=False, layers=None)
        teacher, student = (found.models[name]["quality"] for name in ("teacher", "student"))
        print(f"{task}: teacher {teacher['value']:.3f}, student {student['value']:.3f} by the task's own measure")


if __name__ == "__main__":
    main()
