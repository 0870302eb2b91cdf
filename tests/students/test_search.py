"""What goes wrong for a user when the search takes another cut than the best, or leaves the teacher changed."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation import students
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.training.pipelines import AccuracyPipeline


class Stepwise(nn.Module):
    """Residual layers of very different weight: which of them can go is known beforehand."""

    def __init__(self, strengths: list[float]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in strengths)
        self.head = nn.Linear(6, 4)
        with torch.no_grad():
            for layer, strength in zip(self.layers, strengths, strict=True):
                layer.weight.mul_(strength)
                layer.bias.mul_(strength)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            inputs = inputs + layer(inputs).tanh()
        return self.head(inputs)


@pytest.fixture
def teacher() -> nn.Module:
    torch.manual_seed(0)
    return Stepwise([2.0, 0.0, 3.0, 1e-3, 2.5, 1e-3])


@pytest.fixture
def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 6, generator=generator), torch.zeros(n, dtype=torch.long)) for n in (16, 5)]


def by_hand(teacher: nn.Module, kept: tuple[int, ...], batches: list[Any]) -> float:
    """KL to the teacher over all rows, from torch's own function and a model put together layer by layer."""
    total, rows = 0.0, 0
    with torch.no_grad():
        for inputs, _ in batches:
            hidden = inputs
            for number in kept:
                hidden = hidden + teacher.layers[number](hidden).tanh()
            ours, theirs = teacher.head(hidden).log_softmax(-1), teacher(inputs).log_softmax(-1)
            total += float(nn.functional.kl_div(ours, theirs, reduction="sum", log_target=True))
            rows += len(inputs)
    return total / rows


def test_all_cuts_are_scored_and_the_best_is_taken(teacher: nn.Module, batches: list[Any]) -> None:
    """Otherwise the search is a rule with another name."""
    found = students.search_layers(teacher, 3, batches)
    assert found.kept == (0, 2, 4)
    assert set(found.cuts) == set(combinations(range(6), 3))
    for kept, value in found.cuts.items():
        assert value == pytest.approx(by_hand(teacher, kept, batches), rel=1e-4, abs=1e-6)
    assert list(found.cuts.values()) == sorted(found.cuts.values())
    assert found.score_of_rule["first_k"] == found.cuts[0, 1, 2]
    inputs = batches[0][0]
    hidden = inputs
    for number in (0, 2, 4):
        hidden = hidden + teacher.layers[number](hidden).tanh()
    torch.testing.assert_close(found.student(inputs), teacher.head(hidden))


def test_many_layers_are_dropped_one_at_a_time(teacher: nn.Module, batches: list[Any]) -> None:
    """Otherwise 32 layers have more cuts than anybody can wait for."""
    found = students.search_layers(teacher, 3, batches, most=10)
    assert found.kept == (0, 2, 4)
    assert len(found.cuts) < 10


def test_the_teacher_is_left_as_it_was(teacher: nn.Module, batches: list[Any]) -> None:
    """Otherwise the search teaches with a cut teacher."""
    teacher.train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    state = torch.get_rng_state()
    students.search_layers(teacher, 2, batches)
    assert len(teacher.layers) == 6
    assert teacher.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_only_so_many_batches_are_looked_at(teacher: nn.Module, batches: list[Any]) -> None:
    """Otherwise a search over a large set takes hours."""
    found = students.search_layers(teacher, 3, batches, batches=1)
    assert found.cuts[1, 3, 5] == pytest.approx(by_hand(teacher, (1, 3, 5), batches[:1]), rel=1e-4)


def test_embeddings_are_compared_by_their_direction(teacher: nn.Module, batches: list[Any]) -> None:
    """Otherwise vectors are taken for logits, and a longer vector for another answer."""
    found = students.search_layers(teacher, 5, batches, by="cosine")
    assert 1 not in found.kept
    assert min(found.cuts.values()) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("up", [True, False])
def test_a_pipeline_says_which_way_is_better(teacher: nn.Module, batches: list[Any], up: bool) -> None:
    """Otherwise the worst cut is taken where the score is an error rate."""

    class Agreement:
        higher_is_better = up

        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, float]:
            agree = [(model(x).argmax(-1) == teacher(x).argmax(-1)).float().mean() for x, _ in data_loader]
            share = float(sum(agree) / len(agree))
            return {"inference_result": share if up else 1 - share}

    found = students.search_layers(teacher, 3, batches, by=Agreement())
    assert found.cuts[found.kept] == (1.0 if up else 0.0)
    assert found.cuts[0, 2, 4] == found.cuts[found.kept]


def test_padding_does_not_count() -> None:
    """Otherwise the cut is chosen by what the model says about padding."""
    from transformers import BertConfig, BertForTokenClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    teacher = BertForTokenClassification(BertConfig(vocab_size=50, initializer_range=0.5, **sizes))
    ids = torch.arange(12).reshape(2, 6)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]])
    found = students.search_layers(teacher, 2, [{"input_ids": ids, "attention_mask": mask}])
    shown = students.keep_layers(teacher, 2, [0, 1]).eval()
    with torch.no_grad():
        theirs, ours = (m(input_ids=ids, attention_mask=mask).logits.log_softmax(-1) for m in (teacher.eval(), shown))
    each = nn.functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
    assert found.cuts[0, 1] == pytest.approx(float(each[mask.bool()].mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "from 1 to 6"),
        ({"by": "euclid"}, "no distance 'euclid'"),
        ({"val_loader": []}, "gave no item"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    teacher: nn.Module, batches: list[Any], arguments: dict[str, Any], message: str
) -> None:
    """Otherwise an empty loader makes every cut equally good."""
    with pytest.raises(ConfigError, match=message):
        students.search_layers(teacher, **{"count": 3, "val_loader": batches, **arguments})


def test_a_score_that_is_never_a_number_is_refused(teacher: nn.Module, batches: list[Any]) -> None:
    """Otherwise the first cut is called the best."""

    class Nothing(AccuracyPipeline):
        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, float]:
            return {"inference_result": float("nan")}

    with pytest.raises(ConfigError, match="None of the 20 cuts has a finite score"):
        students.search_layers(teacher, 3, batches, by=Nothing())
