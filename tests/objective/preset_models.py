"""Small models and data for every preset: what each method asks of both, and no more."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.signals import Signals
from tests.training.toys import filled, seeded

OF_TOKENS = {"gkd", "distillm", "distillm_reverse", "minillm", "akl", "f_distill", "top_k", "ctc_kd", "distilbert"}
OF_HIDDEN_STATES = {"tinybert", "patient"}
OF_ATTENTION = {"minilm", "minilmv2"}
OF_TWO_TOKENIZERS = {"uld", "gold"}
OF_DETECTORS = {"fgd", "fbkd", "pkd_features", "one_stage_head", "two_stage_head"}
OF_PIXELS = {"pixel_kd", "cwd"}
OF_ONE_WIDTH = {"fsp", "kdsvd", "patient", "distilbert"}
"""Methods whose papers ask for layers of equal width."""


class Cnn(nn.Module):
    """Three sizes of maps, an embedding and a head; called by keyword."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU())
        self.stage3 = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(2 * width, 5)
        filled(self, seed)

    def features(self, images: Tensor) -> Tensor:
        return self.stage3(self.stage2(self.stage1(images)))

    def forward(self, images: Tensor) -> Any:
        return self.head(self.features(images).mean(dim=(2, 3)))


class Segmenter(Cnn):
    """Class scores for every pixel, as torchvision's segmentation models return them."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        scores = self.head(self.features(images).movedim(1, -1)).movedim(-1, 1)
        return {"out": nn.functional.interpolate(scores, size=images.shape[2:])}


class Detector(Cnn):
    """Scores, and two losses of its own as long as it trains."""

    def forward(self, images: Tensor) -> dict[str, Any]:
        scores = super().forward(images)
        own = {"objectness": scores[:, 0].square().mean(), "boxes": scores[:, 1:].square().mean()}
        return {"logits": scores, "loss": own if self.training else {}}


def head(model: nn.Module, batch: dict[str, Tensor], temperature: float = 1.0) -> Signals:
    """What a detector's head says of one anchor or proposal a picture, and the box that it should learn."""
    output = model(batch["images"])
    scores = output["logits"]
    return Signals(
        features={"objectness": scores[:, 0], "boxes": scores[:, 1:], "class_logits": scores},
        loss_terms=output["loss"],
        extras={"target_boxes": torch.zeros(len(scores), 4)},
    )


ADAPTERS: dict[str, Any] = {
    **dict.fromkeys(OF_TWO_TOKENIZERS, "two_tokenizers"),
    "dpkd": "response_pairs",
    "one_stage_head": head,
    "two_stage_head": head,
}


class Language(nn.Module):
    """Token logits, hidden states and attention maps, as a Hugging Face model returns them."""

    def __init__(self, width: int, layers: int, seed: int, words: int = 7) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.head = nn.Linear(width, words)
        filled(self, seed)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Any]:
        hidden = [self.embed(input_ids)]
        attentions = []
        for mix in self.mix:
            scores = hidden[-1] @ hidden[-1].transpose(1, 2) / math.sqrt(hidden[-1].shape[-1])
            attentions.append(scores.softmax(-1).unsqueeze(1))
            hidden.append(torch.tanh(mix(attentions[-1][:, 0] @ hidden[-1])))
        return {"logits": self.head(hidden[-1]), "hidden_states": tuple(hidden), "attentions": tuple(attentions)}


class Pooled(Language):
    """The same with one label a sentence."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Any]:
        output = super().forward(input_ids)
        return {**output, "logits": output["logits"].mean(dim=1)}


class SelfAttention(nn.Module):
    """Queries, keys and values named as in BERT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_attention_heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        def split(tokens: Tensor) -> Tensor:
            return tokens.unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)

        parts = (split(part(hidden)) for part in (self.query, self.key, self.value))
        seen = None if mask is None else mask.bool()[:, None, None]
        return nn.functional.scaled_dot_product_attention(*parts, attn_mask=seen).transpose(1, 2).flatten(-2)


