"""Teacher caches of a stranger: every digest fits, since a stranger can compute digests too."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from knowledge_distillation.teachers import CachedTeacher, write_cache
from knowledge_distillation.teachers.cache.manifest import read_manifest, write_manifest
from knowledge_distillation.teachers.cache.shards import BLOCK
from tests.faults.attacks.attack import MARK, Attack, Place, Shell
from tests.faults.attacks.material import copied
from tests.teachers.cache.samples import rows_loader
from tests.training.toys import mlp

Change = Callable[[Place], Any]


def shard(place: Place) -> Path:
    return next((place.given / "shards").glob("*.safetensors"))


def taught(place: Place) -> None:
    """What a training does first."""
    replayed = CachedTeacher(place.given).loader(rows_loader())
    teacher = CachedTeacher(place.given)
    for batch in replayed:
        teacher.signals(batch)


def gone_on_with(place: Place) -> None:
    write_cache(mlp(), rows_loader(), place.given, {"logits": "float32"})


def manifest_with(**changed: Any) -> Change:
    """A manifest with other entries, and a digest that fits them."""

    def make(place: Place) -> None:
        copied("cache", place.given, place.material)
        write_manifest(place.given, {**read_manifest(place.given), **changed})

    return make


def manifest_of(content: bytes | Callable[[Place], bytes]) -> Change:
    def make(place: Place) -> None:
        copied("cache", place.given, place.material)
        (place.given / "manifest.json").write_bytes(content if isinstance(content, bytes) else content(place))

    return make


def noted(place: Place, **changed: Any) -> None:
    """Write the note beside the shard anew, to fit the shard, with other entries; and the manifest to fit the note."""
    note = shard(place).with_suffix(".json")
    length = shard(place).stat().st_size
    entry = {**json.loads(note.read_text()), "bytes": length, **changed}
    if "blocks" not in changed:
        content = shard(place).read_bytes()
        entry["blocks"] = [zlib.crc32(content[start : start + BLOCK]) for start in range(0, length, BLOCK)]
    note.write_text(json.dumps(entry))
    digest = hashlib.sha256(note.read_bytes()).hexdigest()
    write_manifest(place.given, {**read_manifest(place.given), "shards": {note.name: digest}})


def note_with(**changed: Any) -> Change:
    def make(place: Place) -> None:
        copied("cache", place.given, place.material)
        noted(place, **changed)

    return make


def shard_of(content: bytes | Callable[[Place], bytes]) -> Change:
    def make(place: Place) -> None:
        copied("cache", place.given, place.material)
        shard(place).write_bytes(content if isinstance(content, bytes) else content(place))
        noted(place)

    return make


def arrays_with(change: Callable[[dict[str, torch.Tensor]], Any]) -> Change:
    def make(place: Place) -> None:
        copied("cache", place.given, place.material)
        arrays = load_file(shard(place))
        change(arrays)
        save_file(arrays, shard(place))
        noted(place)

    return make


def header(facts: Any, size: int = 64) -> bytes:
    text = facts if isinstance(facts, bytes) else json.dumps(facts).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


def outside(name: Callable[[Place], str]) -> Change:
    """A whole shard outside, and a manifest that leads there."""

    def make(place: Place) -> None:
        copied("cache", place.given, place.material)
        note = shard(place).with_suffix(".json")
        digest = hashlib.sha256(note.read_bytes()).hexdigest()
        write_manifest(place.given, {**read_manifest(place.given), "shards": {name(place): digest}})

    return make


def linked(name: str) -> Change:
    """A part of the cache that is a link to its like elsewhere."""

    def make(place: Place) -> None:
        copied("cache", place.given, place.material)
        elsewhere = copied("cache", place.folder / "elsewhere", place.material)
        (found,) = place.given.glob(name)
        shutil.rmtree(found) if found.is_dir() else found.unlink()
        found.symlink_to(elsewhere / found.relative_to(place.given))

    return make


def lock_that_leads_outside(place: Place) -> None:
    copied("cache", place.given, place.material)
    (place.given / "writer-0.lock").symlink_to(place.secret)


def fewer_values(arrays: dict[str, torch.Tensor]) -> None:
    arrays["logits/values"] = arrays["logits/values"][:3].clone()


def keys_beyond(arrays: dict[str, torch.Tensor]) -> None:
    arrays["key"] = arrays["key"] + 10**12


def other_names(arrays: dict[str, torch.Tensor]) -> None:
    arrays[f"logits/{MARK}"] = arrays.pop("logits/values")


def keys_of_floats(arrays: dict[str, torch.Tensor]) -> None:
    arrays["key"] = arrays["key"].double()


MANIFESTS: dict[str, Change] = {
    "a pickle for a manifest": manifest_of(lambda place: pickle.dumps(Shell(place))),
    "a manifest nested without end": manifest_of(b'{"digest": ' + b"[" * 10**6),
    "a manifest of 65 MB": manifest_of(b" " * (65 * 2**20)),
    "a manifest of other things": manifest_of(b"[1, 2]"),
    "10^15 samples": manifest_with(samples=10**15),
    "samples below 0": manifest_with(samples=-1),
    "shards as a list": manifest_with(shards=[MARK]),
    "an encoding by its import path": manifest_with(encodings={"logits": {"name": f"{MARK}_module.fire"}}),
    "a shape of texts": manifest_with(signals={"logits": {"shape": [MARK], "per_token": False}}),
    "a note in the folder above": outside(lambda place: "../manifest.json"),
    "a note outside": outside(lambda place: "../../outside/secret.txt"),
    "a note by an absolute path": outside(lambda place: str(place.secret)),
    "a note that tells of a shard outside": note_with(file="../../outside/secret.txt"),
    "a note that tells of a shard by an absolute path": note_with(file="/etc/passwd"),
    "a note of 10^18 bytes": note_with(bytes=10**18),
    "a note with texts for numbers": note_with(views="3", blocks=MARK),
    "a link for a shard": linked("shards/*.safetensors"),
    "a link for a note": linked("shards/*.json"),
    "a link for the folder of shards": linked("shards"),
    "a link for the manifest": linked("manifest.json"),
}
SHARDS: dict[str, Change] = {
    "a pickle for a shard": shard_of(lambda place: pickle.dumps(Shell(place))),
    "a header beyond the file": shard_of((2**62).to_bytes(8, "little") + bytes(64)),
    "a header nested without end": shard_of(header(b'{"a":' + b"[" * 10**6)),
    "a negative offset": shard_of(header({"key": {"dtype": "I64", "shape": [4], "data_offsets": [-32, 0]}})),
    "tensors that overlap": shard_of(
        header({name: {"dtype": "I64", "shape": [8], "data_offsets": [0, 64]} for name in ("key", "seed")})
    ),
    "a shape beyond 64 bits": shard_of(
        header({"key": {"dtype": "I64", "shape": [2**62, 2**62], "data_offsets": [0, 64]}})
    ),
    "a type that is none": shard_of(header({"key": {"dtype": MARK, "shape": [8], "data_offsets": [0, 64]}})),
    "views beyond the cache": arrays_with(keys_beyond),
    "fewer answers than views": arrays_with(fewer_values),
    "answers under another name": arrays_with(other_names),
    "numbers of views that are no whole numbers": arrays_with(keys_of_floats),
}

ATTACKS = (
    *(Attack(name, make, taught) for name, make in {**MANIFESTS, **SHARDS}.items()),
    Attack("a link for the lock of a cache that is gone on with", lock_that_leads_outside, gone_on_with),
    Attack("a link for the folder of shards of a cache that is gone on with", linked("shards"), gone_on_with),
)
