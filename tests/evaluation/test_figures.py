"""What goes wrong for a user when a size, an operation count, a time or an energy is wrong; others count as well."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch_pruning
import torchvision
from safetensors.torch import save_model
from torch import Tensor, nn

from knowledge_distillation.domains.vision import resnet20
from knowledge_distillation.errors import ConfigError, MissingExtraError
from knowledge_distillation.evaluation.cost import resized
from knowledge_distillation.evaluation.energy import measure_energy
from knowledge_distillation.evaluation.flops import count_flops
from knowledge_distillation.evaluation.latency import LONGEST_SECONDS, call_times, latency_of, percentile
from knowledge_distillation.evaluation.memory import peak_bytes
from knowledge_distillation.evaluation.sizes import memory_bytes, parameter_count, path_bytes, safetensors_bytes
from tests.training.toys import Difficult, mlp

CPU = torch.device("cpu")


def flops(model: nn.Module, *inputs: Tensor) -> int:
    model.eval()
    with torch.no_grad():
        return count_flops(lambda: model(*inputs))


def test_operations_of_linear_and_convolution_in_closed_form() -> None:
    """Otherwise 'half the operations' is not."""
    assert flops(nn.Linear(5, 7), torch.zeros(3, 5)) == 2 * 3 * 5 * 7
    assert flops(nn.Conv2d(4, 6, 3, stride=2, groups=2), torch.zeros(2, 4, 9, 9)) == 2 * 2 * 6 * 4 * 4 * 2 * 9


@pytest.mark.parametrize("fused", [True, False])
def test_a_transformer_layer_is_counted_whole(fused: bool) -> None:
    """Otherwise the fused layers that torch takes in eval mode count as 0, and a transformer student is free."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        tokens = 5
        products = 2 * tokens * (4 * 16 * 16 + 2 * 16 * 32)
        attention = 2 * 2 * tokens * tokens * 16
        assert flops(layer, torch.zeros(1, tokens, 16)) == products + attention
        assert torch.backends.mha.get_fastpath_enabled() is fused
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers_are_counted(kind: type[nn.Module], gates: int) -> None:
    """Otherwise a recurrent student costs nothing."""
    assert flops(kind(8, 16, batch_first=True), torch.zeros(1, 7, 8)) == 7 * 2 * (8 + 16) * 16 * gates


def test_a_whole_network_agrees_with_another_counter_within_one_percent() -> None:
    """Otherwise the figure is this toolkit's alone."""
    model, image = torchvision.models.resnet18().eval(), torch.zeros(1, 3, 64, 64)
    macs, parameters = torch_pruning.utils.count_ops_and_params(model, image)
    assert parameter_count(model) == parameters
    assert flops(model, image) == pytest.approx(2 * macs, rel=0.01)  # the other one counts norms as well


@pytest.mark.parametrize("make", [resnet20, mlp, Difficult])
def test_the_reckoned_file_is_as_large_as_the_written_one(make: type[nn.Module], tmp_path: Path) -> None:
    """Otherwise the size on the first page is not that of the file that is shipped."""
    model = make()
    save_model(model, str(tmp_path / "model.safetensors"))
    written = path_bytes(tmp_path / "model.safetensors")
    assert safetensors_bytes(model) == pytest.approx(written, rel=0.01)


def test_tied_weights_lie_in_the_file_once(tmp_path: Path) -> None:
    """Otherwise a model with tied embeddings looks twice as large as it is."""
    model = nn.Sequential(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40))
    model[2].weight = model[0].weight
    save_model(model, str(tmp_path / "model.safetensors"))
    assert safetensors_bytes(model) == pytest.approx(path_bytes(tmp_path), rel=0.01)
    assert memory_bytes(model) == 4 * (40 * 40 + 2 * 40)


def test_a_quantised_tensor_counts_by_what_it_is_made_of() -> None:
    """Otherwise an int8 student has the size of its float32 self."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = nn.Sequential(nn.Linear(64, 64, bias=False))
    quantize_(model, Int8WeightOnlyConfig())
    assert 64 * 64 <= memory_bytes(model) <= 64 * 64 + 64 * 12
    assert safetensors_bytes(model) is None


def test_a_file_or_folder_has_the_bytes_of_the_disk(tmp_path: Path) -> None:
    """Otherwise an export of several files is as small as its first."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"123")
    (tmp_path / "b").write_bytes(b"12")
    assert path_bytes(tmp_path) == 5
    with pytest.raises(ConfigError, match="does not exist"):
        path_bytes(tmp_path / "c")


