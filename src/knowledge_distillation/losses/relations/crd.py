"""Contrastive representation distillation: tell the teacher's view of a sample from its views of others."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_between, check_positive, full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.relations.samples import chosen, counted_samples, number, sample_vectors
from knowledge_distillation.losses.vectors import dot_products, unit

# the authors' guard in the denominators of the contrast
SMALL = 1e-7


def crd(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    student_head: Callable[[Tensor], Tensor],
    teacher_head: Callable[[Tensor], Tensor],
    student_bank: Tensor,
    teacher_bank: Tensor,
    contrast: Tensor,
    negatives: Tensor | None = None,
    temperature: float = 0.07,
    student_normalizer: float | Tensor = 1.0,
    teacher_normalizer: float | Tensor = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Noise-contrastive estimation between each model's embedding and the other model's memory bank.

    A side's score for bank row k is P_k = exp(v.row_k / temperature) / Z, with v the sample's embedding of
    length 1 and Z the side's normaliser. With K negatives and M rows in the bank, h = P / (P + K / M) should be
    1 for the sample's own row and 0 for the negatives: -log h_own - sum over negatives of log(1 - h_k). The
    value is the student's embedding against the teacher's bank plus the teacher's against the student's.

    When: penultimate features of classifiers; the strongest of the methods its paper compares, at the price of
    two banks and of batches that say which sample is which.

    Args:
        student_features: shape [batch, ...], flattened. Receives gradient.
        teacher_features: shape [batch, ...], flattened. Detached inside; the teacher's head still learns.
        student_head: [batch, student width] -> [batch, embedding width]; trains with the student.
        teacher_head: [batch, teacher width] -> [batch, embedding width]; trains with the student.
        student_bank: the student's remembered embeddings, shape [M, embedding width]. Detached inside.
        teacher_bank: the teacher's, same shape. Detached inside.
        contrast: bank rows to compare with, shape [batch, 1 + K]: the sample's own row first, then K negatives.
        negatives: False where a negative must not count, because it shares the sample's class, shape
            [batch, K]; the others are weighted up to K. None counts all.
        temperature: > 0; 0.07 in the authors' code.
        student_normalizer: Z of the student's side; 1 in the paper's equation.
        teacher_normalizer: Z of the teacher's side.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Nats: a scalar, or [batch] for "none". 0 when no sample counts. Never 0 otherwise: even equal
        embeddings cannot be told from the negatives without error.

    Raises:
        ShapeError: if the batches or banks do not fit, or the mask is not [batch].
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> bank = torch.eye(4)
        >>> rows = torch.tensor([[0, 1, 2, 3]])
        >>> both = dict(student_head=torch.nn.Identity(), teacher_head=torch.nn.Identity())
        >>> banks = dict(student_bank=bank, teacher_bank=bank, contrast=rows)
        >>> round(crd(bank[:1], bank[:1], temperature=0.5, **both, **banks).item(), 4)
        5.2771

    Reference: Tian, Krishnan, Isola (2020), eq. 18, arXiv:1910.10699.

    Differs: the paper's equation has no Z. The authors' code, which made the published numbers, divides both
        sides' scores by M times the mean score of the first batch (Wu et al., 2018, arXiv:1805.01978); `CRD`
        does so unless told otherwise. It adds 1e-7 to K / M in the denominators, and so does this.
    """
    check_positive("temperature", temperature)
    student, teacher = sample_vectors(student_features, teacher_features, mask)
    check_banks(student_bank, teacher_bank, contrast, student)
    contrast = hide_masked(contrast, mask)
    ours = bank_scores(student, student_head, teacher_bank, contrast, temperature)
    theirs = bank_scores(teacher, teacher_head, student_bank, contrast, temperature)
    samples = student_bank.shape[0]
    values = contrastive(ours, student_normalizer, samples, negatives)
    values = values + contrastive(theirs, teacher_normalizer, samples, negatives)
    return reduce(values, mask=mask, reduction=reduction)


def bank_scores(
    features: Tensor, head: Callable[[Tensor], Tensor], bank: Tensor, contrast: Tensor, temperature: float
) -> Tensor:
    """Embeddings times the chosen bank rows over the temperature, shape [batch, 1 + K]."""
    embeddings = unit(full_precision(head(features)))
    # all products, then the chosen ones: gathering K rows of the bank for every sample takes far more memory
    return dot_products(embeddings, bank.detach().to(embeddings.dtype)).gather(1, contrast) / temperature


