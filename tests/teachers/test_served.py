"""What goes wrong for a user when a teacher behind a server is misread, or its failures are not told."""

from __future__ import annotations

import copy
import json
import pickle
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation.errors import ConfigError, ModelContractError, TeacherError
from knowledge_distillation.losses import TopK, catalogue
from knowledge_distillation.objective.binding import SPARSE
from knowledge_distillation.teachers import ServedTeacher, Teacher
from tests.teachers.language_server import NAME, VOCABULARY, CausalModel, LanguageServer, running
from tests.training.toys import Losses, identical, quiet_trainer, snapshot

CPU = torch.device("cpu")
KEY = "sk-very-secret-0123456789"
TEXTS = [[4, 1, 7, 7, 2], [3], [9, 10, 0]]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def serving() -> Iterator[LanguageServer]:
    with running(CausalModel().eval()) as server:
        yield server


@pytest.fixture
def server(serving: LanguageServer) -> LanguageServer:
    serving.plan.clear()
    serving.requests.clear()
    serving.root = "/models/toy"
    return serving


def teacher_of(server: LanguageServer, **settings: Any) -> ServedTeacher:
    return ServedTeacher(server.url, NAME, **{"vocabulary": VOCABULARY, "k": 4, "pause": 0.001, **settings})


def padded(side: str, width: int = 7) -> dict[str, Tensor]:
    """TEXTS as a batch, padded with a token that means something else."""
    ids, mask = torch.full((len(TEXTS), width), 5), torch.zeros(len(TEXTS), width, dtype=torch.long)
    for row, text in enumerate(TEXTS):
        place = slice(0, len(text)) if side == "right" else slice(width - len(text), width)
        ids[row, place], mask[row, place] = torch.tensor(text), 1
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def live(server: LanguageServer, text: list[int]) -> Tensor:
    """Oracle: what the model itself says after every token of one text."""
    with torch.no_grad():
        return server.model(torch.tensor([text]))[0].double().log_softmax(-1)


def top_k(signals: Any) -> TopK:
    assert isinstance(signals.logits, TopK)
    return signals.logits


@pytest.mark.parametrize("k", [1, 4, VOCABULARY])
@pytest.mark.parametrize("side", ["right", "left"])
def test_every_position_is_told_what_the_model_says_there(side: str, k: int, server: LanguageServer) -> None:
    """Otherwise the student learns the teacher's answer to another position, and the loss falls all the same."""
    batch = padded(side)
    teacher = teacher_of(server, k=k)
    assert isinstance(teacher, Teacher)
    teacher.prepare(CPU)
    signals = teacher.signals(batch)
    said, counted = top_k(signals), batch["attention_mask"].bool()
    assert torch.equal(signals.mask, counted)
    assert torch.equal(signals.labels, batch["labels"])
    assert said.indices.shape == said.log_probs.shape == (*counted.shape, k)
    assert said.temperature == 1.0
    for row, text in enumerate(TEXTS):
        oracle = live(server, text).sort(dim=-1, descending=True)
        torch.testing.assert_close(said.log_probs[row][counted[row]].double(), oracle.values[:, :k], rtol=0, atol=1e-6)
        assert torch.equal(said.indices[row][counted[row]], oracle.indices[:, :k])
        left = oracle.values[:, k:].exp().sum(-1)
        torch.testing.assert_close(said.log_tail[row][counted[row]].exp().double(), left, rtol=0, atol=1e-6)
    assert torch.equal(said.log_probs[~counted], torch.full_like(said.log_probs[~counted], -torch.inf))
    assert not said.log_tail[~counted].any()
    posts = [request for request in server.requests if request["body"]]
    assert [request["path"] for request in posts] == ["/v1/completions"]
    assert posts[0]["body"]["prompt"] == [[*text, text[-1]] for text in TEXTS]


