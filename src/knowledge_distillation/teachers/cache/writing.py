"""Write a teacher's signals to a cache: sharded, checked, and going on where an earlier attempt stopped."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler

from knowledge_distillation.accepted import check_accepted, check_whole
from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.errors import CacheError, ConfigError
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.teachers.cache.continuing import check_same_data, checksums, data_fingerprint, views_done
from knowledge_distillation.teachers.cache.encodings import Encoding, described, encoding_from
from knowledge_distillation.teachers.cache.layers import layers_by_role
from knowledge_distillation.teachers.cache.manifest import (
    FORMAT,
    MANIFEST,
    SHARDS,
    file_digest,
    read_entries,
    read_manifest,
    write_manifest,
)
from knowledge_distillation.teachers.cache.replay import generators_kept, view_seed
from knowledge_distillation.teachers.cache.sampling import Collated, View, check_loader, loader_like, make_views
from knowledge_distillation.teachers.cache.shard_writer import ShardWriter
from knowledge_distillation.teachers.teacher import FollowsStudent, ReadsStudent, Teacher, as_teacher
from knowledge_distillation.untrusted import check_no_links_out

Progress = Callable[[int, int], None]
"""(views done, views in all), called after every batch."""


@generators_kept()
def write_cache(
    teacher: Teacher | nn.Module,
    loader: Any,
    directory: str | Path,
    signals: Mapping[str, Any] | Sequence[str] = ("logits",),
    *,
    views: int = 1,
    seed: int = 0,
    adapter: str | Adapter | tuple[Adapter, Adapter] = "auto",
    temperature: float = 1.0,
    shard_bytes: int = 2**28,
    engine: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask a teacher once about every sample, and keep what it says.

    A cache that was begun before goes on where it stopped. With several processes (`engine`, torchrun, SLURM) each
    writes its share. The random generators are left as they were.

    Args:
        teacher: a module or any `Teacher` that does not depend on the student.
        loader: the DataLoader that the student will train from; batch size and workers are taken from it, not its
            order.
        directory: of the cache.
        signals: what to keep: name -> encoding ("float32", "bfloat16", "float16", "int8", "top_k", "compact_top_k",
            "sampled", or a mapping with "name" and settings); bare names are kept in float16. Names are "logits",
            features of the adapter, module paths, or roles such as "@last".
        views: how many augmented views of every sample, >= 1; each is made from a seed of its own, which is kept.
        seed: from which those seeds are made.
        adapter: how to call the teacher; see `capture.adapters`.
        temperature: handed to the adapter.
        shard_bytes: size at which a shard is closed; what an interruption can lose.
        engine: arguments of `lightning.Fabric`: accelerator, devices, strategy, num_nodes, precision.
        progress: told how far it is.

    Returns:
        The manifest.

    Raises:
        ConfigError: if an argument is wrong, or the data has no numbered samples.
        CacheError: if the directory holds another cache or a damaged one, a shard cannot be written, another process
            writes it, the collate function draws random numbers, or the data changed since the cache was begun.
    """
    given = {"directory": directory, "signals": signals, "seed": seed, "engine": engine, "progress": progress}
    check_accepted("write_cache", write_cache, given)
    check_positive("temperature", temperature)
    source = as_teacher(teacher, adapter=adapter_pair(adapter)[1], temperature=temperature)
    if isinstance(source, (FollowsStudent, ReadsStudent)):
        raise ConfigError(f"{type(source).__name__} changes with the student, so its answers cannot be kept.")
    check_whole("views", views)
    check_whole("shard_bytes", shard_bytes)
    loader = check_loader(loader)
    if not len(loader.dataset):
        raise ConfigError("The loader's dataset has no samples: there is nothing to ask the teacher about.")
    named = signals if isinstance(signals, Mapping) else dict.fromkeys(signals, "float16")
    roles = [name for name in named if name.startswith("@")]
    layers = layers_by_role(source, roles, next(iter(loader))) if roles else {}
    encodings = {path: _encoding(name, spec) for name, spec in named.items() for path in layers.get(name, (name,))}
    if not encodings:
        raise ConfigError("A cache must keep at least one signal, and signals is empty.")
    home = Path(directory)
    fabric = _engine(engine or {})
    if fabric.world_size > 1:
        fabric.launch()
    plan: dict[str, Any] = {
        "format": FORMAT,
        "complete": False,
        "teacher": source.fingerprint,
        "adapter": adapter if isinstance(adapter, str) else adapter_pair(adapter)[1].__name__,
        "temperature": temperature,
        "dataset": type(loader.dataset).__qualname__,
        "samples": len(loader.dataset),
        "views": views,
        "seed": seed,
        "encodings": {name: described(encoding) for name, encoding in encodings.items()},
        "layers": {role: list(paths) for role, paths in layers.items()},
    }
    with _only_writer(home, fabric.global_rank):
        done = views_done(home, plan)
        fabric.barrier()
        if len(done) == plan["samples"] * views and read_manifest(home)["complete"]:
            return read_manifest(home)
        check_same_data(home, loader.dataset, done, plan)
        if fabric.is_global_zero and not (home / MANIFEST).exists():
            write_manifest(home, plan)
        total = plan["samples"] * views
        mine = [key for key in range(total) if key not in done][fabric.global_rank :: fabric.world_size]
        writer = ShardWriter(home, fabric.global_rank, encodings, shard_bytes, seed)
        source.prepare(fabric.device)
        try:
            for at, batch in _batches(loader, mine, views, seed):
                keys, content = batch
                with fabric.autocast():
                    said = source.signals(fabric.to_device(content), tuple(encodings))
                writer.add(keys, said, content)
                if progress is not None:
                    progress(len(done) + at * fabric.world_size, total)
        finally:
            source.release()
        writer.close()
        fabric.barrier()
        if fabric.is_global_zero:
            _finish(home, plan)
        fabric.barrier()
    return read_manifest(home)