class Encoder(nn.Module):
    """An encoder without a head: hidden states are all it gives."""

    def __init__(self, width: int, layers: int, seed: int, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, width)
        self.layer = nn.ModuleList(nn.ModuleDict({"self": SelfAttention(width, heads)}) for _ in range(layers))
        filled(self, seed)
        with torch.no_grad():
            for parameter in self.layer.parameters():
                parameter.mul_(0.2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        hidden = self.embed(input_ids)
        for layer in self.layer:
            hidden = hidden + layer["self"](hidden, attention_mask)
        return {"last_hidden_state": hidden}


def images(labels: Tensor | None = None, **others: Tensor) -> list[dict[str, Tensor]]:
    """Sixteen pictures with labels, one of five classes unless given, and the sample's index."""
    pixels = torch.randn(16, 3, 12, 12, generator=seeded(0))
    rows = {"images": pixels, "labels": torch.arange(16) % 5 if labels is None else labels, "index": torch.arange(16)}
    return rows_of(rows | others)


def rows_of(columns: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """One dict for each sample."""
    return [{name: column[row] for name, column in columns.items()} for row in range(len(next(iter(columns.values()))))]


def sentences(per_token: bool, **others: Tensor) -> list[dict[str, Tensor]]:
    ids = torch.randint(7, (16, 6), generator=seeded(0))
    return rows_of({"input_ids": ids, "labels": ids.roll(-1, 1) if per_token else ids[:, 0], **others})


def two_tokenizers() -> list[dict[str, Tensor]]:
    """Each text as six of the student's words and eight of the teacher's; the first two belong to no answer."""
    columns = {}
    for side, words, length in (("", 7, 6), ("teacher_", 9, 8)):
        ids = torch.randint(words, (16, length), generator=seeded(len(side)))
        labels = ids.roll(-1, 1)
        labels[:, :2] = -100
        columns |= {f"{side}input_ids": ids, f"{side}labels": labels, f"{side}attention_mask": torch.ones_like(ids)}
    return rows_of(columns)


def pairs() -> list[dict[str, Tensor]]:
    """Sixteen prompts, each with a response of the teacher's and one of the student's, of unequal length."""
    ids = torch.randint(7, (16, 2, 6), generator=seeded(0))
    labels = ids.roll(-1, 2)
    labels[:, 0, :1], labels[:, 1, :3] = -100, -100
    return rows_of({"input_ids": ids, "labels": labels})


def boxes() -> list[dict[str, Tensor]]:
    """Pictures with one object each."""
    return images(boxes=torch.tensor([[2.0, 2.0, 7.0, 9.0]]).expand(16, 1, 4), image_size=torch.full((16, 2), 12.0))


def pixels() -> list[dict[str, Tensor]]:
    """Pictures with a class for each pixel; the first row of pixels has none."""
    labels = torch.randint(5, (16, 12, 12), generator=seeded(1))
    labels[:, 0] = 255
    return images(labels)


def models_and_data(name: str) -> tuple[nn.Module, nn.Module, list[Any]]:
    """Student, teacher and samples that a preset can train on."""
    if name in OF_TOKENS:
        return Language(8, 2, 1), Language(8 if name in OF_ONE_WIDTH else 12, 4, 2), sentences(per_token=True)
    if name == "distillm2":
        return Language(8, 2, 1), Language(12, 4, 2), sentences(True, from_teacher=torch.arange(16) % 2 == 0)
    if name == "dpkd":
        return Language(8, 2, 1), Language(12, 4, 2), pairs()
    if name in OF_TWO_TOKENIZERS:
        return Language(8, 2, 1), Language(12, 4, 2, words=9), two_tokenizers()
    if name in OF_HIDDEN_STATES:
        return Pooled(8, 2, 1), Pooled(8 if name in OF_ONE_WIDTH else 12, 4, 2), sentences(per_token=False)
    if name in OF_ATTENTION:
        return Encoder(48, 2, 1), Encoder(96, 3, 2), sentences(per_token=False)
    if name in OF_PIXELS:
        return Segmenter(4, 1), Segmenter(6, 2), pixels()
    if name in OF_DETECTORS:
        return Detector(4, 1), Detector(6, 2), boxes()
    student, teacher = Cnn(4, 1), Cnn(4 if name in OF_ONE_WIDTH else 6, 2)
    if name == "multi_label":
        return student, teacher, images(torch.randint(2, (16, 5), generator=seeded(1)))
    if name == "bounded_regression":  # a teacher that is nearly right, so that it bounds something
        with torch.no_grad():
            return student, teacher, images(teacher.eval()(torch.stack([row["images"] for row in images()])) + 0.01)
    return student, teacher, images()
