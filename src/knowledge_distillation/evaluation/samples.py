"""Show a sample to a person: a picture, a sound or a text, taken out of a batch and written to a file."""

from __future__ import annotations

import struct
import wave
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from knowledge_distillation.capture.adapters import split_batch
from knowledge_distillation.errors import ConfigError, ModelContractError

Show = Callable[[Any, int], Any]
"""(batch, place) -> a text; a picture [height, width] or [1 or 3, height, width]; (waveform [time], rate in Hz); or,
where an item is one position of a sample, as a token is, a function position -> any of these."""
SPEECH_KEY, SPEECH_RATE = "input_values", 16_000
MOST_NUMBERS = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """What is shown: a text, pixels as uint8 [height, width, 1 or 3], or a waveform as float32 [time] at `rate` Hz."""

    kind: Literal["text", "picture", "sound"]
    content: Any
    rate: int = 0

    def write(self, stem: Path) -> Path:
        """Write a picture (PNG) or a sound (WAV, 16 bit) beside `stem`, and a text as .txt; return the file."""
        if self.kind == "picture":
            path = stem.with_suffix(".png")
            path.write_bytes(png(self.content))
        elif self.kind == "sound":
            path = stem.with_suffix(".wav")
            with wave.open(str(path), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(self.rate)
                file.writeframes((self.content.clamp(-1, 1) * 32767).round().to(torch.int16).numpy().tobytes())
        else:
            path = stem.with_suffix(".txt")
            path.write_text(self.content, encoding="utf-8")
        return path


def look_at(batch: Any, place: int, position: int, show: Show | None) -> Sample | None:
    """One sample of a batch, copied to the CPU; None where it cannot be shown.

    Without `show`: floating [samples, 1 or 3, height, width] is a picture, stretched to its own range unless it lies
    within 0 to 1; "input_values" [samples, time] is a sound of 16 kHz; texts are texts; other inputs are shown as their
    first numbers.

    Args:
        batch: as the loader gives it.
        place: of the sample within the batch.
        position: of the item within the sample.
        show: the user's own way.
    """
    if show is not None:
        shown = show(batch, place)
        return _as_sample(shown(position) if callable(shown) else shown)
    try:
        positional, named, _ = split_batch(batch)
    except ModelContractError:
        return None
    if SPEECH_KEY in named:
        return _as_sample((named[SPEECH_KEY][place], SPEECH_RATE))
    for entry in [*positional, *named.values()]:
        if isinstance(entry, (list, tuple)) and entry and all(isinstance(text, str) for text in entry):
            return Sample("text", entry[place])
        if isinstance(entry, Tensor) and entry.dim() > 1:
            return _as_sample(entry[place])
    return None


def _as_sample(shown: Any) -> Sample | None:
    if shown is None:
        return None
    if isinstance(shown, str):
        return Sample("text", shown)
    if isinstance(shown, tuple) and len(shown) == 2 and isinstance(shown[0], Tensor):
        wave_form = shown[0].detach().float().cpu().flatten().clone()
        return Sample("sound", wave_form / max(1.0, float(wave_form.abs().max())), int(shown[1]))
    if isinstance(shown, Tensor):
        tensor = shown.detach().cpu()
        is_picture = tensor.dim() == 3 and tensor.shape[0] in (1, 3) and tensor.shape[1] > 1 and tensor.shape[2] > 1
        if tensor.dim() == 2 and min(tensor.shape) > 1 and tensor.is_floating_point():
            tensor, is_picture = tensor[None], True
        if is_picture:
            return Sample("picture", _pixels(tensor))
        numbers = tensor.flatten()[:MOST_NUMBERS].tolist()
        listed = " ".join(f"{number:.4g}" if isinstance(number, float) else str(number) for number in numbers)
        return Sample("text", listed + (" ..." if tensor.numel() > MOST_NUMBERS else ""))
    raise ConfigError(
        "show must return a text, a picture tensor [height, width] or [1 or 3, height, width], (waveform, rate), or a "
        f"function of the position that returns one; got {type(shown).__name__}."
    )


def _pixels(picture: Tensor) -> Tensor:
    if picture.dtype == torch.uint8:
        return picture.permute(1, 2, 0).contiguous()
    picture = picture.float().nan_to_num()
    low, high = float(picture.min()), float(picture.max())
    if low < 0 or high > 1:
        picture = (picture - low) / max(high - low, 1e-12)
    return (picture * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def png(pixels: Tensor) -> bytes:
    """A PNG file of uint8 [height, width, 1 or 3]. Written here because that is shorter than to depend on Pillow."""
    height, width, channels = pixels.shape
    lines = torch.cat([torch.zeros(height, 1, dtype=torch.uint8), pixels.reshape(height, -1)], dim=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(lines.numpy().tobytes(), 9), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


def shown_as(sample: Sample | None, file: str | None) -> Any:
    """What stands in the JSON: the text, the file's name, or None."""
    if sample is None:
        return None
    return sample.content if sample.kind == "text" else file


def batch_size_of(batch: Any) -> int:
    """How many samples a batch holds: the length of its first tensor, else of its first list of texts; 1 at least."""
    positional, named, told = split_batch(batch)
    entries = [*positional, *named.values(), told]
    found = next((len(entry) for entry in entries if isinstance(entry, Tensor) and entry.dim()), None)
    if found is None:
        found = next((len(entry) for entry in entries if isinstance(entry, (list, tuple, Mapping))), 1)
    return max(1, found)
