"""Scores of language models: perplexity, and agreement with the teacher."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.evaluation.fidelity import Fidelity
from knowledge_distillation.training.pipelines import to_device

OfOneOrTwo = str | Adapter | tuple[Adapter, Adapter]


class PerplexityPipeline:
    """exp of the mean negative log-likelihood of the tokens that count; lower is better. Processes share the work.

    Args:
        adapter: reads logits, labels and mask; see `capture.adapters`.
    """

    higher_is_better = False
    metric = "perplexity"

    def __init__(self, adapter: OfOneOrTwo = "causal_lm") -> None:
        self.adapter = adapter_pair(adapter)[0]

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": perplexity, "count": tokens}.

        Raises:
            ModelContractError: if batches carry no labels, or no token counts.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> tuple[float, int]:
        """The sum of the negative log-likelihoods in nats, and how many tokens count; errors as above."""
        total, count = 0.0, 0
        device = next(model.parameters()).device
        with undisturbed(model):
            for batch in data_loader:
                said = self.adapter(model, to_device(batch, device), 1.0)
                if said.logits is None or said.labels is None or said.mask is None:
                    raise ModelContractError(
                        "Perplexity needs logits, labels and a mask, and the adapter gave not all of them. Use the "
                        "adapter 'causal_lm'."
                    )
                losses = F.cross_entropy(said.logits[said.mask].float(), said.labels[said.mask], reduction="none")
                total += float(losses.double().sum())
                count += int(said.mask.sum())
        return total, count

    def combine(self, parts: Sequence[tuple[float, int]]) -> dict[str, Any]:
        """The perplexity of all parts together.

        Raises:
            ModelContractError: if no token counts.
        """
        total, count = (sum(part[place] for part in parts) for place in (0, 1))
        if not count:
            raise _nothing_counts("perplexity")
        mean = total / count
        return {"inference_result": math.exp(mean) if mean < 700 else math.inf, "count": int(count)}


class AgreementPipeline:
    """Share of the tokens that count whose likeliest next token is the teacher's as well, 0 to 1.

    Args:
        teacher: a model, moved to the student's device and left in its mode.
        adapter: "causal_lm", or the student's and the teacher's, as `Vocabulary.adapters`.
    """

    higher_is_better = True
    metric = "agreement"

    def __init__(self, teacher: nn.Module, adapter: OfOneOrTwo = "causal_lm") -> None:
        self.teacher = teacher
        self.adapters = adapter_pair(adapter)

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": agreement, and all else that `evaluation.fidelity` measures}.

        Raises:
            ModelContractError: if no token counts, or the two do not read the same tokens.
        """
        device = next(model.parameters()).device
        fidelity = Fidelity("language", device)
        with undisturbed(model), undisturbed(self.teacher.to(device)):
            for ours, theirs in self._rows(model, data_loader, device):
                fidelity.add(ours.float(), theirs.float())
        if not fidelity.items:
            raise _nothing_counts("agreement")
        found = fidelity.result()
        return {"inference_result": found["agreement"], **found}

    def _rows(self, model: nn.Module, loader: Iterable[Any], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in loader:
            content = to_device(batch, device)
            said, taught = (
                adapter(whom, content, 1.0) for adapter, whom in zip(self.adapters, (model, self.teacher), strict=True)
            )
            if said.logits is None or taught.logits is None or said.mask is None:
                raise ModelContractError("Agreement needs the logits of both models and a mask. Use 'causal_lm'.")
            if said.logits.shape[:2] != taught.logits.shape[:2]:
                raise ModelContractError(
                    f"Student and teacher must read the same tokens to agree on the next, and read "
                    f"{tuple(said.logits.shape[:2])} and {tuple(taught.logits.shape[:2])}: their tokenizers differ. "
                    "Compare what they generate."
                )
            yield said.logits[said.mask], taught.logits[said.mask]


def _nothing_counts(what: str) -> ModelContractError:
    return ModelContractError(
        f"The validation loader gave no token that counts, so there is no {what}: every label is -100. Look at the "
        "records, or raise `length`."
    )
