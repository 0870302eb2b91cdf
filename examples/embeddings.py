"""An embedding model is made smaller in three ways: fewer layers, fewer dimensions, and no layers at all.

The texts are the paragraphs of this project's pages, and the model is made here and knows nothing, so nothing is
downloaded. With a real model and texts of your own, only the arguments change:

    python examples/embeddings.py [--small] [--model FOLDER_OR_HUB_ID] [--texts FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from knowledge_distillation.domains.embedding import SentenceEncoder, sentence_encoder
from knowledge_distillation.domains.embedding.heads import Normalize, Pooling
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe

PAGES = Path(__file__).parents[1] / "docs"
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


def paragraphs() -> list[str]:
    """The paragraphs, lists and tables of all pages, each on one line."""
    texts = [text for page in sorted(PAGES.glob("*.md")) for text in page.read_text(encoding="utf-8").split("\n\n")]
    return list(dict.fromkeys(" ".join(text.split()) for text in texts if len(text.split()) > 8))


def make_model(folder: Path, texts: list[str]) -> None:
    """A tokenizer of 1,000 pieces and a BERT of four layers, with the mean of its tokens as embedding."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    learning = trainers.WordPieceTrainer(vocab_size=1000, special_tokens=[*SPECIAL.values()], show_progress=False)
    tokenizer.train_from_iterator(texts, learning)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=64, initializer_range=0.1,
    )  # fmt: skip
    made = SentenceEncoder(BertModel(config), Pooling("mean"), [Normalize()], source=str(folder), length=64)
    made.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="fewer epochs")
    parser.add_argument("--model")
    parser.add_argument("--texts")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        texts = Path(given.texts).read_text(encoding="utf-8").splitlines() if given.texts else paragraphs()
        (folder / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
        if given.model is None:
            make_model(folder / "model", texts)
        model = given.model or str(folder / "model")
        dimensions = sentence_encoder(model).dimensions // 3  # type: ignore[union-attr, operator]
        common = {
            "teacher.path": model,
            "data.path": folder / "texts.txt",
            "data.tokenizer": model,
            "data.validation": 0.3,
            "data.batch_size": 32,
            "training.max_epochs": 4 if given.small else 20,
            "training.learning_rate": 3e-3,
            "training.trainer": "{accelerator: cpu}",
        }
        asked = {
            "layers": {"student.search_layers.count": 2},
            "dimensions": {"student.search_layers.count": 2, "teacher.dimensions": dimensions},
            "static": {
                "teacher.dimensions": dimensions,
                "student.path": model,
                "student.dimensions": dimensions,
                "cache.directory": folder / "cache",
            },
        }
        print(f"{len(texts)} texts; rank correlation with the teacher's cosine on random and on mixed pairs")
        for name, own in asked.items():
            settings = [f"{key}={value}" for key, value in {**common, **own}.items()]
            run = run_recipe(read_recipe(f"embedding_{name}", settings), directory=folder / name)
            print(f"{name}: {run.scores['random']:.3f} {run.scores['mixed']:.3f}")
            run.student.save_pretrained(folder / f"{name}-model")  # type: ignore[operator]


if __name__ == "__main__":
    main()