def contrastive(scores: Tensor, normalizer: float | Tensor, samples: int, negatives: Tensor | None) -> Tensor:
    """-log h of the first column and -log(1 - h) of all others, one value per sample."""
    count = scores.shape[1] - 1
    noise = count / samples
    margin = scores - torch.as_tensor(normalizer).to(scores).log() - math.log(noise + SMALL)
    own = -F.logsigmoid(margin[:, 0])
    others = math.log1p(SMALL / noise) - F.logsigmoid(-margin[:, 1:])
    if negatives is None:
        return own + others.sum(dim=1)
    counted = negatives.bool()
    return own + chosen(others, counted).sum(dim=1) * count / counted.sum(dim=1).clamp(min=1)


def check_banks(student_bank: Tensor, teacher_bank: Tensor, contrast: Tensor, student: Tensor) -> None:
    """Raise ShapeError unless banks, contrast and batch fit."""
    fits = student_bank.dim() == 2 and student_bank.shape == teacher_bank.shape
    if not fits or contrast.dim() != 2 or contrast.shape[0] != student.shape[0] or contrast.shape[1] < 2:
        raise ShapeError(
            f"Both banks must have one shape [samples, embedding width] and contrast [batch, 1 + negatives]: banks "
            f"{tuple(student_bank.shape)} and {tuple(teacher_bank.shape)}, contrast {tuple(contrast.shape)}, batch "
            f"{student.shape[0]}. Pass for every sample its own bank row first, then at least one other row."
        )


