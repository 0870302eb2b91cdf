"""Small real and made data, and teachers that have learnt them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from knowledge_distillation.domains.vision.data import digits

WORDS, LENGTH, TOPICS = 40, 12, 4
CHAIN = 24
"""Tokens of the made language, in which each token is followed by one of two."""


# -- pictures ----------------------------------------------------------------------------------------------------------


class Cnn(nn.Module):
    """Two convolutions with batch normalisation and a linear layer, for 8 x 8 pictures."""

    def __init__(self, channels: int = 1, width: int = 16, classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width * 16, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.dropout(self.body(self.stem(pictures)).flatten(1)))


def mlp(width: int = 16, inputs: int = 64, classes: int = 10) -> nn.Module:
    """A small perceptron on flattened inputs."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, classes))


@cache
def pictures() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Real digits from 0 to 1: training pictures and labels, test pictures and labels."""
    data = digits()
    train, test = data.train.dataset.tensors, data.validation["test"].dataset.tensors
    return (*train, *test)


def coloured(images: Tensor) -> Tensor:
    """Three unlike channels of a grey picture."""
    return torch.cat([images, 0.5 * images.flip(2), 1 - images], dim=1)


Render = Callable[[Tensor], Tensor]


def plain(images: Tensor) -> Tensor:
    """The pictures as they are."""
    return images


def loaders(
    render: Render = plain, *, labels: Callable[[Tensor], Tensor] = plain, batch: int = 64, shuffle: bool = True
) -> dict[str, Any]:
    """The two loaders of the digits.

    Args:
        render: pictures -> what the loaders give.
        labels: labels -> what the loaders give.
        batch: items in a batch.
        shuffle: the training data.
    """
    images, truth, test, test_truth = pictures()
    return {
        "train_loader": DataLoader(TensorDataset(render(images), labels(truth)), batch, shuffle=shuffle),
        "val_loaders": {"test": DataLoader(TensorDataset(render(test), labels(test_truth)), 250)},
    }


@cache
def _learnt_pictures(make: Callable[[], nn.Module], render: Render, epochs: int) -> nn.Module:
    images, truth, _, _ = pictures()
    return learnt(make, TensorDataset(render(images), truth), epochs=epochs)


def picture_teacher(make: Callable[[], nn.Module] = Cnn, render: Render = plain, epochs: int = 6) -> nn.Module:
    """A copy of a network that has learnt the digits in one rendering."""
    return copy.deepcopy(_learnt_pictures(make, render, epochs))


def picture_recipe(render: Render = plain, **changes: Any) -> dict[str, Any]:
    """A healthy training on digits, with some arguments changed."""
    torch.manual_seed(1)
    channels = render(pictures()[0][:2]).shape[1]
    make = Cnn if channels == 1 else coloured_cnn
    recipe = {"teacher": picture_teacher(make, render), "student": mlp(inputs=64 * channels), **loaders(render)}
    return {**recipe, **changes}


def coloured_cnn() -> nn.Module:
    """A network for three channels."""
    return Cnn(channels=3)


# -- learning ----------------------------------------------------------------------------------------------------------


def learnt(
    make: Callable[[], nn.Module],
    data: Dataset[Any],
    *,
    epochs: int,
    loss: Callable[[Any, Any], Tensor] = F.cross_entropy,
    batch: int = 64,
    rate: float = 3e-3,
    collate: Callable[[list[Any]], Any] | None = None,
) -> nn.Module:
    """A network trained from scratch, always the same; in eval mode.

    Args:
        make: the network.
        data: gives (inputs, labels), or what `collate` makes such pairs of.
        epochs: over the data.
        loss: (output, labels) -> scalar.
        batch: items in a step.
        rate: Adam's learning rate.
        collate: of the loader; may give a dict, whose "labels" are the labels.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        model = make().train()
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        for _ in range(epochs):
            for entry in DataLoader(data, batch, shuffle=True, collate_fn=collate):
                inputs, labels = _pair(entry)
                output = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
                value = loss(output.logits if hasattr(output, "logits") else output, labels)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
    return model.eval()


def _pair(entry: Any) -> tuple[Any, Any]:
    if isinstance(entry, Mapping):
        return {key: value for key, value in entry.items() if key != "labels"}, entry["labels"]
    return entry


# -- texts -------------------------------------------------------------------------------------------------------------


class Bag(nn.Module):
    """The mean of the embeddings of the tokens that count, and a linear layer."""

    def __init__(self, width: int = 32, words: int = WORDS, classes: int = TOPICS) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        counts = attention_mask.unsqueeze(-1).float()
        mean = (self.words(input_ids) * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
        return self.head(self.hidden(mean))


class Tagger(nn.Module):
    """A recurrent network that gives every token a tag."""

    def __init__(self, width: int = 32, words: int = WORDS, tags: int = 3) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.reader = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, tags)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.head(self.reader(self.words(input_ids))[0])


