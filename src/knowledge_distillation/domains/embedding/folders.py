"""The folder of an embedding model as sentence-transformers reads and writes it: small JSON files and safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from knowledge_distillation.domains.embedding.files import file_in, json_in, write_json
from knowledge_distillation.domains.embedding.heads import Dense, Normalize, Pooling, PoolingMode
from knowledge_distillation.errors import ConfigError, nearest

MODULES = "modules.json"
WEIGHTS = "model.safetensors"
MODES: Mapping[str, PoolingMode] = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}  # nosec B105
"""Pooling by the names that all versions of sentence-transformers read."""
PREFIX = "pooling_mode_"
KNOWN = ("Transformer", "Pooling", "Dense", "Normalize", "StaticEmbedding")


def parts_of(place: str) -> list[tuple[str, str]]:
    """Kind and subfolder of each part of a model, in the order in which they are called.

    Args:
        place: a local folder, or an id of the Hugging Face hub. One without modules.json is a plain transformer, whose
            tokens sentence-transformers averages.

    Raises:
        ConfigError: if there is a part of another kind than `KNOWN`, or their order is another one.
    """
    listed = json_in(place, MODULES)
    if listed is None:
        return [("Transformer", ""), ("Pooling", "")]
    try:
        parts = [(str(entry["type"]).rpartition(".")[2], str(entry.get("path") or "")) for entry in listed]
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{MODULES} of {place!r} must list parts with a type and a path, and does not.") from error
    for kind, _ in parts:
        if kind not in KNOWN:
            raise ConfigError(
                f"The model {place!r} has a part {kind!r}, which is not known here, and without it the vectors would "
                f"be others. {nearest(kind, KNOWN)}"
            )
    kinds = [kind for kind, _ in parts]
    heads = {"Dense", "Normalize"}
    begins = 2 if kinds[:2] == ["Transformer", "Pooling"] else 1 if kinds[:1] == ["StaticEmbedding"] else 0
    if not begins or not {*kinds[begins:]} <= heads:
        raise ConfigError(
            f"An embedding model must be a transformer and its pooling, or a static embedding, and behind it only "
            f"{' and '.join(sorted(heads))}; {place!r} lists {kinds}. Take the model apart yourself, and pass a module."
        )
    return parts


def head_of(place: str, kind: str, folder: str) -> Pooling | Dense | Normalize:
    """A part behind the transformer, with its weights.

    Raises:
        ConfigError: if the pooling or the activation is not known or not said, or weights are missing or do not fit.
    """
    if kind == "Normalize":
        return Normalize()
    said = json_in(place, f"{folder}/config.json") if folder else {}
    if kind == "Pooling":
        if folder and not (said and isinstance(said, Mapping)):
            raise ConfigError(
                f"The pooling {folder!r} of {place!r} must say in config.json how tokens become a vector, and says "
                "nothing: by a guess the vectors could be others. Copy the file from where the model came from."
            )
        mode = _mode(place, said or {"pooling_mode": "mean"})
        return Pooling(mode, include_prompt=bool(said.get("include_prompt", True)))
    weights = file_in(place, f"{folder}/{WEIGHTS}")
    if not said or weights is None:
        raise ConfigError(
            f"The dense layer {folder!r} of {place!r} must have config.json and {WEIGHTS}: of other formats some hold "
            "code. Save the model again with a current version of sentence-transformers."
        )
    dense = Dense(
        int(said["in_features"]),
        int(said["out_features"]),
        bias=bool(said.get("bias", True)),
        activation=str(said.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2],
    )
    try:
        dense.load_state_dict(load_file(weights))
    except Exception as error:  # a broken file fails in several ways
        raise ConfigError(f"{weights} cannot be loaded into the dense layer: {error}") from error
    return dense


def static_weights(place: str, folder: str) -> Any:
    """The table of a static embedding, float32 [tokens, dimensions].

    Raises:
        ConfigError: if it is missing, or stands in parts of which rows are made first, as in some model2vec models.
    """
    file = file_in(place, f"{folder}/{WEIGHTS}" if folder else WEIGHTS)
    found = {} if file is None else load_file(file)
    if "embedding.weight" not in found:
        raise ConfigError(
            f"{place!r} must hold {WEIGHTS} with 'embedding.weight', a row for each token, and holds {sorted(found)}. "
            "Save it with sentence-transformers' StaticEmbedding."
        )
    return found["embedding.weight"].float()


def write_parts(folder: Path, first: str, heads: Sequence[Pooling | Dense | Normalize], width: int) -> None:
    """The parts of a model's folder behind its first one, and the list of all.

    Args:
        folder: that exists.
        first: kind of the first part.
        heads: the others, in order.
        width: of the vectors that the first part gives.
    """
    parts = [{"idx": 0, "name": "0", "path": "", "type": f"sentence_transformers.models.{first}"}]
    for number, head in enumerate(heads, 1):
        kind = type(head).__name__
        place = folder / f"{number}_{kind}"
        place.mkdir(exist_ok=True)
        entry = {"idx": number, "name": str(number), "path": place.name, "type": f"sentence_transformers.models.{kind}"}
        parts.append(entry)
        if isinstance(head, Pooling):
            modes = {f"{PREFIX}{name}": mode == head.mode for name, mode in MODES.items()}
            # only where it says something: the oldest versions that read such folders do not know it
            prompt = {} if head.include_prompt else {"include_prompt": False}
            write_json(place / "config.json", {"word_embedding_dimension": width, **modes, **prompt})
        elif isinstance(head, Dense):
            write_json(
                place / "config.json",
                {
                    "in_features": head.linear.in_features,
                    "out_features": head.linear.out_features,
                    "bias": head.linear.bias is not None,
                    "activation_function": f"{type(head.activation).__module__}.{type(head.activation).__name__}",
                },
            )
            weights = {name: value.detach().contiguous() for name, value in head.state_dict().items()}
            save_file(weights, place / WEIGHTS)
    write_json(folder / MODULES, parts)


def _mode(place: str, said: Mapping[str, Any]) -> PoolingMode:
    given = said.get("pooling_mode") or [name.removeprefix(PREFIX) for name, on in said.items() if on is True
                                         and name.startswith(PREFIX)]  # fmt: skip
    modes = [given] if isinstance(given, str) else list(given)
    found = [MODES.get(mode, mode) for mode in modes]
    if len(found) != 1 or found[0] not in MODES.values():
        raise ConfigError(
            f"The model {place!r} pools its tokens by {' and '.join(map(str, found)) or 'nothing'}, and what is known "
            f"here is one of {', '.join(MODES.values())}: by another way its vectors would mean nothing. Name another "
            "model."
        )
    return found[0]  # type: ignore[return-value]
