"""Cases of the losses for segmentation and detection, with oracles in NumPy and plain loops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit, rel_entr, softmax
from torch import Tensor

from knowledge_distillation.losses.dense.fbkd import FBKD, fbkd
from knowledge_distillation.losses.dense.fgd import FGD, fgd
from knowledge_distillation.losses.dense.pixel_kd import pixel_kd
from knowledge_distillation.losses.loss import Loss
from tests.laws.case import Case, Inputs

Array = np.ndarray
Settings = Mapping[str, Any]


def random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=random(generator, batch, 4, 5, 3) * 2, teacher=random(generator, batch, 4, 5, 3) * 2 + 0.3)


def sizes(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=random(generator, batch, 4, 3, 2), teacher=random(generator, batch, 4, 6, 5) + 0.3)


def narrow_maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=random(generator, batch, 3, 5, 3), teacher=random(generator, batch, 4, 5, 3))


def cwd_oracle(inputs: Inputs, settings: Settings) -> float:
    temperature = settings.get("temperature", 4.0)
    student, teacher = (
        softmax(side.detach().numpy().reshape(*side.shape[:2], -1) / temperature, axis=-1)
        for side in (inputs.student, inputs.teacher)
    )
    return temperature**2 * float(rel_entr(teacher, student).sum(-1).mean())


def pixel_kd_oracle(inputs: Inputs, settings: Settings) -> float:
    temperature = settings.get("temperature", 1.0)
    student, teacher = (
        softmax(side.detach().numpy() / temperature, axis=-1) for side in (inputs.student, inputs.teacher)
    )
    return temperature**2 * float(rel_entr(teacher, student).sum(-1).mean())


def pixel_kd_channels_first(inputs: Inputs, module: Loss, settings: Settings, **keywords: Any) -> Tensor:
    """The laws know classes on the last axis only: the module gets them there, the function at axis 1."""
    settings = {**settings, "class_axis": 1}
    return pixel_kd(inputs.student.movedim(-1, 1), inputs.teacher.movedim(-1, 1), **settings, **keywords)


def pkd_features_oracle(inputs: Inputs, settings: Settings) -> float:
    student, teacher = inputs.student.detach().numpy(), inputs.teacher.numpy()
    student = resized(student, *teacher.shape[2:])
    total = 0.0
    for channel in range(teacher.shape[1]):
        ours, theirs = student[:, channel], teacher[:, channel]
        ours, theirs = ((side - side.mean()) / (side.std(ddof=1) + 1e-6) for side in (ours, theirs))
        total += float(((ours - theirs) ** 2).mean()) / 2
    return total / teacher.shape[1]


def resized(maps: Array, height: int, width: int) -> Array:
    """Bilinear, with cell centres at (i + 1/2) / count and the edges repeated."""
    for axis, count in ((2, height), (3, width)):
        old = maps.shape[axis]
        place = np.clip((np.arange(count) + 0.5) * old / count - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        share = (place - low).reshape(-1, *[1] * (3 - axis))
        maps = np.take(maps, low, axis) * (1 - share) + np.take(maps, np.minimum(low + 1, old - 1), axis) * share
    return maps


def pkd_features_equality(inputs: Inputs) -> Inputs:
    return Inputs(student=inputs.student, teacher=F.interpolate(inputs.student, (6, 5), mode="bilinear"))


IMAGE = (40.0, 30.0)


def with_boxes(inputs: Inputs, generator: torch.Generator) -> Inputs:
    """Up to three boxes a sample, the rest padding; small and large ones, overlapping."""
    corners = torch.rand(len(inputs.teacher), 3, 2, 2, generator=generator, dtype=torch.float64).sort(dim=2).values
    boxes = (corners * torch.tensor([IMAGE[1], IMAGE[0]])).flatten(start_dim=2)
    missing = torch.rand(len(inputs.teacher), 3, 1, generator=generator) < 0.3
    return Inputs(
        student=inputs.student,
        teacher=inputs.teacher,
        needs={"boxes": boxes.masked_fill(missing, torch.nan), "image_size": IMAGE},
    )


def boxed_maps(generator: torch.Generator, batch: int) -> Inputs:
    return with_boxes(maps(generator, batch), generator)


def boxed_narrow_maps(generator: torch.Generator, batch: int) -> Inputs:
    return with_boxes(narrow_maps(generator, batch), generator)


def stir(module: Loss) -> Loss:
    """Layers that start at 0 would hide what is in front of them."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return module


