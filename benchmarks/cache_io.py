"""How fast a teacher cache is written and read, how many bytes a token takes, and what each encoding loses.

Teacher distributions over 128,256 classes are drawn, not measured: a Zipf prior over the classes, a part of each
context's own, and a sharpness that varies from token to token, as language models have. With --model the logits of a
causal language model from a local folder are taken instead. Losses are the KL divergence from the teacher to what is
read back, the mass of the tail spread evenly over the classes that were not kept. "fit" is the peers' way at the size
of the compact form: 50 ids in order of rank, and a polynomial with a square root through their log-probabilities.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import progress
from benchmarks.timing.rounds import interleaved, ratio, summary
from knowledge_distillation.losses import TopK
from knowledge_distillation.teachers.cache import Cache, encoding_from
from knowledge_distillation.teachers.cache.encodings import Encoding
from knowledge_distillation.teachers.cache.manifest import FORMAT, SHARDS, file_digest, write_manifest
from knowledge_distillation.teachers.cache.shards import write_shard

CLASSES, LENGTH, SAMPLES = 128_256, 256, 5000
ENCODINGS: dict[str, Any] = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "int8": "int8",
    "top_k 64": {"name": "top_k", "k": 64},
    "compact_top_k 50": {"name": "compact_top_k", "k": 50},
    "sampled 12": {"name": "sampled", "draws": 12},
    "sampled 64": {"name": "sampled", "draws": 64},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sequences", type=int, default=4000, help=f"samples of {LENGTH} tokens in the timed cache")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--tokens", type=int, default=2048, help="teacher distributions whose losses are measured")
    parser.add_argument("--model", help="folder of a Hugging Face causal language model")
    parser.add_argument("--gguf", help="name of a GGUF file in that folder")
    parser.add_argument("--text", help="a text file for the model to read")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:  # before gigabytes of logits are made
        speeds = timed(Path(folder), arguments.sequences, arguments.rounds)
    logits = real_logits(arguments) if arguments.model else drawn_logits(arguments.tokens)
    rows = {name: loss_of(encoding_from(spec), logits) for name, spec in ENCODINGS.items()}
    rows["fit of 50 terms"] = {"bytes_per_token": 50 * 17 / 8 + 4 * 2, "kl": mean_kl(logits, fitted(logits))}
    for name, row in rows.items():
        progress(f"{name}: {row}")
    return {
        **speeds,
        "bytes_per_token": {name: row["bytes_per_token"] for name, row in rows.items()},
        "kl": {name: row["kl"] for name, row in rows.items()},
        "classes": logits.shape[-1],
        "teacher": Path(arguments.model).name if arguments.model else "drawn",
    }


def drawn_logits(tokens: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    prior = -torch.arange(1, CLASSES + 1).float().log()
    own = torch.randn(tokens, CLASSES, generator=generator)
    sharpness = torch.empty(tokens, 1).uniform_(0.7, 2.5, generator=generator)
    return sharpness * (prior + 2.0 * own)


def real_logits(arguments: argparse.Namespace) -> Tensor:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = {"gguf_file": arguments.gguf} if arguments.gguf else {}
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32, **given).eval()
    text = Path(arguments.text).read_text(encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, **given)
    ids = torch.tensor(tokenizer(text)["input_ids"][: arguments.tokens]).view(-1, LENGTH)
    with torch.no_grad():
        return torch.cat([model(row.unsqueeze(0)).logits[0] for row in ids])


def loss_of(encoding: Encoding, logits: Tensor) -> dict[str, Any]:
    arrays = encoding.encode(logits, torch.Generator().manual_seed(0))
    size = sum(array.numel() * array.element_size() for array in arrays.values()) / len(logits)
    if encoding.name == "sampled":  # draws are no distribution: unbiased, not close
        return {"bytes_per_token": size, "kl": None}
    said = encoding.decode(arrays, logits.shape[-1])
    return {"bytes_per_token": size, "kl": mean_kl(logits, said)}


def mean_kl(logits: Tensor, said: Tensor | TopK) -> float:
    """Nats a token, float64."""
    total = 0.0
    for start in range(0, len(logits), 64):
        exact = logits[start : start + 64].double().log_softmax(-1)
        if isinstance(said, TopK):
            kept = said.log_probs[start : start + 64].double()
            rest = torch.log1p(-kept.exp().sum(-1).clamp(max=1 - 1e-12))
            if said.log_tail is not None:
                rest = said.log_tail[start : start + 64].double()
            spread = rest.unsqueeze(-1) - np.log(exact.shape[-1] - kept.shape[-1])
            back = spread.expand_as(exact).scatter(-1, said.indices[start : start + 64].long(), kept).log_softmax(-1)
        else:
            back = said[start : start + 64].double().log_softmax(-1)
        total += float((exact.exp() * (exact - back)).sum())
    return total / len(logits)


def fitted(logits: Tensor) -> TopK:
    """The log-probabilities of the first 50 by rank, as 1, x, x^2 and sqrt(x) with coefficients in float16."""
    kept, ids = logits.log_softmax(-1).topk(50, dim=-1)
    rank = torch.linspace(0, 1, 50, dtype=torch.float64)
    terms = torch.stack([torch.ones_like(rank), rank, rank**2, rank.sqrt()], dim=1)
    weights = torch.linalg.lstsq(terms.expand(len(kept), -1, -1), kept.double().unsqueeze(-1)).solution
    curve = (terms @ weights.half().double()).squeeze(-1).float()
    over = curve.logsumexp(-1, keepdim=True).clamp(min=np.log1p(-1e-6)) - np.log1p(-1e-6)
    return TopK(indices=ids, log_probs=curve - over)


def timed(home: Path, sequences: int, rounds: int) -> dict[str, Any]:
    """Write and read a cache of the likeliest 64 of `sequences` samples."""
    words = torch.randint(-(2**31), 2**31 - 1, (sequences * LENGTH, 64), dtype=torch.int64).to(torch.int32)
    column = {"key": torch.arange(sequences), "seed": torch.arange(sequences), "checksum": torch.arange(sequences)}
    arrays = {**column, "logits/words": words, "logits/count": torch.full((sequences,), LENGTH)}
    facts = {"views": sequences, "signals": {"logits": {"shape": [CLASSES], "per_token": True}}}
    (home / SHARDS).mkdir()
    shard = home / SHARDS / "0000-000000.safetensors"
    content = words.numpy().data.cast("B")
    writing = interleaved(
        {
            "disk": partial(anew, home / "plain", lambda: write_plain(home / "plain", content)),
            "cache": partial(anew, shard, lambda: write_shard(shard, arrays, facts)),
        },
        rounds,
        label="write",
    )
    (home / "plain").unlink()
    cache = opened(home, sequences, facts, {"name": "top_k", "k": 64})
    per_sample, loading = by_sample(home, rounds)
    everything = torch.randperm(sequences).tolist()
    reading = interleaved({"cache": partial(seconds, lambda: read_all(cache, everything))}, rounds, label="read")
    fastest = 1e3 * sequences * LENGTH / min(reading["cache"])
    return {
        "ratio_to_disk": round(ratio(writing["disk"], writing["cache"]), 4),
        "tokens_per_second": round(fastest),
        "ratio_to_torch_save": {
            "write": round(ratio(per_sample["torch.save"], per_sample["cache"]), 2),
            "read": round(ratio(loading["torch.load"], loading["cache"]), 2),
        },
        "milliseconds": {
            name: {arm: summary(values) for arm, values in times.items()}
            for name, times in (
                ("write", writing),
                ("write_by_sample", per_sample),
                ("read_by_sample", loading),
                ("read", reading),
            )
        },
        "megabytes": round(words.numel() * 4 / 1e6),
        "figure": "medians of ratios within interleaved rounds; tokens a second from the fastest round",
    }


def seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def anew(path: Path, work: Any) -> float:
    """The seconds that it takes to write a file which is not there yet, as no shard is when it is written."""
    path.unlink(missing_ok=True)
    return seconds(work)


def write_plain(path: Path, content: memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def by_sample(home: Path, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Write and read the logits of images, as against one file for each, without the cache's checks of whole files."""
    logits = torch.randn(SAMPLES, 1000)
    keys = torch.arange(SAMPLES)
    arrays = {"key": keys, "seed": keys, "checksum": keys, "logits/values": logits}
    facts = {"views": SAMPLES, "signals": {"logits": {"shape": [1000], "per_token": False}}}
    files, kept = home / "files", home / "kept"
    files.mkdir()
    (kept / SHARDS).mkdir(parents=True)

    def save_each() -> None:
        for number, row in enumerate(logits):
            torch.save(row.clone(), files / f"{number}.pt")

    shard = kept / SHARDS / "0000-000000.safetensors"
    writing = interleaved(
        {
            "torch.save": partial(seconds, save_each),
            "cache": partial(seconds, lambda: write_shard(shard, arrays, facts)),
        },
        rounds,
        label="write by sample",
    )
    cache = opened(kept, SAMPLES, facts, {"name": "dense", "dtype": "float32"})
    order = torch.randperm(SAMPLES).tolist()

    def load_each() -> None:
        for start in range(0, SAMPLES, 64):
            torch.stack([torch.load(files / f"{number}.pt") for number in order[start : start + 64]])

    reading = interleaved(
        {"torch.load": partial(seconds, load_each), "cache": partial(seconds, lambda: read_all(cache, order, 64))},
        rounds,
        label="read by sample",
    )
    return writing, reading


def opened(home: Path, samples: int, facts: dict[str, Any], encoding: dict[str, Any]) -> Cache:
    """The cache of one shard in `home`."""
    plan = {"samples": samples, "views": 1, "layers": {}, "encodings": {"logits": encoding}}
    whose = {"teacher": "", "temperature": 1.0, "data": ""}
    digests = {path.name: file_digest(path) for path in (home / SHARDS).glob("*.json")}
    whole = {"format": FORMAT, "complete": True, "signals": facts["signals"], "shards": digests}
    write_manifest(home, {**plan, **whose, **whole})
    return Cache(home)


def read_all(cache: Cache, keys: list[int], batch: int = 8) -> None:
    """Gather and decode batches of samples in random order, as training does."""
    classes = cache.signals["logits"]["shape"][-1]
    for start in range(0, len(keys), batch):
        arrays, _ = cache.gather(keys[start : start + batch])
        cache.encodings["logits"].decode(arrays["logits"], classes)
