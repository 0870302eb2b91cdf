"""Models, batches, loaders and pipelines that do not speak as they should: one error says what, and where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation.errors import DistillationError
from tests.contract.toy import loader_of
from tests.faults.kind import Kind
from tests.faults.place import quiet_place
from tests.training.toys import CLASSES, FEATURES, Stream, identical, loader, mlp, points, snapshot

ROWS = 4
NAN = float("nan")


class Answers(nn.Module):
    """A model that returns whatever is made from its logits."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)
        self.make = make

    def forward(self, inputs: Tensor) -> Any:
        return self.make(self.head(inputs))


class Gives:
    """A pipeline that gives one and the same result."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> Any:
        return self.result


class Pair(NamedTuple):
    """A batch with names."""

    inputs: Any
    labels: Any


class OnlyNamed(nn.Module):
    """A model that takes its inputs by a name that no batch has."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, *, pixels: Tensor) -> Tensor:
        return self.head(pixels)


Given = Callable[[], Mapping[str, Any]]


def inputs() -> Tensor:
    return torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(0))


def of_student(make: Callable[[Tensor], Any], **others: Any) -> Given:
    return lambda: {"student": Answers(make), **others}


def teacher(make: Callable[[Tensor], Any]) -> Given:
    return lambda: {"teacher": Answers(make)}


def batch(content: Callable[[], Any], **others: Any) -> Given:
    return lambda: {"train_loader": loader_of(content()), **others}


def labelled(labels: Any) -> Given:
    return batch(lambda: (inputs(), labels))


def own(make: Callable[[Tensor], Any]) -> Given:
    """A student whose own loss "own" is weighed."""
    terms = {"kd": 1.0, "own": {"loss": "own", "student": "own"}}
    return of_student(lambda logits: {"logits": logits, "loss": make(logits)}, objective=terms)


def scored(pipeline: Any, val_loader: Callable[[], Iterable[Any]] = lambda: loader(8)) -> Given:
    return lambda: {"pipeline": pipeline, "val_loaders": {"dev": val_loader()}}


def with_loss(loss: Callable[[Tensor, Tensor], Any]) -> Given:
    return lambda: {"objective": kd.Term(loss)}


def empty_stream() -> DataLoader[Any]:
    return DataLoader(Stream(points(0)))


def samples() -> list[dict[str, Tensor]]:
    return [{"inputs": row} for row in inputs()]


