"""Cases of the losses between samples, with oracles in NumPy and plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist, pdist
from scipy.special import huber, rel_entr, softmax
from torch import Tensor

from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.relations.crd import CRD, crd
from knowledge_distillation.losses.relations.ickd import ICKD, ickd
from knowledge_distillation.losses.relations.sskd import SSKD, sskd
from tests.laws.case import Case, Inputs

Array = np.ndarray
Settings = Mapping[str, Any]


def random(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def embeddings(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=random(generator, batch, 5), teacher=random(generator, batch, 7) * 2)


def maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=random(generator, batch, 4, 3, 3), teacher=random(generator, batch, 4, 2, 5) + 0.5)


def rows(signal: Tensor) -> Array:
    return signal.detach().numpy().reshape(len(signal), -1)


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def prepared(inputs: Inputs, settings: Settings, default: bool = False) -> tuple[Array, Array]:
    both = rows(inputs.student), rows(inputs.teacher)
    return (unit(both[0]), unit(both[1])) if settings.get("normalize", default) else both


def rkd_distance_oracle(inputs: Inputs, settings: Settings) -> float:
    student, teacher = prepared(inputs, settings)
    if len(student) < 2:
        return 0.0
    gaps = cdist(student, student) / pdist(student).mean() - cdist(teacher, teacher) / pdist(teacher).mean()
    return float(huber(1.0, gaps).mean())


def rkd_angle_oracle(inputs: Inputs, settings: Settings) -> float:
    student, teacher = prepared(inputs, settings)
    count, total = len(student), 0.0
    for i, j, k in product(range(count), repeat=3):
        if i not in (j, k):
            total += float(huber(1.0, angle(student, i, j, k) - angle(teacher, i, j, k)))
    return total / count**3


def angle(points: Array, i: int, j: int, k: int) -> float:
    first, second = points[j] - points[i], points[k] - points[i]
    return float(first @ second / math.sqrt((first @ first) * (second @ second)))


def rkd_oracle(inputs: Inputs, settings: Settings) -> float:
    distance, angles = rkd_distance_oracle(inputs, settings), rkd_angle_oracle(inputs, settings)
    return settings.get("distance_weight", 25.0) * distance + settings.get("angle_weight", 50.0) * angles


def sp_oracle(inputs: Inputs, settings: Settings) -> float:
    student, teacher = (unit(np.inner(side, side)) for side in (rows(inputs.student), rows(inputs.teacher)))
    return float(((student - teacher) ** 2).mean())


def cc_oracle(inputs: Inputs, settings: Settings) -> float:
    def kernel(vectors: Array) -> Array:
        gamma, order = settings.get("gamma", 0.4), settings.get("order", 2)
        products = np.inner(vectors, vectors)
        if settings.get("kernel") == "bilinear":
            return products
        if order is None:
            return np.exp(-gamma * cdist(vectors, vectors, "sqeuclidean"))
        return math.exp(-2 * gamma) * sum((2 * gamma * products) ** p / math.factorial(p) for p in range(order + 1))

    student, teacher = prepared(inputs, settings, default=True)
    return float(((kernel(student) - kernel(teacher)) ** 2).mean())


def pkt_oracle(inputs: Inputs, settings: Settings) -> float:
    paper = settings.get("variant", "paper") == "paper"

    def neighbours(vectors: Array) -> Array:
        directions = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-7)
        kernel = (np.inner(directions, directions) + 1) / 2
        if paper:
            kernel = (kernel + 1e-7) * (1 - np.eye(len(vectors)))
        return kernel / np.maximum(kernel.sum(1, keepdims=True), 1e-300)

    student, teacher = neighbours(rows(inputs.student)), neighbours(rows(inputs.teacher))
    if paper:
        return float(rel_entr(teacher, student).sum(1).mean())
    return float((teacher * np.log((teacher + 1e-7) / (student + 1e-7))).mean())


def ickd_oracle(inputs: Inputs, settings: Settings) -> float:
    channels, batch = inputs.teacher.shape[1], len(inputs.teacher)
    divisor = {"paper": channels**2, "cifar": channels, "imagenet": channels * batch}
    student = inputs.student.detach().numpy()
    if "module" in settings and settings["module"].projection is not None:
        student = projected(student, settings["module"])
    total = 0.0
    for ours, theirs in zip(student, inputs.teacher.numpy(), strict=True):
        grams = [unit(np.inner(side.reshape(channels, -1), side.reshape(channels, -1))) for side in (ours, theirs)]
        total += float(((grams[0] - grams[1]) ** 2).sum())
    return total / batch / divisor[settings.get("normalization", "paper")]


def projected(student: Array, module: ICKD) -> Array:
    assert module.projection is not None
    weight = module.projection.convolution.weight.detach().double().numpy()[:, :, 0, 0]
    out = np.einsum("oc,nchw->nohw", weight, student)
    mean, variance = out.mean((0, 2, 3), keepdims=True), out.var((0, 2, 3), keepdims=True)
    return (out - mean) / np.sqrt(variance + 1e-5)


def narrow_maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=random(generator, batch, 3, 3, 3), teacher=random(generator, batch, 4, 2, 5) + 0.5)


def ickd_projecting(**settings: Any) -> Loss:
    return ICKD(3, 4, **settings)


def ickd_call(inputs: Inputs, module: Loss, settings: Settings, **keywords: Any) -> Tensor:
    assert isinstance(module, ICKD)
    assert module.projection is not None
    return ickd(module.projection(inputs.student, keywords.get("mask")), inputs.teacher, **settings, **keywords)


def ickd_equality(inputs: Inputs) -> Inputs:
    torch.manual_seed(0)
    module = ICKD(3, 4).double()
    assert module.projection is not None
    return Inputs(student=inputs.student, teacher=module.projection(inputs.student).detach())


SAMPLES = 40


def contrasts(generator: torch.Generator, batch: int) -> Inputs:
    index = torch.randperm(SAMPLES, generator=generator)[:batch]
    others = (index.unsqueeze(1) + torch.randint(1, SAMPLES, (batch, 6), generator=generator)) % SAMPLES
    needs = {
        "index": index,
        "labels": index % 3,
        "contrast": torch.cat([index.unsqueeze(1), others], dim=1),
    }
    pair = embeddings(generator, batch)
    return Inputs(student=pair.student, teacher=pair.teacher, needs=needs)


def crd_resting(**settings: Any) -> Loss:
    """Banks that stand still, labels known, normalisers measured in a first batch unless they are given."""
    module = CRD(5, 7, SAMPLES, width=4, negatives=6, **settings)
    first = contrasts(torch.Generator().manual_seed(1), 8)
    module(first.student, first.teacher, index=first.needs["index"], contrast=first.needs["contrast"])
    module.bank_labels.copy_(torch.arange(SAMPLES) % 3)
    return module.eval()


def crd_call(inputs: Inputs, module: Loss, settings: Settings, **keywords: Any) -> Tensor:
    assert isinstance(module, CRD)
    contrast = inputs.needs["contrast"].clamp(min=0)
    return crd(
        inputs.student,
        inputs.teacher,
        student_head=module.student_head,
        teacher_head=module.teacher_head,
        student_bank=module.student_bank,
        teacher_bank=module.teacher_bank,
        contrast=contrast,
        negatives=module.bank_labels[contrast[:, 1:]] != inputs.needs["labels"].unsqueeze(1),
        temperature=module.temperature,
        student_normalizer=module.normalizers[0],
        teacher_normalizer=module.normalizers[1],
        **keywords,
    )


def crd_oracle(inputs: Inputs, settings: Settings) -> float:
    module = settings["module"]
    state = {name: value.double().numpy() for name, value in module.state_dict().items()}
    noise = 6 / SAMPLES
    total = 0.0
    for row in range(len(inputs.student)):
        own, *others = inputs.needs["contrast"][row].tolist()
        kept = [other for other in others if other % 3 != int(inputs.needs["labels"][row])]
        for place, (side, other) in enumerate((("student", "teacher"), ("teacher", "student"))):
            features = getattr(inputs, side)[row].detach().numpy()
            embedding = unit(state[f"{side}_head.weight"] @ features + state[f"{side}_head.bias"])
            scores = np.exp(state[f"{other}_bank"] @ embedding / settings["temperature"]) / state["normalizers"][place]
            total -= math.log(scores[own] / (scores[own] + noise + 1e-7))
            misses = sum(math.log(noise / (scores[negative] + noise + 1e-7)) for negative in kept)
            total -= misses * 6 / max(len(kept), 1)
    return total / len(inputs.student)


def views(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(student=random(generator, batch, 4, 6), teacher=random(generator, batch, 4, 5))


def sskd_oracle(inputs: Inputs, settings: Settings) -> float:
    student, teacher = inputs.student.detach().numpy(), inputs.teacher.numpy()
    if "module" in settings:
        student = headed(student, settings["module"].student_head)
        teacher = headed(teacher, settings["module"].teacher_head)
    temperature = settings["temperature"]
    right, wrong = [], []
    for sample, view in product(range(len(student)), range(1, student.shape[1])):
        ours, theirs = (
            np.array([unit(side[sample, view]) @ unit(other[0]) for other in side]) for side in (student, teacher)
        )
        value = rel_entr(softmax(theirs / temperature), softmax(ours / temperature)).sum() * temperature**2
        rank = int((theirs > theirs[sample]).sum())
        (wrong if rank else right).append((rank, float(theirs.max() - theirs[sample]), float(value)))
    kept = right + sorted(wrong)[: int(len(wrong) * settings["keep_wrong"] + 1e-3)]
    return sum(value for _, _, value in kept) / max(len(kept), 1)


def headed(features: Array, head: torch.nn.Module) -> Array:
    layers = (
        [
            (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
            for layer in head
            if hasattr(layer, "weight")
        ]
        if isinstance(head, torch.nn.Sequential)
        else []
    )
    for depth, (weight, bias) in enumerate(layers):
        features = (np.maximum(features, 0) if depth else features) @ weight.T + bias
    return features


def sskd_with_heads(**settings: Any) -> Loss:
    """As in the second stage, where the teacher's head has learned its own task and stands still."""
    module = SSKD(6, 5, **settings)
    module.teacher_head.requires_grad_(False)
    return module


