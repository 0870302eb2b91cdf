"""What goes wrong for a user who loads, shortens or saves an embedding model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from knowledge_distillation.domains.catalogue import build_model, comes_with_weights
from knowledge_distillation.domains.embedding import embedded, sentence_encoder, sentences, static_embedding
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.students import keep_layers
from tests.domains.embedding import tiny


def ids_of(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [row.ids for row in tokenizer(texts, truncation=True, max_length=48).encodings]


def states(folder: str, ids: list[int]) -> Tensor:
    """Hidden states [tokens, width] of one text alone, so that nothing is padded; the oracle of all poolings."""
    from transformers import AutoModel

    with torch.no_grad():
        return AutoModel.from_pretrained(folder)(torch.tensor([ids])).last_hidden_state[0]


POOLED = {
    "mean_tokens": lambda found: found.mean(dim=0),
    "cls_token": lambda found: found[0],
    "max_tokens": lambda found: found.max(dim=0).values,
}


@pytest.mark.parametrize("mode", POOLED)
@pytest.mark.parametrize("form", ["old", "new"])
def test_each_pooling_gives_what_single_texts_give(
    mode: str, form: str, tokenizer: Any, texts: list[str], tmp_path: Path
) -> None:
    """Otherwise padding moves the vectors, or a model is pooled in another way than it was trained."""
    part = tiny.pooling(mode)
    if form == "new":
        part = ("Pooling", {"embedding_dimension": tiny.WIDTH, "pooling_mode": mode.partition("_")[0]})
    place = tiny.saved(tmp_path, tiny.bert(len(tokenizer)), tokenizer, part)
    rows = ids_of(tokenizer, texts[:5])
    assert len({len(row) for row in rows}) > 1
    ours = embedded(sentence_encoder(place), rows)
    theirs = torch.stack([POOLED[mode](states(place, row)) for row in rows])
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_padding_on_the_left_moves_no_vector(tokenizer: Any, texts: list[str], tmp_path: Path) -> None:
    """Otherwise a loader that pads on the left makes the padding's state the embedding."""
    from knowledge_distillation.domains.embedding.heads import pooled

    found = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    left = torch.cat([torch.full((1, 2, 3), 99.0), found], dim=1)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1]])
    for mode in ("mean", "cls", "max"):
        torch.testing.assert_close(pooled(left, mask, mode), pooled(found, torch.ones(1, 5), mode))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([tiny.pooling("mean_sqrt_len_tokens")], "pools its tokens by mean_sqrt_len_tokens"),
        ([tiny.pooling("mean_tokens", "max_tokens")], "pools its tokens by mean and max"),
        ([("Pooling", {"pooling_mode": "lasttoken"})], "pools its tokens by lasttoken"),
        ([tiny.pooling()], "pools its tokens by nothing"),
        ([tiny.pooling("mean_tokens"), ("LSTM", {})], "has a part 'LSTM'"),
        ([("Normalize", None)], "must be a transformer and its pooling"),
        ([tiny.pooling("mean_tokens"), ("Dense", {"in_features": 32, "out_features": 8})], "must have config.json and"),
    ],
    ids=["root", "two", "last", "none", "unknown part", "no pooling", "dense without weights"],
)
def test_a_folder_that_would_give_other_vectors_is_refused(
    parts: Any, message: str, tokenizer: Any, tmp_path: Path
) -> None:
    """Otherwise a model is run without a part of it, and its vectors mean nothing."""
    place = tiny.saved(tmp_path, tiny.bert(len(tokenizer), layers=1), tokenizer, *parts)
    with pytest.raises(ConfigError, match=message):
        sentence_encoder(place)


def test_an_activation_is_never_imported_by_its_name(tokenizer: Any, tmp_path: Path) -> None:
    """Otherwise whoever writes the folder chooses what is run."""
    dense = ("Dense", {"in_features": 32, "out_features": 8, "activation_function": "os.system"})
    place = tiny.saved(tmp_path, tiny.bert(len(tokenizer), 1), tokenizer, tiny.pooling("mean_tokens"), dense)
    (tmp_path / "2_Dense" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="activation of a dense layer must be one of"):
        sentence_encoder(place)


@pytest.mark.parametrize("content", [None, "{}"], ids=["missing", "empty"])
def test_a_pooling_that_is_named_and_not_said_is_refused(content: str | None, tokenizer: Any, tmp_path: Path) -> None:
    """Otherwise a model whose download broke off is averaged, though it was trained by its first token."""
    place = tiny.saved(tmp_path, tiny.bert(len(tokenizer), 1), tokenizer, ("Pooling", None))
    if content is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"'1_Pooling' of .* must say in config\.json how tokens become a vector"):
        sentence_encoder(place)


