"""How near embedding models are to their teacher, and how fast they are.

    python examples/embedding_scores.py TEACHER TEXTS MODEL [MODEL ...] [--pairs 5000] [--threads 2] [--json FILE]

TEACHER is a hub id or a folder, TEXTS a file with a text on each line, and each MODEL a folder that `save_pretrained`
or `kd export` wrote. One line a model: millions of parameters, rank correlation with the teacher's cosine on random and
on mixed pairs, the share of the ten nearest texts that both find, texts a second, tokenising included, in batches of
64, and milliseconds for a single text. `--json` writes the same, and where it was measured, into a file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torchmetrics.functional import spearman_corrcoef

from knowledge_distillation.domains.embedding import embedded, neighbour_overlap, sentence_encoder, static_embedding
from knowledge_distillation.domains.embedding.agreement import mixed_pairs, random_pairs
from knowledge_distillation.domains.embedding.folders import parts_of
from knowledge_distillation.domains.tokenizers import load_tokenizer
from knowledge_distillation.export import read
from knowledge_distillation.training.run_directory import environment_facts

LENGTH = 64
ROUNDS = 3
FIGURES = {
    "millions": ".2f",
    "random": ".3f",
    "mixed": ".3f",
    "nearest": ".3f",
    "texts_a_second": ",.0f",
    "ms_for_one": ".2f",
}
"""What is measured of a model, and how it is printed."""


def loaded(place: str) -> tuple[Any, int]:
    """A model, and how many parameters it has; of a file, those of the student that it was written from."""
    if Path(place, "manifest.json").is_file():
        exported = read(place)
        return exported.load(), exported.manifest["student"]["parameters"]
    is_static = parts_of(place)[0][0] == "StaticEmbedding"
    model = (static_embedding(place) if is_static else sentence_encoder(place)).eval()
    return model, sum(parameter.numel() for parameter in model.parameters())


def correlation(ours: torch.Tensor, theirs: torch.Tensor, pairs: torch.Tensor) -> float:
    cosines = [torch.cosine_similarity(each[pairs[:, 0]], each[pairs[:, 1]]) for each in (ours, theirs)]
    return float(spearman_corrcoef(*cosines))


def seconds(work: Callable[[], object]) -> float:
    """Median of a few rounds, after one that does not count."""
    work()
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher")
    parser.add_argument("texts", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="a file to write")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    tokenizer = load_tokenizer(given.teacher).backend_tokenizer
    tokenizer.enable_truncation(LENGTH)
    tokenizer.no_padding()  # a tokenizer.json may pad each text, and what it pads with would count as words
    texts = given.texts.read_text(encoding="utf-8").splitlines()

    def ids(some: Sequence[str]) -> list[list[int]]:
        return [row.ids for row in tokenizer.encode_batch_fast(list(some))]

    rows = ids(texts)
    theirs = embedded(loaded(given.teacher)[0], rows)
    pairs = {"random": random_pairs(len(rows), given.pairs), "mixed": mixed_pairs(theirs, given.pairs)}
    asked = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:500]
    print("model, millions of parameters, random, mixed, nearest ten, texts a second, ms for one")
    measured = []
    for place in (given.teacher, *given.models):
        model, parameters = loaded(place)
        ours, millions = embedded(model, rows), parameters / 1e6
        scores = [correlation(ours, theirs, chosen) for chosen in pairs.values()]
        overlap = neighbour_overlap(ours, theirs, min(10, len(rows) - 1), asked)
        many = texts[: min(len(texts), 640 if millions > 15 else 6000)]
        speed = len(many) / seconds(lambda model=model, many=many: embedded(model, ids(many)))  # type: ignore[misc]
        alone = seconds(lambda model=model: [embedded(model, ids([text])) for text in texts[:20]]) / 20  # type: ignore[misc]
        figures = (millions, *scores, overlap, speed, 1000 * alone)
        print(f"{place}, " + ", ".join(map(format, figures, FIGURES.values())))
        measured.append({"model": Path(place).name, **dict(zip(FIGURES, figures, strict=True))})
    if given.json:
        found = {"name": "embeddings", "environment": environment_facts(), "rows": measured}
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
