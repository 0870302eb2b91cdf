"""Tables and sentences of the results page, read from `docs/results/*.json`: no figure there is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from docs.generate.markdown import table

RESULTS = Path(__file__).parent.parent / "results"
ARMS = {
    "toolkit": "this toolkit",
    "toolkit_without_speed": 'this toolkit, `speed="off"`',
    "toolkit_torch_loss": 'this toolkit, `speed="off"`, the bare loop\'s loss',
    "torchdistill": "torchdistill",
    "textbrewer": "TextBrewer",
    "original": "the original toolkit, ported to Lightning 2",
    "minimal_lightning": "a minimal Lightning module",
    "plain_loop": "a bare loop",
    "plain_loop_channels_last": "a bare loop, channels_last set by hand",
    "plain_loop_compiled": "a bare loop through `torch.compile`",
}
PAIRS = {"resnet56_to_resnet20": "ResNet-56 to ResNet-20", "tiny_mlp": "tiny MLP"}
IMAGE_ARMS = {
    "original": "the original toolkit's step",
    "online": "this toolkit, live teacher",
    "cached": "this toolkit, teacher's logits in the batch",
    "labels_only": "this toolkit, labels only",
}


def result(name: str) -> dict[str, Any]:
    """What a benchmark measured; {"skipped": why} where it has not run."""
    place = RESULTS / f"{name}.json"
    if not place.exists():
        return {"skipped": "not run yet"}
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found


def machine(found: Mapping[str, Any]) -> str:
    """Where it was measured, in a sentence."""
    hardware, versions = found["hardware"], found["versions"]
    accelerators = ", ".join(hardware["accelerators"]) or "no accelerator"
    threads = found.get("threads", hardware["torch_threads"])
    clock = " Processor time was counted, since others worked on the machine." if is_busy(found) else ""
    return (
        f"Measured on {hardware['cores']} cores of {hardware['cpu']}, {accelerators}, torch {versions['torch']}, "
        f"Lightning {versions['lightning']}, torch threads: {threads}.{clock}"
    )


def is_busy(found: Mapping[str, Any]) -> bool:
    """Whether the run counted processor time."""
    return str(found.get("clock", "wall")) == "processor"


def online_peers() -> str:
    """Each arm's step and its ratio to ours, for both pairs."""
    found = result("online_peers")
    if "skipped" in found:
        return skipped(found)
    pairs = found["pairs"]
    rows = []
    measured = [arm for arm in ARMS if any(arm in pair["milliseconds_a_step"] for pair in pairs.values())]
    for arm in measured:
        cells = [ARMS[arm]]
        for pair in pairs.values():
            times = pair["milliseconds_a_step"].get(arm)
            cells += [f"{times['median']:.3g}", f"{pair['ratio_of_all_arms'][arm]:.2f}"] if times else ["-", "-"]
        rows.append(cells)
    head = ["arm", *(text for name in pairs for text in (f"{PAIRS[name]}, ms", "ratio"))]
    chosen = " ".join(f'{PAIRS[name]}: `speed="auto"` chose {pair["speed_chosen"]}' for name, pair in pairs.items())
    best = ", ".join(f"**{pair['ratio']:.2f}** for {PAIRS[name]}" for name, pair in pairs.items())
    return f"The best peer's time over ours: {best}. {machine(found)} {chosen}\n\n{table(head, rows)}"


def early_exit() -> str:
    """The worst layer of each teacher."""
    found = result("early_exit")
    if "skipped" in found:
        return skipped(found)
    rows = [
        [
            {"transformer": "equal transformer layers", "cifar_resnet": "CIFAR ResNet"}[name],
            str(len(teacher["ratio_by_layer"])),
            f"{teacher['forward_milliseconds']['median']:.1f}",
            f"{sorted(teacher['ratio_by_layer'].values())[len(teacher['ratio_by_layer']) // 2]:.3f}",
            f"{teacher['ratio']:.3f}",
            f"`{teacher['worst_layer']}`",
        ]
        for name, teacher in found["teachers"].items()
    ]
    head = ("teacher", "layers", "whole forward, ms", "median layer", "worst layer", "which")
    pairs = found["pairs_a_layer"]
    return f"{machine(found)} {pairs} pairs of forwards a layer.\n\n{table(head, rows)}"


def vision_gpu() -> str:
    """Images a second of each arm, or why there are none."""
    found = result("vision_gpu")
    if "skipped" in found:
        return skipped(found)
    rows = [
        [IMAGE_ARMS[arm], f"{found['milliseconds_a_step'][arm]['median']:.1f}", str(found["images_a_second"][arm])]
        for arm in IMAGE_ARMS
    ]
    return (
        f"With a live teacher **{found['online_ratio_to_original']:.2f}** times the original's images a second; a step "
        f"with given logits takes **{found['cached_ratio_to_labels_only']:.3f}** of one with labels only. "
        f"{machine(found)}\n\n{table(('training', 'ms a step', 'images a second'), rows)}"
    )


def skipped(found: Mapping[str, Any]) -> str:
    """In the place of figures, why there are none."""
    return f"*No figures here: {found['skipped']}.*"


TABLES: Mapping[str, Callable[[], str]] = {
    "online-peers": online_peers,
    "early-exit": early_exit,
    "vision-gpu": vision_gpu,
}
