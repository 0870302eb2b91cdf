"""What goes wrong for a user when a preset reads another signal than its paper, or ships another student."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation import DistillationModule
from knowledge_distillation.capture.reader import Reader
from knowledge_distillation.domains.vision.models import resnet18
from knowledge_distillation.errors import CaptureError, ConfigError, ModelContractError, ShapeError
from knowledge_distillation.losses.features.ofd import margin_from_batch_norm
from knowledge_distillation.objective import Objective, Term
from knowledge_distillation.objective.parts import PARTS
from knowledge_distillation.objective.presets import PRESETS, gold
from knowledge_distillation.signals import Signals
from tests.objective.preset_models import ADAPTERS, Cnn, Detector, Encoder, boxes, images, models_and_data
from tests.training.toys import quiet_trainer


def ready(name: str, objective: Any = None, **changes: Any) -> tuple[DistillationModule, Any]:
    """The module of a preset, its objective ready and its teacher prepared, and one batch of all samples."""
    student, teacher, data = models_and_data(name)
    student, teacher = changes.get("student", student), changes.get("teacher", teacher)
    module = DistillationModule(student, teacher, objective or name, adapter=ADAPTERS.get(name, "auto"))
    loader = DataLoader(changes.get("data", data), batch_size=16)
    module.trainer = quiet_trainer(max_epochs=1)
    module.trainer.fit_loop._data_source.instance = loader
    module.trainer.strategy.connect(module)
    module.setup("fit")
    assert module.teacher is not None
    module.teacher.prepare(torch.device("cpu"))
    return module, next(iter(loader))


def component(module: DistillationModule, batch: Any, name: str) -> Tensor:
    return module.distillation_loss(batch)[1][name]


def maps(model: Cnn, batch: Any) -> Tensor:
    return model.features(batch["images"])


def test_srrl_judges_with_the_teachers_own_classifier() -> None:
    """Otherwise the student's features are judged by weights that never saw the task."""
    module, batch = ready("srrl")
    teacher: Any = module.teacher.model  # type: ignore[union-attr]
    loss: Any = module.objective.losses["term srrl"]
    torch.testing.assert_close(loss.classifier_weight, teacher.head.weight.detach())
    assert not loss.classifier_weight.requires_grad
    student: Any = module.student_model
    said = loss.connector(maps(student.eval(), batch)).mean((2, 3))
    taught = maps(teacher, batch).mean((2, 3)).detach()
    gap = said - taught
    expected = gap.square().mean() + (gap @ teacher.head.weight.detach().T).square().mean()
    torch.testing.assert_close(loss(maps(student, batch), maps(teacher, batch)), expected)


def test_catkd_compares_class_maps_that_follow_both_classifiers() -> None:
    """Otherwise the student's classifier gets no gradient from where its classes are seen."""
    module, batch = ready("catkd")
    student: Any = module.student_model
    teacher: Any = module.teacher.model  # type: ignore[union-attr]
    student.eval()

    def pooled(model: Any) -> Tensor:
        seen = torch.einsum("nchw,kc->nkhw", maps(model, batch), model.head.weight)
        flat = nn.functional.adaptive_avg_pool2d(seen, 2).flatten(2)
        return flat / flat.norm(dim=-1, keepdim=True)

    expected = (pooled(student) - pooled(teacher).detach()).square().mean()
    value = component(module, batch, "catkd")
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, [student.head.weight])
    assert bool((gradient != 0).any())
    assert teacher.head.weight.grad is None


def test_simkd_is_scored_and_shipped_with_the_teachers_classifier(tmp_path: Path) -> None:
    """Otherwise scores are those of a head that was never trained, and so is the student that ships."""
    student, teacher, data = models_and_data("simkd")
    loader = DataLoader(data, batch_size=8)
    head = student.head.weight.detach().clone()
    run = kd.distill(
        teacher, student, loader, {"test": loader}, objective="simkd", max_epochs=1, directory=tmp_path,
        trainer={"accelerator": "cpu", "enable_progress_bar": False},
    )  # fmt: skip
    assert torch.equal(student.head.weight, head)
    loss: Any = run.module.objective.losses["term simkd"]
    batch = next(iter(DataLoader(data, batch_size=16)))
    run.student.eval()
    with torch.no_grad():
        expected = teacher.head(loss.projector(maps(student, batch)).mean((2, 3)))
        torch.testing.assert_close(run.student(images=batch["images"]), expected)
    accuracy = (expected.argmax(-1) == batch["labels"]).float().mean().item()
    assert run.scores["test"] == pytest.approx(accuracy)
    assert not any(parameter.requires_grad for parameter in loss.classifier.parameters())
    weights = load_file(tmp_path / "student.safetensors")
    assert {"student.head.weight", "loss.classifier.weight"} <= set(weights)
    assert not [name for module in student.modules() for name in module._forward_hooks]


