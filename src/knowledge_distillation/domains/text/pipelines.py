"""The scores of taggers: F1 of single words, and F1 of whole spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import IGNORED, Adapter, adapter_pair
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.domains.text.calling import tagger
from knowledge_distillation.domains.text.spans import are_span_tags, spans_of
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.training.pipelines import to_device


class MacroF1Pipeline:
    """Mean over the classes of F1 = 2 TP / (2 TP + FP + FN), 0 to 1; every class weighs the same, however rare.

    It is of single words: a name of three words counts three times, and may be right in part. Classes that neither
    occur nor are answered do not count. Processes share the work.

    Args:
        adapter: reads logits and labels; items with the label -100 do not count.
    """

    higher_is_better = True
    metric = "macro F1"

    def __init__(self, adapter: str | Adapter = tagger) -> None:
        self.adapter = adapter_pair(adapter)[0]

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": macro F1, "count": items, "f1": that of each class, nan where it does not count}.

        Raises:
            ModelContractError: if batches carry no labels, or no item counts.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> Tensor:
        """How often each class was told and answered, int64 [classes told, classes answered]; errors as above."""
        table = torch.zeros(0, 0, dtype=torch.int64)
        for logits, labels in _answers(self.adapter, model, data_loader):
            classes = logits.shape[-1]
            counted = labels != IGNORED
            pairs = labels[counted] * classes + logits.argmax(dim=-1)[counted]
            seen = torch.bincount(pairs.flatten(), minlength=classes**2).reshape(classes, classes).cpu()
            table = seen if not table.numel() else table + seen
        return table

    def combine(self, parts: Sequence[Tensor]) -> dict[str, Any]:
        """The score of all parts together.

        Raises:
            ModelContractError: if no item counts.
        """
        tables = [part for part in parts if part.numel()]
        table = torch.stack(tables).sum(dim=0) if tables else torch.zeros(0, 0)
        _check_any(int(table.sum()))
        right, met = table.diagonal().double(), (table.sum(dim=0) + table.sum(dim=1)).double()
        f1 = 2 * right / met  # nan for a class that neither occurs nor is answered
        return {"inference_result": float(f1.nanmean()), "count": int(table.sum()), "f1": f1.tolist()}


class SpanF1Pipeline:
    """F1 = 2 TP / (2 TP + FP + FN) of whole spans, 0 to 1, over all types together, as CoNLL and seqeval count.

    A span is right if its type, its first and its last word are; a name that is found in part counts as missed, and
    what was found as wrong. Words right one by one are reported beside. Processes share the work.

    Args:
        tags: the name of each class, in the order of the model's outputs; see `spans_of`.
        adapter: reads logits [texts, tokens, classes] and labels, -100 at what is no word's first token.

    Raises:
        ConfigError: if the tags do not name spans.
    """

    higher_is_better = True
    metric = "span F1"

    def __init__(self, tags: Sequence[str], adapter: str | Adapter = tagger) -> None:
        if not are_span_tags(tags):
            raise ConfigError(
                f"Span F1 needs tags such as O, B-PER and I-PER (BIO, IOBES or BILOU), and they are {list(tags)[:10]}: "
                "no spans could be read from them. Score single words with MacroF1Pipeline."
            )
        self.tags = list(tags)
        self.adapter = adapter_pair(adapter)[0]

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Score a tagger.

        Returns:
            {"inference_result": F1 of spans, "precision", "recall", "count": spans that are there, "f1": type -> F1,
            "accuracy": share of words with the right tag, "words"}.

        Raises:
            ModelContractError: if batches carry no labels, no word counts, or neither labels nor answers name a span.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> Counter[tuple[str, str]]:
        """How many spans of each type are there, were answered and are right; and how many words."""
        counts: Counter[tuple[str, str]] = Counter()
        for logits, labels in _answers(self.adapter, model, data_loader):
            answers, counted = logits.argmax(dim=-1), labels != IGNORED
            counts["words", ""] += int(counted.sum())
            counts["right words", ""] += int((answers == labels)[counted].sum())
            for said, told, kept in zip(answers.cpu(), labels.cpu(), counted.cpu(), strict=True):
                found, there = (spans_of([self.tags[tag] for tag in row[kept].tolist()]) for row in (said, told))
                for what, spans in (("there", there), ("answered", found), ("right", there & found)):
                    counts.update((what, kind) for kind, _, _ in spans)
        return counts

    def combine(self, parts: Sequence[Counter[tuple[str, str]]]) -> dict[str, Any]:
        """The score of all parts together; errors as above."""
        counts: Counter[tuple[str, str]] = Counter()
        for part in parts:
            counts.update(part)
        words = counts["words", ""]
        _check_any(words)
        kinds = sorted({kind for what, kind in counts if what in ("there", "answered")})
        if not kinds:
            raise ModelContractError(
                "Neither the labels of the validation loader nor the answers name a span, so there is no F1 of spans. "
                "Validate on sentences with names in them."
            )
        right, answered, there = (sum(counts[what, kind] for kind in kinds) for what in ("right", "answered", "there"))
        by_kind = {
            kind: _ratio(2 * counts["right", kind], counts["answered", kind] + counts["there", kind]) for kind in kinds
        }
        return {
            "inference_result": _ratio(2 * right, answered + there),
            "precision": _ratio(right, answered),
            "recall": _ratio(right, there),
            "count": there,
            "f1": by_kind,
            "accuracy": counts["right words", ""] / words,
            "words": words,
        }


def _answers(adapter: Adapter, model: nn.Module, data_loader: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels of each batch."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with undisturbed(model):
        for batch in data_loader:
            said = adapter(model, to_device(batch, device), 1.0)
            if said.logits is None or said.labels is None:
                raise ModelContractError(
                    "F1 needs logits and labels, and a validation batch gave none. Use a data set of the text domain, "
                    "or batches with 'labels'."
                )
            yield said.logits, said.labels


def _check_any(words: int) -> None:
    if not words:
        raise ModelContractError("The validation loader gave no labelled word, so there is no F1 to report.")


def _ratio(part: int, whole: int) -> float:
    """0 where there is nothing: what was never answered was never right, as in seqeval."""
    return part / whole if whole else 0.0