def test_no_mask_counts_every_token_and_an_empty_text_is_not_sent(server: LanguageServer) -> None:
    """Otherwise a batch without padding fails, or vLLM refuses the whole batch for one empty row."""
    teacher = teacher_of(server)
    ids = torch.tensor([[1, 2, 3]])
    signals = teacher.signals({"input_ids": ids})
    assert signals.mask.all()
    assert signals.labels is None
    both = {"input_ids": ids.repeat(2, 1), "attention_mask": torch.tensor([[0, 0, 0], [1, 1, 1]])}
    torch.testing.assert_close(top_k(teacher.signals(both)).log_probs[1:], top_k(signals).log_probs)
    asked = len(server.requests)
    empty = teacher.signals({"input_ids": ids, "attention_mask": torch.zeros_like(ids)})
    assert not empty.mask.any()
    assert len(server.requests) == asked


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_padding_gives_no_loss_and_the_loss_is_that_of_the_live_teacher(
    dtype: torch.dtype, server: LanguageServer
) -> None:
    """Otherwise padding or the last token of each text pulls the student somewhere."""
    batch = {name: value.to(dtype) for name, value in padded("left").items()}
    logits = torch.randn(*batch["input_ids"].shape, VOCABULARY, generator=torch.Generator().manual_seed(0))
    said = top_k(teacher_of(server).signals(batch))
    mask = batch["attention_mask"].bool()
    with torch.no_grad():
        dense = server.model(**{name: batch[name] for name in ("input_ids", "attention_mask")})
    for temperature, tail in ((1.0, "bucket"), (2.0, "renormalise")):
        expected = kd.losses.top_k_kl(logits, dense, k=4, mask=mask, tail=tail, temperature=temperature)
        found = kd.losses.top_k_kl(logits, said, mask=mask, tail=tail, temperature=temperature)
        if temperature == 1.0:
            torch.testing.assert_close(found, expected)
        assert torch.isfinite(found)
    torch.testing.assert_close(
        kd.losses.top_k_kl(logits, said, reduction="sum"), kd.losses.top_k_kl(logits, said, mask=mask, reduction="sum")
    )


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_student_learns_the_same_as_from_the_live_teacher(side: str, server: LanguageServer) -> None:
    """Otherwise teaching over the network is another method than teaching from memory."""
    rows = [{name: value[row] for name, value in padded(side).items()} for row in range(len(TEXTS))]

    def trained(teacher: Any, repeats: int, **settings: Any) -> tuple[nn.Module, list[float]]:
        student, losses = CausalModel(seed=8, width=6), Losses()
        module = kd.DistillationModule(student, teacher, {"top_k_kl": {"loss": "top_k_kl", "k": 4}}, **settings)
        quiet_trainer(callbacks=[losses]).fit(module, DataLoader(repeats * rows, batch_size=len(rows)))
        return student, losses.values

    plain = {"optimizer": "sgd", "learning_rate": 0.1}
    served, dense = (trained(teacher, 10, **plain)[0] for teacher in (teacher_of(server), server.model))
    for name, value in snapshot(dense).items():
        torch.testing.assert_close(snapshot(served)[name], value, rtol=1e-4, atol=1e-5)
    student, losses = trained(teacher_of(server), 100, learning_rate=0.02)
    assert losses[-1] < losses[0] / 10
    text = TEXTS[0]
    with torch.no_grad():
        learnt = student(torch.tensor([text]))[0].log_softmax(-1)
    assert torch.equal(learnt.argmax(-1), live(server, text).argmax(-1))


@pytest.mark.parametrize("objective", ["kd", "dkd", "soft"])
def test_an_objective_that_needs_all_classes_is_refused_by_name(objective: str, server: LanguageServer) -> None:
    """Otherwise the default objective ends in "'TopK' object has no attribute 'shape'"."""
    module = kd.DistillationModule(CausalModel(), teacher_of(server), objective)
    rows = [{name: value[0] for name, value in padded("right").items()}]
    with pytest.raises(ConfigError, match=r"compares all classes.*tells only its 4 likeliest.*top_k_kl"):
        quiet_trainer().fit(module, DataLoader(rows))


def test_the_losses_that_take_a_sparse_teacher_are_all_known() -> None:
    """Otherwise a loss that could learn from a served teacher is refused."""
    takes = {
        name
        for name, entry in catalogue().items()
        if any("TopK" in str(kind) for kind in entry.module.forward.__annotations__.values())
    }
    assert takes == set(SPARSE)
    assert all(catalogue()[name].module is module for name, module in SPARSE.items())


def test_layers_of_a_served_teacher_are_refused(server: LanguageServer) -> None:
    """Otherwise a hint term is silently compared with nothing."""
    with pytest.raises(ConfigError, match=r"\['mix'\].*cannot be seen from outside"):
        teacher_of(server).signals(padded("right"), ("logits", "mix"))