def test_other_objectives_ship_the_very_student() -> None:
    """Otherwise every run hands back a wrapper around the user's model."""
    module, _ = ready("srrl")
    assert module.finished_student is module.student_model


def test_simkd_refuses_a_classifier_that_reads_other_features() -> None:
    """Otherwise a classifier behind flattened pixels is fed with averaged ones."""
    teacher = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 4, 3, stride=2), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    data = [(row["images"], row["labels"]) for row in images()]
    student = nn.Sequential(*teacher[:3], nn.Linear(16, 5))
    with pytest.raises(ConfigError, match="must read the 4 channels of its map after pooling, and reads 16"):
        ready("simkd", student=copy.deepcopy(student), teacher=teacher, data=data)
    with pytest.raises(ShapeError, match="behind flattened pixels has no class activation maps"):
        kd.losses.CATKD()([torch.zeros(2, 4, 2, 2), torch.zeros(5, 16)], torch.zeros(2, 5, 2, 2))


def test_ofd_takes_its_margins_from_the_norms_before_the_last_relus() -> None:
    """Otherwise a margin belongs to another layer, and negative features are cut at the wrong height."""
    teacher, pictures = resnet18(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for number, norm in enumerate(module for module in teacher.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.bias.fill_(0.1 * number)
    names = [f"input:layer{stage}.1.relu" for stage in (1, 2, 3, 4)]
    found = PARTS["margins"](teacher, (pictures,), names)
    for stage, margin in enumerate(found, start=1):
        torch.testing.assert_close(margin, margin_from_batch_norm(teacher.get_submodule(f"layer{stage}.1.bn2")))
    assert PARTS["stage_weights"](teacher, None, names) == [0.125, 0.25, 0.5, 1.0]
    assert PARTS["margins"](Cnn(4, 1), {"images": pictures}, ["input:stage1.2", "input:stage2.1"]) is None


def test_ab_reads_what_the_relus_receive_and_gives_way_to_the_labels() -> None:
    """Otherwise boundaries are drawn on features that are never negative, or are drawn to the end."""
    module, batch = ready("ab")
    assert module.objective.wanted("student") == ("logits", "input:stage1.2", "input:stage2.1", "input:stage3.1")
    student, teacher = module(batch), module.teacher.signals(batch, module.objective.wanted("teacher"))  # type: ignore[union-attr]
    early, parts = module.objective(student, teacher, progress=0.0)
    late, _ = module.objective(student, teacher, progress=0.2)
    torch.testing.assert_close(early, 3e-3 * parts["ab"])
    torch.testing.assert_close(late, parts["cross_entropy"])
    assert module.objective.losses["term ab"].stage_weights == [0.25, 0.5, 1.0]


def test_in_place_activations_are_read_before_they_write() -> None:
    """Otherwise torchvision's networks cannot be taught by AB and OFD at all."""
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 2))
    reader = Reader(model, lambda model, batch, _: Signals(logits=model(batch)), wanted=("input:1", "weight:2"))
    reader.attach()
    said = reader.read(torch.randn(5, 3))
    reader.detach()
    assert bool((said.features["input:1"] < 0).any())
    assert said.features["weight:2"] is model[2].weight
    said.features["input:1"].sum().backward()
    assert model[0].weight.grad is not None


def test_a_weight_that_a_module_does_not_have_is_named() -> None:
    """Otherwise the message speaks of an attribute deep in the reader."""
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    reader = Reader(model, lambda model, batch, _: Signals(logits=model(batch)), wanted=("weight:1",), whose="teacher")
    with pytest.raises(CaptureError, match="'weight:1' names a ReLU of the teacher, which has no weight"):
        reader.read(torch.randn(5, 3))


def test_the_paraphraser_learns_its_teacher_and_not_the_student() -> None:
    """Otherwise factors stay a random projection, or shrink to what the student can say already."""
    module, batch = ready("ft")
    loss: Any = module.objective.losses["term ft"]
    teacher: Any = module.teacher.model  # type: ignore[union-attr]
    student: Any = module.student_model
    taught, said = maps(teacher, batch).detach(), maps(student, batch)
    value = loss(said, taught)
    alone = loss.paraphrase_loss(taught)
    torch.testing.assert_close(value - kd.losses.ft(
        _layers(loss.translator, said), _layers(loss.paraphraser.encoder, taught)), alone / 500)  # fmt: skip
    parts = list(loss.paraphraser.parameters())
    both = torch.autograd.grad(value, parts)
    own = torch.autograd.grad(alone / 500, parts)
    assert all(torch.allclose(one, other) for one, other in zip(both, own, strict=True))


def _layers(layers: nn.Module, features: Tensor) -> Tensor:
    answer: Tensor = layers(features)
    return answer


