"""What goes wrong under torch.compile, activation checkpointing and DDP."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from knowledge_distillation.capture import FunctionTap, Taps, tap
from knowledge_distillation.errors import CaptureError
from tests.capture.models import Checkpointed, Cnn, InPlace, Shared, hooks_on

IMAGES = torch.randn(2, 3, 8, 8)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_gives_the_features_of_eager_in_one_graph(backend: str) -> None:
    model = Cnn()
    with tap(model, ["stem", "stages.1"]) as taps:
        model(IMAGES)
        expected = taps.take()
        compiled = torch.compile(model, backend=backend, fullgraph=True)
        for _ in range(3):
            compiled(IMAGES).sum().backward()
            found = taps.take()
            for name, feature in expected.items():
                torch.testing.assert_close(found[name], feature)
        assert counters["stats"]["unique_graphs"] == 1
        compiled(IMAGES)
        model.zero_grad()
        taps["stages.1"].sum().backward()
        assert model.stem.weight.grad is not None
        assert model.stem.weight.grad.any()
        assert model.head.weight.grad is None or not model.head.weight.grad.any()


def test_compiled_calls_of_one_module_stay_in_order() -> None:
    model, inputs = Shared(), torch.randn(2, 4)
    with tap(model, "block", keep="forward") as taps:
        model(inputs)
        expected = taps.all("block")
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        for _ in range(12):
            compiled(inputs)
        assert len(taps.all("block")) == 3
        for read, wanted in zip(taps.all("block"), expected, strict=True):
            torch.testing.assert_close(read, wanted)


def test_a_compiled_change_in_place_does_not_reach_the_feature() -> None:
    model, inputs = InPlace().eval(), torch.randn(8, 4)
    with tap(model, "norm") as taps:
        torch.compile(model, backend="aot_eager", fullgraph=True)(inputs)
    torch.testing.assert_close(taps["norm"], model.norm(inputs))


def test_a_detached_tap_is_gone_from_the_compiled_model_too() -> None:
    model = Cnn()
    taps = Taps(model, "stem").attach()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(IMAGES)
    taps.take()
    taps.detach()
    compiled(IMAGES)
    assert taps.all("stem") == []


def test_taps_that_come_after_compilation_do_not_stay_silent() -> None:
    model = Cnn()
    compiled = torch.compile(model, backend="eager")
    compiled(IMAGES)
    with tap(compiled, "stem") as taps:
        compiled(IMAGES)
        with pytest.raises(CaptureError, match="compiled the model before the taps came"):
            taps.take()


def test_a_compiled_teacher_can_stop_early_in_one_shorter_graph() -> None:
    model = Cnn()
    counter = CompileCounter()
    with tap(model, "stages.0", until_last_tap=True) as taps:
        teacher = torch.compile(lambda images: taps.run(model, images), backend=counter, fullgraph=True)
        for _ in range(2):
            assert teacher(IMAGES) is None
            torch.testing.assert_close(taps.take()["stages.0"], model.stages[0](model.stem(IMAGES)))
            taps.clear()
    assert counter.frame_count == 1
    whole = CompileCounter()
    torch.compile(Cnn(), backend=whole, fullgraph=True)(IMAGES)
    assert counter.op_count < whole.op_count


def test_run_on_a_compiled_model_reads_right_without_cutting_it() -> None:
    model = Cnn()
    with tap(model, "stem", until_last_tap=True) as taps:
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        assert taps.run(compiled, IMAGES).shape == (2, 2)
        torch.testing.assert_close(taps["stem"], model.stem(IMAGES))


def test_a_function_tap_is_compiled_too() -> None:
    def attend(query: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(query, query, query) + 1

    query = torch.randn(1, 1, 3, 4)
    with FunctionTap(nn.functional, "scaled_dot_product_attention") as attention:
        output = torch.compile(attend, backend="eager", fullgraph=True)(query)
    torch.testing.assert_close(attention.last + 1, output)


def test_recomputation_is_neither_recorded_twice_nor_kept() -> None:
    model, inputs = Checkpointed(), torch.randn(2, 4)
    with tap(model, ["first", "block", "block.0"]) as taps:
        loss = model(inputs).sum() + taps["block"].square().sum()
        assert [len(taps.all(name)) for name in taps.names] == [1, 1, 1]
        taps.clear()
        loss.backward()
        assert [len(taps.all(name)) for name in taps.names] == [0, 0, 0]
    checkpointed = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    hidden = model.block(model.first(inputs))
    (model.head(hidden).sum() + hidden.square().sum()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(checkpointed[name], parameter.grad)


def test_features_are_still_there_after_a_backward_that_runs_the_whole_model_again() -> None:
    model, inputs = Shared(), torch.randn(2, 4, requires_grad=True)
    with tap(model, "block", keep="forward") as taps:
        checkpoint(model, inputs, use_reentrant=False).sum().backward()
    assert len(taps.all("block")) == 3


def test_a_feature_without_gradient_in_a_reentrant_checkpoint_is_reported() -> None:
    model, inputs = Checkpointed(reentrant=True), torch.randn(2, 4)
    with pytest.raises(CaptureError, match="use_reentrant=False"), tap(model, "block.0"):
        model(inputs).sum().backward()
    with torch.no_grad(), warnings.catch_warnings(), tap(model, "block.0") as taps:
        warnings.simplefilter("ignore")  # torch says that the checkpoint's inputs need no gradient
        model(inputs)
    assert taps["block.0"].shape == (2, 4)
    model = Checkpointed(reentrant=True)
    with tap(model, "first") as taps:
        model(inputs).sum().backward()
    assert taps["first"].requires_grad


@pytest.fixture
def _one_process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_one_process_group")
def test_taps_work_whether_they_come_before_or_after_ddp() -> None:
    model = Cnn()
    early = Taps(model, "stages.1").attach()
    wrapped = DistributedDataParallel(model)
    with tap(wrapped, "module.stages.1") as late:
        for _ in range(2):
            output = wrapped(IMAGES)
            feature = early.take()["stages.1"]
            assert late.take()["module.stages.1"] is feature
            (output.sum() + feature.square().mean()).backward()
    early.detach()
    torch.testing.assert_close(feature, model.stages[1](model.stages[0](model.stem(IMAGES))))
    assert hooks_on(wrapped) == 0
