"""COCO's annotation file: images, categories and boxes, read and checked."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.domains.reading import read_text
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
SLACK = 1.0
"""Pixels by which a box may stand out of its image without a word: roundings."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One image and its objects.

    Attributes:
        file: of the image.
        size: width and height in pixels, as the annotations say.
        boxes: left, top, right, bottom in pixels.
        categories: ids as in the file, one for each box.
        crowds: whether a box holds many objects that are not told apart.
        fault: why nothing can be learnt from it; "" if something can.
    """

    file: Path
    size: tuple[float, float]
    boxes: tuple[tuple[float, float, float, float], ...]
    categories: tuple[int, ...]
    crowds: tuple[bool, ...]
    fault: str


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a file says: its scenes in the order of its images, and category id -> name."""

    scenes: tuple[Scene, ...]
    names: Mapping[int, str]


def read_annotations(file: Path, images: Path) -> Annotations:
    """Read a file in COCO's format of object detection.

    A box that stands out of its image is cut off at the edge. A scene with a box of no area, wholly outside, of an
    unknown category or of no numbers has a fault: without that box, its object would be taught as background.
    Annotations whose image the file does not list are left out. The log counts what is cut and left out.

    Args:
        file: JSON with "images" (id, file_name, width, height), "annotations" (image_id, category_id, bbox as left,
            top, width, height, perhaps iscrowd) and "categories" (id, name).
        images: the folder of the images.

    Raises:
        ConfigError: if the file is no such JSON, an id is there twice, or no image has an object.
    """
    content = _content(file)
    names = {_whole(entry, "id", file): str(entry.get("name", entry["id"])) for entry in content["categories"]}
    told: dict[int, list[Mapping[str, Any]]] = {}
    for entry in content["images"]:
        number = _whole(entry, "id", file)
        if number in told:
            raise ConfigError(f"{file} lists image {number} twice: boxes would go to the wrong one. Number them anew.")
        told[number] = []
    orphans: list[Mapping[str, Any]] = []
    for entry in content["annotations"]:
        number = _whole(entry, "image_id", file)
        told.get(number, orphans).append(entry)
    if orphans:
        shown = sorted({entry["image_id"] for entry in orphans})
        logger.warning(
            "%s: %d of %d annotations are left out, of %d images that the file does not list: %s%s.",
            file, len(orphans), len(content["annotations"]), len(shown), shown[:10], ", ..." if shown[10:] else "",
        )  # fmt: skip
    scenes, cut = [], 0
    for entry in content["images"]:
        scene, outside = _scene(entry, told[entry["id"]], names, images, file)
        scenes.append(scene)
        cut += outside
    if cut:
        logger.warning("%s: %d boxes stand out of their image and are cut off at its edge.", file, cut)
    if not any(scene.boxes for scene in scenes):
        raise ConfigError(
            f"{file} must hold an object in at least one image, and its {len(scenes)} images have none: there would be "
            "nothing to find. Name the file of this data set, or look at its annotations."
        )
    return Annotations(tuple(scenes), names)


def _content(file: Path) -> dict[str, list[Mapping[str, Any]]]:
    try:
        content = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} must be JSON in COCO's format, and is not: {str(error)[:200]}.") from error
    parts = ("images", "annotations", "categories")
    good = isinstance(content, dict) and all(
        isinstance(content.get(part), list) and all(isinstance(entry, dict) for entry in content[part])
        for part in parts
    )
    if not good:
        raise ConfigError(f"{file} must hold lists of objects under {', '.join(map(repr, parts))}, as COCO's files do.")
    return {part: content[part] for part in parts}


def _whole(entry: Mapping[str, Any], key: str, file: Path) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{file}: {key!r} must be a whole number, got {value!r} in {str(entry)[:200]}.")
    return value


def _scene(
    image: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], names: Mapping[int, str], folder: Path, file: Path
) -> tuple[Scene, int]:
    """A scene, and how many of its boxes were cut at the edge."""
    width, height, name = image.get("width"), image.get("height"), image.get("file_name")
    if not is_finite_number(width) or not is_finite_number(height) or not isinstance(name, str):
        raise ConfigError(f"{file}: an image must have file_name, width and height, got {str(image)[:200]}.")
    boxes, fault, cut = [], "", 0
    for entry in entries:
        box, complaint, outside = _box(entry, names, width, height)
        boxes.append(box)
        fault, cut = fault or complaint, cut + outside
    categories = tuple(int(entry.get("category_id") or 0) for entry in entries) if not fault else ()
    crowds = tuple(bool(entry.get("iscrowd")) for entry in entries) if not fault else ()
    return Scene(folder / name, (width, height), tuple(boxes) if not fault else (), categories, crowds, fault), cut


def _box(
    entry: Mapping[str, Any], names: Mapping[int, str], width: float, height: float
) -> tuple[tuple[float, float, float, float], str, int]:
    """A box by its corners, what is wrong with it, and whether it stood out of the image."""
    nothing = (0.0, 0.0, 0.0, 0.0)
    given, category = entry.get("bbox"), entry.get("category_id")
    if not isinstance(given, list) or len(given) != 4 or not all(map(is_finite_number, given)):
        return nothing, f"its box {given!r} is no left, top, width and height", 0
    if not isinstance(category, int) or category not in names:
        return nothing, f"its category {category!r} is none of the file's", 0
    left, top, across, down = given
    if across <= 0 or down <= 0:
        return nothing, f"its box {given} has no area", 0
    inside = (max(left, 0.0), max(top, 0.0), min(left + across, width), min(top + down, height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return nothing, f"its box {given} lies outside of its {width:g} x {height:g} pixels", 0
    outside = max(-left, -top, left + across - width, top + down - height) > SLACK
    return inside, "", int(outside)