def test_sskd_shows_both_models_four_turns_and_asks_labels_of_the_first() -> None:
    """Otherwise the student is asked for the class of a turned picture as if it were upright."""
    module, batch = ready("sskd")
    student: Any = module.student_model
    student.eval()
    _, parts = module.distillation_loss(batch)
    upright = student(batch["images"])
    torch.testing.assert_close(parts["cross_entropy"], nn.functional.cross_entropy(upright, batch["labels"]))
    teacher: Any = module.teacher.model  # type: ignore[union-attr]
    turned = torch.cat([batch["images"].rot90(turn, dims=(2, 3)) for turn in (1, 2, 3)])
    expected = kd.losses.kd(student(turned), teacher(turned), temperature=4.0)
    torch.testing.assert_close(parts["kd_transformed"], expected)
    loss: Any = module.objective.losses["term sskd"]
    views = [batch["images"].rot90(turn, dims=(2, 3)) for turn in range(4)]
    ours, theirs = (torch.stack([maps(model, {"images": view}).mean((2, 3)) for view in views], 1)
                    for model in (student, teacher))  # fmt: skip
    torch.testing.assert_close(parts["sskd"], loss(ours, theirs))


def test_pictures_that_cannot_be_turned_are_refused() -> None:
    """Otherwise a quarter turn changes their shape deep in the model."""
    module, batch = ready("sskd")
    with pytest.raises(ConfigError, match="equal height and width; none came"):
        module.distillation_loss({**batch, "images": batch["images"][..., :8]})
    with pytest.raises(ConfigError, match="views must be one of"):
        Term("kd", views="turned")  # type: ignore[arg-type]


def test_pixels_without_a_class_do_not_count() -> None:
    """Otherwise label 255 is a class that does not exist, and training stops."""
    module, batch = ready("cwd")
    scores = module.student_model(batch["images"])["out"]
    expected = nn.functional.cross_entropy(scores, batch["labels"], ignore_index=255)
    torch.testing.assert_close(component(module, batch, "cross_entropy"), expected)


def test_fgd_looks_where_the_boxes_of_the_batch_are() -> None:
    """Otherwise objects and background weigh the same."""
    module, batch = ready("fgd")
    before = component(module, batch, "fgd")
    after = component(module, {**batch, "boxes": batch["boxes"] * 0 + torch.tensor([8.0, 8.0, 11.0, 11.0])}, "fgd")
    assert not torch.isclose(before, after)
    with pytest.raises(ConfigError, match="needs 'boxes', and the batch gave none"):
        component(module, {key: value for key, value in batch.items() if key != "boxes"}, "fgd")


class AsksForBoxes(Detector):
    """A detector whose forward takes the boxes as well."""

    def forward(self, images: Tensor, boxes: Tensor) -> dict[str, Any]:
        return {**super().forward(images), "logits": boxes[:, 0]}


def test_a_model_that_names_the_boxes_still_gets_them() -> None:
    """Otherwise a model whose input has the name of a loss's input is called without it."""
    batch = next(iter(DataLoader(boxes(), batch_size=4)))
    said = kd.capture.adapters.auto(AsksForBoxes(4, 1), batch)
    torch.testing.assert_close(said.logits, batch["boxes"][:, 0])
    torch.testing.assert_close(said.extras["boxes"], batch["boxes"])


def test_a_detectors_own_losses_are_all_learnt() -> None:
    """Otherwise its features are distilled and its heads stay untrained."""
    module, batch = ready("fbkd")
    module.student_model.train()
    own = module.student_model(batch["images"])["loss"]
    torch.testing.assert_close(component(module, batch, "task"), own["objectness"] + own["boxes"])
    with pytest.raises(ConfigError, match="weighs the losses that the student computes itself, and it returned none"):
        Objective({"task": Term("own", student="*")})(Signals(logits=torch.zeros(2, 3)), None)


def test_minilm_takes_the_teachers_heads_and_leaves_padding_out() -> None:
    """Otherwise attention is split at the wrong places, and padding is attended to."""
    module, batch = ready("minilm")
    loss: Any = module.objective.losses["term minilm"]
    assert loss.heads == 4
    masked = {**batch, "attention_mask": torch.ones(16, 6, dtype=torch.long)}
    masked["attention_mask"][:, 4:] = 0
    value = component(module, masked, "minilm")
    other = {**masked, "input_ids": masked["input_ids"].clone()}
    other["input_ids"][:, 4:] = 0
    torch.testing.assert_close(component(module, other, "minilm"), value)
    assert not torch.isclose(component(module, batch, "minilm"), value)


