"""How the golden vectors of the losses for segmentation and detection are run with ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor
from torch.func import functional_call

from knowledge_distillation.losses.dense.cwd import cwd
from knowledge_distillation.losses.dense.fgd import FGD
from knowledge_distillation.losses.dense.pearson_features import pkd_features

if TYPE_CHECKING:
    from tests.oracles.golden import Entry


def signals(entry: Entry) -> tuple[Tensor, Tensor]:
    return entry.tensors["s0"], entry.tensors["t0"]


def run_cwd(entry: Entry) -> Tensor:
    settings = entry.hyperparameters
    return settings["loss_weight"] * cwd(*signals(entry), temperature=settings["tau"])


def run_cwd_official(entry: Entry) -> Tensor:
    assert entry.hyperparameters["norm_type"] == "channel"
    return cwd(*signals(entry), temperature=entry.hyperparameters["T"])


def run_fgd(entry: Entry) -> Tensor:
    settings = entry.hyperparameters
    student, teacher = signals(entry)
    module = FGD(
        student.shape[1],
        teacher.shape[1],
        temperature=settings["temp"],
        foreground_weight=settings["alpha"],
        background_weight=settings["beta"],
        attention_weight=settings["gamma"],
        relation_weight=settings["lambda_"],
    ).double()
    parameters = {}
    for side in ("student", "teacher"):
        context = module.get_submodule(f"{side}_context.transform")
        context.get_submodule("1").eps = settings["layernorm_eps"]
        for part in ("weight", "bias"):
            parameters[f"{side}_context.attention.{part}"] = entry.tensors[f"param.conv_mask_{side[0]}.{part}"]
            for layer in (0, 1, 3):
                theirs = f"param.channel_add_conv_{side[0]}.{layer}.{part}"
                parameters[f"{side}_context.transform.{layer}.{part}"] = entry.tensors[theirs]
    boxes = [entry.tensors[f"boxes{sample}"] for sample in range(student.shape[0])]
    keywords = {"boxes": boxes, "image_size": tuple(settings["img_shape"])}
    value: Tensor = functional_call(module, parameters, (student, teacher), keywords)
    return value


RUNNERS: dict[str, Callable[[Entry], Tensor]] = {
    "cwd": run_cwd,
    "cwd__official": run_cwd_official,
    "fgd": run_fgd,
    "pkd_pearson__mmrazor": lambda entry: pkd_features(*signals(entry)),
}
