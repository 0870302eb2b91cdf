"""What goes wrong for a user when the student's own responses are drawn, put together or learnt from wrongly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation.domains.language import (
    AdaptiveReplay,
    MixedSampler,
    OnPolicy,
    Responses,
    SpeculativeSampler,
    StudentSampler,
    padded,
)
from knowledge_distillation.domains.language import (
    prompts as prompts_data,
)
from knowledge_distillation.domains.language.responses import Prompts, as_batch, prompts_of
from knowledge_distillation.errors import ConfigError, ModelContractError, ShapeError, Terminated
from knowledge_distillation.recipes.reading import check_recipe
from knowledge_distillation.recipes.running import run_recipe
from tests.domains.language import tiny
from tests.run.stopping import StopsAt
from tests.training.toys import QUIET

NONE, DRAWS, FIRST = -100, 4000, 35


def prompts(*texts: list[int]) -> Prompts:
    longest = max(map(len, texts))
    rows = [[0] * (longest - len(text)) + text for text in texts]
    mask = [[False] * (longest - len(text)) + [True] * len(text) for text in texts]
    return Prompts(torch.tensor(rows), torch.tensor(mask))


def loader(*, answered: bool = True, count: int = 8, batch_size: int = 2) -> DataLoader[Any]:
    rows = []
    for number in range(count):
        ids = [5 + number % 10, 20, 9 + number % 10, 30, 0][: 5 - number % 2]
        labels = [NONE, NONE, *ids[2:]] if answered else [NONE] * len(ids)
        rows.append({"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)})
    return DataLoader(rows, batch_size=batch_size, collate_fn=padded)  # type: ignore[arg-type]


class Recorded:
    """A sampler whose responses are known: the number of the call, then the end."""

    def __init__(self) -> None:
        self.asked: list[Prompts] = []
        self.modes: list[bool] = []

    def sample(self, student: nn.Module, teacher: nn.Module | None, prompts: Prompts) -> Responses:
        self.asked.append(prompts)
        self.modes.append(student.training)
        ids = torch.tensor([[FIRST + len(self.asked), 0]]).expand(len(prompts.ids), 2)
        return Responses(ids, torch.ones_like(ids, dtype=torch.bool))


class Seen(nn.Module):
    """A student that notes what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seen = tiny.llama(), []
        self.config = self.inner.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **others: Any) -> Any:
        self.seen.append(input_ids.tolist())
        return self.inner(input_ids, attention_mask, **others)


def train(student: nn.Module, callback: OnPolicy, directory: Path, **settings: Any) -> kd.Run:
    given: dict[str, Any] = {
        "objective": "reverse_kl", "adapter": "causal_lm", "max_epochs": 1, "learning_rate": 1e-3, "doctor": False,
    }  # fmt: skip
    trainer = {**QUIET, **settings.pop("trainer", {})}
    trainer["callbacks"] = [callback, *trainer.get("callbacks", [])]
    train_loader = settings.pop("train_loader", None) or loader()
    teacher = settings.pop("teacher", None) or tiny.llama(seed=1)
    return kd.distill(teacher, student, train_loader, directory=directory, trainer=trainer, **{**given, **settings})


def test_prompts_end_where_the_labels_begin() -> None:
    """Otherwise the student answers to a prompt that holds its answer, or to padding."""
    batch = next(iter(loader()))
    found = prompts_of(batch)
    assert found.ids.tolist() == [[5, 20], [6, 20]]
    whole = prompts_of(next(iter(loader(answered=False))))
    assert whole.ids.tolist() == [[5, 20, 9, 30, 0], [0, 6, 20, 10, 30]]
    assert whole.mask.tolist() == [[True] * 5, [False] + [True] * 4]


