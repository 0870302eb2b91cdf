"""What goes wrong for a user while a cache is written, which may take days."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation.errors import CacheError, ConfigError
from knowledge_distillation.teachers import CachedTeacher, EMATeacher, EnsembleTeacher, LiveTeacher, write_cache
from knowledge_distillation.teachers.cache import Cache, described_cache
from knowledge_distillation.teachers.cache.manifest import FORMAT
from tests.processes import run
from tests.ranks import Ranks
from tests.teachers.cache.samples import Reads, Words, padded, rows_loader, small_cache, steady
from tests.training.toys import identical, mlp, points


def answers(directory: Path) -> dict[str, Tensor]:
    """Every stored column in the order of the keys, read with the safetensors library."""
    parts = [load_file(path) for path in sorted(directory.glob("shards/*.safetensors"))]
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    order = columns["key"].argsort()
    return {name: column[order] for name, column in columns.items()}


def same(one: Path, other: Path) -> bool:
    """To the last bit, which only a `steady` teacher's caches can be."""
    return identical(answers(one), answers(other))


class Stops(nn.Module):
    """A teacher that is interrupted in the middle."""

    def __init__(self, model: nn.Module, after: int) -> None:
        super().__init__()
        self.model, self.left = model, after

    def forward(self, inputs: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        answer: Tensor = self.model(inputs)
        return answer


class Named(LiveTeacher):
    """The same teacher, whatever stands in for its model."""

    fingerprint = "named"  # type: ignore[assignment]


def test_an_interrupted_cache_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Otherwise a day of teacher time is paid twice, or the second half is another cache."""
    asked: list[int] = []

    class Counted(Named):
        def signals(self, batch: Any, wanted: Sequence[str] = ("logits",)) -> Any:
            asked.append(len(batch[0]))
            return super().signals(batch, wanted)

    settings: dict[str, Any] = {"views": 2, "shard_bytes": 700}
    with pytest.raises(KeyboardInterrupt):
        write_cache(
            Counted(Stops(steady(), 4)), rows_loader(50), tmp_path / "broken", {"logits": "float32"}, **settings
        )
    with pytest.raises(CacheError, match=r"unfinished: .* of 100 views"):
        CachedTeacher(tmp_path / "broken")
    written = described_cache(tmp_path / "broken")["views_written"]
    assert 0 < written < 100
    asked.clear()
    write_cache(Counted(steady()), rows_loader(50), tmp_path / "broken", {"logits": "float32"}, **settings)
    assert sum(asked) == 100 - written
    write_cache(Counted(steady()), rows_loader(50), tmp_path / "whole", {"logits": "float32"}, **settings)
    assert same(tmp_path / "broken", tmp_path / "whole")
    asked.clear()
    write_cache(Counted(steady()), rows_loader(50), tmp_path / "whole", {"logits": "float32"}, **settings)
    assert asked == []


def test_a_cache_that_was_begun_on_other_data_is_not_gone_on_with(tmp_path: Path) -> None:
    """One half would hold answers to yesterday's cleaning of the data."""
    home = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        write_cache(Named(Stops(mlp(), 4)), rows_loader(50), home, shard_bytes=300)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    inputs, labels = points(50).tensors
    changed = DataLoader(TensorDataset(inputs + 1e-6, labels), batch_size=8)
    with pytest.raises(CacheError, match=r"Sample 0, view 0, is not what the teacher saw when the cache .* was begun"):
        write_cache(Named(mlp()), changed, home, shard_bytes=300)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    write_cache(Named(mlp()), rows_loader(50), home, shard_bytes=300)
    CachedTeacher(home)


def test_the_manifest_says_what_the_cache_is_of(tmp_path: Path) -> None:
    """Otherwise nobody can tell two caches apart, or say which run learnt from which."""
    plain = write_cache(mlp(), rows_loader(), tmp_path / "plain", {"logits": "float16"}, shard_bytes=300)
    assert plain["format"] == FORMAT
    assert plain["teacher"] == LiveTeacher(mlp()).fingerprint
    assert (plain["adapter"], plain["dataset"], plain["samples"], plain["views"]) == ("auto", "TensorDataset", 24, 1)
    assert plain["encodings"] == {"logits": {"name": "dense", "dtype": "float16"}}
    assert len(plain["shards"]) == len(list((tmp_path / "plain" / "shards").glob("*.safetensors"))) > 1
    again = write_cache(mlp(2), rows_loader(), tmp_path / "again", {"logits": "float32"})
    assert again["data"] == plain["data"] == described_cache(tmp_path / "again")["data"]
    inputs, labels = points().tensors
    inputs[-1, -1] += 1
    other = write_cache(mlp(), DataLoader(TensorDataset(inputs, labels), batch_size=8), tmp_path / "other")
    assert other["data"] != plain["data"]


def test_two_processes_write_one_cache(tmp_path: Path) -> None:
    """Two half caches, or samples answered twice, and the second GPU was for nothing."""
    Ranks(Path(__file__).with_name("writing_processes.py"), tmp_path / "two").succeed()
    small_cache(tmp_path / "one", steady(), count=50, views=2)
    assert len({path.name[:4] for path in (tmp_path / "two").glob("shards/*.safetensors")}) == 2
    assert same(tmp_path / "two", tmp_path / "one")
    CachedTeacher(tmp_path / "two", teacher=steady())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"teacher": mlp(2)}, "teacher"),
        ({"views": 3}, "views"),
        ({"seed": 1}, "seed"),
        ({"signals": {"logits": "float16"}}, "encodings"),
        ({"count": 30}, "samples"),
        ({"temperature": 2.0}, "temperature"),
    ],
)
def test_another_cache_is_not_written_over_this_one(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    """Otherwise the answers of two teachers lie in one cache."""
    small_cache(tmp_path, mlp())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    now = {"teacher": mlp(), "count": 24, "signals": {"logits": "float32"}, **change}
    teacher, loader = now.pop("teacher"), rows_loader(now.pop("count"))
    with pytest.raises(CacheError, match=rf"another cache: .*'{named}'"):
        write_cache(teacher, loader, tmp_path, now.pop("signals"), **now)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_second_writer_is_turned_away(tmp_path: Path) -> None:
    """Two writers of one shard leave a mixture."""
    code = (
        "import sys; from knowledge_distillation.teachers import write_cache; "
        "from tests.teachers.cache.samples import rows_loader; from tests.training.toys import mlp; "
        f"write_cache(mlp(), rows_loader(), {str(tmp_path)!r})"
    )
    seen: list[str] = []

    class Meanwhile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = mlp()

        def forward(self, inputs: Tensor) -> Tensor:
            if not seen:
                seen.append(run(code).stderr)
            answer: Tensor = self.model(inputs)
            return answer

    write_cache(Meanwhile(), rows_loader(), tmp_path)
    assert "CacheError: Another process is writing" in seen[0]
    CachedTeacher(tmp_path)


def test_a_full_disk_leaves_the_whole_shards_and_no_half_one(tmp_path: Path) -> None:
    """A shard cut off by a full disk would be taken for one that is done. The limit is the system's own."""
    code = (
        "from knowledge_distillation.teachers import write_cache\n"
        "from tests.teachers.cache.samples import rows_loader, steady\n"
        "from tests.training.limits import files_of\n"
        "with files_of(8000):\n"
        f"    write_cache(steady(), rows_loader(400), {str(tmp_path)!r}, {{'logits': 'float32'}}, shard_bytes=%d)"
    )
    failed = run(code % 20_000)
    assert "CacheError: The shard" in failed.stderr
    assert "cannot be written" in failed.stderr
    assert list(tmp_path.glob("shards/*")) == []
    small = run(code % 3_000)
    assert small.returncode == 0, small.stderr[-1500:]
    small_cache(tmp_path / "whole", steady(), count=400)
    assert same(tmp_path, tmp_path / "whole")


def test_a_disk_without_room_for_the_manifest_is_named(tmp_path: Path) -> None:
    """Otherwise the error is an OSError without a path, from the inside of this package."""
    code = (
        "from knowledge_distillation.teachers import write_cache\n"
        "from tests.teachers.cache.samples import rows_loader; from tests.training.toys import mlp\n"
        "from tests.training.limits import files_of\n"
        "with files_of(100):\n"
        f"    write_cache(mlp(), rows_loader(), {str(tmp_path)!r})"
    )
    assert re.search(r"CacheError: .*manifest\.json cannot be written", run(code).stderr)
    assert list(tmp_path.glob("manifest*")) == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Otherwise the error is a stack of this package's files."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(CacheError, match="cannot be written"):
        write_cache(mlp(), rows_loader(), blocked / "cache")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a directory that even root cannot write")
def test_a_read_only_directory_is_named() -> None:
    """A cluster's shared disk is often mounted so."""
    with pytest.raises(CacheError, match="/proc/self/cache cannot be written"):
        write_cache(mlp(), rows_loader(), "/proc/self/cache")


def test_a_teacher_that_says_nan_is_not_kept(tmp_path: Path) -> None:
    """One sample of NaN, and the student is NaN from the first epoch that draws it."""
    broken = mlp()
    with torch.no_grad():
        broken.head.bias[0] = torch.nan
    with pytest.raises(CacheError, match="NaN or infinity"):
        write_cache(broken, rows_loader(), tmp_path)


def test_padding_without_a_mask_is_refused(tmp_path: Path) -> None:
    """Answers to padding would be kept, and stand at the tokens of other batches."""

    class Blind(Reads):
        def forward(self, input_ids: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            return {"logits": self.head(self.embed(input_ids))}

    def unmasked(rows: list[Tensor]) -> dict[str, Tensor]:
        return {"input_ids": padded("right")(rows)["input_ids"]}

    with pytest.raises(ConfigError, match="padding differs from batch to batch"):
        write_cache(Blind(), DataLoader(Words(), batch_size=3, collate_fn=unmasked), tmp_path)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([(torch.zeros(2, 5), torch.zeros(2))], "needs a torch DataLoader"),
        (DataLoader(points(), batch_size=None), "whole batches"),
        (DataLoader(points(0), batch_size=4), "has no samples"),
    ],
)
def test_data_without_numbers_is_refused(tmp_path: Path, loader: Any, message: str) -> None:
    """Answers without a sample to belong to would be given to whichever comes first."""
    with pytest.raises(ConfigError, match=message):
        write_cache(mlp(), loader, tmp_path)


