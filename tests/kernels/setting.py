"""One drawn call of a fused loss, and the same loss from whole logits by the plain functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from knowledge_distillation.losses import Projected, TopK, catalogue, cross_entropy, fused_divergence
from knowledge_distillation.losses.sequences.fused_divergence import Divergence
from knowledge_distillation.losses.sequences.top_k import prepare

DIVERGENCES: tuple[Divergence, ...] = (
    "forward_kl", "reverse_kl", "generalized_jsd", "skew_forward_kl", "skew_reverse_kl", "tvd",
)  # fmt: skip
SHARES = {"generalized_jsd": "beta", "skew_forward_kl": "skew", "skew_reverse_kl": "skew"}


@dataclass(frozen=True, kw_only=True)
class Head:
    """What lies between a model's hidden states and its logits."""

    projected: bool = True
    """False: the whole logits are handed in."""
    bias: bool = False
    softcap: float | None = None
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything that a call of `fused_divergence` may vary."""

    seed: int = 0
    items: tuple[int, ...] = (5,)
    classes: int = 11
    width: int = 4
    divergence: Divergence = "forward_kl"
    share: float = 0.3
    temperature: float = 1.0
    student: Head = Head()
    teacher: Head = Head()
    k: int | None = None
    """Classes that a sparse teacher names; None is a dense one."""
    tail: str = "bucket"
    hard_weight: float = 0.0
    masked: bool = False
    reduction: str = "mean"
    chunk_size: int | None = 2
    backend: str = "auto"
    dtype: torch.dtype = torch.float64
    device: str = "cpu"


def settings_drawn() -> st.SearchStrategy[Setting]:
    head = st.builds(
        Head,
        projected=st.sampled_from([True, True, False]),
        bias=st.booleans(),
        softcap=st.sampled_from([None, None, 2.0]),
        scale=st.sampled_from([1.0, 0.25]),
    )
    return st.builds(
        Setting,
        seed=st.integers(0, 2**16),
        items=st.sampled_from([(5,), (1,), (2, 3), (7,), (0,)]),
        classes=st.integers(2, 40),
        width=st.integers(1, 6),
        divergence=st.sampled_from(DIVERGENCES),
        share=st.sampled_from([0.5, 0.1, 0.9]),
        temperature=st.sampled_from([1.0, 2.0, 0.5, 20.0]),
        student=head,
        teacher=head,
        k=st.sampled_from([None, None, 1, 4, 50]),
        tail=st.sampled_from(["bucket", "renormalise", "ignore"]),
        hard_weight=st.sampled_from([0.0, 0.7]),
        masked=st.booleans(),
        reduction=st.sampled_from(["mean", "sum", "none"]),
        chunk_size=st.sampled_from([2, 1, 3, None]),
    )


@dataclass(frozen=True, kw_only=True)
class Material:
    """The tensors of one setting."""

    student: Tensor | Projected
    teacher: Tensor | Projected | TopK
    labels: Tensor | None
    mask: Tensor | None

    @property
    def leaves(self) -> list[Tensor]:
        """Of the student, which receive gradient."""
        if isinstance(self.student, Tensor):
            return [self.student]
        found = [self.student.hidden, self.student.weight, self.student.bias]
        return [tensor for tensor in found if tensor is not None and tensor.requires_grad]


def material(setting: Setting) -> Material:
    generator = torch.Generator().manual_seed(setting.seed)

    def side(head: Head, width: int, learns: bool) -> Tensor | Projected:
        def drawn(*shape: int) -> Tensor:
            values = torch.randn(shape, generator=generator, dtype=torch.float64)
            return values.to(setting.device, setting.dtype).requires_grad_(learns)

        if not head.projected:
            return drawn(*setting.items, setting.classes)
        bias = drawn(setting.classes) if head.bias else None
        hidden, weight = drawn(*setting.items, width), drawn(setting.classes, width)
        return Projected(hidden, weight, bias, head.softcap, head.scale)

    teacher: Any = side(setting.teacher, setting.width + 1, learns=False)
    student = side(setting.student, setting.width, learns=True)
    labels = torch.randint(0, setting.classes, setting.items, generator=generator)
    labels = labels.masked_fill(torch.rand(setting.items, generator=generator) < 0.3, -100)
    mask = torch.rand(setting.items, generator=generator) < 0.6
    if setting.k is not None:
        teacher = TopK.from_logits(logits_of(teacher), setting.k, temperature=setting.temperature)
        gone = (torch.rand(teacher.log_probs.shape, generator=generator) < 0.1).to(setting.device)
        gone[..., 0] = False
        teacher = replace(teacher, log_probs=teacher.log_probs.masked_fill(gone, -torch.inf), log_tail=None)
    return Material(
        student=student,
        teacher=teacher,
        labels=labels.to(setting.device) if setting.hard_weight else None,
        mask=mask.to(setting.device) if setting.masked else None,
    )


def logits_of(side: Tensor | Projected) -> Tensor:
    """Whole logits, as a model makes them."""
    if isinstance(side, Tensor):
        return side
    logits = torch.nn.functional.linear(side.hidden, side.weight, side.bias) * side.scale
    return logits if side.softcap is None else side.softcap * torch.tanh(logits / side.softcap)


def by_fused(setting: Setting, given: Material) -> Tensor:
    shares = {SHARES[setting.divergence]: setting.share} if setting.divergence in SHARES else {}
    options: dict[str, Any] = {"chunk_size": setting.chunk_size, "backend": setting.backend, "tail": setting.tail}
    return fused_divergence(
        given.student,
        given.teacher,
        divergence=setting.divergence,
        hard_weight=setting.hard_weight,
        soft_weight=1.3,
        labels=given.labels,
        temperature=setting.temperature,
        mask=given.mask,
        reduction=setting.reduction,  # type: ignore[arg-type]
        **shares,
        **options,
    )


def by_plain(setting: Setting, given: Material) -> Tensor:
    """From whole logits, by the plain functions and autograd."""
    student, shared = logits_of(given.student), {"mask": given.mask, "reduction": setting.reduction}
    temperature = setting.temperature
    if isinstance(given.teacher, TopK):
        ours, theirs = prepare(
            student,
            given.teacher,
            k=0,
            tail=setting.tail,
            temperature=temperature,
            mask=given.mask,  # type: ignore[arg-type]
        )
        temperature = 1.0  # outcomes are softened already
    else:
        ours, theirs = student, logits_of(given.teacher)
    shares = {SHARES[setting.divergence]: setting.share} if setting.divergence in SHARES else {}
    plain = catalogue()[setting.divergence].function
    value: Tensor = 1.3 * plain(ours, theirs, temperature=temperature, **shares, **shared)
    if setting.hard_weight:
        value = value + setting.hard_weight * cross_entropy(student, labels=given.labels, **shared)  # type: ignore[arg-type]
    return value


def outcome(value: Tensor, leaves: list[Tensor], incoming: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
    """The value and the gradients of the leaves."""
    weight = torch.ones_like(value) if incoming is None else incoming
    gradients = torch.autograd.grad(value, leaves, weight, allow_unused=True)
    filled = [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, gradients, strict=True)
    ]
    return value.detach(), filled


def assert_same(
    found: tuple[Tensor, list[Tensor]], expected: tuple[Tensor, list[Tensor]], *, share: float = 1e-9
) -> None:
    """Equal up to `share` of the largest entry of each tensor."""
    for one, other in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
        assert one.shape == other.shape
        if other.numel():
            off = (one.double() - other.double()).abs().max()
            assert off <= share * other.double().abs().max().clamp(min=1e-3), f"off by {off:.3g}"


def hold_in_float32(setting: Setting) -> None:
    """The fused loss in float32 is the plain one in float64, under an incoming gradient of its own."""
    single = replace(setting, dtype=torch.float32)
    given, exact = material(single), material(replace(setting, dtype=torch.float64))
    fused, plain = by_fused(single, given), by_plain(setting, exact)
    incoming = torch.randn(plain.shape, generator=torch.Generator().manual_seed(setting.seed)).to(setting.device)
    assert_same(outcome(fused, given.leaves, incoming), outcome(plain, exact.leaves, incoming.double()), share=2e-4)
