"""Sentence embeddings by a transformer, loaded from and saved to the folders of sentence-transformers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.embedding.folders import head_of, parts_of, write_parts
from knowledge_distillation.domains.embedding.heads import Dense, Normalize, Pooling
from knowledge_distillation.domains.embedding.reduction import principal_axes
from knowledge_distillation.domains.embedding.settings import longest_text, warn_of_prompt, write_settings
from knowledge_distillation.domains.pretrained import check_fits, has_tokenizer_of, load_pretrained, positions_of
from knowledge_distillation.domains.tokenizers import load_tokenizer
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)


class SentenceEncoder(nn.Module):
    """A transformer, the pooling of its tokens, and what stands behind: token ids in, one vector a text out.

    Hidden states are read by module path, such as "encoder.encoder.layer.2", or by a role, such as "@last".

    Args:
        encoder: of Transformers; it gives "last_hidden_state".
        pooling: of the tokens.
        head: linear layers and normalisation, in order.
        source: where it was loaded from, for its tokenizer.
        length: tokens of a text that it reads at most.
    """

    def __init__(
        self, encoder: nn.Module, pooling: Pooling, head: Sequence[Dense | Normalize], *, source: str, length: int
    ) -> None:
        super().__init__()
        self.encoder, self.pooling, self.head = encoder, pooling, nn.Sequential(*head)
        self.source, self.length = source, length

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask, int64 [texts, tokens], to embeddings, float [texts, dimensions]."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        embeddings: Tensor = self.head(self.pooling(states, attention_mask))
        return embeddings

    @property
    def dimensions(self) -> int:
        """Length of an embedding."""
        dense = [part for part in self.head if isinstance(part, Dense)]
        config: Any = self.encoder.config
        return dense[-1].linear.out_features if dense else int(config.hidden_size)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that sentence-transformers loads and uses as the one that the model came from.

        Tokenizer, prompts, similarity and lower case are those of that one.

        Raises:
            ConfigError: if that tokenizer is not to be had any more.
        """
        home = Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        tokenizer = load_tokenizer(self.source)
        tokenizer.model_max_length = self.length
        tokenizer.save_pretrained(home)
        encoder: Any = self.encoder
        encoder.save_pretrained(home)
        write_settings(home, self.source, self.length)
        heads: list[Any] = [self.pooling, *self.head]
        write_parts(home, "Transformer", heads, encoder.config.hidden_size)


def sentence_encoder(
    path: str,
    *,
    dimensions: int | None = None,
    vocabulary: int = 0,
    length: int = 0,
    tokenizer_mark: int = 0,
    training_rows: Sequence[Sequence[int]] = (),
) -> nn.Module:
    """An embedding model: the transformer of a folder that sentence-transformers reads, its pooling and its head.

    No code of a repository is run, and weights are read from safetensors only. Dropout is off, also while it is
    trained: who copies vectors has nothing to memorise.

    Args:
        path: a local folder, or an id of the Hugging Face hub. A transformer without modules.json gets the mean of its
            tokens, and a warning says so; another one tells of a default prompt, which texts here do not get.
        dimensions: of shorter embeddings: a linear layer that keeps the principal axes of the model's embeddings of
            training texts (see `principal_axes`). None for none.
        vocabulary: tokens of the data's tokenizer; the model must have a row for each. 0 looks at nothing.
        length: tokens of the data's rows; the model must have as many positions. 0 looks at nothing.
        tokenizer_mark: `mark_of` the data's tokenizer, which must be the one that lies beside the model. 0 looks at
            nothing.
        training_rows: token ids of training texts, from the data; for `dimensions`.

    Raises:
        ConfigError: if there is no such model, a part of it is not known, the data does not fit it, or `dimensions` are
            more than it has.
        MissingExtraError: if Transformers is not installed.
    """
    parts = parts_of(path)
    if parts[0][0] != "Transformer":
        raise ConfigError(f"{path!r} is no transformer but a {parts[0][0]}. Load it by the name static_embedding.")
    if parts[1] == ("Pooling", ""):
        logger.warning("%r says nothing of its pooling (no modules.json): the mean of its tokens is taken.", path)
    warn_of_prompt(path)
    encoder = load_pretrained("AutoModel", path, "embedding model", extra="embedding")
    pooling, *head = (head_of(path, kind, folder) for kind, folder in parts[1:])
    check_fits(encoder, path, vocabulary, length)
    if tokenizer_mark and not has_tokenizer_of(path, (tokenizer_mark,)):
        raise ConfigError(
            f"The tokenizer that lies beside the model {path!r} is another one than the data's: the same ids mean "
            "other words to it, and nothing would show it. Name it as data.tokenizer; both models must read the same."
        )
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    limits = (longest_text(path, load_tokenizer(path)), positions_of(encoder))
    longest = min((limit for limit in limits if limit is not None), default=512)
    model = SentenceEncoder(encoder, pooling, head, source=path, length=longest)  # type: ignore[arg-type]
    return model if dimensions is None else reduced(model, dimensions, training_rows)


def reduced(model: SentenceEncoder, dimensions: int, rows: Sequence[Sequence[int]]) -> SentenceEncoder:
    """The model with a linear layer that keeps so many principal axes of its embeddings, and unit length behind it.

    Args:
        model: is changed and returned.
        dimensions: of the shorter embeddings, at least 1 and below what it has.
        rows: token ids of texts such as it will see; some thousands.

    Raises:
        ConfigError: if `dimensions` does not fit, or there are fewer texts than dimensions.
    """
    check_whole("dimensions", dimensions)
    if dimensions >= model.dimensions:
        raise ConfigError(
            f"dimensions must be below the {model.dimensions} that the embeddings of {model.source!r} have, got "
            f"{dimensions}: there is nothing to leave out. Choose fewer, or leave it out."
        )
    axes = principal_axes(model, dimensions, rows)
    dense = Dense(model.dimensions, dimensions)
    dense.linear.weight.data.copy_(axes)
    kept = [part for part in model.head if not isinstance(part, Normalize)]
    model.head = nn.Sequential(*kept, dense, Normalize())
    return model