def fgd_module(**settings: Any) -> Loss:
    return stir(FGD(4, **settings))


def fgd_projecting(**settings: Any) -> Loss:
    return stir(FGD(3, 4, **settings))


def fgd_call(inputs: Inputs, module: Loss, settings: Settings, **keywords: Any) -> Tensor:
    """The boxes as a list, one tensor a sample, where the module gets them in one padded tensor."""
    assert isinstance(module, FGD)
    boxes = [each[each.isfinite().all(dim=1) & (each[:, 2] >= each[:, 0])] for each in inputs.needs["boxes"]]
    return fgd(
        module.projection(shown(inputs.student, keywords)),
        inputs.teacher,
        boxes=boxes,
        image_size=inputs.needs["image_size"],
        student_context=module.student_context,
        teacher_context=module.teacher_context,
        **settings,
        **keywords,
    )


def shown(student: Tensor, keywords: Mapping[str, Any]) -> Tensor:
    """What the function takes is projected already; the projection must not see what masked samples hold."""
    mask = keywords.get("mask")
    student = student if student.dtype == torch.float64 else student.float()
    return student if mask is None else student.masked_fill(~mask.bool()[:, None, None, None], 0.0)


FGD_WEIGHTS = {"foreground_weight": 1.0, "background_weight": 0.5, "attention_weight": 0.3, "relation_weight": 0.1}


def fgd_oracle(inputs: Inputs, settings: Settings) -> float:
    state = {name: value.double().numpy() for name, value in settings["module"].state_dict().items()}
    temperature = settings["temperature"]
    total = 0.0
    for sample in range(len(inputs.teacher)):
        student, teacher = inputs.student[sample].detach().numpy(), inputs.teacher[sample].numpy()
        if "projection.weight" in state:
            student = convolved(student, state, "projection")
        height, width = teacher.shape[1:]
        inside = np.zeros((height, width))
        for left, top, right, bottom in inputs.needs["boxes"][sample].tolist():
            if math.isnan(left):
                continue
            first_row, last_row = math.floor(top * height / IMAGE[0]), math.ceil(bottom * height / IMAGE[0])
            first_column, last_column = math.floor(left * width / IMAGE[1]), math.ceil(right * width / IMAGE[1])
            scale = 1 / ((last_row - first_row + 1) * (last_column - first_column + 1))
            for row in range(first_row, min(last_row, height - 1) + 1):
                for column in range(first_column, min(last_column, width - 1) + 1):
                    inside[row, column] = max(inside[row, column], scale)
        outside = (inside == 0) / max((inside == 0).sum(), 1)
        pixels, channels = looks(teacher, temperature)
        pixels_student, channels_student = looks(student, temperature)
        gaps = (student - teacher) ** 2 * pixels * channels[:, None, None]
        total += (
            settings["foreground_weight"] * (gaps * inside).sum()
            + settings["background_weight"] * (gaps * outside).sum()
        )
        looked = np.abs(pixels - pixels_student).sum() + np.abs(channels - channels_student).sum()
        total += settings["attention_weight"] * looked
        related = in_context(student, state, "student_context") - in_context(teacher, state, "teacher_context")
        total += settings["relation_weight"] * (related**2).sum()
    return float(total) / len(inputs.teacher)


def looks(features: Array, temperature: float) -> tuple[Array, Array]:
    pixels, channels = np.abs(features).mean(0), np.abs(features).mean((1, 2))
    return softmax(pixels / temperature) * pixels.size, softmax(channels / temperature) * channels.size


def convolved(features: Array, state: Mapping[str, Array], name: str) -> Array:
    bias = state[f"{name}.bias"].reshape(-1, *[1] * (features.ndim - 1))
    return np.tensordot(state[f"{name}.weight"][:, :, 0, 0], features, axes=1) + bias


