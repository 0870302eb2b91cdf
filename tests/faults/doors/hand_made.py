"""Configurations that nobody draws: what does not go together, what is nearly right, what people wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation.objective import Term
from knowledge_distillation.teachers import EMATeacher, EnsembleTeacher, SelfTeacher
from tests.contract import toy
from tests.faults.doors.door import Made
from tests.training.toys import CLASSES, FEATURES, Stream, loader, mlp, points

Configuration = tuple[str, dict[str, Any], dict[str, str]]


def right(door: str, **given: Any) -> Configuration:
    return door, given, dict.fromkeys(given, "right")


def wrong(door: str, *which: str, **given: Any) -> Configuration:
    """`which` of the arguments may be named; all of them where none is said."""
    return door, given, {name: "wrong" if name in (which or given) else "right" for name in given}


def stream() -> DataLoader[Any]:
    return DataLoader(Stream(points(8)), batch_size=8)


def unlabelled() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(8, FEATURES)), batch_size=8)


def other_classes() -> nn.Module:
    return nn.Linear(FEATURES, CLASSES + 1)


def in_recipe(**settings: Any) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in settings.items()}


class Sharing(nn.Module):
    """A student in which the teacher's own layer is trained."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.body = teacher
        self.head = nn.Linear(CLASSES, CLASSES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs))


SAME = mlp(5)
SHARED = mlp(6)
MORE = {"max_epochs": -1, "max_steps": 1}
ROUTE = {"name": "routed", "members": [{"name": "tiny"}, {"name": "tiny"}]}

