"""What a teacher cache costs and loses, read from `docs/results`."""

from __future__ import annotations

from docs.generate.markdown import code, table
from docs.generate.measured import machine, result

ROWS = {
    "bfloat16": '"bfloat16"',
    "float16": '"float16"',
    "top_k 64": '{"name": "top_k", "k": 64}',
    "compact_top_k 50": '{"name": "compact_top_k", "k": 50}',
    "fit of 50 terms": "",
}


def losses() -> str:
    """Bytes a token and KL divergence of each encoding, for drawn and for real teachers."""
    drawn, real = result("cache_io"), result("cache_io_smollm2")
    rows = []
    for name, spec in ROWS.items():
        label = code(spec) if spec else "a polynomial through 50 ranked ids, for comparison"
        cells = [f"{found['bytes_per_token'][name]:,.0f} B, {found['kl'][name]:.2g}" for found in (drawn, real)]
        rows.append((label, *cells))
    heads = [
        f"{'drawn' if found is drawn else 'SmolLM2-135M'}, {found['classes']:,} classes" for found in (drawn, real)
    ]
    return (
        "Bytes a token, and the KL divergence in nats from the teacher to what is read back, the mass of the tail "
        f"spread evenly over the classes that were not kept:\n\n{table(('Encoding', *heads), rows)}\n\n"
        "Most of it is what every short list loses, the shape of the tail; a loss with one outcome for the tail, as "
        '`top_k_kl` has with `tail="bucket"`, does not see that part.'
    )


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