def test_peak_memory_is_what_is_held_at_once() -> None:
    """Otherwise every activation ever made is added up, or only the last one counted."""
    model = nn.Sequential(nn.Linear(10, 1000), nn.ReLU(), nn.Linear(1000, 500), nn.Linear(500, 10)).eval()
    given = torch.zeros(2, 10)
    with torch.no_grad():
        # the largest moment: the ReLU's input and output
        assert peak_bytes(lambda: model(given), CPU) == 4 * 2 * (1000 + 1000)
        kept: list[Tensor] = []

        def hoards() -> None:
            kept.clear()
            for _ in range(3):
                kept.append(torch.zeros(100))

        assert peak_bytes(hoards, CPU) == 3 * 400
        assert peak_bytes(lambda: given.view(20).relu_(), CPU) == 0


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    """Otherwise the slowest of a hundred calls is called typical, or left out."""
    ordered = [float(value) for value in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    found = latency_of([4.0, 1.0, 2.0, 3.0], 8)
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.rounds) == (2, 4, 4, 4)
    assert found.items_per_second == 8 / 2e-3


@pytest.mark.parametrize(("seconds", "timed", "called"), [(4.0, 5, 7), (60.0, 1, 2)])
def test_a_slow_model_is_timed_fewer_times(
    monkeypatch: pytest.MonkeyPatch, seconds: float, timed: int, called: int
) -> None:
    """Otherwise fifty calls of a large teacher take an hour, and so do ten to warm up a language model."""
    from knowledge_distillation.evaluation import latency

    clock = [0.0]

    def slow() -> None:
        clock[0] += seconds

    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    timings = call_times(slow, rounds=50, warm_up=2, threads=1, device=CPU, longest=LONGEST_SECONDS)
    assert timings == [1e3 * seconds] * timed
    assert clock[0] == called * seconds


def test_batches_of_any_size_are_made_of_one() -> None:
    """Otherwise latency at 32 is measured on whatever the loader's last batch had."""
    batch = {"input_ids": torch.arange(3)[:, None], "text": ["a", "b", "c"], "labels": torch.arange(3), "scale": 2}
    found = resized(batch, 5)
    assert found["input_ids"].flatten().tolist() == [0, 1, 2, 0, 1]
    assert found["text"] == ["a", "b", "c", "a", "b"]
    assert found["scale"] == 2
    assert resized((torch.arange(3), torch.arange(3)), 1)[1].tolist() == [0]


class Tracker:
    """Stands in for codecarbon's: 0.002 kWh, whatever happens."""

    log: list[str] = []  # noqa: RUF012

    def __init__(self, **settings: object) -> None:
        Tracker.log = [f"{settings['country_iso_code']} {settings['save_to_file']}"]
        self.final_emissions_data = SimpleNamespace(energy_consumed=0.002)

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> float:
        self.log.append("stop")
        return 0.001


def test_energy_is_shared_among_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise joules an item are those of a batch, or the tracker writes files where it is started."""
    stand_in = ModuleType("codecarbon")
    stand_in.OfflineEmissionsTracker = Tracker
    monkeypatch.setitem(sys.modules, "codecarbon", stand_in)
    calls: list[int] = []
    found = measure_energy(lambda: calls.append(1), 4, seconds=1e-9, country="DEU")
    assert Tracker.log == ["DEU False", "start", "stop"]
    assert found["items"] == 4 * len(calls)
    assert found["joules_per_item"] == pytest.approx(0.002 * 3.6e6 / found["items"])
    assert found["kg_co2"] == 0.001


def test_seconds_in_which_the_tracker_looks_for_sensors_are_not_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one call is made, and the energy of an item is that of the start."""
    from knowledge_distillation.evaluation import energy

    clock = [0.0]

    def passing(seconds: float) -> None:
        clock[0] += seconds

    class Slow(Tracker):
        def start(self) -> None:
            passing(10)

    stand_in = ModuleType("codecarbon")
    stand_in.OfflineEmissionsTracker = Slow
    monkeypatch.setitem(sys.modules, "codecarbon", stand_in)
    monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    found = measure_energy(lambda: passing(0.5), 1, seconds=3)
    assert (found["items"], found["seconds"]) == (6, 3)


def test_without_codecarbon_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a bare ModuleNotFoundError leaves the reader to search."""
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(MissingExtraError, match=r"toolkit\[energy\]"):
        measure_energy(lambda: None, 1)
