"""Where each token of the teacher has its place in the student's vocabulary, as a sparse matrix."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.domains.tokenizers import tokens_of


def projection(student: Any, teacher: Any) -> Tensor:
    """The matrix that brings the teacher's probabilities to the student's tokens, for the loss `projection_kl`.

    The mass of a token goes to the student's token that is its longest beginning, in bytes; a token that both have
    goes to itself, and the end of a text to the end of a text. Special tokens of one side alone, and tokens of which
    the student knows no beginning, have no place.

    Args:
        student, teacher: their tokenizers.

    Returns:
        Sparse COO tensor, float32, shape [teacher's tokens, student's tokens]; each row has one entry of 1, or none.

    Reference: arXiv:2607.22334, byte-prefix marginalization.
    """
    own = {content: token for token, content in sorted(surfaces(student).items(), reverse=True)}
    places = {}
    for token, content in surfaces(teacher).items():
        found = next((own[content[:end]] for end in range(len(content), 0, -1) if content[:end] in own), None)
        if found is not None:
            places[token] = found
    for token in {*student.all_special_tokens} & {*teacher.all_special_tokens}:
        places[teacher.convert_tokens_to_ids(token)] = student.convert_tokens_to_ids(token)
    if None not in (student.eos_token_id, teacher.eos_token_id):
        places[teacher.eos_token_id] = student.eos_token_id
    entries = torch.tensor(sorted(places.items()), dtype=torch.int64).reshape(-1, 2).t()
    size = tokens_of(teacher), tokens_of(student)
    return torch.sparse_coo_tensor(entries, torch.ones(entries.shape[1]), size, check_invariants=True).coalesce()


def surfaces(tokenizer: Any) -> dict[int, bytes]:
    """The bytes that each token writes behind another one, by its id; special tokens write none.

    Args:
        tokenizer: of Transformers.
    """
    special = set(tokenizer.all_special_ids)
    ordinary = {token: piece for piece, token in tokenizer.get_vocab().items() if token not in special}
    if _is_byte_level(tokenizer):
        alphabet = _byte_alphabet()
        added = tokenizer.get_added_vocab()
        return {
            token: piece.encode() if piece in added else bytes(alphabet[sign] for sign in piece)
            for token, piece in ordinary.items()
            if piece in added or all(sign in alphabet for sign in piece)
        }
    anchor = next((token for token, piece in sorted(ordinary.items()) if piece.isascii() and piece.isalnum()), None)
    if anchor is None:
        return {}
    before = tokenizer.decode([anchor], clean_up_tokenization_spaces=False)
    texts = tokenizer.batch_decode([[anchor, token] for token in ordinary], clean_up_tokenization_spaces=False)
    found = {}
    for (token, piece), text in zip(ordinary.items(), texts, strict=True):
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):  # SentencePiece falls back on bytes
            found[token] = bytes.fromhex(piece[3:5])
        elif text.startswith(before) and len(text) > len(before):
            found[token] = text[len(before) :].encode()
    return found


def _is_byte_level(tokenizer: Any) -> bool:
    """Whether tokens are written in GPT-2's alphabet of bytes."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return False
    told = json.loads(backend.decoder.__getstate__())  # the one way to see the parts of a sequence
    return any(part["type"] == "ByteLevel" for part in (told, *told.get("decoders", ())))


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's sign for each byte: itself where it can be printed, else the next free one from 256 on."""
    printed = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printed]
    return {**{chr(byte): byte for byte in printed}, **{chr(256 + at): byte for at, byte in enumerate(others)}}
