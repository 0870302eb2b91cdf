"""Planted faults of the teacher, and of what it is asked."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.planted import healthy
from benchmarks.planted import material as m
from benchmarks.planted.case import Case
from knowledge_distillation.domains.vision import digits_cnn
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import CachedTeacher, EnsembleTeacher, write_cache


class Around(nn.Module):
    """A model with something done to its answer."""

    def __init__(self, inner: nn.Module, change: Any) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        return self.change(self.inner(*inputs, **named))


def changed(recipe: dict[str, Any], change: Any, whose: str = "teacher", **changes: Any) -> dict[str, Any]:
    """A training with something done to one model's answer."""
    return {**recipe, whose: Around(recipe[whose], change), **changes}


class StuckInTrain(m.Cnn):
    """Ignores eval()."""

    def train(self, mode: bool = True) -> StuckInTrain:
        return super().train(True)


class OwnDropout(m.Cnn):
    """Drops with the function, which does not follow eval() by itself."""

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(F.dropout(self.body(self.stem(pictures)).flatten(1), 0.3))


class Careless:
    """A Teacher of the user's own: neither eval mode nor no_grad."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    fingerprint = "careless"

    def prepare(self, device: torch.device) -> None:
        self.model.to(device)

    def signals(self, batch: Any, wanted: Any = ()) -> Signals:
        return Signals(logits=self.model(batch[0] if isinstance(batch, (list, tuple)) else batch), labels=batch[-1])

    def release(self) -> None:
        pass


class HoldsTeacher(nn.Module):
    """A loss of the user's own that holds the teacher."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return F.mse_loss(student, teacher)


class Drawing(Dataset[Any]):
    """Real digits with noise from the dataset's own generator, which no cache can replay."""

    def __init__(self) -> None:
        self.images, self.labels, _, _ = m.pictures()
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        return image + 0.1 * torch.rand(image.shape, generator=self.generator), self.labels[index]


def weights_of(recipe: dict[str, Any], order: list[int]) -> dict[str, Any]:
    """The teacher's classes in another order: its last layer's rows are moved."""
    teacher = copy.deepcopy(recipe["teacher"])
    head = [module for module in teacher.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order])
        if head.bias is not None:
            head.bias.copy_(head.bias[order])
    return {**recipe, "teacher": teacher}


def other_rendering(
    asked: m.Render, learnt: m.Render = m.plain, colour: bool = False, **changes: Any
) -> dict[str, Any]:
    """A teacher that learnt one rendering and is asked about another; the student takes the other."""
    recipe = m.picture_recipe(render=m.coloured if colour else m.plain)
    make = m.coloured_cnn if colour else m.Cnn
    return {**recipe, "teacher": m.picture_teacher(make, learnt), **m.loaders(asked), **changes}


def by_255(images: Tensor) -> Tensor:
    return images * 255


def halved(images: Tensor) -> Tensor:
    return (images - 0.5) / 0.5


def inverted(images: Tensor) -> Tensor:
    return 1 - images


def blue_first(images: Tensor) -> Tensor:
    return m.coloured(images).flip(1)


def coloured_255(images: Tensor) -> Tensor:
    return m.coloured(images) * 255


def plain_colour(images: Tensor) -> Tensor:
    return m.coloured(images)


def normalised(images: Tensor) -> Tensor:
    """With mean 0 and deviation 1."""
    return (images - 0.3) / 0.37


def coarse(images: Tensor) -> Tensor:
    """As if stored at half of the resolution."""
    return F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="nearest")


def noisy(images: Tensor) -> Tensor:
    """As from another camera."""
    return images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def grey_of_16(images: Tensor) -> Tensor:
    """From 0 to 16, as scikit-learn hands them out."""
    return images * 16


def sure_teacher(asked: m.Render, make: Any = m.Cnn, **changes: Any) -> dict[str, Any]:
    """A teacher that was trained until it was sure, and is asked about another rendering."""
    return {**m.picture_recipe(teacher=m.picture_teacher(make, epochs=20)), **m.loaders(asked), **changes}


def cached_elsewhere(folder: Path, check_inputs: bool) -> dict[str, Any]:
    recipe = m.picture_recipe()
    write_cache(recipe["teacher"], recipe["train_loader"], folder, signals=("logits",),
                engine={"accelerator": "cpu", "devices": 1})  # fmt: skip
    return {**recipe, **m.loaders(coarse), "teacher": CachedTeacher(folder, check_inputs=check_inputs)}


def cached_drawing(folder: Path) -> dict[str, Any]:
    recipe = m.picture_recipe(train_loader=DataLoader(Drawing(), 64, shuffle=True))
    write_cache(recipe["teacher"], recipe["train_loader"], folder, signals=("logits",),
                engine={"accelerator": "cpu", "devices": 1})  # fmt: skip
    return {**recipe, "teacher": CachedTeacher(folder)}