def in_context(features: Array, state: Mapping[str, Array], name: str) -> Array:
    look = softmax(convolved(features, state, f"{name}.attention")[0])
    middle = convolved((features * look).sum((1, 2)), state, f"{name}.transform.0")
    middle = (middle - middle.mean()) / np.sqrt(middle.var() + 1e-5)
    middle = middle * state[f"{name}.transform.1.weight"].ravel() + state[f"{name}.transform.1.bias"].ravel()
    return features + convolved(np.maximum(middle, 0), state, f"{name}.transform.3")[:, None, None]


FBKD_SETTINGS = {"temperature": 0.5, "attention_weight": 1.0, "feature_weight": 0.7, "relation_weight": 0.3}


def fbkd_module(**settings: Any) -> Loss:
    return stir(FBKD(3, 4, **settings))


def fbkd_call(inputs: Inputs, module: Loss, settings: Settings, **keywords: Any) -> Tensor:
    assert isinstance(module, FBKD)
    return fbkd(
        module.projection(shown(inputs.student, keywords)),
        inputs.teacher,
        student_relation=module.student_relation,
        teacher_relation=module.teacher_relation,
        **settings,
        **keywords,
    )


def fbkd_oracle(inputs: Inputs, settings: Settings) -> float:
    state = {name: value.double().numpy() for name, value in settings["module"].state_dict().items()}
    temperature = settings["temperature"]
    total = 0.0
    for ours, theirs in zip(inputs.student.detach().numpy(), inputs.teacher.numpy(), strict=True):
        student = convolved(ours, state, "projection")
        pixels = [np.abs(side).mean(0) for side in (student, theirs)]
        channels = [np.abs(side).mean((1, 2)) for side in (student, theirs)]
        spatial = softmax((pixels[0] + pixels[1]) / temperature) * pixels[0].size
        channel = softmax((channels[0] + channels[1]) / temperature) * channels[0].size
        looked = np.linalg.norm(pixels[0] - pixels[1]) + np.linalg.norm(channels[0] - channels[1])
        error = math.sqrt(((student - theirs) ** 2 * spatial * channel[:, None, None]).sum())
        related = related_pixels(student, state, "student_relation") - related_pixels(theirs, state, "teacher_relation")
        total += settings["attention_weight"] * looked + settings["feature_weight"] * error
        total += settings["relation_weight"] * math.sqrt((related**2).sum())
    return total / len(inputs.teacher)


def related_pixels(features: Array, state: Mapping[str, Array], name: str) -> Array:
    query, key, value = (
        convolved(features, state, f"{name}.{part}").reshape(-1, features[0].size) for part in ("query", "key", "value")
    )
    mixed = np.stack([(value * (query[:, pixel] @ key)).mean(1) for pixel in range(features[0].size)], axis=1)
    return features + convolved(mixed.reshape(-1, *features.shape[1:]), state, f"{name}.out")


def proposals(generator: torch.Generator, batch: int) -> Inputs:
    student = [random(generator, batch, 5) * 2, random(generator, batch, 4)]
    teacher = [random(generator, batch, 5) * 2, random(generator, batch, 4)]
    needs = {"target_boxes": random(generator, batch, 4), "foreground": torch.rand(batch, generator=generator) < 0.7}
    return Inputs(student=student, teacher=teacher, needs=needs)


def many_proposals(generator: torch.Generator, batch: int) -> Inputs:
    student = [random(generator, batch, 3, 5) * 2, random(generator, batch, 3, 4)]
    teacher = [random(generator, batch, 3, 5) * 2, random(generator, batch, 3, 4)]
    return Inputs(student=student, teacher=teacher, needs={"target_boxes": random(generator, batch, 3, 4)})


def two_stage_oracle(inputs: Inputs, settings: Settings) -> float:
    scores, boxes = (part.detach().numpy().reshape(-1, part.shape[-1]) for part in inputs.student)
    scores_teacher, boxes_teacher = (part.numpy().reshape(-1, part.shape[-1]) for part in inputs.teacher)
    targets = inputs.needs["target_boxes"].numpy().reshape(-1, 4)
    objects = inputs.needs["foreground"].tolist() if "foreground" in inputs.needs else [True] * len(boxes)
    weights = np.ones(scores.shape[1])
    weights[settings.get("background_class", 0)] = settings.get("background_weight", 1.5)
    total = 0.0
    for row in range(len(scores)):
        ours, theirs = softmax(scores[row]), softmax(scores_teacher[row])
        total += settings.get("class_weight", 0.5) * sum(weights * theirs * np.log(theirs / ours))
        error, bound = sum((boxes[row] - targets[row]) ** 2), sum((boxes_teacher[row] - targets[row]) ** 2)
        if objects[row] and error + settings.get("margin", 0.0) > bound:
            total += settings.get("box_weight", 0.5) * error
    return float(total) / len(scores)


