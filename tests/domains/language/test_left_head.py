"""What goes wrong for a user who trains a language model without ever making its logits."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, MptConfig, MptForCausalLM

from knowledge_distillation.capture.adapters import causal_student, causal_teacher
from knowledge_distillation.capture.left_head import LeftHead
from knowledge_distillation.capture.reader import Reader
from knowledge_distillation.domains.language import Vocabulary
from knowledge_distillation.domains.language.rows import padded
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.losses import Projected, TopK
from knowledge_distillation.objective import as_objective
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import LiveTeacher
from tests.domains.language import left_heads, tiny
from tests.domains.language.left_heads import FUSED, MIXED, MODELS, Watch, module_of, texts, trained
from tests.ranks import run_ranks

BATCH = padded(texts())
CHECKPOINT = "activation_checkpointing_enable"
"""Its name since Transformers 5.2x."""


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], error: float = 2e-5) -> None:
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], rtol=error, atol=error, msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_training_is_that_on_whole_logits(name: str) -> None:
    """Otherwise the student learns another loss as soon as memory is saved: of other logits, tokens or labels."""
    with Watch() as watch:
        found = trained(module_of(FUSED, MODELS[name]))
    assert watch.seen == []
    with Watch() as watch:
        assert_equal(found, trained(module_of(MIXED, MODELS[name])))
    assert watch.seen  # so it does see whole logits


@pytest.mark.parametrize("size", [1, 4])
def test_splitting_a_batch_changes_nothing(size: int) -> None:
    """Otherwise the tokens of short texts count more, the smaller the batch that fits into memory."""
    assert_equal(trained(module_of(FUSED), size), trained(module_of(MIXED), 4))


def test_it_goes_with_mixed_precision_and_checkpointed_layers() -> None:
    """Otherwise what saves memory cannot be had together."""
    module, plain = module_of(FUSED), module_of(MIXED)
    for student in (module.student_model, plain.student_model):
        getattr(student, CHECKPOINT, student.gradient_checkpointing_enable)()
    with Watch() as watch:
        found = trained(module, precision="bf16-mixed")
    assert watch.seen == []
    assert_equal(found, trained(plain, precision="bf16-mixed"), error=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp2"])
def test_processes_train_as_one(sharded: bool, tmp_path: Path) -> None:
    """Otherwise the head's gradient stays in its process, and the copies of the student drift apart."""
    told = run_ranks(Path(left_heads.__file__), tmp_path, json.dumps({"sharded": sharded}))
    assert told[0] == told[1]
    assert told[0]["whole"] == 0
    found = {name: torch.tensor(weight) for name, weight in told[0]["weights"].items()}
    assert_equal(found, trained(module_of(MIXED), 4))


class TellsTopK:
    """A teacher of whom only the likeliest 5 are known, as from a cache."""

    fingerprint = "top"

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval()

    def prepare(self, device: torch.device) -> None: ...

    def signals(self, batch: Any, wanted: Any = ("logits",)) -> Signals:
        with torch.no_grad():
            return Signals(logits=TopK.from_logits(causal_teacher(self.model, batch).logits, 5))

    def release(self) -> None: ...


def test_a_sparse_teacher_trains_as_on_whole_logits() -> None:
    """Otherwise a cache saves the teacher's memory, and the student's logits fill it again."""
    teacher: Any = TellsTopK(MODELS["tied"](2))
    found = trained(module_of(FUSED, teacher=teacher))
    sparse = {"top_k_kl": {"loss": "top_k_kl", "k": 5}, "cross_entropy": 0.5}
    assert_equal(found, trained(module_of(sparse, teacher=teacher)))
    student = Reader(MODELS["tied"](1), causal_student, wanted=("logits",), leaves_head=True)
    taught = teacher.signals(BATCH)
    with Watch() as watch:
        as_objective(FUSED)(student.read(BATCH), taught)[0].backward()  # type: ignore[no-untyped-call]
    assert watch.seen == []


def test_another_term_that_reads_logits_gets_them() -> None:
    """Otherwise it stops at hidden states that it cannot take."""
    both = {**FUSED, "reverse_kl": 0.3}
    assert_equal(trained(module_of(both)), trained(module_of({**MIXED, "reverse_kl": 0.3})))


