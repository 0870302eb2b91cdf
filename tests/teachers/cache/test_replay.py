"""What goes wrong for a user whose student sees another view than the one that the teacher answered to."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate
from torchvision.transforms import v2

from knowledge_distillation.domains.vision import digits_cnn
from knowledge_distillation.errors import CacheError
from knowledge_distillation.teachers import CachedTeacher, LiveTeacher, write_cache
from knowledge_distillation.teachers.cache.checksums import inputs_checksum
from knowledge_distillation.teachers.cache.replay import draws
from tests.teachers.cache.samples import Drawn, Reads, Words, padded


@pytest.mark.parametrize(
    ("encoding", "error", "workers"),
    [("float32", 0.0, 0), ("float32", 0.0, 2), ("float16", 2e-2, 0), ("bfloat16", 1e-1, 0)],
)
def test_the_cached_answer_is_the_live_teachers_on_the_replayed_view(
    tmp_path: Path, encoding: str, error: float, workers: int
) -> None:
    """Otherwise the student learns what the teacher said about another crop."""
    torch.manual_seed(0)
    teacher = digits_cnn().eval()
    loader = DataLoader(Drawn(), batch_size=8, shuffle=True, num_workers=workers)
    write_cache(teacher, loader, tmp_path, {"logits": encoding}, views=3)
    cached = CachedTeacher(tmp_path, teacher=teacher)
    seen = 0
    for _ in range(3):
        for batch in cached.loader(loader):
            with torch.no_grad():
                live = teacher(batch.content[0])
            assert float((cached.signals(batch).logits - live).abs().max()) <= error + 1e-5
            seen += len(live)
    assert seen == 3 * 40


@pytest.mark.parametrize(("encoding", "steps"), [("float32", 0.0), ("float16", 2**-10), ("int8", 0.502 / 127)])
def test_the_cached_layer_is_the_live_teachers_on_the_replayed_view(
    tmp_path: Path, encoding: str, steps: float
) -> None:
    """Otherwise hints pull the student towards the features of another crop. The error is a share of the range."""
    torch.manual_seed(0)
    teacher = digits_cnn().eval()
    (path, *_) = [name for name, module in teacher.named_modules() if isinstance(module, nn.Conv2d)]
    loader = DataLoader(Drawn(), batch_size=8, shuffle=True)
    write_cache(teacher, loader, tmp_path, {path: encoding}, views=2)
    cached, live = CachedTeacher(tmp_path, teacher=teacher), LiveTeacher(teacher)
    for batch in cached.loader(loader):
        said = live.signals(batch.content, (path,)).features[path]
        reach = said.abs().amax(dim=(2, 3), keepdim=True)
        error = (cached.signals(batch, (path,)).features[path] - said).abs()
        assert bool((error <= steps * reach + 1e-5).all())
    live.release()


def test_every_view_is_used_and_they_differ(tmp_path: Path) -> None:
    """Otherwise all augmentation but one view is paid for and lost."""
    teacher = digits_cnn()
    loader = DataLoader(Drawn(4), batch_size=4)
    write_cache(teacher, loader, tmp_path, views=5)
    replayed = CachedTeacher(tmp_path).loader(loader)
    seen = {tuple(image.flatten().tolist()) for _ in range(40) for image in next(iter(replayed)).content[0][:1]}
    assert len(seen) == 5


def test_writing_and_replaying_leave_the_generators_alone(tmp_path: Path) -> None:
    """Otherwise a run from a cache draws other random numbers than its control, and the two cannot be compared."""
    loader = DataLoader(Drawn(8), batch_size=4)
    before = draws()
    write_cache(digits_cnn_seeded(), loader, tmp_path)
    assert draws() == before
    replayed = CachedTeacher(tmp_path).loader(loader)
    list(replayed.dataset.at([0, 3]))  # type: ignore[attr-defined]
    assert draws() == before


def digits_cnn_seeded() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return digits_cnn()


def test_plain_data_gives_the_very_batches_of_the_users_loader(tmp_path: Path) -> None:
    """Otherwise a student from the cache is trained in another order than one with the live teacher."""
    loader = DataLoader(Drawn(16).rows, batch_size=4, shuffle=True)  # type: ignore[arg-type]
    write_cache(digits_cnn(), loader, tmp_path)
    replayed = CachedTeacher(tmp_path).loader(loader)
    torch.manual_seed(5)
    labels = [batch[1].tolist() for batch in loader]
    torch.manual_seed(5)
    assert [batch.content[1].tolist() for batch in replayed] == labels


def test_a_collate_function_that_draws_is_refused(tmp_path: Path) -> None:
    """MixUp mixes samples after the cache was asked about each of them: every answer would be to something else."""

    def mixed(rows: list[Any]) -> Any:
        images, labels = default_collate(rows)
        share = random.random()
        return share * images + (1 - share) * images.flip(0), labels

    with pytest.raises(CacheError, match="collate_fn draws random numbers"):
        write_cache(digits_cnn(), DataLoader(Drawn(8), batch_size=4, collate_fn=mixed), tmp_path / "mixed")
    write_cache(digits_cnn(), DataLoader(Drawn(8), batch_size=4), tmp_path / "plain")
    replayed = CachedTeacher(tmp_path / "plain").loader(DataLoader(Drawn(8), batch_size=4, collate_fn=mixed))
    with pytest.raises(CacheError, match="collate_fn draws random numbers"):
        next(iter(replayed))


def test_a_changed_transform_is_found_at_the_first_batch(tmp_path: Path) -> None:
    """A crop one pixel wider gives every image another content, and the same shape."""
    write_cache(digits_cnn(), DataLoader(Drawn(8), batch_size=4), tmp_path)
    changed = Drawn(8)
    changed.change.transforms[0] = v2.RandomCrop(8, padding=2)
    with pytest.raises(CacheError, match="a changed transform"):
        CachedTeacher(tmp_path).loader(DataLoader(changed, batch_size=4))


def test_a_transform_with_a_generator_of_its_own_is_found(tmp_path: Path) -> None:
    """It gives another view each time, whatever the seeds are."""

    class Own(Drawn):
        def __init__(self, count: int) -> None:
            super().__init__(count)
            self.generator = np.random.default_rng(0)

        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return image + self.generator.normal(), label

    write_cache(digits_cnn(), DataLoader(Own(8), batch_size=4), tmp_path)
    with pytest.raises(CacheError, match="a generator of its own"):
        CachedTeacher(tmp_path).loader(DataLoader(Own(8), batch_size=4))


@pytest.mark.parametrize("encoding", ["float32", {"name": "top_k", "k": 50}, {"name": "compact_top_k", "k": 8}])
@pytest.mark.parametrize(("written", "read"), [("right", "right"), ("right", "left"), ("left", "right")])
def test_answers_to_tokens_stand_at_their_tokens(tmp_path: Path, encoding: Any, written: str, read: str) -> None:
    """Batches pad differently from epoch to epoch; one place off, and every answer is to the token before."""
    teacher = Reads()
    write_cache(teacher, DataLoader(Words(), batch_size=3, collate_fn=padded(written)), tmp_path, {"logits": encoding})
    cached = CachedTeacher(tmp_path)
    for batch in cached.loader(DataLoader(Words(), batch_size=5, shuffle=True, collate_fn=padded(read))):
        said = cached.signals(batch).logits
        with torch.no_grad():
            live = teacher(**batch.content)["logits"].log_softmax(-1)
        there = batch.content["attention_mask"].bool()
        if encoding == "float32":
            torch.testing.assert_close(said.log_softmax(-1)[there], live[there])
        else:
            best = live.topk(8, dim=-1).indices if said.indices.shape[-1] == 8 else torch.arange(50).expand_as(live)
            assert torch.equal(said.indices.long().sort(-1).values[there], best.sort(-1).values[there])
            error = (said.log_probs - live.gather(-1, said.indices.long()))[there].abs().max()
            assert float(error) < (1e-3 if said.indices.shape[-1] == 50 else 0.5)


def test_a_batch_with_other_tokens_than_were_asked_is_refused(tmp_path: Path) -> None:
    """A collate function that truncates shifts every answer behind the cut."""
    write_cache(Reads(), DataLoader(Words(), batch_size=3, collate_fn=padded("right")), tmp_path)

    def cut(rows: list[torch.Tensor]) -> Any:
        return padded("right")([row[:3] for row in rows])

    with pytest.raises(CacheError, match="wrong tokens"):
        list(CachedTeacher(tmp_path).loader(DataLoader(Words(), batch_size=3, collate_fn=cut)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((torch.zeros(2), 0), (torch.zeros(3), 0)),
        ((torch.zeros(2), 0), (torch.zeros(2, dtype=torch.float64), 0)),
        ((torch.tensor([1.0, 2.0]), 0), (torch.tensor([2.0, 1.0]), 0)),
        ({"input_ids": [1, 2]}, {"input_ids": [2, 1]}),
        ({"input_ids": [1], "token_type_ids": [0]}, {"input_ids": [1]}),
        ({"text": "a b"}, {"text": "a  b"}),
        (np.zeros(3), np.ones(3)),
    ],
)
def test_inputs_that_differ_have_other_checksums(one: Any, other: Any) -> None:
    """Otherwise a changed tokenizer or transform goes unnoticed."""
    pair = [sample if isinstance(sample, (tuple, dict)) else (sample, 0) for sample in (one, other)]
    assert inputs_checksum(pair[0]) != inputs_checksum(pair[1])


def test_labels_do_not_count_as_inputs() -> None:
    """Otherwise correcting a label would throw the teacher's answers away."""
    assert inputs_checksum((torch.ones(2), 0)) == inputs_checksum((torch.ones(2), 1))
    assert inputs_checksum({"x": 1, "labels": 0}) == inputs_checksum({"x": 1, "labels": 1})
