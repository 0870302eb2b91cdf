"""What the laws cannot see of the detection losses: boxes at the edges, gradients beside constant weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowledge_distillation.losses.dense.fbkd import NonLocal, fbkd
from knowledge_distillation.losses.dense.fgd import FGD, box_scales, fgd
from knowledge_distillation.losses.dense.two_stage_head_kd import two_stage_head_kd


def scales(boxes: list[list[float]], size: tuple[float, float] = (4.0, 4.0)) -> tuple[Tensor, Tensor]:
    foreground, background = box_scales([torch.tensor(boxes).reshape(-1, 4)], size, torch.zeros(1, 1, 4, 4))
    return foreground[0], background[0]


def test_smaller_box_wins() -> None:
    """Where objects overlap, the small one would drown in the large one's scale."""
    foreground, background = scales([[0.0, 0.0, 3.0, 3.0], [1.0, 1.0, 1.0, 2.0]])
    expected = torch.full((4, 4), 1 / 16)
    expected[1:3, 1] = 1 / 2
    torch.testing.assert_close(foreground, expected)
    assert (background == 0).all()


def test_picture_without_objects_is_background() -> None:
    """A batch with empty pictures is ordinary; all of such a picture is background."""
    foreground, background = scales([])
    assert (foreground == 0).all()
    torch.testing.assert_close(background, torch.full((4, 4), 1 / 16))


def test_boxes_outside_the_picture_count_nothing() -> None:
    """Augmentation leaves boxes outside the crop; they must not mark a cell of it."""
    foreground, _ = scales([[9.0, 9.0, 12.0, 12.0], [-5.0, -5.0, -2.0, -2.0]])
    assert (foreground == 0).all()


def test_every_picture_has_its_own_size() -> None:
    """Pictures of different sizes in one batch put the same box onto different cells."""
    box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    sizes = torch.tensor([[4.0, 4.0], [2.0, 4.0]])
    foreground, _ = box_scales([box, box], sizes, torch.zeros(2, 1, 4, 4))
    assert (foreground[0] > 0).sum() == 4
    assert (foreground[1] > 0).sum() == 6


def test_lists_and_padding_agree() -> None:
    """Data loaders give either; the loss must not depend on it."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 5, 5)
    boxes = [torch.tensor([[1.0, 1.0, 6.0, 7.0], [3.0, 0.0, 9.0, 4.0]]), torch.zeros(0, 4)]
    padded = torch.stack([boxes[0], torch.tensor([[-1.0, -1.0, -2.0, -2.0]]).expand(2, 4)])
    module = FGD(3)
    listed = module(student, teacher, boxes=boxes, image_size=(10, 10))
    assert torch.equal(listed, module(student, teacher, boxes=padded, image_size=(10, 10)))
    assert listed > 0


def test_context_starts_as_nothing() -> None:
    """At the start the context blocks must add nothing, or the first steps would chase random numbers."""
    torch.manual_seed(0)
    features = torch.randn(2, 3, 5, 5)
    module = FGD(3)
    blocks = [module.student_context, module.teacher_context, NonLocal(3)]
    assert all(torch.equal(block(features), features) for block in blocks)
    same = module(features, features, boxes=[torch.zeros(0, 4)] * 2, image_size=(5, 5))
    assert same == 0


def test_attention_gradient() -> None:
    """The attention and relation terms must train the student; only the weights of the feature term are constant."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64)
    student.requires_grad_()
    relations = [nn.Conv2d(3, 3, 1).double() for _ in range(2)]

    def loss(features: Tensor) -> Tensor:
        parts = {"student_relation": relations[0], "teacher_relation": relations[1]}
        return fbkd(features, teacher, **parts, attention_weight=1.0, relation_weight=1.0, feature_weight=0.0)

    assert torch.autograd.gradcheck(loss, (student,))


def test_feature_gradient() -> None:
    """d/ds of |(s - t) sqrt(w)| is (s - t) w over the length, with w as it stands."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 1, 3, 2, 2, dtype=torch.float64)
    student.requires_grad_()
    parts = {"student_relation": nn.Identity(), "teacher_relation": nn.Identity()}
    weights = {"attention_weight": 0.0, "relation_weight": 0.0, "feature_weight": 1.0}
    value = fbkd(student, teacher, temperature=0.5, **parts, **weights)
    value.backward()
    sizes = student.detach().abs() + teacher.abs()
    spatial = (sizes.mean(1).flatten() / 0.5).softmax(0).reshape(1, 1, 2, 2) * 4
    channel = (sizes.mean((0, 2, 3)) / 0.5).softmax(0).reshape(1, 3, 1, 1) * 3
    gaps = student.detach() - teacher
    length = (gaps.square() * spatial * channel).sum().sqrt()
    torch.testing.assert_close(value.detach(), length)
    torch.testing.assert_close(student.grad, gaps * spatial * channel / length)


def test_equal_maps_have_no_gradient() -> None:
    """The root of 0 has no slope: without care a perfect student gets NaN."""
    features = torch.randn(1, 3, 2, 2, requires_grad=True)
    parts = {"student_relation": nn.Identity(), "teacher_relation": nn.Identity()}
    value = fbkd(features, features.detach().clone(), **parts)
    value.backward()
    assert value == 0
    assert (features.grad == 0).all()


def test_fgd_weights_by_the_teacher() -> None:
    """The student's own attention must not decide where it is corrected."""
    torch.manual_seed(0)
    teacher = torch.randn(1, 2, 3, 3)
    parts = {"student_context": nn.Identity(), "teacher_context": nn.Identity()}
    weights = {"foreground_weight": 0.0, "background_weight": 1.0, "attention_weight": 0.0, "relation_weight": 0.0}
    gap = torch.randn(1, 2, 3, 3)
    above, below = (
        fgd(teacher + step, teacher, boxes=[torch.zeros(0, 4)], image_size=(3, 3), **parts, **weights)
        for step in (gap, -gap)
    )
    torch.testing.assert_close(above, below)


def test_background_proposals_have_no_box() -> None:
    """A proposal without an object has no box to learn; its offsets are arbitrary numbers."""
    head = [torch.zeros(2, 3), torch.ones(2, 4, requires_grad=True)]
    teacher = [torch.zeros(2, 3), torch.zeros(2, 4)]
    foreground = torch.tensor([True, False])
    two_stage_head_kd(head, teacher, target_boxes=torch.zeros(2, 4), foreground=foreground).backward()
    assert (head[1].grad[0] != 0).all()
    assert (head[1].grad[1] == 0).all()