def test_teachers_that_follow_the_student_cannot_be_kept(tmp_path: Path) -> None:
    """Their answers of the first step would be taught to the last."""
    with pytest.raises(ConfigError, match="changes with the student"):
        write_cache(EMATeacher(mlp()), rows_loader(), tmp_path)


def test_an_ensemble_is_kept_like_one_teacher(tmp_path: Path) -> None:
    """Several teachers are where asking once saves most."""
    both = EnsembleTeacher([mlp(1), mlp(2)])
    write_cache(both, rows_loader(), tmp_path, {"logits": "float32"})
    cached = CachedTeacher(tmp_path, teacher=EnsembleTeacher([mlp(1), mlp(2)]))
    batch = next(iter(cached.loader(rows_loader())))
    both.prepare(torch.device("cpu"))
    torch.testing.assert_close(cached.signals(batch).logits, both.signals(batch.content).logits)


def test_layers_are_found_by_role_and_kept_under_their_paths(tmp_path: Path) -> None:
    """Otherwise presets such as "fitnets" cannot learn from a cache."""
    write_cache(mlp(), rows_loader(), tmp_path, ("logits", "@embedding"))
    assert set(Cache(tmp_path).signals) == {"logits", "input:head"}
    assert CachedTeacher(tmp_path).roles(["@embedding"]) == {"@embedding": "input:head"}
    with pytest.raises(ConfigError, match="'@last'"):
        CachedTeacher(tmp_path).roles(["@last"])
