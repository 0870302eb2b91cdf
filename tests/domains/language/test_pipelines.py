"""What goes wrong for a user when a language model is scored."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.domains.language import (
    AgreementPipeline,
    GenerationPipeline,
    PerplexityPipeline,
    encoded,
    exact_match,
    generate,
    padded,
    resolve,
    rouge,
)
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.training.pipelines import higher_is_better, score
from tests.domains.language import tiny


def batches(*pairs: tuple[str, str], size: int = 2) -> list[dict[str, Tensor]]:
    rows = [encoded(tiny.letters(), [(prompt, False), (answer, True)], 60) for prompt, answer in pairs]
    return [padded([row for row in rows[at : at + size] if row is not None]) for at in range(0, len(rows), size)]


DATA = batches(("ab", "c"), ("a", "bcdef"), ("xyz", "ab"))


class Copycat(nn.Module):
    """Says with confidence that the next token is the one that follows in the alphabet of ids."""

    def __init__(self, columns: int = 98, sure: float = 20.0) -> None:
        super().__init__()
        self.sure = nn.Parameter(torch.tensor(sure))
        self.columns = columns

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": nn.functional.one_hot((input_ids + 1) % self.columns, self.columns) * self.sure}


def test_perplexity_is_that_of_all_counted_tokens_together() -> None:
    """Otherwise it is a mean over batches, in which short answers count more than long ones."""
    model = tiny.llama(98)
    losses = []
    for batch in DATA:
        log_probs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.log_softmax(-1)
        for row, labels in zip(log_probs, batch["labels"], strict=True):
            losses += [-row[at - 1, token].item() for at, token in enumerate(labels.tolist()) if token != -100]
    found = PerplexityPipeline().run_inference_pipeline(model, DATA)
    assert found["count"] == len(losses) == 11
    assert found["inference_result"] == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)


def test_parts_of_a_loader_add_up() -> None:
    """Otherwise several processes report another perplexity than one."""
    pipeline, model = PerplexityPipeline(), tiny.llama(98)
    parts = [pipeline.measure_part(model, [batch]) for batch in DATA] + [pipeline.measure_part(model, [])]
    assert pipeline.combine(parts) == pytest.approx(pipeline.run_inference_pipeline(model, DATA))


def test_padding_columns_are_no_part_of_a_perplexity() -> None:
    """Otherwise a model with more padding looks worse than the same model with less."""
    tokenizer = tiny.letters()
    pipeline = PerplexityPipeline(resolve(tokenizer, tokenizer).adapters)
    narrow, wide = Copycat(98), Copycat(130)
    assert score(pipeline, wide, DATA, "val") == pytest.approx(score(pipeline, narrow, DATA, "val"), rel=1e-5)


def test_which_way_is_up_is_known() -> None:
    """Otherwise the worst student is kept as the best."""
    assert not higher_is_better(PerplexityPipeline(), "test")
    assert higher_is_better(AgreementPipeline(Copycat()), "perplexity")
    assert higher_is_better(GenerationPipeline(tiny.letters(), exact_match), "loss")


def test_data_without_a_counted_token_has_no_score() -> None:
    """Otherwise it has a perfect one."""
    nothing = [{**batch, "labels": torch.full_like(batch["labels"], -100)} for batch in DATA]
    for pipeline in (PerplexityPipeline(), AgreementPipeline(Copycat())):
        with pytest.raises(ModelContractError, match="no token that counts"):
            pipeline.run_inference_pipeline(Copycat(), nothing)
    with pytest.raises(ModelContractError, match="No row of the validation data has a prompt"):
        GenerationPipeline(tiny.letters(), exact_match).run_inference_pipeline(tiny.llama(98), nothing)


def test_agreement_counts_the_tokens_that_count() -> None:
    """Otherwise prompts and padding, where nobody cares what is said, decide how faithful a student is."""
    student, teacher = tiny.llama(98, seed=1), tiny.llama(98, seed=2).train()
    equal = []
    for batch in DATA:
        asked = {name: batch[name] for name in ("input_ids", "attention_mask")}
        ours, theirs = (model.eval()(**asked).logits.argmax(-1) for model in (student, teacher))
        counted = batch["labels"][:, 1:] != -100
        equal += (ours == theirs)[:, :-1][counted].tolist()
    teacher.train()
    found = AgreementPipeline(teacher).run_inference_pipeline(student, DATA)
    assert found["inference_result"] == pytest.approx(sum(equal) / len(equal))
    assert AgreementPipeline(teacher).run_inference_pipeline(teacher, DATA)["inference_result"] == 1.0
    assert teacher.training


def speller(columns: int = 98) -> Any:
    """A llama that continues the letters in the order of their ids; the letter "e" is followed by the end."""
    model = tiny.llama(columns, layers=1, hidden_size=128, num_attention_heads=4, tie_word_embeddings=False)
    end = tiny.letters()("e")["input_ids"][0] + 1
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.zero_()
        model.model.embed_tokens.weight[:98, :98] = torch.eye(98)
        model.lm_head.weight.zero_()
        model.lm_head.weight[1:98, :97] = torch.eye(97)
        model.lm_head.weight[0, end - 1] = 3.0
        model.lm_head.weight[98:] = 9.0  # padding columns, likelier than any token
    return model


def test_generation_goes_on_from_each_prompt_alone() -> None:
    """Otherwise a short prompt reads the padding before it, or the end of a text is part of an answer."""
    tokenizer = tiny.letters()
    prompts = [tokenizer(text)["input_ids"] for text in ("ab", "zzzzzd", "x")]
    found = [tokenizer.decode(ids) for ids in generate(speller(), tokenizer, prompts, new_tokens=4)]
    assert found == ["cde", "e", "yz{|"]


def test_columns_that_are_no_token_are_never_written() -> None:
    """Otherwise the answer holds ids that no text stands for."""
    tokenizer = tiny.letters()
    found = generate(speller(130), tokenizer, [tokenizer("a")["input_ids"]], new_tokens=3)
    assert tokenizer.decode(found[0]) == "bcd"


def test_generation_does_not_depend_on_the_company() -> None:
    """Otherwise an answer is another one in another batch."""
    tokenizer, model = tiny.letters(), tiny.llama(98)
    prompts = [tokenizer(text)["input_ids"] for text in ("ab", "the cat sat", "x")]
    together = generate(model, tokenizer, prompts, new_tokens=6)
    assert together == [generate(model, tokenizer, [prompt], new_tokens=6)[0] for prompt in prompts]


def test_exact_match_and_rouge_compare_what_was_written() -> None:
    """Otherwise the score is that of the prompts, or of ids instead of text."""
    data = batches(("ab", "cde"), ("x", "yz"), ("b", "cde"))
    tokenizer = tiny.letters()
    found = GenerationPipeline(tokenizer, exact_match, new_tokens=4).run_inference_pipeline(speller(), data)
    assert found == {"inference_result": pytest.approx(2 / 3), "count": 3}
    pytest.importorskip("rouge_score")
    assert rouge()("a cat sat", "a cat ran") == pytest.approx(2 / 3)
    assert rouge("rouge2")("a cat sat", "a cat ran") == pytest.approx(1 / 2)


def test_what_cannot_generate_is_refused() -> None:
    """Otherwise the error is that of a missing attribute deep inside."""
    with pytest.raises(ConfigError, match="Copycat has no `generate`"):
        generate(Copycat(), tiny.letters(), [[1]], new_tokens=3)
    with pytest.raises(ConfigError, match="at least one token"):
        generate(tiny.llama(98), tiny.letters(), [[1], []], new_tokens=3)