def sskd_call(inputs: Inputs, module: Loss, settings: Settings, **keywords: Any) -> Tensor:
    assert isinstance(module, SSKD)
    mask = keywords.get("mask")
    width = next(module.student_head.parameters()).dtype
    student, teacher = inputs.student.to(width), inputs.teacher.to(width)
    if mask is not None:
        student = student.masked_fill(~mask.bool()[:, None, None], 0.0)
    return sskd(module.student_head(student), module.teacher_head(teacher), **settings, **keywords)


def sskd_equality(inputs: Inputs) -> Inputs:
    """Heads of their own on each side: only samples that cannot be told apart are seen alike by both."""
    return Inputs(student=torch.ones_like(inputs.student), teacher=torch.ones_like(inputs.teacher))


def case(
    name: str, inputs: Callable[..., Inputs], oracle: Callable[..., float], label: str = "", **settings: Any
) -> Case:
    return Case(
        name=name,
        inputs=inputs,
        oracle=oracle,
        settings=settings,
        minimum_batch=ENOUGH.get(name, 1),
        equality=alike,
        label=label,
    )


# with fewer samples every relation is the same, and the loss 0 whatever they hold
ENOUGH = {"rkd": 3, "rkd_distance": 3, "rkd_angle": 3, "pkt": 3, "sp": 2, "cc": 2, "sskd": 2}


