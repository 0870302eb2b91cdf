"""How the golden vectors of the feature family are computed with our losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.func import functional_call

from knowledge_distillation.losses.features.ab import ab
from knowledge_distillation.losses.features.at import at
from knowledge_distillation.losses.features.catkd import catkd
from knowledge_distillation.losses.features.fsp import fsp
from knowledge_distillation.losses.features.ft import ft
from knowledge_distillation.losses.features.hint import hint
from knowledge_distillation.losses.features.kdsvd import kdsvd
from knowledge_distillation.losses.features.nst import nst
from knowledge_distillation.losses.features.ofd import margin_from_batch_norm, ofd
from knowledge_distillation.losses.features.reviewkd import reviewkd
from knowledge_distillation.losses.features.semckd import SemCKD, semckd
from knowledge_distillation.losses.features.simkd import SimKD
from knowledge_distillation.losses.features.vid import VID

if TYPE_CHECKING:
    from tests.oracles.golden import Entry


def stages(tensors: Mapping[str, Tensor], side: str) -> list[Tensor]:
    """The tensors s0, s1, ... (or t0, t1, ...) in order."""
    return [
        tensors[f"{side}{number}"] for number in range(sum(name[0] == side and name[1:].isdigit() for name in tensors))
    ]


def both(entry: Entry) -> tuple[list[Tensor], list[Tensor]]:
    return stages(entry.tensors, "s"), stages(entry.tensors, "t")


def with_parameters(module: nn.Module, entry: Entry, names: Mapping[str, str], *inputs: object) -> Tensor:
    """Run `module` with the entry's parameters; `names` maps the peer's prefixes to ours."""
    given: dict[str, Tensor] = {}
    for name, tensor in entry.tensors.items():
        for theirs, ours in names.items():
            if name.startswith(f"param.{theirs}"):
                given[ours + name.removeprefix(f"param.{theirs}")] = tensor
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = entry.hyperparameters["bn_eps"]
    missing = dict(module.named_parameters()).keys() ^ given.keys()
    assert not missing, f"parameters without a counterpart: {sorted(missing)}"
    return functional_call(module.to(next(iter(given.values())).dtype), given, inputs)


def ofd_of(reduction: str) -> Callable[[Entry], Tensor]:
    return lambda entry: ofd(*both(entry), margins=entry.tensors["margin"], reduction=reduction)


def margin_sum(entry: Entry) -> Tensor:
    weight, bias = entry.tensors["bn_weight"], entry.tensors["bn_bias"]
    norm = nn.BatchNorm2d(len(weight), dtype=weight.dtype)
    norm.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    return margin_from_batch_norm(norm, rare_below=0.001).sum()


def ab_of_stages(entry: Entry) -> Tensor:
    count = entry.hyperparameters["feat_num"]
    halved = [2.0 ** (stage - count + 1) for stage in range(count)]
    return 3 / 1000 * ab(*both(entry), margin=entry.hyperparameters["margin"], stage_weights=halved)


def ft_of_attention(entry: Entry) -> Tensor:
    power = entry.hyperparameters["p1"]
    factors = [entry.tensors[name].pow(power).mean(dim=1, keepdim=True) for name in ("s0", "t0")]
    return ft(*factors, p=entry.hyperparameters["p2"])


def simkd_with_projector(entry: Entry) -> Tensor:
    student, teacher = entry.tensors["s0"], entry.tensors["t0"]
    module = SimKD(student.shape[1], teacher.shape[1], factor=entry.hyperparameters["factor"])
    return with_parameters(module, entry, {"transfer.": "projector."}, student, teacher)


def vid_with_regressor(entry: Entry) -> Tensor:
    student, teacher = entry.tensors["s0"], entry.tensors["t0"]
    hidden = len(entry.tensors["param.regressor.0.weight"])
    module = VID(
        student.shape[1], teacher.shape[1], hidden_channels=hidden, smallest_variance=entry.hyperparameters["eps"]
    )
    return with_parameters(module, entry, {"regressor.": "regressor.", "log_scale": "log_scale"}, student, teacher)


def semckd_of_grids(entry: Entry) -> Tensor:
    weight = entry.tensors["weight"]
    rows, columns = weight.shape[1:]
    students, teachers = (
        [[entry.tensors[f"{side}_{i}_{j}"] for j in range(columns)] for i in range(rows)]
        for side in ("s_value", "f_target")
    )
    return semckd(students, teachers, attention=weight)


def semckd_with_attention(entry: Entry) -> Tensor:
    students, teachers = both(entry)
    widths = [[features.shape[1] for features in side] for side in (students, teachers)]
    settings = entry.hyperparameters
    module = SemCKD(*widths, len(students[0]), factor=settings["factor"], temperature=settings["soft"])
    names = {}
    for i in range(len(students)):
        names |= {f"query_{i}.linear1": f"queries.{i}.0", f"query_{i}.linear2": f"queries.{i}.2"}
        names |= {f"regressor{i}{j}.regressor": f"regressors.{i}.{j}" for j in range(len(teachers))}
    for j in range(len(teachers)):
        names |= {f"key_{j}.linear1": f"keys.{j}.0", f"key_{j}.linear2": f"keys.{j}.2"}
    return with_parameters(module, entry, names, students, teachers)


RUNNERS: dict[str, Callable[[Entry], Tensor]] = {
    "fitnet_hint": lambda entry: hint(entry.tensors["s0"], entry.tensors["t0"]),
    "at": lambda entry: at(*both(entry), power=entry.hyperparameters["p"], distance="mean_squared"),
    "at_paper__torchdistill": lambda entry: at(*both(entry), stage_weights=entry.hyperparameters["weights"]),
    "nst": lambda entry: nst(*both(entry)),
    "ofd_distill": ofd_of("sum"),
    "ofd_feat_loss__mdistiller": ofd_of("mean"),
    "ofd_margin_from_bn": margin_sum,
    "ab": ab_of_stages,
    "ft_attention_core": ft_of_attention,
    "ft__torchdistill": lambda entry: ft(entry.tensors["s0"], entry.tensors["t0"], p=entry.hyperparameters["p"]),
    "fsp": lambda entry: fsp(*both(entry), pooling="average", elements="mean"),
    "reviewkd_hcl": lambda entry: reviewkd(*both(entry)),
    "simkd": simkd_with_projector,
    "catkd": lambda entry: catkd(
        entry.tensors["s0"],
        entry.tensors["t0"],
        size=entry.hyperparameters["resolution"],
        normalize=entry.hyperparameters["normalize"],
    ),
    "semckd_core": semckd_of_grids,
    "semckd_full": semckd_with_attention,
    "vid": vid_with_regressor,
}

FAULTS: dict[str, tuple[Callable[[Entry], Tensor], str]] = {
    "fsp__torchdistill": (
        lambda entry: fsp(*both(entry), stage_weights=[entry.hyperparameters["weight"]]),
        "takes the unsquared norm of each column of the difference; the paper squares the norm of the whole matrix",
    ),
    "kdsvd": (
        lambda entry: kdsvd(*both(entry), directions=entry.hyperparameters["k"]),
        "keeps the sign that the linear-algebra library happens to give a singular vector; ours is fixed",
    ),
}