def test_layers_are_compared_beside_it_and_the_head_itself_as_a_whole() -> None:
    """Otherwise a tap on the head reads one token, and the term on it learns from that alone."""
    layer = {"hidden": {"loss": "hidden_mse", "student": "model.layers.0", "teacher": "model.layers.0"}}
    with Watch() as watch:
        found = trained(module_of({**FUSED, **layer}))
    assert watch.seen == []
    assert_equal(found, trained(module_of({**MIXED, **layer})))
    head = {"hidden": {"loss": "hidden_mse", "student": "lm_head", "teacher": "lm_head"}}
    assert_equal(trained(module_of({**FUSED, **head})), trained(module_of({**MIXED, **head})))


class Odd(LlamaForCausalLM):  # type: ignore[misc]
    """Does to its logits what no configuration says."""

    def forward(self, *inputs: Any, **named: Any) -> Any:
        output = super().forward(*inputs, **named)
        output.logits = 3.0 * output.logits
        return output


def odd(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Odd(tiny.llama().config)


def quantised(seed: int) -> nn.Module:
    class Rounded(nn.Linear):
        def forward(self, states: Tensor) -> Tensor:
            return nn.functional.linear(states, self.weight.round(decimals=1))

    model = MODELS["untied"](seed)
    model.lm_head.__class__ = Rounded
    return model


@pytest.mark.parametrize(("make", "reason"), [(odd, "after the head"), (quantised, "plain numbers")])
def test_logits_that_cannot_be_made_from_the_head_are_the_models(
    make: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the loss is that of another model, or memory fills and nobody knows why."""
    with caplog.at_level(logging.WARNING):
        found = trained(module_of(FUSED, make))
    assert_equal(found, trained(module_of(MIXED, make)))
    told = [message for message in caplog.messages if "made whole" in message]
    assert sorted(message.split("'")[0] for message in told) == ["The student", "The teacher"]  # once each
    assert all(reason in message for message in told)


def test_a_word_in_the_place_of_a_scale_scales_nothing() -> None:
    """Otherwise MPT's configuration, whose word its model ignores, stops the training."""
    config = MptConfig(d_model=32, n_heads=4, n_layers=1, vocab_size=97, logit_scale="inv_sqrt_d_model")
    model = MptForCausalLM(config)
    left = causal_student(model, BATCH, head=LeftHead()).logits
    assert isinstance(left, Projected)
    expected = causal_student(model, BATCH).logits
    torch.testing.assert_close(left.hidden @ left.weight.t(), expected, rtol=1e-4, atol=1e-5)


def test_a_compiled_model_makes_its_logits() -> None:
    """Otherwise the compiled graph, which sees no hook, computes all of them beside the loss."""
    model = MODELS["untied"](1)
    model._compiled_call_impl = model._call_impl
    assert isinstance(causal_student(model, BATCH, head=LeftHead()).logits, Tensor)


def test_a_head_that_is_called_twice_is_refused() -> None:
    """Otherwise the loss is that of the first call, whatever the model makes of both."""
    model: Any = MODELS["untied"](1)

    def twice() -> Any:
        model(BATCH["input_ids"])
        return model(BATCH["input_ids"])

    with pytest.raises(ModelContractError, match="called it 2 times"):
        LeftHead().call(model, twice)


def test_padding_columns_are_cut_from_the_head() -> None:
    """Otherwise columns that stand for no token get probability, or two models with other paddings cannot meet."""
    tokenizer = tiny.letters()
    tokens = len(tokenizer)
    vocabulary = Vocabulary(tokenizer, tokenizer, "identical")
    ours, theirs = tiny.llama(tokens + 3, seed=1), tiny.llama(tokens + 9, seed=2)
    student = Reader(ours, vocabulary.student_signals, wanted=("logits",), leaves_head=True).read(BATCH)
    live = LiveTeacher(theirs, adapter=vocabulary.teacher_signals)
    live.leave_head(True)
    taught = live.signals(BATCH)
    assert isinstance(student.logits, Projected)
    assert isinstance(taught.logits, Projected)
    assert student.logits.shape[-1] == taught.logits.shape[-1] == tokens
    plain = vocabulary.student_signals(ours, BATCH), vocabulary.teacher_signals(theirs, BATCH)
    found = torch.autograd.grad(as_objective(FUSED)(student, taught)[0], list(ours.parameters()))
    expected = torch.autograd.grad(as_objective(MIXED)(*plain)[0], list(ours.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_teacher_makes_its_logits_again_after_training() -> None:
    """Otherwise who asks it next, such as a comparison, finds no logits."""
    module = module_of(FUSED)
    trained(module)
    module.teacher.prepare(torch.device("cpu"))
    assert isinstance(module.teacher.signals(BATCH).logits, Tensor)
