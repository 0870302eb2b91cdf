"""What goes wrong for a user when a model is compiled, lowered in precision, packed or ended early for speed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

import knowledge_distillation as kd
from knowledge_distillation import DistillationModule
from knowledge_distillation.objective import Term
from knowledge_distillation.training.loaders import Batches
from knowledge_distillation.training.speed import Settings
from knowledge_distillation.training.speed import changes as changes_file
from knowledge_distillation.training.speed.candidates import options
from tests.training.speed_toys import Cnn, pretend, train
from tests.training.toys import (
    Losses,
    flags,
    hooks_on,
    identical,
    loader,
    mlp,
    quiet_trainer,
    seeded,
    snapshot,
)

# -- compile -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def _quick_compiler(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(changes_file, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def tapped(speed: Any, student: nn.Module, teacher: nn.Module) -> tuple[DistillationModule, list[float]]:
    losses = Losses()
    hint = Term(nn.MSELoss(), student="hidden", teacher="hidden")
    module = DistillationModule(student, teacher, {"hint": hint, "kd": 1.0}, learning_rate=0.01, speed=speed)
    quiet_trainer(max_epochs=2, callbacks=[losses]).fit(module, loader())
    return module, losses.values


@pytest.mark.usefixtures("_quick_compiler")
def test_compiled_models_are_read_inside_and_come_back_plain() -> None:
    """Otherwise names get "_orig_mod" in front, taps read nothing, or the user's student stays compiled."""
    from torch._dynamo.utils import counters

    counters.clear()
    names: list[list[str]] = []

    class During(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            names.append(list(pl_module.state_dict()))

    student, teacher = mlp(1), mlp(2)
    _, plain = tapped("off", mlp(1), mlp(2))
    assert not counters["stats"]
    module, compiled = tapped({"compile": "both"}, student, teacher)
    assert counters["stats"]["unique_graphs"] >= 2
    assert compiled == pytest.approx(plain, rel=1e-5)
    for model in (student, teacher):
        assert "_compiled_call_impl" not in vars(model)
        assert hooks_on(model) == 0
        assert list(model.state_dict()) == list(mlp().state_dict())
    copy.deepcopy(student)
    assert not any("_orig_mod" in name for name in module.state_dict())


def test_a_cpu_compiles_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise users without a compiler wait minutes for a failure, and the others for little."""
    monkeypatch.setattr(nn.Module, "compile", lambda *_, **__: pytest.fail("compiled"))
    train("auto")
    on_cuda = options(Cnn(1), [kd.teachers.LiveTeacher(Cnn(2))], [None], torch.device("cuda"), None)
    assert [option.name for option in on_cuda] == ["channels_last", "teacher compiled", "student compiled"]
    assert on_cuda[2].added(on_cuda[1].added(Settings())) == Settings(compile="both")


# -- precision ---------------------------------------------------------------------------------------------------------


def test_a_teacher_in_lower_precision_is_a_copy_that_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the user's teacher is rounded, or mixed precision is no longer what it was."""
    teacher = Cnn(2, 6)
    was, marks = snapshot(teacher), flags(teacher)
    cost: Callable[[Settings], float] = lambda settings: 1.0 if settings.teacher_precision == "bfloat16" else 2.0  # noqa: E731
    module, halved = train(
        "auto", teacher=teacher, precision="bf16-mixed", before=lambda module: pretend(monkeypatch, module, cost)
    )
    _, plain = train("off", precision="bf16-mixed")
    assert module.speed.chosen == Settings(teacher_precision="bfloat16")
    assert halved == plain
    assert identical(snapshot(teacher), was)
    assert flags(teacher) == marks
    assert module.teacher.voice is teacher


def test_full_precision_is_not_lowered_unless_asked() -> None:
    """Otherwise the teacher's answers lose digits that the user trains in."""
    teachers = [kd.teachers.LiveTeacher(Cnn(2))]
    offered = options(Cnn(1), teachers, [None], torch.device("cuda"), None)
    assert not any("bfloat16" in option.name for option in offered)
    _, losses = train({"teacher_precision": "bfloat16"})
    _, plain = train("off")
    assert losses != plain
    assert losses == pytest.approx(plain, rel=0.05)


# -- language models ---------------------------------------------------------------------------------------------------


class Language(nn.Module):
    """Embeddings and a head over a vocabulary of 11."""

    def __init__(self, seed: int, width: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, width)
        self.inner = nn.Linear(width, width)
        self.lm_head = nn.Linear(width, 11, bias=False)
        self.rows: list[int] = []
        self.lm_head.register_forward_pre_hook(lambda _, inputs: self.rows.append(inputs[0].shape[:-1].numel()))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=seeded(seed)))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"logits": self.lm_head(torch.tanh(self.inner(self.tokens(input_ids))))}


def texts() -> Batches:
    mask = (torch.arange(6) < torch.tensor([[2], [6], [3]])).long()
    ids = torch.randint(11, (3, 6), generator=seeded(0))
    return Batches([{"input_ids": ids, "attention_mask": mask}] * 3)


def test_a_head_on_valid_tokens_teaches_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a padded batch pays for logits that no loss looks at, or loses some that one does."""
    results = []
    for speed in ("auto", "off"):
        losses, teacher = Losses(), Language(2)
        module = DistillationModule(Language(1), teacher, {"forward_kl": 1.0}, learning_rate=0.01, speed=speed)
        with monkeypatch.context() as patch:
            pretend(patch, module, lambda settings: 1.0 if settings.valid_tokens else 2.0)
            quiet_trainer(max_epochs=2, callbacks=[losses]).fit(module, texts())
        results.append(losses.values)
        assert module.speed.chosen.valid_tokens == (speed == "auto")
        assert len(teacher.lm_head._forward_hooks) == 0
    assert results[0] == pytest.approx(results[1], rel=1e-6)


def test_a_loss_that_looks_at_padding_keeps_the_whole_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a user's loss without mask compares with zeros."""
    gap = Term(lambda said, taught: (said - taught).square().mean())
    module = DistillationModule(Language(1), Language(2), {"gap": gap}, speed="auto")
    pretend(monkeypatch, module, lambda settings: 1.0 if settings.valid_tokens else 2.0)
    quiet_trainer().fit(module, texts())
    assert module.speed.chosen == Settings()
    assert "head on valid tokens only changes the loss" in module.speed.line


# -- the teacher's forward ---------------------------------------------------------------------------------------------


def test_a_teacher_ends_after_the_last_layer_that_is_compared() -> None:
    """Otherwise distilling an early layer pays for the whole teacher on every batch."""
    teacher = nn.Sequential(*(nn.Linear(5, 5) for _ in range(6)))
    calls = [0] * 6
    for place, layer in enumerate(teacher):

        def count(*_: Any, place: int = place) -> None:
            calls[place] += 1

        layer.register_forward_hook(count)
    student = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 3))
    hint = Term(nn.MSELoss(), student="0", teacher="1")
    module = DistillationModule(student, teacher, {"hint": hint, "cross_entropy": 1.0})
    quiet_trainer().fit(module, loader())
    assert calls == [3, 3, 0, 0, 0, 0]
