"""What goes wrong for a user whose student is not the part of the teacher that they meant."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from knowledge_distillation import students
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.students.layers import RULES


class Encoder(nn.Module):
    """Positions before the layers and a norm after them, as the speech models have that lost both."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(5, 8))
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(layers))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = inputs + self.positions
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden))


@pytest.mark.parametrize(
    ("rule", "total", "count", "kept"),
    [
        ("first_k", 12, 3, [0, 1, 2]),
        ("last_k", 12, 3, [9, 10, 11]),
        ("every_k", 24, 12, list(range(0, 24, 2))),
        ("every_k", 12, 4, [0, 3, 6, 9]),
        ("every_k", 12, 5, [0, 2, 4, 7, 9]),
        ("spread", 12, 4, [0, 4, 7, 11]),
        ("spread", 6, 3, [0, 2, 5]),
        ("spread", 6, 1, [0]),
        ([1, 4], 6, 2, [1, 4]),
    ],
)
def test_rules_keep_the_layers_of_their_definition(rule: str, total: int, count: int, kept: list[int]) -> None:
    """Which layers are kept moves the result more than the loss does; a slip of one is a worse student."""
    assert students.kept_indices(total, count, rule) == kept


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_gives_as_many_rising_layers_as_asked(rule: str) -> None:
    """Otherwise rounding takes a layer twice, and the student has fewer than its name says."""
    for total in range(1, 30):
        for count in range(1, total + 1):
            kept = students.kept_indices(total, count, rule)
            assert len(set(kept)) == count
            assert kept == sorted(kept)
            assert 0 <= kept[0] <= kept[-1] < total


def test_the_students_weights_are_the_teachers_outside_the_layers_too() -> None:
    """The original left positions and the final norm at random values, and its students began from noise."""
    torch.manual_seed(0)
    teacher = Encoder(6).eval()
    student = students.keep_layers(teacher, 3, "every_k")
    inputs = torch.randn(2, 5, 8)
    hidden = inputs + teacher.positions
    for index in (0, 2, 4):
        hidden = teacher.blocks[index](hidden)
    torch.testing.assert_close(student(inputs), teacher.head(teacher.norm(hidden)))
    assert len(teacher.blocks) == 6
    assert not {p.data_ptr() for p in student.parameters()} & {p.data_ptr() for p in teacher.parameters()}


def test_a_list_is_named_where_several_would_do() -> None:
    """Otherwise the wrong half of an encoder-decoder is cut."""
    model = nn.ModuleDict(
        {"long": nn.ModuleList(nn.Linear(2, 2) for _ in range(5)), "short": nn.Sequential(*[nn.ReLU()] * 3)}
    )
    assert len(students.keep_layers(model, 2)["long"]) == 2
    cut = students.keep_layers(model, 2, stack="short")
    assert (len(cut["long"]), len(cut["short"])) == (5, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 7}, "from 1 to 6"),
        ({"count": 0}, "from 1 to 6"),
        ({"count": True}, "from 1 to 6"),
        ({"count": 2, "rule": "evry_k"}, "every_k"),
        ({"count": 2, "rule": [3, 1]}, "rising"),
        ({"count": 2, "rule": [1, 6]}, "0 to 5"),
        ({"count": 2, "stack": "block"}, "'blocks'"),
    ],
)
def test_what_cannot_be_kept_is_refused(arguments: dict[str, object], message: str) -> None:
    """Otherwise negative indices or a ValueError from range() tell nobody what is wrong."""
    with pytest.raises(ConfigError, match=message):
        students.keep_layers(Encoder(6), **arguments)


def test_a_model_without_a_list_of_layers_is_refused() -> None:
    """Otherwise the student is a plain copy, and nothing was saved."""
    with pytest.raises(ConfigError, match="no list of layers"):
        students.keep_layers(nn.Linear(2, 2), 1)
