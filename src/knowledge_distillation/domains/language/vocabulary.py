"""How the vocabularies of student and teacher belong together, and how their logits are brought to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, causal_student, causal_teacher, next_tokens
from knowledge_distillation.capture.left_head import LeftHead
from knowledge_distillation.domains.language.projection import projection
from knowledge_distillation.domains.tokenizers import ids_of, tokens_of
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.losses import Projected
from knowledge_distillation.signals import Signals

Kind = Literal["identical", "superset", "reordered", "foreign"]
PROBES = (
    "The quick brown fox jumps over the lazy dog; 1,234.56 kg on 2026-01-31?",
    "def add(a, b):\n    return a + b  # naïve",
    "Ein Mädchen, où ça?  Привет, 世界! 👍🏽",
)
"""Texts that tokenizers of different families split in different ways."""


class Vocabulary:
    """Two tokenizers, and adapters that bring the logits of their models to the student's tokens. Make it by `resolve`.

    What is not shared gets no probability on either side, so that every divergence is that over the shared tokens:
    columns beyond the tokenizer's are cut, and -inf stands for tokens that the other side does not know.

    Args:
        student: the student's tokenizer, as of Transformers.
        teacher: the teacher's.
        kind: "identical"; "superset": one has tokens more, the shared ones have the same ids; "reordered": the shared
            ones have other ids; "foreign": texts are split in another way, so that no token stands for the other's.

    Attributes:
        tokens: columns of the student's logits that a token stands for.
        student_ids, teacher_ids: of the shared tokens, int64 [shared], in one order.
    """

    def __init__(self, student: Any, teacher: Any, kind: Kind) -> None:
        self.student, self.teacher, self.kind = student, teacher, kind
        own, theirs = student.get_vocab(), teacher.get_vocab()
        pairs = sorted((own[token], theirs[token]) for token in own.keys() & theirs.keys())
        self.tokens, self.teacher_tokens = tokens_of(student), tokens_of(teacher)
        self.student_ids, self.teacher_ids = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
        self._theirs = torch.full((self.tokens,), -1)
        """For each of the student's tokens the teacher's id, -1 where it has none."""
        self._theirs[self.student_ids] = self.teacher_ids
        self.only_student, self.only_teacher = len(own) - len(pairs), len(theirs) - len(pairs)

    @property
    def explanation(self) -> str:
        """What was found and what follows from it, in words."""
        shared = len(self.student_ids)
        found = {
            "identical": f"Student and teacher have one vocabulary of {shared:,} tokens.",
            "superset": f"Student and teacher share {shared:,} tokens under the same ids; {self.only_student:,} are "
            f"the student's alone and {self.only_teacher:,} the teacher's: these get no probability.",
            "reordered": f"Student and teacher split texts alike and share {shared:,} tokens under other ids: the "
            f"teacher reads and answers through a table. {self.only_student:,} tokens are the student's alone and "
            f"{self.only_teacher:,} the teacher's: these get no probability.",
            "foreign": f"Student and teacher split texts in different ways and share {shared:,} of {self.tokens:,} and "
            f"{self.teacher_tokens:,} tokens: each reads its own, and spans of the same text are compared. Use a loss "
            "between tokenizers: 'gold', 'projection_kl' or 'uld'.",
        }[self.kind]
        return f"{found} Columns of logits beyond the last token's are padding and are cut."

    @cached_property
    def projection(self) -> Tensor:
        """Of the teacher's tokens onto the student's, sparse [teacher's tokens, student's]; see `projection`."""
        return projection(self.student, self.teacher)

    @property
    def adapters(self) -> tuple[Adapter, Adapter]:
        """The student's and the teacher's, for `distill(adapter=...)`; both are "causal_lm" but for the columns."""
        return self.student_signals, self.teacher_signals

    def student_signals(
        self, model: nn.Module, batch: Any, temperature: float = 1.0, *, head: LeftHead | None = None
    ) -> Signals:
        """`causal_student`, with logits [samples, tokens, vocabulary] over the student's tokens.

        The head can be left to the loss where one vocabulary is the other's, but for padding columns.

        Where tokenizers are foreign, the extras hold what losses between tokenizers ask for: "student_ids" and
        "teacher_ids" of the shared tokens, the "projection", and, of batches with spans, those of both sides with the
        "teacher_labels".
        """
        said = causal_student(model, batch, temperature, head=head if self.kind == "identical" else None)
        logits = _cut(said.logits, self.tokens, "student")
        if self.kind == "foreign":
            matched = {"student_ids": self.student_ids, "teacher_ids": self.teacher_ids, "projection": self.projection}
            return replace(said, logits=logits, extras={**said.extras, **matched, **_spans(batch)})
        if self.kind != "identical" and len(self.student_ids) < self.tokens:
            logits = logits.masked_fill(self._theirs.to(logits.device) < 0, -torch.inf)
        return replace(said, logits=logits)

    def teacher_signals(
        self, model: nn.Module, batch: Any, temperature: float = 1.0, *, head: LeftHead | None = None
    ) -> Signals:
        """`causal_teacher`, with logits over the student's tokens; over the teacher's own where these are foreign.

        Raises:
            ModelContractError: if the batch holds a token that the teacher does not know, or none of its own where
                tokenizers are foreign.
        """
        if self.kind == "foreign" and (not isinstance(batch, Mapping) or "teacher_input_ids" not in batch):
            raise ModelContractError(
                "The teacher splits texts in another way, and the batch holds no 'teacher_input_ids': the student's "
                "ids mean other words to it. Use the data set 'jsonl' with teacher_tokenizer; it cannot be asked about "
                "what the student wrote itself (on-policy)."
            )
        if self.kind in ("identical", "foreign"):
            said = causal_teacher(model, batch, temperature, head=head if self.kind == "identical" else None)
            return replace(said, logits=_cut(said.logits, self.teacher_tokens, "teacher"))
        if self.kind == "reordered" or self.only_student:
            batch = self._translated(batch)
        said = causal_teacher(model, batch, temperature)
        logits = _cut(said.logits, self.teacher_tokens, "teacher")
        table = self._theirs.to(logits.device)
        return replace(said, logits=logits.index_select(-1, table.clamp(min=0)).masked_fill(table < 0, -torch.inf))

    def _translated(self, batch: Any) -> Any:
        """The batch in the teacher's ids."""
        if not isinstance(batch, Mapping) or not isinstance(batch.get("input_ids"), Tensor):
            return batch  # the adapter says what is wrong
        ids, mask = batch["input_ids"], batch.get("attention_mask")
        found = self._theirs.to(ids.device)[ids]
        if mask is not None:
            found = found.where(mask != 0, 0)
        if bool((found < 0).any()):
            unknown = int(ids[found < 0][0])
            raise ModelContractError(
                f"The batch holds token {unknown} ({self.student.convert_ids_to_tokens(unknown)!r}), which the teacher "
                "does not know: it cannot read this text. Leave the token out of the texts, or learn from a teacher "
                "that knows it."
            )
        return {**batch, "input_ids": found}


