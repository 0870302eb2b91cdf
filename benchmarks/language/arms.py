"""Every way to compute the loss of a language model that is timed: each takes the inputs and gives the loss."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.losses import Projected, TopK, fused_divergence


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of one loss; widths of hidden states, or None where the logits are given."""

    items: int
    classes: int
    student_width: int | None = None
    teacher_width: int | None = None

    @property
    def name(self) -> str:
        widths = f" Hs{self.student_width} Ht{self.teacher_width}" if self.student_width else ""
        return f"N{self.items} V{self.classes}{widths}"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Logits, or hidden states and the weights of the heads."""

    student: Tensor
    teacher: Tensor
    student_weight: Tensor | None = None
    teacher_weight: Tensor | None = None

    @property
    def leaves(self) -> list[Tensor]:
        return [self.student] if self.student_weight is None else [self.student, self.student_weight]

    def logits(self) -> tuple[Tensor, Tensor]:
        """Whole, as a model makes them."""
        if self.student_weight is None or self.teacher_weight is None:
            return self.student, self.teacher
        with torch.no_grad():
            theirs = F.linear(self.teacher, self.teacher_weight)
        return F.linear(self.student, self.student_weight), theirs

    def sides(self) -> tuple[Any, Any]:
        """As `fused_divergence` takes them."""
        if self.student_weight is None or self.teacher_weight is None:
            return self.student, self.teacher
        return Projected(self.student, self.student_weight), Projected(self.teacher, self.teacher_weight)


def make_inputs(shape: Shape, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Inputs:
    """Random ones, with logits of standard deviation 2."""
    generator = torch.Generator(device).manual_seed(0)

    def drawn(*size: int, scale: float, learns: bool) -> Tensor:
        values = torch.empty(size, device=device, dtype=dtype)
        return values.normal_(0.0, scale, generator=generator).requires_grad_(learns)

    if shape.student_width is None or shape.teacher_width is None:
        student, teacher = (drawn(shape.items, shape.classes, scale=2.0, learns=learns) for learns in (True, False))
        return Inputs(student=student, teacher=teacher)
    sides = ((shape.student_width, True), (shape.teacher_width, False))
    states = [drawn(shape.items, width, scale=1.0, learns=learns) for width, learns in sides]
    weights = [drawn(shape.classes, width, scale=2.0 * width**-0.5, learns=learns) for width, learns in sides]
    return Inputs(student=states[0], teacher=states[1], student_weight=weights[0], teacher_weight=weights[1])


def kl_of_logits(student: Tensor, teacher: Tensor) -> Tensor:
    """The line that most code has."""
    loss = F.kl_div(F.log_softmax(student.float(), -1), F.softmax(teacher.float(), -1), reduction="sum")
    return loss / len(student)


def eager(inputs: Inputs) -> Tensor:
    return kl_of_logits(*inputs.logits())


@cache
def compiled_kl() -> Callable[..., Tensor]:
    return torch.compile(kl_of_logits)


def compiled(inputs: Inputs) -> Tensor:
    return compiled_kl()(*inputs.logits())


def trl(inputs: Inputs) -> Tensor:
    """What TRL 1.x's `generalized_jsd_loss` does at beta = 0, written anew: without labels, mean over the items."""
    student, teacher = (F.log_softmax(logits, dim=-1) for logits in inputs.logits())
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum() / len(student)


