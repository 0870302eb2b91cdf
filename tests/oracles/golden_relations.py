"""How the golden vectors of losses between samples are run with ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor
from torch.func import functional_call

from knowledge_distillation.losses.relations.cc import cc
from knowledge_distillation.losses.relations.crd import CRD
from knowledge_distillation.losses.relations.crd import SMALL as CRD_SMALL
from knowledge_distillation.losses.relations.ickd import ICKD, ickd
from knowledge_distillation.losses.relations.pkt import SMALL as PKT_SMALL
from knowledge_distillation.losses.relations.pkt import pkt
from knowledge_distillation.losses.relations.rkd import rkd, rkd_angle, rkd_distance
from knowledge_distillation.losses.relations.sp import sp

if TYPE_CHECKING:
    from tests.oracles.golden import Entry


def signals(entry: Entry) -> tuple[Tensor, Tensor]:
    return entry.tensors["s0"], entry.tensors["t0"]


def run_rkd(entry: Entry) -> Tensor:
    weights = entry.hyperparameters
    return rkd(*signals(entry), distance_weight=weights["w_d"], angle_weight=weights["w_a"])


def run_pkt(entry: Entry) -> Tensor:
    assert entry.hyperparameters["eps"] == PKT_SMALL
    return pkt(*signals(entry), variant="code")


def run_cckd(entry: Entry) -> Tensor:
    """The peer divides the root of the summed squares by batch**2, ours the summed squares."""
    settings = entry.hyperparameters
    value = cc(
        *signals(entry),
        kernel=settings["type"],
        gamma=settings.get("gamma", 0.4),
        order=settings.get("max_p", 2),
        normalize=False,
    )
    return value.sqrt() / entry.tensors["s0"].shape[0]


def run_ickd_cifar(entry: Entry) -> Tensor:
    student, teacher = signals(entry)
    module = ICKD(student.shape[1], teacher.shape[1], normalization="cifar").double()
    assert module.projection is not None
    module.projection.eps = entry.hyperparameters["bn_eps"]
    names = {
        "projection.convolution.weight": "param.embed_s.conv2d.weight",
        "projection.weight": "param.embed_s.l2norm.weight",
        "projection.bias": "param.embed_s.l2norm.bias",
    }
    parameters = {ours: entry.tensors[theirs] for ours, theirs in names.items()}
    value: Tensor = functional_call(module, parameters, (student, teacher))
    return value


def run_crd(entry: Entry) -> Tensor:
    settings, tensors = entry.hyperparameters, entry.tensors
    assert settings["eps"] == CRD_SMALL
    module = CRD(
        tensors["f_s"].shape[1],
        tensors["f_t"].shape[1],
        settings["n_data"],
        width=tensors["memory_v1"].shape[1],
        negatives=settings["nce_k"],
        temperature=settings["T"],
        momentum=settings["momentum"],
    ).double()
    state = {
        f"{side}_head.{part}": tensors[f"param.embed_{side[0]}.linear.{part}"]
        for side in ("student", "teacher")
        for part in ("weight", "bias")
    }
    state |= {"student_bank": tensors["memory_v1"], "teacher_bank": tensors["memory_v2"]}
    keywords = {"index": tensors["idx"], "contrast": tensors["contrast_idx"]}
    value: Tensor = functional_call(module, state, (tensors["f_s"], tensors["f_t"]), keywords)
    return value


def scaled(loss: Callable[..., Tensor]) -> Callable[[Entry], Tensor]:
    return lambda entry: entry.hyperparameters["loss_weight"] * loss(*signals(entry), normalize=True)


RUNNERS: dict[str, Callable[[Entry], Tensor]] = {
    "rkd": run_rkd,
    "rkd_distance": lambda entry: rkd_distance(*signals(entry)),
    "rkd_angle": lambda entry: rkd_angle(*signals(entry)),
    "rkd_distance_l2norm__mmrazor": scaled(rkd_distance),
    "rkd_angle_l2norm__mmrazor": scaled(rkd_angle),
    "sp": lambda entry: sp(*signals(entry)),
    "cckd__torchdistill": run_cckd,
    "pkt": run_pkt,
    "ickd_core__torchdistill": lambda entry: ickd(*signals(entry), normalization="imagenet"),
    "ickd__cifar": run_ickd_cifar,
    "crd": run_crd,
}

FAULTS: dict[str, tuple[Callable[[Entry], Tensor], str]] = {
    "sp__torchdistill": (
        lambda entry: sp(*signals(entry)),
        "the peer divides the rows by the sum of their absolute entries; the paper's eq. 2 has the Euclidean length",
    ),
    "cc_delta": (
        lambda entry: cc(*signals(entry)),
        "the peer multiplies the gaps of neighbours in the batch: it depends on their order, is NaN for one sample "
        "and is not the paper's kernel matrix",
    ),
}