def alike(inputs: Inputs) -> Inputs:
    """The student's relations on both sides; the usual inputs differ in width."""
    return Inputs(student=inputs.student, teacher=inputs.student.detach().clone())


SSKD_SETTINGS = {"temperature": 0.5, "keep_wrong": 0.75}

CASES = [
    case("rkd_distance", embeddings, rkd_distance_oracle),
    case("rkd_distance", maps, rkd_distance_oracle, "normalized", normalize=True),
    case("rkd_angle", embeddings, rkd_angle_oracle),
    case("rkd_angle", maps, rkd_angle_oracle, "normalized", normalize=True),
    case("rkd", embeddings, rkd_oracle),
    case("rkd", embeddings, rkd_oracle, "metric learning", distance_weight=1.0, angle_weight=2.0, normalize=True),
    case("sp", embeddings, sp_oracle),
    case("sp", maps, sp_oracle, "maps"),
    case("cc", embeddings, cc_oracle),
    case("cc", embeddings, cc_oracle, "bilinear", kernel="bilinear", normalize=False),
    case("cc", embeddings, cc_oracle, "exact", order=None, gamma=0.7),
    case("cc", embeddings, cc_oracle, "order 4", order=4, normalize=False, gamma=0.1),
    case("pkt", embeddings, pkt_oracle),
    case("pkt", embeddings, pkt_oracle, "code", variant="code"),
    case("ickd", maps, ickd_oracle),
    case("ickd", maps, ickd_oracle, "cifar", normalization="cifar"),
    case("ickd", maps, ickd_oracle, "imagenet", normalization="imagenet"),
    Case(
        name="ickd",
        inputs=narrow_maps,
        oracle=ickd_oracle,
        module=ickd_projecting,
        call=ickd_call,
        equality=ickd_equality,
        label="projected",
    ),
    Case(
        name="crd",
        inputs=contrasts,
        oracle=crd_oracle,
        settings={"temperature": 0.1},
        module=crd_resting,
        call=crd_call,
    ),
    Case(
        name="crd",
        inputs=contrasts,
        oracle=crd_oracle,
        settings={"temperature": 0.5, "normalizer": 1.0},
        module=crd_resting,
        call=crd_call,
        label="paper",
    ),
    case("sskd", views, sskd_oracle, **SSKD_SETTINGS),
    case("sskd", views, sskd_oracle, "few", temperature=0.1, keep_wrong=0.3),
    Case(
        name="sskd",
        inputs=views,
        oracle=sskd_oracle,
        settings=SSKD_SETTINGS,
        module=sskd_with_heads,
        call=sskd_call,
        minimum_batch=2,
        equality=sskd_equality,
        label="heads",
    ),
]
