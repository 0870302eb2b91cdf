"""What a language model writes to a prompt, greedily, and how it is compared with what it should have written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.domains.tokenizers import end_of_text, tokens_of
from knowledge_distillation.errors import ConfigError, MissingExtraError, ModelContractError

Compare = Callable[[str, str], float]
"""(generated, reference) -> 0 to 1."""


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, new_tokens: int, temperature: float = 0.0
) -> list[list[int]]:
    """Continue prompts until the text ends. Columns that no token stands for are never chosen.

    Args:
        model: of Transformers, with `generate`; called in eval mode without gradient and left in its mode.
        tokenizer: its tokenizer.
        prompts: token ids, at least one each.
        new_tokens: to write at most, >= 1.
        temperature: 0 takes the likeliest token each time; above 0 tokens are drawn, from torch's generator.

    Returns:
        The new tokens of each prompt, without the one that ends the text.

    Raises:
        ConfigError: if a prompt is empty, or the model cannot generate.
    """
    check_whole("new_tokens", new_tokens, 1)
    if not callable(getattr(model, "generate", None)):
        raise ConfigError(f"{type(model).__name__} has no `generate`. Use a causal language model of Transformers.")
    if not prompts or not all(prompts):
        raise ConfigError("Every prompt must hold at least one token: there is nothing to go on from.")
    from transformers import GenerationConfig

    end = end_of_text(tokenizer)
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.tensor([[end] * (longest - len(prompt)) + [*prompt] for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    columns = model.get_output_embeddings().weight.shape[0]
    padding = list(range(tokens_of(tokenizer), columns))
    settings: Any = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=new_tokens,
        do_sample=temperature > 0,
        **({"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}),
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=padding or None,
    )
    with undisturbed(model):
        written = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    return [_until(row, end) for row in written[:, longest:].tolist()]


def _until(row: list[int], end: int) -> list[int]:
    return row[: row.index(end)] if end in row else row


class GenerationPipeline:
    """Mean of a comparison between what the model writes to each prompt and the completion; 0 to 1, higher is better.

    Args:
        tokenizer: the model's.
        compare: `exact_match`, `rouge(...)`, or any (generated, reference) -> number.
        new_tokens: to write at most.
    """

    higher_is_better = True

    def __init__(self, tokenizer: Any, compare: Compare, *, new_tokens: int = 64) -> None:
        self.tokenizer, self.compare = tokenizer, compare
        self.new_tokens = check_whole("new_tokens", new_tokens, 1)
        self.metric = getattr(compare, "__name__", type(compare).__name__)

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": mean, "count": prompts}; the loader gives batches of `rows.padded`.

        Raises:
            ModelContractError: if no row has a prompt and a completion.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> tuple[float, int]:
        """The sum of the comparisons, and how many there are."""
        total, count = 0.0, 0
        for batch in data_loader:
            pairs = list(_prompts(batch))
            if not pairs:
                continue
            prompts, references = zip(*pairs, strict=True)
            written = generate(model, self.tokenizer, prompts, new_tokens=self.new_tokens)
            for ids, reference in zip(written, references, strict=True):
                total += float(self.compare(self._text(ids), self._text(reference)))
                count += 1
        return total, count

    def combine(self, parts: Sequence[tuple[float, int]]) -> dict[str, Any]:
        """The mean over all parts; errors as of `run_inference_pipeline`."""
        total, count = (sum(part[place] for part in parts) for place in (0, 1))
        if not count:
            raise ModelContractError(
                "No row of the validation data has a prompt and a completion, so nothing can be generated. Use records "
                "with 'prompt' and 'completion', or score by perplexity."
            )
        return {"inference_result": total / count, "count": int(count)}

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()


def _prompts(batch: Any) -> Iterator[tuple[list[int], list[int]]]:
    """Prompt and first completion of each row that has both."""
    ids: Tensor = batch["input_ids"]
    for row, labels, there in zip(ids, batch["labels"], batch["attention_mask"], strict=True):
        learnt = ((labels != IGNORED) & there.bool()).long()
        begin = int(learnt.argmax())
        if begin:
            length = int(learnt[begin:].cumprod(dim=0).sum())
            first = int(there.argmax())
            yield row[first:begin].tolist(), row[begin : begin + length].tolist()


def exact_match(generated: str, reference: str) -> float:
    """1 if both are the same text, else 0."""
    return float(generated == reference)


def rouge(kind: str = "rougeL") -> Compare:
    """The F-measure of ROUGE between generated text and reference, with stemming; of the extra `rouge`.

    Args:
        kind: "rouge1", "rouge2", "rougeL" or "rougeLsum".

    Raises:
        MissingExtraError: if rouge-score is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError(
            "ROUGE needs rouge-score: pip install 'knowledge-distillation-toolkit[rouge]'"
        ) from error
    scorer = RougeScorer([kind], use_stemmer=True)

    def compare(generated: str, reference: str) -> float:
        return float(scorer.score(reference, generated)[kind].fmeasure)

    compare.__name__ = kind
    return compare