@pytest.mark.parametrize("failures", [[500], [503, 429, 502], ["drop"], ["cut body", 500, "drop"]], ids=str)
def test_a_passing_failure_is_survived(failures: list[Any], server: LanguageServer) -> None:
    """Otherwise one restart of the server ends a training of days."""
    server.plan = list(failures)
    said = top_k(teacher_of(server, retries=3).signals(padded("right")))
    assert len(server.requests) == len(failures) + 1
    assert bool((said.log_tail <= 0).all())


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (500, r"answered HTTP 500: The engine is not well 3 times.*raise retries"),
        (429, r"answered HTTP 429.*3 times"),
        ("drop", r"dropped the connection \(\w+\) 3 times"),
        ("cut body", r"dropped the connection \(IncompleteRead\) 3 times"),
    ],
    ids=str,
)
def test_a_failure_that_does_not_pass_is_told(failure: Any, message: str, server: LanguageServer) -> None:
    """Otherwise training hangs for good on a server that will not come back."""
    server.plan = [failure] * 9
    with pytest.raises(TeacherError, match=message):
        teacher_of(server, retries=2).signals(padded("right"))
    assert len(server.requests) == 3


def test_pauses_double_and_follow_the_server(server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every process asks a server that is short of breath again at once."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    server.plan = [500, 500, (429, {"Retry_After": "7"}), (503, {"Retry_After": "900"}), (503, {"Retry_After": "soon"})]
    teacher_of(server, retries=5, pause=0.5).signals(padded("right"))
    assert waited == [0.5, 1.0, 7.0, 30.0, 8.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_repeated_and_quotes_the_server(status: int, server: LanguageServer) -> None:
    """Otherwise the user waits for retries that cannot help, and does not learn why."""
    server.plan = [status]
    with pytest.raises(TeacherError, match=f"answered HTTP {status}: The engine is not well"):
        teacher_of(server).signals(padded("right"))
    assert len(server.requests) == 1


def test_a_slow_server_is_given_up(server: LanguageServer) -> None:
    """Otherwise a hung server hangs the training, unseen, until somebody looks."""
    server.plan = [1.0]
    with pytest.raises(TeacherError, match=r"within 0\.2 seconds.*Raise timeout"):
        teacher_of(server, timeout=0.2).signals(padded("right"))
    assert len(server.requests) == 1


def test_a_server_that_is_away_is_told_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a forgotten server ends in a traceback of urllib, after the pauses of all retries."""
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"it waited {seconds} seconds"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    teacher = ServedTeacher(url, NAME, vocabulary=VOCABULARY, k=4, pause=5.0)
    with pytest.raises(TeacherError, match=r"cannot be reached.*refused.*Start it, or correct url"):
        teacher.prepare(CPU)


def test_a_wrong_model_name_shows_what_is_served(server: LanguageServer) -> None:
    """Otherwise the user searches for a spelling that only the server knows."""
    teacher = ServedTeacher(server.url + "/v1/", "toy/teachr", vocabulary=VOCABULARY, k=4)
    with pytest.raises(TeacherError, match=r"no model 'toy/teachr'.*Did you mean 'toy/teacher'.*other"):
        teacher.prepare(CPU)
    with pytest.raises(TeacherError, match=r"HTTP 404: The model `toy/teachr` does not exist\. Correct url or model"):
        teacher.signals(padded("right"))


def test_more_tokens_than_the_server_allows_are_refused_with_its_setting(server: LanguageServer) -> None:
    """Otherwise the user does not learn that it is the server's own limit, and which."""
    server.max_logprobs = 3
    try:
        with pytest.raises(TeacherError, match=r"greater than max allowed: 3.*--max-logprobs 4"):
            teacher_of(server).signals(padded("right"))
    finally:
        server.max_logprobs = 20


def test_a_text_that_is_too_long_for_the_server_is_refused_in_its_words(server: LanguageServer) -> None:
    """Otherwise long texts are cut in silence."""
    assert teacher_of(server).signals({"input_ids": torch.ones(1, 62, dtype=torch.long)}).mask.all()
    with pytest.raises(TeacherError, match="maximum context length is 64"):
        teacher_of(server).signals({"input_ids": torch.ones(1, 63, dtype=torch.long)})


def without(answer: dict[str, Any]) -> None:
    for choice in answer["choices"]:
        del choice["prompt_logprobs"]


def shortened(answer: dict[str, Any]) -> None:
    answer["choices"][0]["prompt_logprobs"].pop()


def shifted(answer: dict[str, Any]) -> None:
    for choice in answer["choices"]:
        row = choice["prompt_logprobs"]
        choice["prompt_logprobs"] = [None, *row[2:], row[1]]


def fewer(answer: dict[str, Any]) -> None:
    for choice in answer["choices"]:
        for own, entries in zip([None, *TEXTS[choice["index"]][1:], 0], choice["prompt_logprobs"], strict=True):
            for name in list(entries or {}):
                if len(entries) > 2 and name != str(own) and name != str(TEXTS[choice["index"]][-1]):
                    del entries[name]


def foreign(answer: dict[str, Any]) -> None:
    for choice in answer["choices"]:
        for entries in choice["prompt_logprobs"][1:]:
            entries[str(VOCABULARY)] = {"logprob": -0.01, "rank": 1}


def not_numbers(answer: dict[str, Any]) -> None:
    answer["choices"][0]["prompt_logprobs"][1] = {
        name: {"logprob": float("nan")} for name in answer["choices"][0]["prompt_logprobs"][1]
    }


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("garbage", r"must answer in JSON, and answered '<html>It works!"),
        (without, r"without prompt_logprobs.*must be vLLM"),
        (shortened, r"for all \d tokens.*answered for \d.*student's tokenizer"),
        (shifted, r"how likely token \d+ was.*another text"),
        (fewer, r"must tell 4 tokens a position, and told [23].*--max-logprobs 4"),
        (foreign, rf"ids 0 to {VOCABULARY - 1}, and the server told of {VOCABULARY}.*another tokenizer"),
        (not_numbers, r"told NaN or more"),
        (lambda answer: {"choices": answer["choices"][:2]}, r"one choice a text.*KeyError"),
        (lambda answer: {"choices": None}, r"one choice a text.*TypeError"),
        (lambda answer: {"object": "text_completion"}, r"one choice a text.*KeyError: 'choices'"),
        (lambda answer: [1], r"one choice a text.*TypeError"),
        (
            lambda answer: {"choices": [{"index": n, "prompt_logprobs": [None, *[{"x": 1}] * 9]} for n in range(3)]},
            r"answered for 10",
        ),
        (
            lambda answer: json.loads(json.dumps(answer).replace('"logprob"', '"value"')),
            r"one choice a text.*KeyError: 'logprob'",
        ),
    ],
)
def test_an_answer_that_says_something_else_is_refused(spoil: Any, message: str, server: LanguageServer) -> None:
    """Otherwise the student learns noise from a server that cuts, re-tokenizes or is no vLLM, and nobody notices."""
    server.plan = [spoil]
    with pytest.raises(TeacherError, match=message):
        teacher_of(server).signals(padded("right"))


