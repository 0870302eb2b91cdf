"""A language model is trained, and taught to one of half its layers, on this project's own pages; under a minute.

The tokenizer and the teacher are made here, so nothing is downloaded. With a real teacher only this is needed:

    kd train language_text --set teacher.path=HuggingFaceTB/SmolLM2-135M-Instruct \
        --set data.tokenizer=HuggingFaceTB/SmolLM2-135M-Instruct --set data.path=my_texts

    python examples/language_model.py [--small]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import knowledge_distillation as kd
from knowledge_distillation.domains.language import text_files
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe

PAGES = Path(__file__).parents[1] / "docs"


def make_tokenizer(folder: Path) -> None:
    """A byte-level BPE tokenizer of 512 tokens, learnt from the pages."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train([str(page) for page in sorted(PAGES.glob("*.md"))], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)


def train_teacher(folder: Path, run: Path, batches: int) -> None:
    """A llama of four layers that learns the pages' next tokens."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=160, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    data = text_files(path=str(PAGES), train="*.md", tokenizer=str(folder), length=64, batch_size=16, validation=0.1)
    trained = kd.distill(
        None, model, data.train, data.validation, objective="labels", adapter=data.adapter, pipeline=data.pipeline,
        max_epochs=2, learning_rate=5e-3, schedule="one_cycle", directory=run,
        trainer={"accelerator": "cpu", "limit_train_batches": batches},
    )  # fmt: skip
    model.save_pretrained(folder)
    print(f"teacher: perplexity {trained.scores['validation']:.1f}")


def main() -> None:
    batches = 20 if "--small" in sys.argv else 100
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_tokenizer(folder / "teacher")
        train_teacher(folder / "teacher", folder / "teacher-run", batches)
        settings = {
            "teacher.path": str(folder / "teacher"),
            "data.tokenizer": str(folder / "teacher"),
            "data.path": str(PAGES),
            "data.train": "'*.md'",
            "training.max_epochs": 1,
            "training.trainer": f"{{accelerator: cpu, limit_train_batches: {batches}}}",
        }
        recipe = read_recipe("language_text", [f"{name}={value}" for name, value in settings.items()])
        run = run_recipe(recipe, directory=folder / "run")
        print(f"student of 2 of its 4 layers: perplexity {run.scores['validation']:.1f}")


if __name__ == "__main__":
    main()
