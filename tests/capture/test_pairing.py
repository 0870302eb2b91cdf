"""What goes wrong when the wrong layers are proposed, or the reason is missing."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation import projectors
from knowledge_distillation.capture import pair, tap
from knowledge_distillation.capture.cka import MinibatchCKA, gram
from knowledge_distillation.capture.layers import Layer
from knowledge_distillation.capture.pairing import _in_order
from knowledge_distillation.errors import CaptureError
from tests.capture.models import hooks_on, written


def images(count: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def stage(before: int, after: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, padding=1), nn.ReLU())


class Blocks(nn.Module):
    def __init__(self, widths: list[int], per_stage: int) -> None:
        super().__init__()
        torch.manual_seed(len(widths) + per_stage)
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for before, after in zip([widths[0], *widths], widths, strict=False):
            for place in range(per_stage):
                self.blocks.append(stage(after if place else before, after, 1 if place else 2))
        self.head = nn.Linear(widths[-1], 5)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.stem(inputs)
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden.mean(dim=(2, 3)))


class TinyVit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.cls = nn.Parameter(torch.zeros(1, 1, 8))
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(4))
        self.head = nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.patch(inputs).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens[:, 0])


def test_a_model_is_paired_with_itself_layer_by_layer() -> None:
    model = Blocks([4, 8], 3)
    found = pair(model, copy.deepcopy(model), images())
    assert [(p.student, p.teacher) for p in found] == [(f"blocks.{i}", f"blocks.{i}") for i in range(6)]
    assert all(p.cka == pytest.approx(1.0, abs=1e-5) and p.projector == "identity" for p in found)


def test_a_teacher_that_hides_the_student_in_its_layers_is_found_by_similarity_not_by_depth() -> None:
    """The teacher's second block computes what the student's first does."""
    student, teacher = Blocks([4], 4), Blocks([4], 4)
    teacher.stem = nn.Identity()
    teacher.blocks[0] = nn.Sequential(copy.deepcopy(student.stem), nn.Identity())
    teacher.blocks[1] = copy.deepcopy(student.blocks[0])
    by_teacher = {p.teacher: p for p in pair(student, teacher, images(32))}
    assert by_teacher["blocks.1"].student == "blocks.0"
    assert by_teacher["blocks.1"].cka == pytest.approx(1.0, abs=1e-5)


def test_maps_of_equal_size_are_matched_and_the_order_is_kept() -> None:
    student, teacher = Blocks([4, 8, 8], 2), Blocks([6, 12, 12], 4)
    found = pair(student, teacher, images())
    assert [p.teacher for p in found] == [f"blocks.{i}" for i in range(12)]
    for proposal in found:
        assert proposal.student_shape[2:] == proposal.teacher_shape[2:]
        assert proposal.projector == "conv1x1"
    depths = [int(p.student.rpartition(".")[2]) for p in found]
    assert depths == sorted(depths)


def test_a_little_more_similarity_does_not_cross_two_pairs() -> None:
    first, second = (Layer(path=path, shape=(8, 4), depth=depth) for path, depth in (("a", 0.5), ("b", 1.0)))
    teachers = [Layer(path=path, shape=(8, 4), depth=depth) for path, depth in (("A", 0.5), ("B", 1.0))]
    similar = {("a", "A"): 0.5, ("b", "A"): 0.6, ("a", "B"): 0.6, ("b", "B"): 0.5}
    assert _in_order(teachers, [[first, second]] * 2, similar) in ([first, first], [second, second])
    assert _in_order(teachers, [[first, second]] * 2, {**similar, ("a", "A"): 0.59}) == [first, first]


def test_the_reported_cka_is_that_of_tapped_features_over_all_batches() -> None:
    student, teacher = Blocks([4], 2).eval(), Blocks([6], 3).eval()
    batches = [images(8, seed) for seed in range(3)]
    proposal = pair(student, teacher, batches)[1]
    expected = MinibatchCKA()
    with torch.no_grad(), tap(student, proposal.student) as ours, tap(teacher, proposal.teacher) as theirs:
        for batch in batches:
            student(batch)
            teacher(batch)
            expected.add(gram(ours[proposal.student]), gram(theirs[proposal.teacher]))
    assert proposal.cka == pytest.approx(expected.value(), rel=1e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_a_cnn_and_a_transformer_are_paired_and_every_proposal_builds(turned: bool) -> None:
    student, teacher = Blocks([4, 8], 2), TinyVit()
    if turned:
        student, teacher = teacher, student  # type: ignore[assignment]
    found = pair(student, teacher, images())
    assert len(found) == 4
    for proposal in found:
        ours = torch.randn(proposal.student_shape)
        theirs = torch.randn(proposal.teacher_shape)
        assert proposal.projector == "tokens"
        projector = projectors.build(proposal.projector, ours, theirs)
        assert projector(ours).shape == projector.target(theirs).shape


def test_a_plain_stack_without_blocks_gives_the_end_of_each_layer_but_not_the_logits() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 9), nn.ReLU(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 5))
    assert [p.teacher for p in pair(model, model, images())] == ["2", "4"]


def test_only_the_asked_layers_are_proposed() -> None:
    student, teacher = Blocks([4, 8], 2), Blocks([4, 8], 3)
    wanted = ["blocks.1", "blocks.5"]
    found = pair(student, teacher, images(), student_paths=["blocks.0", "blocks.2"], teacher_paths=wanted)
    assert [(p.student, p.teacher) for p in found] == [("blocks.0", "blocks.1"), ("blocks.2", "blocks.5")]


def test_a_batch_too_small_for_cka_still_pairs_by_depth_and_says_so() -> None:
    found = pair(Blocks([4], 2), Blocks([4], 4), images(2))
    assert [p.student for p in found] == ["blocks.0", "blocks.0", "blocks.1", "blocks.1"]
    assert all(p.cka is None and "needs 4 examples" in p.reason for p in found)


def test_a_loader_with_labels_and_a_teacher_with_its_own_inputs_work() -> None:
    data = torch.utils.data.TensorDataset(images(16), torch.zeros(16, dtype=torch.long))
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    student, teacher = Blocks([4], 2), Blocks([4], 2)
    assert pair(student, teacher, loader) == pair(student, teacher, list(images(16).split(8)))
    halved = pair(student, teacher, images(8), teacher_example=nn.functional.avg_pool2d(images(8), 2))
    assert halved[0].teacher_shape[2:] == (4, 4)


def test_the_table_shows_every_proposal_with_its_reason() -> None:
    found = pair(Blocks([4], 2), Blocks([6], 2), images())
    lines = str(found).splitlines()
    assert lines[0].split() == ["student", "gives", "teacher", "gives", "projector", "CKA", "reason"]
    assert len(lines) == 3
    assert all(p.reason in line for p, line in zip(found, lines[1:], strict=True))
    assert "both 8x8; depth 0.50 against 0.50; " in found[0].reason
    with pytest.raises(dataclasses.FrozenInstanceError):
        found[0].student = "other"  # type: ignore[misc]


def test_looking_for_pairs_leaves_both_models_alone() -> None:
    student, teacher = Blocks([4], 2), Blocks([4], 2).eval()
    before = written(student), written(teacher)
    pair(student, teacher, images())
    assert (written(student), written(teacher)) == before
    assert student.training
    assert not teacher.training
    assert hooks_on(student) == hooks_on(teacher) == 0


def test_what_cannot_be_paired_says_why() -> None:
    model = Blocks([4], 2)
    with pytest.raises(CaptureError, match="shows no layer"):
        pair(nn.Identity(), model, images())
    with pytest.raises(CaptureError, match="same examples"):
        pair(model, model, images(8), teacher_example=images(6))
    with pytest.raises(CaptureError, match="Did you mean"):
        pair(model, model, images(), student_paths=["blocks.9"])
    with pytest.raises(CaptureError, match="At least one example"):
        pair(model, model, [])


def test_torchvision_models_are_paired_by_their_blocks() -> None:
    torchvision = pytest.importorskip("torchvision", exc_type=ImportError)
    student = torchvision.models.resnet18(num_classes=5)
    vit = torchvision.models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=5)
    batch = torch.randn(8, 3, 32, 32)
    blocks = [f"layer{stage}.{place}" for stage in range(1, 5) for place in range(2)]
    assert [p.teacher for p in pair(student, student, batch)] == blocks
    assert [p.teacher for p in pair(student, vit, batch)] == [f"encoder.layers.encoder_layer_{i}" for i in range(3)]