def _encoding(name: str, spec: Any) -> Encoding:
    try:
        return encoding_from(spec)
    except ConfigError as error:
        raise ConfigError(f"signals, {name!r}: {error}") from error


def _engine(settings: Mapping[str, Any]) -> Fabric:
    check_accepted("engine", Fabric, settings)
    try:
        return Fabric(**{"accelerator": "auto", "devices": 1, **settings})
    except Exception as error:  # Lightning raises its own MisconfigurationException, TypeError, ValueError
        accepted = [name for name in inspect.signature(Fabric).parameters if name != "self"]
        raise ConfigError(f"engine={dict(settings)!r} is refused: {error}. It takes {accepted}.") from error


class _Views(Dataset[View]):
    """The views of these keys, by place."""

    def __init__(self, dataset: Dataset[Any], keys: Sequence[int], views: int, seed: int) -> None:
        self.dataset, self.keys, self.views, self.seed = dataset, keys, views, seed

    def __len__(self) -> int:
        return len(self.keys)

    def __getitems__(self, places: Sequence[int]) -> list[View]:
        keys = [self.keys[place] for place in places]
        return make_views(self.dataset, keys, [view_seed(self.seed, key) for key in keys], self.views)


class _WithViews:
    """Collates the contents and keeps what is stored of each view beside them."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collated = Collated(collate)

    def __call__(self, views: Sequence[View]) -> tuple[dict[str, Tensor], Any]:
        kept = {name: torch.tensor([getattr(view, name) for view in views]) for name in ("key", "seed", "checksum")}
        return kept, self.collated(views)


def _batches(loader: Any, keys: Sequence[int], views: int, seed: int) -> Iterator[tuple[int, Any]]:
    """(views seen after this batch, (what is stored of them, the batch)), in the order of the keys."""
    if not keys:
        return
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 32
    asked = _Views(loader.dataset, keys, views, seed)
    in_order = SequentialSampler(asked)
    source = loader_like(loader, asked, _WithViews(loader.collate_fn), batch_size=size, sampler=in_order)
    seen = 0
    for batch in source:
        seen += len(batch[0]["key"])
        yield seen, batch


@contextmanager
def _only_writer(home: Path, rank: int) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        check_no_links_out(home)
        lock = FileLock(home / f"writer-{rank}.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise CacheError(
            f"Another process is writing the cache {home}: two would write the same shards. Wait for it, or choose "
            "another directory."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: letters that no path has
        raise CacheError(
            f"The directory {home} cannot be written: {getattr(error, 'strerror', None) or error}. Choose another one."
        ) from error
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _finish(home: Path, plan: Mapping[str, Any]) -> None:
    """Write the manifest of a cache whose shards are all there."""
    entries = read_entries(home)
    written = sum(entry["views"] for entry in entries)
    if written != plan["samples"] * plan["views"]:
        raise CacheError(
            f"{home} holds {written} of {plan['samples'] * plan['views']} views: another process wrote less than its "
            "share. Write the same cache again to go on."
        )
    facts = entries[0]["signals"]
    odd = [entry["file"] for entry in entries if entry["signals"] != facts]
    if odd:
        raise CacheError(f"{home}: the shards {odd} hold signals of other shapes than {entries[0]['file']}.")
    digests = {path.name: file_digest(path) for path in sorted((home / SHARDS).glob("*.json"))}
    data = data_fingerprint(checksums(home, entries))
    write_manifest(home, {**plan, "complete": True, "data": data, "signals": facts, "shards": digests})