def shares_body(folder: Path) -> dict[str, Any]:
    recipe = m.picture_recipe(student=m.Cnn())
    recipe["student"].stem = recipe["teacher"].stem
    return recipe


def shares_statistics(folder: Path) -> dict[str, Any]:
    recipe = m.picture_recipe(student=m.Cnn())
    recipe["student"].stem = recipe["teacher"].stem
    recipe["student"].stem.requires_grad_(False)
    return recipe


def itself(folder: Path) -> dict[str, Any]:
    recipe = m.picture_recipe()
    return {**recipe, "student": recipe["teacher"]}


def in_the_loss(folder: Path) -> dict[str, Any]:
    recipe = m.picture_recipe()
    return {**recipe, "objective": {"own": HoldsTeacher(recipe["teacher"]), "cross_entropy": 1.0}}


def with_enabled_gradient(model: nn.Module) -> nn.Module:
    class Enabled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, pictures: Tensor) -> Tensor:
            with torch.enable_grad():
                return self.inner(pictures)

    return Enabled()


def batch_statistics(folder: Path) -> dict[str, Any]:
    teacher = m.picture_teacher()
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    return m.picture_recipe(teacher=teacher)


def stuck(folder: Path) -> dict[str, Any]:
    teacher = StuckInTrain(dropout=0.3)
    teacher.load_state_dict(m.picture_teacher().state_dict())
    return m.picture_recipe(teacher=teacher)


def own_dropout(folder: Path) -> dict[str, Any]:
    teacher = OwnDropout()
    teacher.load_state_dict(m.picture_teacher().state_dict())
    return m.picture_recipe(teacher=teacher)


def better_student(folder: Path) -> dict[str, Any]:
    weak = m.learnt(m.mlp, TensorDataset(*(part[:100] for part in m.pictures()[:2])), epochs=8)
    return m.picture_recipe(teacher=weak, student=m.picture_teacher(partial(m.mlp, 12), epochs=8))


def scaled_up(recipe: dict[str, Any], factor: float, **changes: Any) -> dict[str, Any]:
    """A teacher whose scores are larger: one-hot answers, or overflow."""
    return changed(recipe, lambda logits: logits * factor, **changes)


def nan_teacher(folder: Path) -> dict[str, Any]:
    recipe = m.text_recipe()
    with torch.no_grad():
        recipe["teacher"].head.bias[0] = float("nan")
    return recipe


def permuted_tags(folder: Path) -> dict[str, Any]:
    return weights_of(m.tag_recipe(), [2, 0, 1])


REVERSED = list(range(9, -1, -1))

