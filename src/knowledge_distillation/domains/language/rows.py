"""One text a row: prompts that are read and completions that are learnt, padded batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.domains.tokenizers import beginning_of, end_of_text, ids_of
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
Pieces = Sequence[tuple[str, bool]]
"""A text in pieces, each with whether it is learnt."""
Encoded = dict[str, Tensor]
PADDING = {"labels": IGNORED, "spans": -1}
"""What stands in a batch behind a shorter row, by the end of the entry's name; else 0."""


def encoded(tokenizer: Any, pieces: Pieces, length: int, *, whole: bool = False) -> Encoded | None:
    """A text as input_ids and labels, int64 [tokens]; labels are -100 where nothing is learnt.

    Each piece is tokenized by itself, so that no token is half prompt and half completion.

    Args:
        tokenizer: of Transformers.
        pieces: of the text in order.
        length: what lies behind so many tokens is cut off.
        whole: the pieces hold the special tokens of a chat template; else the tokenizer's bos goes before the text and
            its eos behind it.

    Returns:
        None where no token is learnt: an empty completion, or a prompt that leaves no room.
    """
    ids = [] if whole else beginning_of(tokenizer)
    labels, has_answer = [IGNORED] * len(ids), False
    for text, is_learnt in pieces:
        found = ids_of(tokenizer, text)
        has_answer |= is_learnt and bool(found)
        ids += found
        labels += found if is_learnt else [IGNORED] * len(found)
    if not whole and pieces and pieces[-1][1]:
        ids.append(end_of_text(tokenizer))
        labels.append(ids[-1])
    ids, labels = ids[:length], labels[:length]
    if not has_answer or all(label == IGNORED for label in labels[1:]):
        return None
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}


def prompt_row(tokenizer: Any, record: Mapping[str, Any], length: int) -> Encoded | None:
    """A prompt alone as input_ids and labels of -100, int64 [tokens]; None where it is empty or too long.

    Args:
        tokenizer: of Transformers.
        record: with "prompt", or chat "messages" that end before the answer.
        length: tokens at most.

    Raises:
        ConfigError: as of `chat_pieces`, or if the messages end with an answer.
    """
    if "messages" in record:
        messages = record["messages"]
        if messages and messages[-1]["role"] == "assistant":
            raise ConfigError(
                "A prompt must end before the answer, and its messages end with one of the assistant: the student "
                "would answer to its own answer. Leave the last turn out, or use the data set 'jsonl'."
            )
        ids = ids_of(tokenizer, _templated(tokenizer, messages, add_generation_prompt=True))
    else:
        text = ids_of(tokenizer, record["prompt"])
        ids = [*beginning_of(tokenizer), *text] if text else []
    if not 0 < len(ids) <= length:
        return None
    return {"input_ids": torch.tensor(ids), "labels": torch.full((len(ids),), IGNORED)}


def chat_pieces(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> Pieces:
    """A conversation in the tokenizer's chat template; what the assistant says is learnt.

    Args:
        tokenizer: with a chat template.
        messages: [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}, ...].

    Raises:
        ConfigError: if there is no template, it refuses the messages, or it changes earlier turns when a later one
            comes, so that nobody could tell which tokens are the assistant's.
    """
    done, pieces = "", []
    for turn, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        before, after = (
            _templated(tokenizer, messages[: turn + said], add_generation_prompt=not said) for said in (0, 1)
        )
        if not before.startswith(done) or not after.startswith(before):
            raise ConfigError(
                "The chat template must only add to what stands there when a turn comes, and changes earlier turns: "
                "the assistant's tokens cannot be told from the others. Give one turn a record, or another template."
            )
        pieces += [(before[len(done) :], False), (after[len(before) :], True)]
        done = after
    return pieces


def _templated(tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool) -> str:
    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except Exception as error:  # a template is a program of its own
        raise ConfigError(
            f"The tokenizer's chat template must take the messages, and does not: {type(error).__name__}: {error} Use "
            "the tokenizer of a chat model, or records with 'prompt' and 'completion'."
        ) from error
    return text


class Rows(Dataset[Encoded]):
    """Encoded texts, each a row of its own length; `padded` makes batches of them.

    Args:
        rows: as of `encoded`; None are left out, and a warning says how many.

    Raises:
        ConfigError: if nothing is left.
    """

    def __init__(self, rows: Iterable[Encoded | None]) -> None:
        given = list(rows)
        self.rows = [row for row in given if row is not None]
        if not self.rows:
            raise ConfigError(
                f"Of {len(given)} records none has a token to learn: every text is empty, or its prompt alone fills "
                "`length`. Look at the records, or raise `length`."
            )
        if len(self.rows) < len(given):
            logger.warning(
                "%d of %d records are left out: their text is empty, or the prompt alone fills `length`.",
                len(given) - len(self.rows),
                len(given),
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Encoded:
        return self.rows[index]


def padded(rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """A batch: rows padded on the right to the longest, with an attention mask from their lengths, never from ids.

    Args:
        rows: with input_ids and labels, and the same with "teacher_" in front where its tokenizer is another one, then
            also "spans"; those of `Blocks` have their mask already.

    Example:
        >>> batch = padded([{"input_ids": torch.tensor([5, 6]), "labels": torch.tensor([-100, 6])},
        ...                 {"input_ids": torch.tensor([7]), "labels": torch.tensor([-100])}])
        >>> batch["attention_mask"].tolist(), batch["labels"].tolist()
        ([[1, 1], [1, 0]], [[-100, 6], [-100, -100]])
    """
    batch = {}
    for name in rows[0]:
        columns = [row[name] for row in rows]
        nothing = next((value for ending, value in PADDING.items() if name.endswith(ending)), 0)
        batch[name] = pad_sequence(columns, batch_first=True, padding_value=nothing)
        mask = name.replace("input_ids", "attention_mask")
        if mask != name and mask not in rows[0]:
            batch[mask] = pad_sequence([torch.ones_like(column) for column in columns], batch_first=True)
    return batch