@cache
def texts(count: int = 600, seed: int = 0) -> list[tuple[list[int], int]]:
    """Made texts: tokens 1..39, most from the ten of the text's topic; lengths 4 to 12."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        topic = int(torch.randint(TOPICS, (1,), generator=generator))
        length = int(torch.randint(4, LENGTH + 1, (1,), generator=generator))
        own = torch.rand(length, generator=generator) < 0.7
        tokens = torch.where(
            own,
            1 + topic * 9 + torch.randint(9, (length,), generator=generator),
            torch.randint(1, WORDS, (length,), generator=generator),
        )
        made.append((tokens.tolist(), topic))
    return made


def padded(samples: Sequence[tuple[list[int], int]], *, tags: bool = False) -> dict[str, Tensor]:
    """A batch of texts as a dict, with 0 for padding."""
    longest = max(len(tokens) for tokens, _ in samples)
    ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens, _ in samples])
    mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens, _ in samples])
    labels = torch.tensor([topic for _, topic in samples])
    if tags:
        labels = (ids % 3).masked_fill(mask == 0, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def tagged(samples: Sequence[tuple[list[int], int]]) -> dict[str, Tensor]:
    """The same with a tag for every token."""
    return padded(samples, tags=True)


def text_loaders(collate: Callable[[Any], Any] = padded, batch: int = 32) -> dict[str, Any]:
    """The two loaders of the texts."""
    return {
        "train_loader": DataLoader(texts(), batch, shuffle=True, collate_fn=collate),  # type: ignore[arg-type]
        "val_loaders": {"test": DataLoader(texts(300, 1), 100, collate_fn=collate)},  # type: ignore[arg-type]
    }


def _flat(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


@cache
def _learnt_texts() -> nn.Module:
    return learnt(Bag, texts(), epochs=8, collate=padded)  # type: ignore[arg-type]


@cache
def _learnt_tags() -> nn.Module:
    return learnt(Tagger, texts(), epochs=6, collate=tagged, loss=_flat)  # type: ignore[arg-type]


def text_recipe(**changes: Any) -> dict[str, Any]:
    """A healthy training of a text classifier, with some arguments changed."""
    torch.manual_seed(1)
    recipe = {"teacher": copy.deepcopy(_learnt_texts()), "student": Bag(width=8), **text_loaders()}
    return {**recipe, **changes}


def tag_recipe(**changes: Any) -> dict[str, Any]:
    """A healthy training of a tagger, with some arguments changed."""
    torch.manual_seed(1)
    recipe = {"teacher": copy.deepcopy(_learnt_tags()), "student": Tagger(width=8), **text_loaders(tagged)}
    return {**recipe, **changes}


# -- language ----------------------------------------------------------------------------------------------------------


class Language(nn.Module):
    """A recurrent language model: token ids -> logits of the next token, if it is trained so."""

    def __init__(self, width: int = 32, vocabulary: int = CHAIN) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.reader = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.head(self.reader(self.words(input_ids))[0])


@cache
def sentences(count: int = 400, seed: int = 0, length: int = 16) -> Tensor:
    """Made sentences: each token is followed by the next or the one after that."""
    generator = torch.Generator().manual_seed(seed)
    jumps = 1 + (torch.rand(count, length, generator=generator) < 0.5).long()
    start = torch.randint(CHAIN, (count, 1), generator=generator)
    return (start + jumps.cumsum(dim=1)) % CHAIN


def shifted(ids: Tensor) -> Tensor:
    """The next token as label; -100 at the last place."""
    return torch.cat([ids[:, 1:], ids.new_full((len(ids), 1), -100)], dim=1)


def as_dict(labels: Callable[[Tensor], Tensor], rows: Sequence[Tensor]) -> dict[str, Tensor]:
    """A collate function: token ids, a mask of ones, and labels."""
    ids = torch.stack(list(rows))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels(ids)}


def language_loaders(labels: Callable[[Tensor], Tensor] = shifted, change: Any = None) -> dict[str, Any]:
    """The two loaders of the sentences.

    Args:
        labels: token ids -> labels.
        change: a collate function in the place of `as_dict`.
    """
    collate = change or partial(as_dict, labels)
    return {
        "train_loader": DataLoader(list(sentences()), 32, shuffle=True, collate_fn=collate),  # type: ignore[arg-type]
        "val_loaders": {"test": DataLoader(list(sentences(100, 1)), 50, collate_fn=collate)},  # type: ignore[arg-type]
    }


def _next_token(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


@cache
def _learnt_language(make: Callable[[], nn.Module], epochs: int) -> nn.Module:
    collate = partial(as_dict, shifted)
    return learnt(make, list(sentences()), epochs=epochs, collate=collate, loss=_next_token)  # type: ignore[arg-type]


def language_teacher(make: Callable[[], nn.Module] = Language, epochs: int = 8) -> nn.Module:
    """A copy of a language model that has learnt the sentences."""
    return copy.deepcopy(_learnt_language(make, epochs))


def learnt_language_of(words: int) -> nn.Module:
    """A language model with more tokens than occur."""
    return copy.deepcopy(_learnt_language(partial(Language, vocabulary=words), 4))


def language_recipe(**changes: Any) -> dict[str, Any]:
    """A healthy training of a language model, with some arguments changed."""
    torch.manual_seed(1)
    recipe = {"teacher": language_teacher(), "student": Language(width=8), **language_loaders(), "objective": LANGUAGE}
    return {**recipe, **changes}


LANGUAGE = {"kd": {"loss": "forward_kl"}, "cross_entropy": 1.0}


def gpt2(width: int = 32, layers: int = 2) -> nn.Module:
    """A tiny GPT-2 with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(vocab_size=CHAIN, n_positions=32, n_embd=width, n_layer=layers, n_head=2, bos_token_id=0,
                   eos_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    )  # fmt: skip