def resolve(student: Any, teacher: Any, *, texts: Sequence[str] = ()) -> Vocabulary:
    """Find out how two tokenizers belong together.

    Args:
        student: the student's tokenizer, as of Transformers.
        teacher: the teacher's.
        texts: of yours, on which both must split alike beside the built-in ones, or the tokenizers are foreign.
    """
    if student is teacher or student.get_vocab() == teacher.get_vocab():
        same_splits = student is teacher or _splits_alike(student, teacher, texts)
        return Vocabulary(student, teacher, "identical" if same_splits else "foreign")
    if not _splits_alike(student, teacher, texts):
        return Vocabulary(student, teacher, "foreign")
    own, theirs = student.get_vocab(), teacher.get_vocab()
    moved = any(own[token] != theirs[token] for token in own.keys() & theirs.keys())
    return Vocabulary(student, teacher, "reordered" if moved else "superset")


def _splits_alike(student: Any, teacher: Any, texts: Sequence[str]) -> bool:
    """Whether both split every text into the same tokens."""

    def tokens(tokenizer: Any, text: str) -> list[str]:
        found: list[str] = tokenizer.convert_ids_to_tokens(ids_of(tokenizer, text))
        return found

    return all(tokens(student, text) == tokens(teacher, text) for text in (*PROBES, *texts))


def _spans(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The teacher's side of the spans in a batch; nothing where it has none."""
    if "teacher_spans" not in batch:
        return {}
    theirs = {name.removeprefix("teacher_"): entry for name, entry in batch.items() if name.startswith("teacher_")}
    return {"teacher_spans": batch["teacher_spans"], "teacher_labels": next_tokens(theirs)}


def _cut(logits: Any, tokens: int, whose: str) -> Any:
    if logits.shape[-1] < tokens:
        raise ConfigError(
            f"The {whose}'s logits must have a column for each of its tokenizer's {tokens:,} tokens, and have "
            f"{logits.shape[-1]:,}: it is the tokenizer of another model. Name the right one."
        )
    if isinstance(logits, Projected):
        bias = None if logits.bias is None else logits.bias[:tokens]
        return replace(logits, weight=logits.weight[:tokens], bias=bias)
    return logits[..., :tokens]
