"""Encoders with their weights and a head for the task, by local folder or hub id."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from knowledge_distillation.domains.pretrained import check_fits, has_tokenizer_of, load_pretrained
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
INSIDE = {"output_hidden_states": True}
ATTENTION = {"output_attentions": True, "attn_implementation": "eager"}
"""Only the eager kind of attention gives its weights out."""
Pooling = Literal["own", "mean"]
MEAN = "MeanPooledClassifier"


def text_classifier(
    path: str,
    *,
    pooling: Pooling = "own",
    inside: bool = False,
    classes: int = 2,
    class_names: Sequence[str] = (),
    vocabulary: int = 0,
    length: int = 0,
    tokenizer_mark: int = 0,
) -> nn.Module:
    """An encoder that gives a class to a text, as Transformers' AutoModelForSequenceClassification loads it.

    No code of a repository is run, and weights are read from safetensors only. An encoder without such a head gets a
    new one, to be trained, and a warning says so.

    Args:
        path: a local folder, or an id of the Hugging Face hub.
        pooling: what a new head reads. "own": what Transformers has for this kind of encoder, for BERT the state of
            the first token; "mean": the mean of all tokens' last states, as sentence encoders are trained to be read.
            A trained head stays, and a warning says so.
        inside: whether it also returns "hidden_states" and "attentions", for TinyBERT and Patient KD.
        classes: outputs; of the data.
        class_names: of the data, in their order, which a trained head must have too unless its classes have no names.
            The model is saved with them. () looks at nothing.
        vocabulary: tokens of the data's tokenizer; the model must have a row for each. 0 looks at nothing.
        length: tokens of the data's rows; the model must have as many positions. 0 looks at nothing.
        tokenizer_mark: `mark_of` the data's tokenizer, which must be the one that lies beside the model. 0 looks at
            nothing.

    Raises:
        ConfigError: if there is no such model, or the data does not fit it.
        MissingExtraError: if Transformers is not installed.
    """
    facts = (classes, class_names, vocabulary, length, tokenizer_mark)
    return _with_head("SequenceClassification", "text classifier", path, inside, pooling, *facts)


def token_classifier(
    path: str,
    *,
    inside: bool = False,
    classes: int = 2,
    class_names: Sequence[str] = (),
    vocabulary: int = 0,
    length: int = 0,
    tokenizer_mark: int = 0,
) -> nn.Module:
    """An encoder that gives a tag to every token; arguments and errors as of `text_classifier`."""
    facts = (classes, class_names, vocabulary, length, tokenizer_mark)
    return _with_head("TokenClassification", "token classifier", path, inside, "own", *facts)


def masked_lm(
    path: str, *, inside: bool = False, vocabulary: int = 0, length: int = 0, tokenizer_mark: int = 0
) -> nn.Module:
    """An encoder that guesses hidden words, as AutoModelForMaskedLM loads it; arguments and errors as above."""
    model = load_pretrained("AutoModelForMaskedLM", path, "masked language model", **_settings(inside))
    return _checked(model, path, vocabulary, length, tokenizer_mark)


def _with_head(
    head: str, what: str, path: str, inside: bool, pooling: Pooling, classes: int,
    class_names: Sequence[str], vocabulary: int, length: int, tokenizer: int,
) -> nn.Module:  # fmt: skip
    config = load_pretrained("AutoConfig", path, what)
    made_of = [str(name) for name in config.architectures or ()]
    own = any(name.endswith(f"For{head}") for name in made_of)
    if own and pooling == "mean":
        logger.warning("The head of %r is trained and stays: pooling, 'mean', is for a new one.", path)
    if own or MEAN in made_of:
        _check_classes(config, path, classes, class_names)
        given = {}
    else:
        logger.warning("The head of %r is new: %d classes that it knows nothing of. Train it first.", path, classes)
        given = {"num_labels": classes}
    settings = {**given, **_settings(inside)}
    if MEAN in made_of or (pooling == "mean" and not own):
        model = _mean_pooled(path, what, settings)
    else:
        model = load_pretrained(f"AutoModelFor{head}", path, what, **settings)
    if len(class_names) == classes:
        model.config.id2label = dict(enumerate(class_names))
        model.config.label2id = {name: number for number, name in enumerate(class_names)}
    return _checked(model, path, vocabulary, length, tokenizer)


def _mean_pooled(path: str, what: str, settings: dict[str, Any]) -> Any:
    from knowledge_distillation.domains.text.mean_pooling import MeanPooledClassifier

    config = load_pretrained("AutoConfig", path, what, **settings)
    return load_pretrained(MeanPooledClassifier, path, what, config=config)


def _check_classes(config: Any, path: str, classes: int, class_names: Sequence[str]) -> None:
    names = [str(config.id2label[number]) for number in range(config.num_labels)]
    if config.num_labels != classes:
        raise ConfigError(
            f"The model {path!r} was trained for the {config.num_labels} classes {names[:10]}, and the data has "
            f"{classes}: its answers are to another question. Name data of these classes, or an encoder without a head."
        )
    is_named = any(name != f"LABEL_{number}" for number, name in enumerate(names))
    if is_named and class_names and names != list(class_names):
        raise ConfigError(
            f"The classes of the model {path!r} are {names[:10]} in this order, and the data has others or another "
            f"order, {list(class_names)[:10]}: every answer would be taken for that of another class. Set data.classes "
            "to the model's."
        )


def _settings(inside: bool) -> dict[str, Any]:
    return {**INSIDE, **ATTENTION} if inside else {}


def _checked(model: Any, path: str, vocabulary: int, length: int, tokenizer: int) -> nn.Module:
    check_fits(model, path, vocabulary, length)
    if tokenizer and not has_tokenizer_of(path, (tokenizer,)):
        raise ConfigError(
            f"The tokenizer that lies beside the model {path!r} is another one than the data's: the same ids mean "
            "other words to it, and nothing would show it. Name it as data.tokenizer; both models must read the same."
        )
    encoder: nn.Module = model
    return encoder