def bert(width: int = 32, layers: int = 2) -> nn.Module:
    """A tiny BERT classifier with random weights."""
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(vocab_size=WORDS, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
                   intermediate_size=2 * width, max_position_embeddings=32, num_labels=TOPICS)
    )  # fmt: skip


@cache
def _learnt_bert() -> nn.Module:
    return learnt(bert, texts(), epochs=8, collate=padded)  # type: ignore[arg-type]


def bert_recipe(**changes: Any) -> dict[str, Any]:
    """A healthy training of a BERT classifier, with some arguments changed."""
    torch.manual_seed(1)
    recipe = {"teacher": copy.deepcopy(_learnt_bert()), "student": bert(16, 1), **text_loaders()}
    return {**recipe, **changes}


# -- values ------------------------------------------------------------------------------------------------------------


@cache
def values() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Eight numbers and a smooth function of them: training and test."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(800, 8, generator=generator)
    targets = (inputs[:, :1].sin() + 0.5 * inputs[:, 1:2] * inputs[:, 2:3]) + 0.05 * torch.randn(
        800, 1, generator=generator
    )
    return inputs[:600], targets[:600], inputs[600:], targets[600:]


def regressor(width: int = 64) -> nn.Module:
    """A perceptron with one output."""
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 1))


@cache
def _learnt_values() -> nn.Module:
    inputs, targets, _, _ = values()
    return learnt(regressor, TensorDataset(inputs, targets), epochs=20, loss=F.mse_loss)


class MeanSquaredError:
    """A pipeline of the user's own, which says that lower is better."""

    higher_is_better = False

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, float]:
        with torch.no_grad():
            errors = [F.mse_loss(model(inputs), targets) for inputs, targets in data_loader]
        return {"inference_result": float(torch.stack(errors).mean())}


def value_recipe(**changes: Any) -> dict[str, Any]:
    """A healthy regression, with some arguments changed."""
    torch.manual_seed(1)
    inputs, targets, test, test_targets = values()
    recipe = {
        "teacher": copy.deepcopy(_learnt_values()),
        "student": regressor(8),
        "train_loader": DataLoader(TensorDataset(inputs, targets), 64, shuffle=True),
        "val_loaders": {"mse": DataLoader(TensorDataset(test, test_targets), 100)},
        "objective": "bounded_regression",
        "pipeline": MeanSquaredError(),
    }
    return {**recipe, **changes}


# -- frames ------------------------------------------------------------------------------------------------------------


class Frames(nn.Module):
    """A recurrent network over frames, as of speech: one class for every frame."""

    def __init__(self, width: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.reader = nn.GRU(8, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, frames: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.head(self.reader(frames)[0])


def framed(masked: bool, rows: Sequence[tuple[Tensor, Tensor]]) -> Any:
    """Digits read row by row, cut to lengths of their own and filled with zeros."""
    frames = torch.stack([image[0] for image, _ in rows]) + 0.1
    lengths = torch.tensor([4 + int(label) % 5 for _, label in rows])
    mask = torch.arange(frames.shape[1]) < lengths[:, None]
    frames = frames * mask[..., None]
    labels = torch.stack([label for _, label in rows])[:, None].expand(mask.shape)
    if not masked:
        return frames, labels.contiguous()
    return {"frames": frames, "attention_mask": mask.long(), "labels": labels.masked_fill(~mask, -100)}


@cache
def _learnt_frames() -> nn.Module:
    images, labels, _, _ = pictures()
    return learnt(Frames, TensorDataset(images, labels), epochs=8, collate=partial(framed, True), loss=_flat)


def frame_recipe(masked: bool = True, **changes: Any) -> dict[str, Any]:
    """A healthy training on sequences of frames; without the mask, padding counts."""
    torch.manual_seed(1)
    images, labels, test, truth = pictures()
    collate = partial(framed, masked)
    recipe = {
        "teacher": copy.deepcopy(_learnt_frames()),
        "student": Frames(width=8),
        "train_loader": DataLoader(TensorDataset(images, labels), 64, shuffle=True, collate_fn=collate),
        "val_loaders": {"test": DataLoader(TensorDataset(test, truth), 100, collate_fn=collate)},
    }
    return {**recipe, **changes}