HAND_MADE: Sequence[Configuration] = (
    right("distill"),
    right("distill", train_loader=Made(stream), trainer=MORE),
    right("distill", train_loader=Made(stream), schedule="linear", trainer={"max_steps": 2}),
    right("distill", train_loader=Made(unlabelled), objective="soft"),
    right("distill", train_loader=Made(lambda: iter([torch.randn(4, FEATURES)])), objective="soft"),
    right("distill", teacher=None, objective="labels"),
    right("distill", objective={"kd": 0.5, "labels": {"loss": "cross_entropy", "weight": 0}}),
    right("distill", teacher=Made(lambda: SelfTeacher("logits")), objective="soft"),
    right("distill", teacher=Made(lambda: EMATeacher(mlp(1), 0.9)), objective="soft"),
    right("distill", teacher=Made(lambda: EnsembleTeacher([mlp(2), mlp(3)], [1, 2]))),
    right("distill", schedule="one_cycle", warm_up_epochs=1, max_epochs=2),
    right("distill", optimizer={"name": "adamw", "betas": [0.9, 0.95], "weight_decay": 0}),
    right("distill", objective={"at": {"loss": "hint", "student": "hidden", "teacher": "hidden", "projector": "auto"}}),
    right("distill", objective=Term(nn.MSELoss(), 2.0, schedule=lambda progress: 1 - progress)),
    right("distill", trainer={"precision": "bf16-mixed", "gradient_clip_val": 1.0, "accumulate_grad_batches": 2}),
    right("distill", seed=0, temperature=3, nonfinite="rollback", checkpoint_every=1),
    right("distill", val_loaders={"a/b c": loader(8), "zweite ☃": loader(8)}),
    wrong("distill", "train_loader", train_loader=Made(stream), schedule="one_cycle", trainer=MORE | {"max_steps": -1}),
    wrong("distill", train_loader=Made(lambda: DataLoader(Stream(points(0)), batch_size=8))),
    wrong(
        "distill", train_loader=Made(lambda: iter(())), objective={"hint": {"student": "hidden", "teacher": "hidden"}}
    ),
    wrong("distill", "objective", train_loader=Made(unlabelled), objective={"cross_entropy": 1.0}),
    wrong("distill", teacher=SAME, student=SAME),
    wrong("distill", "student", teacher=SHARED, student=Made(lambda: Sharing(SHARED))),
    wrong("distill", "teacher", teacher=None, objective="kd"),
    wrong("distill", "teacher", teacher=Made(other_classes), objective="kd"),
    wrong("distill", teacher=Made(lambda: EnsembleTeacher([mlp(2), other_classes()]))),
    wrong("distill", schedule="one_cycle", warm_up_epochs=3, max_epochs=2),
    wrong("distill", objective={"kd": 1, "CE": {"loss": "own", "student": "CE"}}),
    wrong("distill", objective={"kd": {"student": "nirgends"}}),
    wrong("distill", objective={"kd": {"student": "hidden"}}),
    wrong("distill", objective={"hint": {"student": "hidden", "teacher": "act2", "projector": "auto"}}),
    wrong("distill", objective={"hint": {"student": ["hidden", "head"], "teacher": "hidden"}}),
    wrong("distill", objective={"own": 1}),
    wrong("distill", objective={"kd": 1, "balance": "gradient_norm"}),
    wrong("distill", objective={"kd": {"projector": "linear", "loss": "cross_entropy"}}),
    wrong("distill", objective={"attention_kl": {"student": "@attention", "teacher": "@attention"}}),
    wrong("distill", objective={"kd": {"student": "@stage"}}),
    wrong("distill", objective={"kd": {"changes": {"temperatur": "linear"}}}),
    wrong("distill", objective="fitnets", temperature=-1),
    wrong("distill", objective="review kd"),
    wrong("distill", learning_rate="1e-3"),
    wrong("distill", learning_rate=-1e-3, max_epochs=0),
    wrong("distill", optimizer="Adam", schedule="cosine annealing"),
    wrong("distill", optimizer={"name": "adam", "learning_rate": 1e-3}),
    wrong("distill", optimizer={"optimizer": "adam"}),
    wrong("distill", optimizer={"name": "sgd", "momentum": -1}),
    wrong("distill", optimizer={"name": "sgd", "nesterov": True}),
    wrong("distill", optimizer=[torch.optim.SGD]),
    wrong("distill", adapter=("auto",)),
    wrong("distill", trainer={"gpus": 1}),
    wrong("distill", trainer={"precision": "fp16"}),
    wrong("distill", trainer={"accelerator": "gpu", "devices": 99}),
    wrong("distill", trainer={"devices": -1}),
    wrong("distill", trainer={"gradient_clip_val": float("nan")}),
    wrong("distill", trainer={"callbacks": [print]}),
    wrong("distill", resume="auto"),
    wrong("distill", resume="checkpoints"),
    wrong("distill", directory="/proc/kd"),
    wrong("distill", directory="/dev/null/kd"),
    wrong("distill", val_loaders={"train_final_loss": loader(8)}),
    wrong("distill", val_loaders={"dev\ntest": loader(8)}),
    wrong("distill", pipeline=Made(lambda: torch.nn.Accuracy if hasattr(torch.nn, "Accuracy") else nn.Linear(1, 1))),
    wrong("distill", speed={"compile": "students"}),
    wrong("original", num_gpu_used=1, accelerator="cpu"),
    wrong("original", final_loss_coeff_dict={"student_loss": 1}),
    wrong("original", optimize_method="adam_distilbert"),
    wrong("original", scheduler_method="linear_decay"),
    wrong("original", "val_data_loaders", val_data_loaders={"kd_loss": toy.labelled_loader()}),
    wrong("original", inference_pipeline=toy.Scorer, val_data_loaders={"dev": toy.labelled_loader()}),
    wrong("original", student_model=toy.Teacher),
    right("original", student_model=toy.Student, optimize_method="adamW_distilBert"),
    right("original", val_data_loaders={"dev": toy.labelled_loader()}, inference_pipeline=toy.Scorer()),
    right("original", final_loss_coeff_dict={"kd_loss": 0.5, "cos_embed_loss": 0.5}, temperature=5),
    right("recipe", **in_recipe(teacher__name="ensemble", teacher__members=["tiny", "tiny"])),
    right("recipe", **in_recipe(training__optimizer__name="sgd", training__optimizer__momentum=0.9)),
    right("recipe", **in_recipe(teacher=ROUTE | {"route": [[0], [1, 2]]})),
    right("recipe", **in_recipe(cache={"directory": "cache", "signals": {"logits": "float32"}})),
    wrong("recipe", **in_recipe(teacher=ROUTE)),
    wrong("recipe", **in_recipe(teacher=ROUTE | {"route": [[0], [0, 1]]})),
    wrong("recipe", **in_recipe(teacher={"name": "ensemble", "members": 5})),
    wrong("recipe", **in_recipe(teacher={"name": "ensemble", "members": ["tiny"], "weights": [0]})),
    wrong("recipe", **in_recipe(teacher={"name": "ensemble", "members": ["tiny"], "combine": "votes"})),
    wrong("recipe", **in_recipe(teacher={"name": "ema", "decay": 2})),
    wrong("recipe", **in_recipe(teacher={"name": "served"})),
    wrong("recipe", **in_recipe(teacher={"name": "black_box", "answer": "nobody"})),
    wrong("recipe", **in_recipe(student={"name": "from_teacher", "keep_layers": {"cout": 2}})),
    wrong("recipe", **in_recipe(student={"name": "from_teacher"})),
    wrong("recipe", **in_recipe(method={"name": "born_again", "generations": "two"})),
    wrong("recipe", **in_recipe(method={"name": "mutual", "peers": ["tiny"]})),
    wrong("recipe", **in_recipe(teacher__train={"max_epoch": 1})),
    wrong("recipe", **in_recipe(cache={"directory": "cache", "signals": "logits"})),
    wrong("recipe", **in_recipe(cache={"directory": "cache", "check_inputs": "no"})),
    wrong("recipe", **in_recipe(cache={"directory": "cache", "views": 0})),
    wrong("recipe", **in_recipe(objective={"kd": {"loss": "kd", "wieght": 1}})),
    wrong("cache", signals={"logits": {"name": "compact_top_k", "k": 0}}),
    wrong("cache", teacher=Made(lambda: EMATeacher(mlp(), 0.9))),
    wrong("export", example=None),
    wrong("export", form="onxx", quantisation="dynamc"),
)