def test_a_plain_transformer_says_that_its_pooling_is_a_guess(
    tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise vectors of a model that never was one of embeddings are taken for good."""
    tiny.bert(len(tokenizer), 1).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    sentence_encoder(str(tmp_path))
    assert "says nothing of its pooling" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dimensions": 32}, "must be below the 32"),
        ({"dimensions": 40}, "must be below the 32"),
        ({"dimensions": 0}, "dimensions must be a whole number"),
        ({"length": 65}, "at most 64 tokens"),
        ({"vocabulary": 4000}, "must know the 4,000 tokens"),
        ({"tokenizer_mark": 5}, "is another one than the data's"),
        ({"path": "no/such/place"}, "can be loaded from 'no/such/place'"),
        ({"dimensions": 8, "training_rows": [[1, 2]] * 3}, "there are 3"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(settings: Any, message: str, model: str, lines: str) -> None:
    """Otherwise the same ids mean other words, or axes are made up that the embeddings do not have."""
    data = sentences(path=lines, tokenizer=model, length=48, pairs=10, validation=0.2)
    build_model("sentence_encoder", data.facts, {"path": model}, {})
    with pytest.raises(ConfigError, match=message):
        build_model("sentence_encoder", data.facts, {"path": model, **settings}, {})
    assert comes_with_weights("sentence_encoder", {})


def test_fewer_dimensions_keep_cosines_better_than_any_others(model: str, tokenizer: Any, texts: list[str]) -> None:
    """Otherwise the shortened teacher's cosines are no longer those that it was chosen for."""
    rows = ids_of(tokenizer, texts)
    whole = embedded(sentence_encoder(model), rows).double().numpy()
    short = embedded(sentence_encoder(model, dimensions=6, training_rows=rows), rows)
    assert short.shape == (len(rows), 6)
    torch.testing.assert_close(short.norm(dim=1), torch.ones(len(rows)))
    import numpy as np

    left, sizes, _ = np.linalg.svd(whole, full_matrices=False)  # Eckart and Young
    best = left[:, :6] * sizes[:6]
    best /= np.linalg.norm(best, axis=1, keepdims=True)
    np.testing.assert_allclose((short @ short.T).numpy(), best @ best.T, atol=1e-4)


def test_a_cut_model_is_saved_as_a_folder_that_answers_alike(
    model: str, tokenizer: Any, texts: list[str], tmp_path: Path
) -> None:
    """Otherwise what was distilled cannot be shipped, or another model is."""
    rows = ids_of(tokenizer, texts[:6])
    made: Any = keep_layers(sentence_encoder(model, dimensions=8, training_rows=ids_of(tokenizer, texts)), 2, [0, 3])
    made.save_pretrained(tmp_path / "small")
    back: Any = sentence_encoder(str(tmp_path / "small"))
    torch.testing.assert_close(embedded(back, rows), embedded(made, rows), atol=1e-6, rtol=1e-5)
    assert (back.length, back.dimensions) == (48, 8)
    assert json.loads((tmp_path / "small" / "config.json").read_text())["num_hidden_layers"] == 2


def test_sentence_transformers_reads_what_is_saved(
    model: str, texts: list[str], tokenizer: Any, tmp_path: Path
) -> None:
    """Otherwise a folder that is said to be compatible fails, or embeds otherwise, where it is used."""
    theirs = pytest.importorskip("sentence_transformers", exc_type=ImportError)
    rows = ids_of(tokenizer, texts)
    short = sentence_encoder(model, dimensions=8, training_rows=rows)
    static = static_embedding(model, dimensions=8, training_rows=rows)
    for name, made in {"cut": keep_layers(short, 2, "last_k"), "static": static}.items():
        made.save_pretrained(tmp_path / name)  # type: ignore[operator]
        opened = theirs.SentenceTransformer(str(tmp_path / name), device="cpu")
        said = opened.encode(texts[:6], convert_to_tensor=True)
        some = ids_of(tokenizer, texts[:6]) if name == "cut" else tokenizer(texts[:6])["input_ids"]
        torch.testing.assert_close(said, embedded(made, some), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["transformer", "static"])
def test_what_is_saved_is_used_as_its_source_was(
    kind: str, tokenizer: Any, texts: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the student is asked without the prompt that it copied the vectors of, and finds worse in use alone."""
    theirs = pytest.importorskip("sentence_transformers", exc_type=ImportError)
    part = tiny.pooling("mean_tokens")
    part[1]["include_prompt"] = False
    place = tiny.saved(tmp_path / "source", tiny.bert(len(tokenizer), 1), tokenizer, part)
    use = {"prompts": {"query": "the cache ", "document": ""}, "default_prompt_name": "query"}
    (tmp_path / "source" / "config_sentence_transformers.json").write_text(
        json.dumps({**use, "similarity_fn_name": "euclidean"})
    )
    (tmp_path / "source" / "sentence_bert_config.json").write_text('{"max_seq_length": 48, "do_lower_case": true}')
    rows = ids_of(tokenizer, texts)
    made: Any = sentence_encoder(place) if kind == "transformer" else static_embedding(place, training_rows=rows)
    assert caplog.text.count("puts the prompt 'query' ('the cache ')") == 1
    made.save_pretrained(tmp_path / "saved")
    opened = theirs.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert opened.similarity_fn_name == "euclidean"
    assert (opened.prompts, opened.default_prompt_name) == (use["prompts"], "query")
    if kind == "transformer":
        assert json.loads((tmp_path / "saved" / "sentence_bert_config.json").read_text())["do_lower_case"] is True
        source = theirs.SentenceTransformer(place, device="cpu")
        same = [each.encode(texts[:4], convert_to_tensor=True) for each in (opened, source)]
        torch.testing.assert_close(*same, atol=1e-5, rtol=1e-4)


def test_a_table_of_sentence_transformers_answers_as_there(tokenizer: Any, texts: list[str], tmp_path: Path) -> None:
    """Otherwise a text of unknown words is no text, and a teacher's vectors are others than those it is known for."""
    theirs = pytest.importorskip("sentence_transformers.sentence_transformer.modules", exc_type=ImportError)
    from sentence_transformers import SentenceTransformer

    table = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(0))
    opened = SentenceTransformer(modules=[theirs.StaticEmbedding(tokenizer, embedding_weights=table)], device="cpu")
    opened.save(str(tmp_path), create_model_card=False)
    some = [*texts[:4], "the \u2603 cache", "\u2603"]
    assert tokenizer.unk_token_id in tokenizer(some[-1])["input_ids"]
    said = opened.encode(some, convert_to_tensor=True, normalize_embeddings=True)
    ours = embedded(static_embedding(str(tmp_path)), tokenizer(some)["input_ids"])
    torch.testing.assert_close(ours, said, atol=1e-5, rtol=1e-4)


def test_a_dense_layer_behind_a_table_is_refused(model: str, tokenizer: Any, texts: list[str], tmp_path: Path) -> None:
    """Otherwise it is left out without a word, and the vectors have another length and meaning."""
    made: Any = static_embedding(model, training_rows=ids_of(tokenizer, texts))
    made.save_pretrained(tmp_path)
    listed = json.loads((tmp_path / "modules.json").read_text())
    listed.insert(1, {"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.models.Dense"})
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(ConfigError, match="stands a dense layer, which is not run here"):
        static_embedding(str(tmp_path))


def test_what_sentence_transformers_saves_is_read(model: str, texts: list[str], tokenizer: Any, tmp_path: Path) -> None:
    """Otherwise models of today's version cannot teach: it names parts and pooling anew."""
    theirs = pytest.importorskip("sentence_transformers", exc_type=ImportError)
    opened = theirs.SentenceTransformer(model, device="cpu")
    opened.save(str(tmp_path / "again"), create_model_card=False)
    back: Any = sentence_encoder(str(tmp_path / "again"))
    said = opened.encode(texts[:6], convert_to_tensor=True)
    torch.testing.assert_close(embedded(back, ids_of(tokenizer, texts[:6])), said, atol=1e-5, rtol=1e-4)
    assert back.length == 48


def test_static_vectors_are_centred_token_vectors_weighed_by_rarity(
    model: str, tokenizer: Any, texts: list[str]
) -> None:
    """Otherwise frequent words decide what a text is about."""
    rows = ids_of(tokenizer, texts)
    made: Any = static_embedding(model, sif=0.01, training_rows=rows)
    teacher = sentence_encoder(model)
    around = [[tokenizer.cls_token_id, token, tokenizer.sep_token_id] for token in range(len(tokenizer))]
    vectors = embedded(teacher, around).double()
    counted = [token for row in rows for token in row if token not in tokenizer.all_special_ids]
    text = rows[0]
    inner = [token for token in text if token not in tokenizer.all_special_ids]
    weights = torch.tensor([0.01 / (0.01 + counted.count(token) / len(counted)) for token in inner]).double()
    summed = ((vectors[inner] - vectors.mean(dim=0)) * weights[:, None]).mean(dim=0)
    ours = embedded(made, [text, rows[1]])[0].double()
    torch.testing.assert_close(ours, summed / summed.norm(), atol=1e-4, rtol=1e-3)


def test_static_vectors_of_another_tokenizer_or_without_text_are_refused(
    model: str, tokenizer: Any, texts: list[str], tmp_path: Path
) -> None:
    """Otherwise ids mean other words, or every weight is 1 and nobody is told."""
    with pytest.raises(ConfigError, match="no training text to count in"):
        static_embedding(model)
    made: Any = static_embedding(model, training_rows=ids_of(tokenizer, texts))
    made.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="beside the static embeddings"):
        static_embedding(str(tmp_path), tokenizer_mark=5)
    with pytest.raises(ConfigError, match="by the name static_embedding"):
        sentence_encoder(str(tmp_path))
    rows = ids_of(tokenizer, texts[:3])
    torch.testing.assert_close(embedded(static_embedding(str(tmp_path)), rows), embedded(made, rows))
