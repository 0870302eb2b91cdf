"""What a teacher cache costs and loses, read from `docs/results`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docs.generate.markdown import code, table
from docs.generate.measured import machine, result

ROWS = {
    "float32": '"float32"',
    "bfloat16": '"bfloat16"',
    "float16": '"float16"',
    "int8": '"int8"',
    "top_k 64": '{"name": "top_k", "k": 64}',
    "compact_top_k 50": '{"name": "compact_top_k", "k": 50}',
    "sampled 12": '{"name": "sampled", "draws": 12}',
    "fit of 50 terms": "",
}


def losses() -> str:
    """Bytes a token and KL divergence of each encoding, for drawn and for real teachers."""
    drawn, real = result("cache_io"), result("cache_io_smollm2")
    rows = []
    for name, spec in ((name, spec) for name, spec in ROWS.items() if name in drawn["kl"]):
        label = code(spec) if spec else "a polynomial through 50 ranked ids, for comparison"
        cells = [_shown(found, name) for found in (drawn, real)]
        rows.append((label, *cells))
    heads = [
        f"{'drawn' if found is drawn else 'SmolLM2-135M'}, {found['classes']:,} classes" for found in (drawn, real)
    ]
    return (
        "Bytes a token, and the KL divergence in nats from the live teacher to what is read back, the mass of the tail "
        "spread evenly over the classes that were not kept. Draws are read by a loss whose mean over them is that of "
        f"the full teacher:\n\n{table(('Encoding', *heads), rows)}\n\n"
        "Most of it is what every short list loses, the shape of the tail; a loss with one outcome for the tail, as "
        '`top_k_kl` has with `tail="bucket"`, does not see that part.'
    )


def _shown(found: Mapping[str, Any], name: str) -> str:
    if name not in found["kl"]:
        return "-"
    loss = found["kl"][name]  # draws are no distribution that a divergence could be taken to
    return f"{found['bytes_per_token'][name]:,.0f} B, {'unbiased' if loss is None else f'{loss:.2g}'}"


def speeds() -> str:
    """Writing and reading."""
    found = result("cache_io")
    torch_save = found["ratio_to_torch_save"]
    return (
        f"{found['tokens_per_second'] / 1e6:.1f} million tokens a second are read and decoded (64 classes each, in "
        f"random order). Writing goes at **{found['ratio_to_disk']:.2f}** of the disk's own speed, and is "
        f"{torch_save['write']:.0f} times as fast as one `torch.save` a sample; reading {torch_save['read']:.0f} "
        f"times.\n\n"
        f"{machine(found)}"
    )


def steps() -> str:
    """A step with a cached teacher."""
    found = result("cached_teacher")
    times = found["milliseconds_a_step"]
    rows = [
        (name, f"{times[arm]['median']:.1f} ms", f"{ratio:.3f}")
        for name, arm, ratio in (
            ("labels only", "labels", 1.0),
            ("cached teacher", "cached", found["ratio"]),
            ("live teacher", "online", found["ratio_online"]),
        )
    ]
    return f"{table(('training', 'step (median)', 'beside labels only'), rows)}\n\n{machine(found)}"


def demo() -> str:
    """Accuracy of students from the cache and beside the live teacher, seed by seed."""
    found = result("cached_demo")
    rows = [
        (name, *(f"{100 * score:.1f}" for score in found["accuracy"][arm]), f"{100 * found['mean'][arm]:.2f}")
        for name, arm in (("live teacher", "live"), ("cached teacher", "cached"))
    ]
    heads = ("student", *(f"seed {seed}" for seed in range(found["seeds"])), "mean")
    return (
        f"The means differ by {100 * found['difference']:+.2f} points; the seeds spread by {100 * found['spread']:.2f} "
        f"(standard deviation). {machine(found)}\n\n{table(heads, rows)}"
    )


def damage() -> str:
    """What was done to a cache, and how much of it was found."""
    found = result("cache_damage")
    kinds = {"flipped_bits": "a bit flipped", "truncations": "a file cut off", "swapped_blocks": "two blocks swapped"}
    counts = ("injected", "found", "located")
    rows = [(words, *(f"{found['rows'][kind][count]:,}" for count in counts)) for kind, words in kinds.items()]
    return table(("damage", "times", "found", "located"), rows)
