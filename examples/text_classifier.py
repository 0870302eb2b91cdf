"""An encoder learns of which of this project's pages a paragraph is, and teaches one of half its layers in a minute.

The tokenizer and the encoder are made here, so nothing is downloaded. With a real encoder only this is needed:

    kd train text_classification --set data.path=my_texts.tsv

    python examples/text_classifier.py [--small]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import run_recipe

PAGES = Path(__file__).parents[1] / "docs"
TOPICS = ("language", "doctor", "objectives", "students", "teachers", "cache", "export", "quickstart")
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


def paragraphs(topic: str) -> list[str]:
    """The paragraphs, lists and tables of a page, each on one line."""
    found = (PAGES / f"{topic}.md").read_text(encoding="utf-8").split("\n\n")
    return [" ".join(text.split()) for text in found if len(text.split()) > 5]


def write_texts(file: Path) -> None:
    """One JSON object a line: a paragraph, and the page that it is of."""
    rows = [{"text": text, "label": topic} for topic in TOPICS for text in paragraphs(topic)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    print(f"{len(rows)} paragraphs of {len(TOPICS)} pages")


def make_encoder(folder: Path) -> None:
    """A WordPiece tokenizer of 1,000 tokens, and a BERT of four layers that knows nothing yet."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    learning = trainers.WordPieceTrainer(vocab_size=1000, special_tokens=[*SPECIAL.values()], show_progress=False)
    tokenizer.train_from_iterator((text for topic in TOPICS for text in paragraphs(topic)), learning)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def main() -> None:
    epochs = 12 if "--small" in sys.argv else 20
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_texts(folder / "paragraphs.jsonl")
        make_encoder(folder / "encoder")
        settings = {
            "teacher.path": folder / "encoder",
            "teacher.pooling": "own",  # the mean is for encoders that were pretrained to be read so
            "teacher.train.max_epochs": epochs,
            "teacher.train.learning_rate": 3e-3,
            "teacher.train.trainer": "{accelerator: cpu}",
            "student.keep_layers.count": 2,
            "data.path": folder / "paragraphs.jsonl",
            "data.tokenizer": folder / "encoder",
            "data.length": 64,
            "data.validation": 0.2,
            "training.max_epochs": epochs // 2,
            "training.learning_rate": 1e-3,
            "training.trainer": "{accelerator: cpu}",
        }
        recipe = read_recipe("text_classification", [f"{name}={value}" for name, value in settings.items()])
        run = run_recipe(recipe, directory=folder / "run")
        back = rebuilt_run(run.directory)
        held_out = back.data.validation["validation"]
        taught = back.data.pipeline.run_inference_pipeline(back.teacher, held_out)["inference_result"]
        print(f"teacher of 4 layers: {taught:.3f} of {len(held_out.dataset)} paragraphs right")
        print(f"student of 2 of them: {run.scores['validation']:.3f}")


if __name__ == "__main__":
    main()
