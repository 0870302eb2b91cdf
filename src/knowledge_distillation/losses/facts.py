"""What the catalogue says about a loss: its paper, what it needs, what it learns, which laws it obeys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Family = Literal["logits", "features", "relations", "dense", "transformers", "sequences", "embeddings", "regression"]

LAWS: Mapping[str, str] = MappingProxyType(
    {
        "zero_at_equality": "the loss is 0 when the student says exactly what the teacher says",
        "non_negative": "the loss is never below 0",
        "shift_invariant": "adding a constant to all logits of an item changes nothing",
        "class_permutation": "renaming the classes on both sides changes nothing",
        "batch_permutation": "the order of the items changes nothing",
        "masked_items": "masked items change neither value nor gradient, whatever they hold",
        "all_masked": "a batch with every item masked gives 0 with zero gradient",
        "micro_batches": "parts of a batch add up to the whole, in value and gradient",
        "teacher_detached": "no gradient reaches the teacher's signal or the labels",
        "module_equals_function": "the nn.Module gives what the function gives",
        "gradcheck": "the float64 gradient agrees with finite differences",
        "precision": "float16, bfloat16 and float32 agree with float64 within the stated table",
        "extreme_logits": "finite value and gradient at logits of +-1e4, and in float16 at +-6e4",
        "masked_logits": "classes at -inf on both sides leave value and gradient finite",
        "temperature_range": "within 1e-4 of float64 for temperatures from 1e-2 to 1e4",
        "compiled": "torch.compile gives what eager gives",
        "round_trip": "pickle and state_dict give the same loss back",
        "batch_of_one": "one single item gives a finite value and gradient",
    }
)
LOGIT_LAWS = ("shift_invariant", "class_permutation", "extreme_logits", "masked_logits", "temperature_range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """Where a method was published."""

    title: str
    authors: str
    year: int
    arxiv: str | None = None
    """arXiv id such as "1503.02531"; None when the paper is not on arXiv."""
    venue: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one loss needs, learns and obeys. Every `Loss` carries one as `facts`."""

    families: tuple[Family, ...]
    signal: str
    """What the two positional inputs are: "logits", "log_probs", "feature map", "hidden states", ..."""
    paper: Paper | None = None
    needs: tuple[str, ...] = ()
    """Keyword inputs that must come with the two signals, such as "labels"."""
    takes: tuple[str, ...] = ()
    """Keyword inputs that come along where the signals have them: "token_mask", "teacher_mask"."""
    same_classes: bool = False
    """Teacher and student must have the same classes (or vocabulary) in the same order."""
    uses_teacher: bool = True
    """False when the loss never looks at the teacher's signal: the teacher need not run for it."""
    learns: str = ""
    """Which parameters train together with the student; empty when there are none."""
    exceptions: Mapping[str, str] = field(default_factory=dict)
    """Laws that do not apply, each with its reason."""

    def reasons(self) -> dict[str, str]:
        """Every law that does not apply, with the reason."""
        reasons = dict(self.exceptions)
        if self.signal != "logits":
            for law in LOGIT_LAWS:
                reasons.setdefault(law, f"the input is {self.signal}, not logits")
        return reasons

    def laws(self) -> tuple[str, ...]:
        """The laws that hold, in the order of `LAWS`."""
        return tuple(law for law in LAWS if law not in self.reasons())