FAULTS_OF_TEACHERS = (
    Case("untrained teacher, pictures", lambda folder: m.picture_recipe(teacher=m.Cnn()), "teacher_skill"),
    Case("untrained teacher, texts", lambda folder: m.text_recipe(teacher=m.Bag()), "teacher_skill"),
    Case("untrained teacher, language", lambda folder: m.language_recipe(teacher=m.Language()), "teacher_skill"),
    Case("untrained teacher, values", lambda folder: m.value_recipe(teacher=m.regressor()), "teacher_skill"),
    Case("untrained ensemble", lambda folder: m.picture_recipe(teacher=EnsembleTeacher([m.Cnn(), m.Cnn()])),
         "teacher_skill"),
    Case("student better than teacher", better_student, "teacher_skill"),
    Case("classes reversed, pictures", lambda folder: weights_of(m.picture_recipe(), REVERSED), "label_order"),
    Case("two classes swapped, pictures", lambda folder: weights_of(m.picture_recipe(), [0, 1, 7, 3, 4, 5, 6, 2, 8, 9]),
         "label_order"),
    Case("classes shifted by one, texts", lambda folder: weights_of(m.text_recipe(), [1, 2, 3, 0]), "label_order"),
    Case("classes in another order, tags", permuted_tags, "label_order"),
    Case("tokens in another order", lambda folder: weights_of(m.language_recipe(), [*range(5, m.CHAIN), *range(5)]),
         "label_order"),
    Case("inputs 255 times too large", lambda folder: other_rendering(by_255), "teacher_inputs"),
    Case("inputs 255 times too small", lambda folder: other_rendering(m.plain, by_255), "teacher_inputs"),
    Case("normalised for a teacher that is not", lambda folder: other_rendering(
        healthy.normalised_colour, plain_colour, True), "teacher_inputs"),
    Case("not normalised for a teacher that is", lambda folder: other_rendering(
        plain_colour, healthy.normalised_colour, True), "teacher_inputs"),
    Case("shifted to -1..1", lambda folder: other_rendering(halved), "teacher_inputs"),
    Case("inverted", lambda folder: other_rendering(inverted), "teacher_inputs"),
    Case("blue first", lambda folder: other_rendering(blue_first, plain_colour, True), "teacher_inputs"),
    Case("teacher that hurts: half of the resolution", lambda folder: sure_teacher(coarse), "teacher_fit"),
    Case("teacher that hurts: noise", lambda folder: sure_teacher(noisy), "teacher_fit"),
    Case("deep teacher that hurts: normalised for the student", lambda folder: sure_teacher(
        normalised, digits_cnn), "teacher_fit"),
    Case("deep teacher that hurts: half of the resolution", lambda folder: sure_teacher(
        coarse, digits_cnn), "teacher_fit"),
    Case("deep teacher that hurts: noise", lambda folder: sure_teacher(
        noisy, digits_cnn), "teacher_fit"),
    Case("deep teacher that hurts: another grey scale", lambda folder: sure_teacher(
        grey_of_16, digits_cnn), "teacher_fit"),
    Case("below its known score", lambda folder: sure_teacher(coarse, teacher_score=0.99), "teacher_fit"),
    Case("dropout that ignores eval", own_dropout, "teacher_mode"),
    Case("teacher that ignores eval", stuck, "teacher_mode"),
    Case("batch statistics", batch_statistics, "teacher_mode"),
    Case("own teacher in train mode", lambda folder: m.picture_recipe(
        teacher=Careless(m.picture_teacher(healthy.dropped).train())), "teacher_mode"),
    Case("teacher came in train mode", lambda folder: m.picture_recipe(
        teacher=m.picture_teacher(healthy.dropped).train()), "teacher_mode", "note"),
    Case("shared layers", shares_body, "shared_parameters"),
    Case("shared batch statistics", shares_statistics, "shared_parameters"),
    Case("teacher is the student", itself, "shared_parameters"),
    Case("teacher in the loss", in_the_loss, "teacher_gradient"),
    Case("answers with a graph", lambda folder: m.picture_recipe(
        teacher=Careless(m.picture_teacher().eval())), "teacher_gradient"),
    Case("gradient switched on inside", lambda folder: m.picture_recipe(
        teacher=with_enabled_gradient(m.picture_teacher())), "teacher_gradient"),
    Case("softmax over the batch", lambda folder: changed(
        m.picture_recipe(), lambda logits: logits.softmax(dim=0)), "softmax_axis"),
    Case("softmax over the tokens", lambda folder: changed(
        m.tag_recipe(), lambda logits: logits.softmax(dim=1)), "softmax_axis"),
    Case("log-softmax over the batch, student", lambda folder: changed(
        m.text_recipe(), lambda logits: logits.log_softmax(dim=0), "student"), "softmax_axis"),
    Case("probabilities for logits, pictures", lambda folder: changed(
        m.picture_recipe(), lambda logits: logits.softmax(dim=-1)), "softmax_twice"),
    Case("probabilities for logits, student of texts", lambda folder: changed(
        m.text_recipe(), lambda logits: logits.softmax(dim=-1), "student"), "softmax_twice"),
    Case("probabilities for logits, language", lambda folder: changed(
        m.language_recipe(), lambda logits: logits.softmax(dim=-1)), "softmax_twice"),
    Case("log-probabilities for logits, regression of them", lambda folder: changed(
        m.picture_recipe(objective="logit_regression"), lambda logits: logits.log_softmax(dim=-1)),
        "log_probabilities"),
    Case("log-probabilities for logits, tags", lambda folder: changed(
        m.tag_recipe(), lambda logits: logits.log_softmax(dim=-1), "student"), "log_probabilities", "note"),
    Case("one-hot teacher", lambda folder: scaled_up(m.picture_recipe(), 100.0), "teacher_saturated"),
    Case("one-hot teacher, texts at temperature 1", lambda folder: scaled_up(
        m.text_recipe(objective={"kd": {"loss": "kd", "temperature": 1.0}, "cross_entropy": 1.0}), 100.0),
        "teacher_saturated"),
    Case("NaN from the teacher", nan_teacher, "finite"),
    Case("cache of other views", lambda folder: cached_elsewhere(folder, True), "cache_views"),
    Case("cache of other views, unchecked", lambda folder: cached_elsewhere(folder, False), "cache_views"),
    Case("cache of a dataset that draws for itself", cached_drawing, "cache_views"),
    Case("student larger than the teacher", lambda folder: m.picture_recipe(student=m.Cnn(width=32)), "student_size"),
    Case("student larger than the teacher, language", lambda folder: m.language_recipe(
        student=m.Language(width=64)), "student_size"),
    Case("teacher with other classes", lambda folder: m.picture_recipe(
        teacher=m.Cnn(classes=11)), "class_counts"),
    Case("teacher with other classes, texts", lambda folder: m.text_recipe(
        teacher=m.Bag(classes=6)), "class_counts"),
)  # fmt: skip