def anchors(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = (
        [random(generator, batch, 3), random(generator, batch, 3, 4), random(generator, batch, 3, 6)] for _ in range(2)
    )
    return Inputs(student=student, teacher=teacher)


def one_stage_oracle(inputs: Inputs, settings: Settings) -> float:
    def probabilities(scores: Array) -> Array:
        return expit(scores) if settings.get("activation") == "sigmoid" else softmax(scores, axis=-1)

    objectness, boxes, scores = (part.detach().numpy() for part in inputs.student)
    likely, boxes_teacher, scores_teacher = (part.numpy() for part in inputs.teacher)
    total = 0.0
    for place in np.ndindex(objectness.shape):
        trust = expit(likely[place])
        total += settings.get("objectness_weight", 1.0) * (expit(objectness[place]) - trust) ** 2
        total += settings.get("box_weight", 1.0) * trust * ((boxes[place] - boxes_teacher[place]) ** 2).sum()
        error = ((probabilities(scores[place]) - probabilities(scores_teacher[place])) ** 2).sum()
        total += settings.get("class_weight", 1.0) * trust * error
    return float(total) / objectness.size


CASES = [
    Case(name="cwd", inputs=maps, oracle=cwd_oracle, settings={"temperature": 4.0}),
    Case(name="cwd", inputs=maps, oracle=cwd_oracle, settings={"temperature": 1.0}, label="T1"),
    Case(
        name="pixel_kd",
        inputs=maps,
        oracle=pixel_kd_oracle,
        settings={"temperature": 1.0, "class_axis": -1},
        item_axes=3,
    ),
    Case(
        name="pixel_kd",
        inputs=maps,
        oracle=pixel_kd_oracle,
        settings={"temperature": 3.0, "class_axis": -1},
        call=pixel_kd_channels_first,
        item_axes=3,
        label="channels first",
    ),
    Case(name="pkd_features", inputs=maps, oracle=pkd_features_oracle),
    Case(
        name="pkd_features",
        inputs=sizes,
        oracle=pkd_features_oracle,
        equality=pkd_features_equality,
        label="resized",
    ),
    Case(
        name="fgd",
        inputs=boxed_maps,
        oracle=fgd_oracle,
        settings={"temperature": 0.5, **FGD_WEIGHTS},
        module=fgd_module,
        call=fgd_call,
        shared=("image_size",),
    ),
    Case(
        name="fgd",
        inputs=boxed_narrow_maps,
        oracle=fgd_oracle,
        settings={"temperature": 2.0, **FGD_WEIGHTS},
        module=fgd_projecting,
        call=fgd_call,
        shared=("image_size",),
        label="projected",
    ),
    Case(
        name="fbkd",
        inputs=narrow_maps,
        oracle=fbkd_oracle,
        settings=FBKD_SETTINGS,
        module=fbkd_module,
        call=fbkd_call,
    ),
    Case(name="two_stage_head_kd", inputs=proposals, oracle=two_stage_oracle),
    Case(
        name="two_stage_head_kd",
        inputs=many_proposals,
        oracle=two_stage_oracle,
        settings={
            "background_class": -1,
            "background_weight": 2.0,
            "margin": 1.0,
            "class_weight": 1.0,
            "box_weight": 2.0,
        },
        item_axes=2,
        equality=lambda inputs: Inputs(
            student=inputs.student,
            teacher=inputs.student,
            needs={"target_boxes": inputs.student[1]},
        ),
        label="many",
    ),
    Case(name="one_stage_head_kd", inputs=anchors, oracle=one_stage_oracle, item_axes=2),
    Case(
        name="one_stage_head_kd",
        inputs=anchors,
        oracle=one_stage_oracle,
        settings={"activation": "sigmoid", "objectness_weight": 0.5, "box_weight": 2.0, "class_weight": 0.3},
        item_axes=2,
        label="sigmoid",
    ),
]
