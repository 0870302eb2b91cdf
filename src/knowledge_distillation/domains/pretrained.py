"""Models of Transformers with their weights, by local folder or hub id, and whether the data fits them."""

from __future__ import annotations

from typing import Any

from torch import nn

from knowledge_distillation.domains.tokenizers import load_tokenizer, mark_of
from knowledge_distillation.errors import ConfigError, MissingExtraError


def load_pretrained(kind: str | type[Any], path: str, what: str, *, extra: str = "text", **settings: Any) -> Any:
    """A model, or its configuration, as one of Transformers' Auto classes loads it; no code of a repository is run.

    Args:
        kind: name of the Auto class, such as "AutoModelForMaskedLM"; or a model's class itself.
        path: a local folder, or an id of the Hugging Face hub.
        what: such a model in words, for the messages: "causal language model".
        extra: of this package that brings Transformers where the model is wanted.
        settings: of `from_pretrained`. Without a `gguf_file` weights are read from safetensors only.

    Raises:
        ConfigError: if there is no such model.
        MissingExtraError: if Transformers, or what a GGUF file needs, is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            f"A {what} needs Transformers: pip install 'knowledge-distillation-toolkit[{extra}]'"
        ) from error
    where = {} if kind in ("AutoConfig", "GenerationConfig") or "gguf_file" in settings else {"use_safetensors": True}
    try:
        # whoever wrote them, weights of these kinds hold no code
        made: Any = getattr(transformers, kind) if isinstance(kind, str) else kind
        return made.from_pretrained(path, **where, **settings)
    except ImportError as error:
        raise MissingExtraError(
            f"{path!r} cannot be loaded: {error} For GGUF: pip install 'knowledge-distillation-toolkit[gguf]'"
        ) from error
    except Exception as error:  # it fails in as many ways as there are files
        raise ConfigError(
            f"No {what} can be loaded from {path!r}: {type(error).__name__}: {str(error)[:300]} Name a local folder "
            "with config.json and safetensors, or an id of the Hugging Face hub."
        ) from error


def check_fits(model: Any, path: str, vocabulary: int, length: int) -> None:
    """Raise ConfigError unless a model has a row for each token and a position for each place of the data's rows.

    Args:
        model: of Transformers.
        path: where it came from, for the message.
        vocabulary: tokens of the data's tokenizer; 0 looks at nothing.
        length: tokens of the data's rows; 0 looks at nothing.
    """
    rows = model.get_input_embeddings().num_embeddings
    if rows < vocabulary:
        raise ConfigError(
            f"The model {path!r} must know the {vocabulary:,} tokens of the data's tokenizer, and has {rows:,}: it is "
            "the tokenizer of another model. Name the model's own."
        )
    longest = positions_of(model)
    if longest is not None and length > longest:
        raise ConfigError(
            f"The data's rows must have at most {longest} tokens, the positions of {path!r}, and have {length}: what "
            "it says beyond them means nothing. Set data.length."
        )


def positions_of(model: nn.Module) -> int | None:
    """How many tokens a model has positions for; None where it does not say."""
    longest = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(longest, int):
        return None
    learnt = (module for path, module in model.named_modules() if path.endswith("position_embeddings"))
    table = next((module for module in learnt if isinstance(module, nn.Embedding)), None)
    # RoBERTa and its kin count from the place behind the padding's
    return longest if table is None or table.padding_idx is None else longest - table.padding_idx - 1


def has_tokenizer_of(path: str, marks: tuple[int, ...]) -> bool:
    """Whether the tokenizer that lies beside a model has one of these marks (`mark_of`); true where none lies there."""
    try:
        own = load_tokenizer(path)
    except ConfigError:
        return True
    return mark_of(own) in marks