def test_a_batch_of_responses_is_that_put_together_by_hand() -> None:
    """Otherwise the prompt is learnt, or a response's tokens meet another one's log-probabilities."""
    given = prompts([5, 20], [7])
    ids = torch.tensor([[30, 0, 0], [31, 32, 0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    log_probs = torch.tensor([[-1.0, -2.0, 0.0], [-3.0, -4.0, -5.0]])
    batch = as_batch(given, Responses(ids, mask, log_probs))
    assert batch["input_ids"].tolist() == [[5, 20, 30, 0], [7, 31, 32, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [[NONE, NONE, 30, 0], [NONE, 31, 32, 0]]
    assert batch["sampled_log_probs"].tolist() == [[0, -1, -2, 0], [-3, -4, -5, 0]]


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("kind", ["student", "mixed", "speculative"])
def test_tokens_are_drawn_from_what_the_sampler_promises_behind_padding_too(kind: str, make: Any) -> None:
    """Otherwise the student learns from text that nobody would write, and importance weights are wrong."""
    student, teacher = make(), tiny.llama(seed=5)
    text = [5, 20, 9]
    with torch.no_grad():
        p_s, p_t = (model(torch.tensor([text])).logits[0, -1].softmax(-1).double() for model in (student, teacher))
    likely = p_t.topk(3).indices
    allowed = torch.zeros_like(p_s)
    allowed[likely] = p_s[likely]
    expected = {
        "student": p_s, "mixed": 0.3 * p_t + 0.7 * p_s, "speculative": allowed + (1 - allowed.sum()) * p_t,
    }[kind]  # fmt: skip
    sampler: Any = {
        "student": StudentSampler(1),
        "mixed": MixedSampler(1, share=0.3),
        "speculative": SpeculativeSampler(1, accepted=3),
    }[kind]
    torch.manual_seed(0)
    found = sampler.sample(student, teacher, prompts(*[text] * DRAWS, [5, 6, 7, 8, 9, 10]))
    drawn = found.ids[:DRAWS, 0]
    counts = torch.bincount(drawn, minlength=97).double()
    spread = (DRAWS * expected * (1 - expected)).sqrt()
    assert ((counts - DRAWS * expected).abs() <= 4.5 * spread + 1).all()
    if found.log_probs is not None:
        assert torch.allclose(found.log_probs[:DRAWS, 0].double(), expected[drawn].log(), atol=1e-4)


def test_a_response_ends_with_the_token_that_ends_texts() -> None:
    """Otherwise what is written after the end is learnt, and the end is not."""
    torch.manual_seed(0)
    student = tiny.llama()
    with torch.no_grad():
        student.lm_head.weight[0] *= 4
    for sampler in (StudentSampler(12), MixedSampler(12)):
        found = sampler.sample(student, tiny.llama(seed=1), prompts(*[[5, 20]] * 200))
        for ids, mask in zip(found.ids.tolist(), found.mask.tolist(), strict=True):
            length = sum(mask)
            assert mask == [True] * length + [False] * (len(mask) - length)
            assert 0 not in ids[: length - 1]
            assert ids[length - 1] == 0 or length == len(mask)
        assert any(0 in ids for ids in found.ids.tolist())


def test_both_models_see_the_responses_and_the_data_is_left_in_its_share(tmp_path: Path) -> None:
    """Otherwise "on-policy" is a word in a recipe, and the student goes on learning from the data."""
    student, sampler = Seen(), Recorded()
    train(student, OnPolicy(sampler), tmp_path / "own", train_loader=loader(answered=False))
    assert [max(row) for shown in student.seen for row in shown] == [36, 36, 37, 37, 38, 38, 39, 39]
    assert sampler.modes == [False] * 4
    assert student.training

    student, sampler = Seen(), Recorded()
    train(student, OnPolicy(sampler, fraction=0.0), tmp_path / "data")
    assert sampler.asked == []
    assert student.seen == [batch["input_ids"].tolist() for batch in loader()]

    sampler = Recorded()
    train(tiny.llama(), OnPolicy(sampler, fraction=0.5), tmp_path / "both", train_loader=loader(count=200))
    assert 50 - 4 * 5 <= len(sampler.asked) <= 50 + 4 * 5


def test_replayed_responses_come_from_the_buffer(tmp_path: Path) -> None:
    """Otherwise every step waits for generation, or old responses never leave."""
    student, sampler = Seen(), Recorded()
    train(student, OnPolicy(sampler, replay=0.5, buffer=2), tmp_path, train_loader=loader(count=80))
    calls = [max(shown[0]) - FIRST for shown in student.seen]
    assert len(calls) == 40
    assert 8 <= len(sampler.asked) <= 32
    newest = 0
    for call in calls:
        newest = max(newest, call)
        assert call > newest - 2


@pytest.mark.parametrize("sampler", [StudentSampler(4), MixedSampler(4)])
def test_a_run_that_is_broken_off_goes_on_exactly(sampler: Any, tmp_path: Path) -> None:
    """Otherwise on-policy runs cannot be trusted to be continued: other responses are drawn, or replayed."""

    def go(folder: Path, *extra: Any, **settings: Any) -> dict[str, Tensor]:
        callback = OnPolicy(sampler, fraction=0.8, replay=0.5, buffer=3)
        return train(
            tiny.llama(), callback, folder, objective="minillm", max_epochs=2, trainer={"callbacks": extra}, **settings
        ).student.state_dict()

    whole = go(tmp_path / "whole")
    with pytest.raises(Terminated):
        go(tmp_path / "broken", StopsAt(6))
    on = go(tmp_path / "broken", resume="auto")
    assert all(torch.equal(whole[name], on[name]) for name in whole)


def test_the_fraction_grows_when_the_student_gets_worse(tmp_path: Path) -> None:
    """Otherwise the adaptive schedule never turns to the student's own responses, or does so at once."""

    class Scores:
        higher_is_better = False
        values = iter([3.0, 2.0, 2.5, 2.4, 2.6])

        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
            return {"inference_result": next(self.values)}

    callback = AdaptiveReplay(Recorded(), growth=0.25)
    train(tiny.llama(), callback, tmp_path, max_epochs=5, pipeline=Scores(), val_loaders={"text": loader()})
    assert callback.fraction == 0.5


@pytest.mark.slow
def test_the_student_comes_nearer_to_the_teacher_on_what_it_writes_itself(tmp_path: Path) -> None:
    """Otherwise the policy gradient has the wrong sign, and training drives the student away."""
    teacher = tiny.llama(seed=1)

    def divergence(student: Any) -> float:
        torch.manual_seed(7)
        total = 0.0
        for batch in loader(count=64, batch_size=64):
            asked = prompts_of(batch)
            own = as_batch(asked, StudentSampler(8).sample(student, None, asked))
            with torch.no_grad():
                said, taught = (
                    model(input_ids=own["input_ids"], attention_mask=own["attention_mask"]).logits.log_softmax(-1)
                    for model in (student, teacher)
                )
            learnt = torch.nn.functional.pad(own["labels"][:, 1:] != NONE, (0, 1))
            total += float((said.exp() * (said - taught)).sum(-1)[learnt].mean())
        return total

    student = tiny.llama()
    before = divergence(student)
    data = loader(count=32, batch_size=8)
    settings: Any = {"objective": "minillm", "learning_rate": 1e-2, "train_loader": data, "max_epochs": 12}
    train(student, OnPolicy(MixedSampler(8)), tmp_path, **settings)
    assert divergence(student.eval()) < 0.7 * before


def test_what_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    """Otherwise a run fails in the middle of transformers, or trains on nothing."""
    asked = prompts([5, 20])
    with pytest.raises(ModelContractError, match=r"has no generate\(\)"):
        StudentSampler(2).sample(nn.Linear(2, 2), None, asked)
    with pytest.raises(ModelContractError, match=r"128 positions.* needs 130"):
        StudentSampler(128).sample(tiny.llama(), None, asked)
    with pytest.raises(ConfigError, match="no live teacher"):
        MixedSampler(2).sample(tiny.llama(), None, asked)
    with pytest.raises(ShapeError, match="97 and 99 tokens"):
        SpeculativeSampler(2).sample(tiny.llama(), tiny.llama(99), asked)
    with pytest.raises(ConfigError, match="max_new_tokens must be a whole number of tokens of at least 1"):
        StudentSampler(0)
    with pytest.raises(ConfigError, match="fraction"):
        OnPolicy(Recorded(), fraction=math.nan)
    with pytest.raises(ConfigError, match="sampler must have a method"):
        OnPolicy(3)  # type: ignore[arg-type]
    with pytest.raises(ModelContractError, match="Sample 1 of a batch has no prompt"):
        prompts_of({"input_ids": torch.tensor([[5, 6], [7, 8]]), "labels": torch.tensor([[NONE, 6], [7, 8]])})
    with pytest.raises(ModelContractError, match="batches that are dicts"):
        train(
            nn.Linear(2, 2), OnPolicy(Recorded()), tmp_path, adapter="auto",
            train_loader=DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 2), torch.ones(2).long())),
        )  # fmt: skip


def test_a_cached_teacher_is_refused(tmp_path: Path) -> None:
    """Otherwise the student's own text would be compared with answers to another one."""
    teacher = tiny.llama(seed=1)
    kd.teachers.write_cache(teacher, loader(), tmp_path / "cache", adapter="causal_lm")
    cached = kd.teachers.CachedTeacher(tmp_path / "cache", teacher=teacher)
    with pytest.raises(ConfigError, match="a cache holds no answers"):
        train(tiny.llama(), OnPolicy(Recorded()), tmp_path / "run", teacher=cached)


def test_a_recipe_names_who_writes(teacher: str, records: Path, tmp_path: Path) -> None:
    """Otherwise on-policy training is for those alone who write Python, or a misspelt setting does nothing."""
    recipe: dict[str, Any] = {
        "teacher": {"name": "causal_lm", "path": teacher},
        "student": {"name": "from_teacher", "keep_layers": {"count": 2}},
        "data": {
            "name": "jsonl",
            "path": str(records),
            "tokenizer": teacher,
            "batch_size": 2,
            "length": 32,
            "validation": 0.2,
        },
        "objective": "gkd",
        "training": {
            "max_epochs": 1,
            "doctor": False,
            "callbacks": [{"name": "on_policy", "sampler": {"name": "student", "max_new_tokens": 3}, "fraction": 0.5}],
            "trainer": QUIET,
            "learning_rate": 1e-3,
        },
    }
    run = run_recipe(check_recipe(recipe, "test"), directory=tmp_path / "run")
    (callback,) = [one for one in run.module.trainer.callbacks if isinstance(one, OnPolicy)]
    assert callback.fraction == 0.5
    assert len(callback.kept) > 0
    for change, message in (
        ({"name": "on_polcy"}, "no callback named 'on_polcy'.*on_policy"),
        ({"name": "on_policy", "sampler": "studnt"}, "no sampler 'studnt'.*student"),
        ({"name": "on_policy", "sampler": {"name": "student", "top_q": 1.0}}, "top_q"),
        ({"name": "on_policy", "fracton": 1.0}, "no setting 'fracton'"),
    ):
        wrong = {**recipe, "training": {**recipe["training"], "callbacks": [change]}}
        with pytest.raises(ConfigError, match=message):
            run_recipe(check_recipe(wrong, "test"), directory=tmp_path / "wrong")


def test_prompts_alone_are_enough(teacher: str, records: Path, tmp_path: Path) -> None:
    """Otherwise on-policy training needs answers that it never looks at, or answers to answers."""
    own = tiny.letters()
    asked = tmp_path / "asked.jsonl"
    lines = [
        {"prompt": "1+1="},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"prompt": ""},
        {"prompt": "9" * 40},
    ]
    asked.write_text("\n".join(json.dumps(line) for line in lines))
    settings: dict[str, Any] = {"tokenizer": teacher, "validation": str(records), "length": 32, "batch_size": 2}
    data = prompts_data(path=str(asked), **settings)
    (batch,) = list(data.train)
    texts = {
        own.decode(row[mask.bool()]) for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    }
    assert texts == {"1+1=", "<user>hi<end><assistant>"}
    assert (batch["labels"] == NONE).all()
    sampler = Recorded()
    run = train(
        tiny.llama(99), OnPolicy(sampler), tmp_path / "run", train_loader=data.train, val_loaders=data.validation,
        pipeline=data.pipeline, adapter=data.adapter, teacher=tiny.llama(99, seed=1),
    )  # fmt: skip
    assert len(sampler.asked) == 1
    assert math.isfinite(run.scores["validation"])
    for line, message in (
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "end with one of the",
        ),
        ({"completion": "2"}, "must have 'prompt' or 'messages'"),
    ):
        asked.write_text(json.dumps(line))
        with pytest.raises(ConfigError, match=message):
            prompts_data(path=str(asked), **settings)