def test_heads_that_nobody_states_must_be_set() -> None:
    """Otherwise a default of twelve heads cuts the widths anywhere."""
    model = Encoder(8, 1, seed=1)
    del model.layer[0]["self"].num_attention_heads
    path = "layer.0.self.query"
    with pytest.raises(ConfigError, match="neither SelfAttention nor the teacher's config has one of"):
        PARTS["heads"](model, None, [path])
    model.config = type("Config", (), {"num_attention_heads": 2})()
    assert PARTS["heads"](model, None, [path]) == 2


def test_uld_compares_answers_of_two_tokenizers_by_place() -> None:
    """Otherwise the prompt of one side is compared with the answer of the other."""
    module, batch = ready("uld")
    said = module.student_model(batch["input_ids"])["logits"][:, 2:].softmax(-1)
    with torch.no_grad():
        taught = module.teacher.model(batch["teacher_input_ids"])["logits"][:, 2:6].softmax(-1)  # type: ignore[union-attr]
    padded = nn.functional.pad(said.sort(descending=True).values, (0, 2))
    expected = (padded - taught.sort(descending=True).values).abs().sum(-1).mean()
    torch.testing.assert_close(component(module, batch, "uld"), expected)


def test_a_batch_of_one_tokenizer_is_refused() -> None:
    """Otherwise the teacher reads the student's ids as other words."""
    module, batch = ready("uld")
    one = {key: value for key, value in batch.items() if not key.startswith("teacher_")}
    with pytest.raises(ModelContractError, match="same for the teacher with 'teacher_' in front"):
        module.distillation_loss(one)


def test_gold_says_that_the_matched_tokens_must_be_given() -> None:
    """Otherwise tokens that only share a number are compared as the same word."""
    with pytest.raises(ConfigError, match=r"needs \['student_ids', 'teacher_ids'\], which cannot be read.*Set them"):
        ready("gold")
    module, batch = ready("gold", gold(student_ids=[0, 1], teacher_ids=[5, 2]))
    assert torch.isfinite(component(module, batch, "hybrid_uld"))


def test_dpkd_rewards_each_response_by_its_own_tokens() -> None:
    """Otherwise a short response is rewarded for padding."""
    module, batch = ready("dpkd")

    def rewards(model: Any) -> Tensor:
        scores = model(batch["input_ids"].flatten(0, 1))["logits"].log_softmax(-1).unflatten(0, (16, 2))
        counted = batch["labels"] != -100
        return scores.gather(-1, batch["labels"].clamp(min=0).unsqueeze(-1)).squeeze(-1) * counted

    gap = rewards(module.student_model) - rewards(module.teacher.model).detach()  # type: ignore[union-attr]
    lengths = (batch["labels"] != -100).sum(-1)
    reward = 0.1 * gap.sum(-1) / lengths
    expected = -nn.functional.logsigmoid(reward[:, 0] - reward[:, 1]).mean()
    torch.testing.assert_close(component(module, batch, "dpkd"), expected)
    with pytest.raises(ModelContractError, match=r"\[pairs, 2, tokens\], the teacher's response first"):
        module.distillation_loss({**batch, "labels": batch["labels"][:, 0]})


def test_distillm2_counts_the_tokens_of_the_attention_mask() -> None:
    """Otherwise a batch with padding raises, or padding is learnt."""
    module, batch = ready("distillm2")
    mask = torch.ones(16, 6, dtype=torch.long)
    mask[:, 3:] = 0
    masked = component(module, {**batch, "attention_mask": mask}, "distillm2")
    teacher = module.teacher.signals(batch, ("logits",))  # type: ignore[union-attr]
    expected = kd.losses.distillm2(
        module.student_model(batch["input_ids"])["logits"], teacher.logits,
        from_teacher=batch["from_teacher"], token_mask=mask,
    )  # fmt: skip
    torch.testing.assert_close(masked, expected)
    with pytest.raises(ConfigError, match="needs 'from_teacher', and the batch gave none"):
        component(module, {key: value for key, value in batch.items() if key != "from_teacher"}, "distillm2")


def test_parts_of_a_teacher_without_modules_must_be_set() -> None:
    """Otherwise a cached or served teacher fails without a word of what to do."""

    class Recorded:
        fingerprint = "recorded"

        def prepare(self, device: torch.device) -> None: ...

        def release(self) -> None: ...

        def signals(self, batch: Any, wanted: Any = ()) -> Signals:
            return Signals(features={"maps": torch.zeros(16, 6, 3, 3)})

    terms = {"srrl": Term(PRESETS["srrl"]()["srrl"].loss, student="stage3", teacher="maps")}
    with pytest.raises(ConfigError, match="classifier='auto' is read from the teacher's own modules"):
        ready("srrl", Objective(terms), teacher=Recorded())


def test_labels_of_another_shape_are_refused() -> None:
    """Otherwise class ids are broadcast over every output."""
    module, batch = ready("multi_label")
    with pytest.raises(ShapeError, match="one label for every output"):
        module.distillation_loss({**batch, "labels": batch["labels"][:, 0]})