def test_a_server_of_something_else_is_refused(server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a wrong port shows up as a missing key."""
    monkeypatch.setattr(server, "models", lambda: {"status": "ok"})
    with pytest.raises(TeacherError, match=r"must list the served models, and answered \{'status': 'ok'\}"):
        teacher_of(server).prepare(CPU)


def test_a_token_that_cannot_come_is_no_entry(server: LanguageServer) -> None:
    """Otherwise vLLM's -9999 for minus infinity counts as a logit."""

    def forbidden(answer: dict[str, Any]) -> None:
        for choice in answer["choices"]:
            for entries in choice["prompt_logprobs"][1:]:
                for entry in entries.values():
                    entry["logprob"] = 0.0 if entry["rank"] == 1 else -9999.0

    server.plan = [forbidden]
    said = top_k(teacher_of(server, k=VOCABULARY).signals({"input_ids": torch.tensor([TEXTS[0]])}))
    assert torch.equal(said.log_probs[..., 0], torch.zeros(1, 5))
    assert bool((said.log_probs[..., 1:] == -torch.inf).all())
    loss = kd.losses.top_k_kl(torch.zeros(1, 5, VOCABULARY), said)
    torch.testing.assert_close(loss, torch.tensor(float(VOCABULARY)).log())


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((torch.ones(2, 3), torch.ones(2)), "'input_ids'.*got tuple"),
        ({"input_ids": torch.ones(2, 3)}, r"whole numbers"),
        ({"input_ids": torch.ones(3, dtype=torch.long)}, r"input_ids \(3,\)"),
        ({"input_ids": [[1, 2]]}, "input_ids"),
        ({"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": torch.ones(2, 1, 3, 3)}, "attention_mask"),
        (
            {"input_ids": torch.ones(2, 4, dtype=torch.long), "attention_mask": torch.tensor([[1] * 4, [1, 0, 1, 1]])},
            "row 1 has a gap",
        ),
    ],
)
def test_a_batch_that_holds_no_texts_is_refused(batch: Any, message: str, server: LanguageServer) -> None:
    """Otherwise the teacher reads other texts than the student."""
    with pytest.raises(ModelContractError, match=message):
        teacher_of(server).signals(batch)
    assert server.requests == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "localhost:8000"}, "http or https"),
        ({"url": "file:///etc/passwd"}, "http or https"),
        ({"url": None}, "http or https"),
        ({"url": "http://ann:pw@host"}, "no user, password"),
        ({"url": "http://host/?key=1"}, "no user, password"),
        ({"model": ""}, "model must be"),
        ({"vocabulary": 0}, "vocabulary must be a whole number"),
        ({"k": 0}, "k must be a whole number"),
        ({"k": True}, "k must be a whole number"),
        ({"k": 12}, "at most the student's vocabulary of 11"),
        ({"timeout": 0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"pause": 0}, "pause"),
        ({"api_key_env": 5}, "api_key_env"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_an_error_at_once(settings: dict[str, Any], message: str) -> None:
    """Otherwise it shows up on the first batch, after the data were prepared for an hour."""
    given = {"url": "http://host", "model": NAME, "vocabulary": VOCABULARY, **settings}
    with pytest.raises(ConfigError, match=message):
        ServedTeacher(**given)


def test_the_key_reaches_the_server_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a key is in every log, checkpoint and bug report."""
    with running(CausalModel(), key=KEY) as server:
        teacher = teacher_of(server, api_key_env="KD_TEST_KEY", retries=0)
        with pytest.raises(ConfigError, match=r"'KD_TEST_KEY' must hold.*is not set"):
            teacher.prepare(CPU)
        monkeypatch.setenv("KD_TEST_KEY", f" {KEY}\n")
        teacher.prepare(CPU)
        teacher.signals(padded("right"))
        assert {request["headers"]["Authorization"] for request in server.requests} == {f"Bearer {KEY}"}
        shown = [repr(teacher), str(vars(teacher)), repr(pickle.dumps(teacher)), teacher.fingerprint]
        server.key = "another"  # quotes the key that it was given
        with pytest.raises(TeacherError, match=r"HTTP 401: Incorrect API key.*\*\*\*.*api_key_env") as caught:
            teacher.prepare(CPU)
        shown.append(str(caught.value))
        monkeypatch.setenv("KD_TEST_KEY", f"{KEY}\nX: y")
        with pytest.raises(ConfigError, match="no header can") as caught:
            teacher.prepare(CPU)
        shown.append(str(caught.value))
    out, err = capfd.readouterr()
    assert not [text for text in (*shown, out, err, caplog.text) if KEY in text]


def test_a_redirect_does_not_carry_the_key_to_another_host(
    server: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a misconfigured proxy sends the key on to a stranger."""
    monkeypatch.setenv("KD_TEST_KEY", KEY)
    with running(CausalModel()) as stranger:
        server.plan = [(307, {"Location": f"{stranger.url}/v1/completions"})]
        with pytest.raises(TeacherError, match=rf"HTTP 307.*not followed.*{stranger.url}"):
            teacher_of(server, api_key_env="KD_TEST_KEY").signals(padded("right"))
        assert stranger.requests == []


def test_the_fingerprint_is_that_of_the_served_model(server: LanguageServer) -> None:
    """Otherwise a cache of one model is taken for another's, or made anew on every start."""
    first = teacher_of(server).fingerprint
    assert teacher_of(server, timeout=9.0, api_key_env=None).fingerprint == first
    assert teacher_of(server, k=5).fingerprint != first
    assert ServedTeacher(server.url, "other", vocabulary=VOCABULARY, k=4).fingerprint != first
    server.root = "/models/toy-v2"
    assert teacher_of(server).fingerprint != first


def test_it_can_be_copied_and_is_left_out_of_the_checkpoint(server: LanguageServer) -> None:
    """Otherwise training with several processes, or saving, fails on a connection that cannot be pickled."""
    teacher = pickle.loads(pickle.dumps(copy.deepcopy(teacher_of(server))))
    teacher.prepare(CPU)
    module = kd.DistillationModule(CausalModel(), teacher, "top_k_kl")
    assert all(name.startswith("student_model.") for name in module.state_dict())
    assert identical(snapshot(server.model), snapshot(CausalModel()))
    teacher.release()