def liger_jsd(inputs: Inputs) -> Tensor:
    """Liger's chunked JSD at beta = 0, compiled, with the teacher's part alone."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss  # type: ignore[import-not-found]

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0, compiled=True)
    nowhere = torch.zeros(len(inputs.student), dtype=torch.long, device=inputs.student.device)
    value: Tensor = loss(inputs.student, inputs.student_weight, inputs.teacher, inputs.teacher_weight, nowhere)
    return value


def liger_linear_jsd(inputs: Inputs) -> Tensor:
    """Liger's `fused_linear_jsd`, which is forward KL at beta = 0, with the head's gradient added up in float32."""
    from liger_kernel.transformers.fused_linear_jsd import LigerFusedLinearJSD  # type: ignore[import-not-found]

    loss = LigerFusedLinearJSD(jsd_beta=0.0, accum_dtype=torch.float32)
    value: Tensor = loss(inputs.student, inputs.student_weight, inputs.teacher, inputs.teacher_weight, None)
    return value


def liger_linear_kl(inputs: Inputs) -> Tensor:
    """Liger's `fused_linear_kl_div`, which takes the teacher's whole probabilities: made here, as a step must."""
    from liger_kernel.transformers.fused_linear_kl_div import (  # type: ignore[import-not-found]
        LigerFusedLinearKLDivLoss,
    )

    with torch.no_grad():
        logits = inputs.teacher if inputs.teacher_weight is None else F.linear(inputs.teacher, inputs.teacher_weight)
        target = logits.softmax(-1)
    value: Tensor = LigerFusedLinearKLDivLoss(accum_dtype=torch.float32)(inputs.student, inputs.student_weight, target)
    return value


def ours(inputs: Inputs, **settings: Any) -> Tensor:
    return fused_divergence(*inputs.sides(), **settings)


def ours_sparse(inputs: Inputs, **settings: Any) -> Tensor:
    """From the 64 likeliest classes, as a cache keeps them; made once for the inputs."""
    return fused_divergence(inputs.sides()[0], top_k(inputs.teacher, inputs.teacher_weight), **settings)


@cache
def top_k(teacher: Tensor, weight: Tensor | None) -> TopK:
    """By chunks; a cache made it in an earlier run."""
    parts = []
    for rows in teacher.detach().split(256):
        logits = rows if weight is None else rows @ weight.t()
        parts.append(TopK.from_logits(logits.float(), 64))
    indices, log_probs = (torch.cat([getattr(part, name) for part in parts]) for name in ("indices", "log_probs"))
    return TopK(indices=indices, log_probs=log_probs)


ON_PROCESSOR: dict[str, Callable[[Inputs], Tensor]] = {
    "eager": eager,
    "torch.compile of eager": compiled,
    "TRL's generalized_jsd": trl,
    "ours": ours,
}
LIGER: dict[str, Callable[[Inputs], Tensor]] = {
    "Liger's chunked JSD": liger_jsd,
    "Liger's fused_linear_jsd": liger_linear_jsd,
    "Liger's fused_linear_kl_div": liger_linear_kl,
}
ON_GPU: dict[str, Callable[[Inputs], Tensor]] = {
    "eager": eager,
    "torch.compile of eager": compiled,
    "TRL's generalized_jsd": trl,
    **LIGER,
    "ours": ours,
    "ours, compiled": partial(ours, backend="compiled"),
    "ours, 256 items a chunk": partial(ours, chunk_size=256),
    "ours, JSD": partial(ours, divergence="generalized_jsd"),
    "ours, top 64": ours_sparse,
}


def left_out(device: str) -> dict[str, str]:
    """Arms that cannot run there, each with the reason."""
    if device == "cpu":
        return dict.fromkeys(LIGER, "Liger Kernel is made for a GPU, and timed on one only")
    if importlib.util.find_spec("liger_kernel") is None:
        return dict.fromkeys(LIGER, "liger-kernel is not installed")
    return {}


def arms_on(device: str) -> dict[str, Callable[[Inputs], Tensor]]:
    """Those that can run there."""
    without = left_out(device)
    return {name: arm for name, arm in (ON_PROCESSOR if device == "cpu" else ON_GPU).items() if name not in without}


def step(loss: Callable[[Inputs], Tensor], inputs: Inputs) -> None:
    """Forward and backward, from no gradients to new ones."""
    for leaf in inputs.leaves:
        leaf.grad = None
    loss(inputs).backward()  # type: ignore[no-untyped-call]