SIZED = {"hint": {"student": "hidden", "teacher": "hidden", "projector": "auto"}}
CASES: Mapping[str, tuple[Given, str]] = {
    "student returns nothing": (of_student(lambda logits: None), "Answers returned NoneType"),
    "student returns text": (of_student(lambda logits: "high"), "Answers returned str"),
    "student returns a number": (of_student(lambda logits: 0.5), "Answers returned float"),
    "student returns an empty tuple": (of_student(lambda logits: ()), "Answers returned tuple"),
    "student returns a tuple of texts": (of_student(lambda logits: ("a", "b")), "Answers returned tuple"),
    "student returns an empty dict": (of_student(lambda logits: {}), r"dict with keys \[\].*'logits'"),
    "student returns other keys": (of_student(lambda logits: {"scores": logits}), r"keys \['scores'\].*'logits'"),
    "student's logits are text": (of_student(lambda logits: {"logits": "x"}), "student's logits must be a tensor.*str"),
    "student's logits are a list": (of_student(lambda logits: {"logits": logits.tolist()}), "student's logits.*list"),
    "student returns class ids": (of_student(lambda logits: logits.argmax(-1)), "student's logits.*int64"),
    "student returns its mean": (of_student(lambda logits: logits.mean()), "(?s)shape"),
    "student is detached": (of_student(lambda logits: logits.detach()), "total loss carries no gradient"),
    "student gives NaN": (of_student(lambda logits: logits * NAN), "student's logits hold NaN on the first batch"),
    "student has fewer classes": (of_student(lambda logits: logits[:, :2]), r"student \(4, 2\), teacher \(4, 3\)"),
    "student mixes up the axes": (of_student(lambda logits: logits.T), r"student \(3, 4\), teacher \(4, 3\)"),
    "student is a function": (lambda: {"student": lambda inputs: inputs}, "student must be an nn.Module.*callable"),
    "student is a class": (lambda: {"student": nn.Linear}, "student must be an nn.Module.*callable without"),
    "student is frozen": (lambda: {"student": mlp().requires_grad_(False)}, "student has no trainable parameter"),
    "student takes another name": (lambda: {"student": OnlyNamed()}, "OnlyNamed's forward takes.*'pixels'"),
    "teacher returns nothing": (teacher(lambda logits: None), "Answers returned NoneType"),
    "teacher's logits are text": (teacher(lambda logits: {"logits": "x"}), "teacher's logits must be a tensor.*str"),
    "teacher gives NaN": (teacher(lambda logits: logits * NAN), "teacher's logits hold NaN on the first batch"),
    "teacher has more classes": (
        teacher(lambda logits: torch.cat([logits, logits], -1)), r"student \(4, 3\), teacher \(4, 6\)"
    ),
    "teacher answers for fewer rows": (teacher(lambda logits: logits[:2]), r"student \(4, 3\), teacher \(2, 3\)"),
    "teacher is a function": (lambda: {"teacher": lambda inputs: inputs}, "teacher must be an nn.Module.*function"),
    "teacher is a class": (lambda: {"teacher": nn.Linear}, "teacher must be an nn.Module.*Linear"),
    "own loss is a list": (own(lambda logits: [logits.mean()]), "own loss 'own', which the student did not return"),
    "own loss is text": (own(lambda logits: {"own": "x"}), "student's loss 'own' must be one number, got str"),
    "own loss is a row": (own(lambda logits: {"own": logits.mean(0)}), r"'own' must be one number.*\(3,\)"),
    "own loss is missing": (own(lambda logits: {"ce": logits.mean()}), "own loss 'own'.*Known:.*ce"),
    "loss returns nothing": (with_loss(lambda one, other: None), "must return one number.*NoneType"),
    "loss returns rows": (with_loss(lambda one, other: one), r"must return one number.*\(4, 3\)"),
    "layer is not there": (
        lambda: {"objective": {"hint": {"student": "hiden", "teacher": "hidden"}}}, "student's 'hiden'.*hidden"
    ),
    "adapter returns a tensor": (
        lambda: {"adapter": lambda model, batch, temperature: model(batch[0])}, "adapter must return Signals, got Te"
    ),
    "batch is text": (batch(lambda: "abc"), "batch must be a tensor.*got str"),
    "batch is a number": (batch(lambda: 5), "batch must be a tensor.*got int"),
    "batch is nothing": (batch(lambda: None), "train loader gave no batch"),
    "batch is empty": (batch(lambda: ()), "batch must be a tensor.*got tuple"),
    "batch is a list of dicts": (batch(samples), "one dict of tensors, got a list of 4 dicts.*collate_fn"),
    "batch has an unknown key": (
        batch(lambda: {"pixels": inputs()}, objective="soft"), r"inputs \['pixels'\].*Sequential's forward takes"
    ),
    "batch has three inputs": (
        batch(lambda: (inputs(), inputs(), inputs(), torch.zeros(ROWS).long())), "gives 3 inputs.*forward takes"
    ),
    "batch has no labels": (batch(inputs), "'labels'.*the batch gave none"),
    "dict has no labels": (batch(lambda: {"input": inputs()}), "'labels'.*the batch gave none"),
    "labels are fewer": (labelled(torch.zeros(2).long()), r"labels must have shape \(4,\).*got \(2,\)"),
    "labels are one-hot": (labelled(torch.eye(ROWS, CLASSES)), "labels must be.*float32"),
    "labels are fractions": (labelled(torch.full((ROWS,), 0.9)), "labels must be.*float32"),
    "labels are a list": (labelled([0, 1, 2, 0]), "labels must be a tensor.*list"),
    "labels are beyond the classes": (labelled(torch.full((ROWS,), 7)), "labels must be from 0 to 2.*got 7"),
    "labels are below 0": (labelled(torch.full((ROWS,), -1)), "labels must be from 0 to 2.*got -1"),
    "named tuple without labels": (batch(lambda: Pair(inputs(), None)), "'labels'.*the batch gave none"),
    "loader is empty": (lambda: {"train_loader": DataLoader([])}, "train loader is empty"),
    "loader is an empty stream": (lambda: {"train_loader": empty_stream()}, "train loader gave no batch"),
    "empty stream, sizes wanted": (
        lambda: {"train_loader": empty_stream(), "objective": SIZED}, "train loader gave no batch"
    ),
    "pipeline has another method": (scored(mlp()), "run_inference_pipeline.*Sequential has none"),
    "pipeline is a class": (scored(Gives), "pipeline must be an instance.*Gives is a class"),
    "pipeline returns a number": (scored(Gives(0.5)), "'dev' must return a dict with 'inference_result', got float"),
    "pipeline returns nothing": (scored(Gives(None)), "'dev' must return a dict.*NoneType"),
    "pipeline returns another key": (scored(Gives({"accuracy": 1})), r"'dev' must return a dict.*\['accuracy'\]"),
    "pipeline returns text": (scored(Gives({"inference_result": "high"})), "on 'dev' must be one number, got str"),
    "pipeline returns two numbers": (
        scored(Gives({"inference_result": torch.zeros(2)})), "on 'dev' must be one number, got Tensor"
    ),
    "validation has no labels": (scored(None, lambda: [inputs()]), "validation batch gave none"),
    "validation gives nothing": (scored(None, lambda: iter(())), "validation loader gave no labelled item"),
}  # fmt: skip


def inject(number: int, folder: Path) -> None:
    """Train with one of them."""
    make, message = CASES[list(CASES)[number]]
    given = make()
    settings = {"teacher": mlp(9), "student": mlp(1), "train_loader": loader(8, batch_size=ROWS), **given}
    student = settings["student"]
    before = snapshot(student) if isinstance(student, nn.Module) else {}
    said = ""
    with quiet_place(folder / "place"):
        try:
            kd.distill(
                settings.pop("teacher"), settings.pop("student"), settings.pop("train_loader"), max_epochs=1,
                doctor=False, directory=folder / "run",
                trainer={"enable_progress_bar": False, "accelerator": "cpu"}, **settings,
            )  # fmt: skip
        except DistillationError as error:
            said = str(error)
    assert re.search(message, said, flags=re.S), said or "It was trained on without a word."
    assert not list(folder.rglob("*.ckpt"))
    if before and "val_loaders" not in given:
        assert identical(before, snapshot(student))


KIND = Kind(
    title="a model, batch, loader or pipeline of another form: a missing key, another shape, no labels, no number",
    survives="one error says which of them it is, what came, and what is understood; nothing is written",
    inject=inject,
    all=len(CASES),
    sample=6,
)