class CRD(Loss):
    """`crd` as a module; see there for shapes, units and sources.

    Learns one linear head on each side. Keeps both banks, which move towards the embeddings of every training
    batch, and draws the negatives from them with torch's random numbers. In eval mode the banks stand still.

    Args:
        student_width: width of the student's flattened features.
        teacher_width: width of the teacher's.
        samples: how many samples the training set has, at least 2, else ConfigError; `index` must stay below.
        width: of the embeddings; 128 in the authors' code.
        negatives: how many per sample, at least 1, else ConfigError; 16384 in the authors' code; drawn
            with replacement.
        momentum: share of the old row that a bank keeps at each visit, 0 to 1, else ConfigError; 0.5 in the
            authors' code.
        normalizer: Z of both sides, > 0, else ConfigError; None measures it in the first training batch, as the
            authors' code does, 1.0 is the paper's equation.
    """

    facts = Facts(
        families=("relations", "embeddings"),
        signal="features",
        paper=Paper(
            title="Contrastive Representation Distillation",
            authors="Tian, Krishnan, Isola",
            year=2020,
            arxiv="1910.10699",
            venue="ICLR",
        ),
        needs=("index", "labels"),
        learns="one linear head on each side",
        exceptions={"zero_at_equality": "a contrast with negatives, never 0"},
    )

    memories = ("student_bank", "teacher_bank", "bank_labels")

    student_bank: Tensor
    teacher_bank: Tensor
    bank_labels: Tensor
    normalizers: Tensor

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        samples: int,
        *,
        width: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        normalizer: float | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if samples < 2 or negatives < 1:
            raise ConfigError(f"CRD needs samples >= 2 and negatives >= 1, got {samples!r} and {negatives!r}.")
        self.negatives = negatives
        self.temperature = check_positive("temperature", temperature)
        self.momentum = check_between("momentum", momentum, 0.0, 1.0)
        self.reduction: Reduction = reduction
        self.student_head = nn.Linear(student_width, width)
        self.teacher_head = nn.Linear(teacher_width, width)
        self.register_buffer("student_bank", unit(torch.rand(samples, width) - 0.5))
        self.register_buffer("teacher_bank", unit(torch.rand(samples, width) - 0.5))
        self.register_buffer("bank_labels", torch.full((samples,), -1))
        unset = -1.0 if normalizer is None else check_positive("normalizer", normalizer)
        self.register_buffer("normalizers", torch.tensor([unset, unset]))
        self.settled = normalizer is not None

    def forward(
        self,
        student_features: Tensor,
        teacher_features: Tensor,
        *,
        index: Tensor,
        labels: Tensor | None = None,
        contrast: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Compare the batch with the banks, then move the banks.

        Args:
            student_features: shape [batch, ...]. Receives gradient.
            teacher_features: shape [batch, ...]. Detached inside.
            index: each sample's number in the training set, from 0, shape [batch].
            labels: class ids, shape [batch]; negatives known to share the sample's class then do not count.
            contrast: bank rows instead of drawn ones, shape [batch, 1 + negatives], own rows first.
            mask: shape [batch], True where the sample counts; masked samples do not reach the banks.
        """
        student, teacher = sample_vectors(student_features, teacher_features, mask)
        student, teacher = student.to(self.student_bank.dtype), teacher.to(self.teacher_bank.dtype)
        index = hide_masked(index, mask)
        rows = self.drawn(index) if contrast is None else hide_masked(contrast, mask)
        value = self.compared(student, teacher, rows, self.strangers(rows, index, labels, mask), mask)
        if self.training:
            with torch.no_grad():
                self.student_bank = self.moved(self.student_bank, self.student_head(student), index, mask)
                self.teacher_bank = self.moved(self.teacher_bank, self.teacher_head(teacher), index, mask)
        return value

    def drawn(self, index: Tensor) -> Tensor:
        """Each sample's own row and random others, shape [batch, 1 + negatives]."""
        own = index.unsqueeze(1)
        others = torch.randint(self.bank_labels.shape[0] - 1, (index.shape[0], self.negatives), device=index.device)
        return torch.cat([own, others + (others >= own)], dim=1)

    def strangers(self, rows: Tensor, index: Tensor, labels: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """Which negatives are not known to share their sample's class; remembers the labels of a training batch."""
        if labels is None:
            return None
        counted = counted_samples(index.unsqueeze(1), mask)
        labels = torch.where(counted, labels.long(), torch.full_like(index, -1))
        if self.training:
            # of a known and an unknown label for one row, the known one is the larger
            self.bank_labels.scatter_reduce_(0, index, labels, reduce="amax")
        return self.bank_labels[rows[:, 1:]] != labels.unsqueeze(1)

    def compared(
        self, student: Tensor, teacher: Tensor, rows: Tensor, strangers: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """`crd` with this module's heads, banks and normalisers."""
        normalizers = self.normalizers if self.settled else self.measured(student, teacher, rows, mask)
        if self.training and not self.settled:
            self.normalizers = normalizers
            # a batch that may be masked altogether has perhaps measured nothing
            self.settled = mask is None
        usable = torch.where(normalizers > 0, normalizers, torch.ones_like(normalizers))
        return crd(
            student,
            teacher,
            student_head=self.student_head,
            teacher_head=self.teacher_head,
            student_bank=self.student_bank,
            teacher_bank=self.teacher_bank,
            contrast=rows,
            negatives=strangers,
            temperature=self.temperature,
            student_normalizer=usable[0],
            teacher_normalizer=usable[1],
            mask=mask,
            reduction=self.reduction,
        )

    @torch.no_grad()
    def measured(self, student: Tensor, teacher: Tensor, rows: Tensor, mask: Tensor | None) -> Tensor:
        """Both normalisers: those known, else bank size times the mean score of the counted samples."""
        counted = counted_samples(student, mask)
        sides = (
            bank_scores(student, self.student_head, self.teacher_bank, rows, self.temperature),
            bank_scores(teacher, self.teacher_head, self.student_bank, rows, self.temperature),
        )
        means = [chosen(scores.exp().mean(dim=1), counted).sum() / number(counted) for scores in sides]
        found = torch.stack(means).to(self.normalizers) * self.bank_labels.shape[0]
        return torch.where((self.normalizers < 0) & counted.any(), found, self.normalizers)

    def moved(self, bank: Tensor, embeddings: Tensor, index: Tensor, mask: Tensor | None) -> Tensor:
        """The bank with the batch's rows moved towards its embeddings; a new tensor, backward needs the old one."""
        step = (1.0 - self.momentum) * (unit(full_precision(embeddings)).to(bank.dtype) - bank[index])
        # added, not copied: a masked sample points at row 0, which a counted one may move
        bank = bank.index_add(0, index, hide_masked(step, mask))
        return bank.index_copy(0, index, unit(bank[index]))
