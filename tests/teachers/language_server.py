"""A real HTTP server around a small language model, which answers as vLLM's completions endpoint does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from torch import Tensor, nn

from tests.training.toys import filled

VOCABULARY = 11
NAME = "toy/teacher"


class CausalModel(nn.Module):
    """Logits [N, L, VOCABULARY] of the token after each position; padding on the left leaves no trace."""

    def __init__(self, seed: int = 3, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, VOCABULARY)
        filled(self, seed)
        with torch.no_grad():
            self.head.weight.mul_(4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        states = self.embed(input_ids)
        if attention_mask is not None:
            states = states * attention_mask.unsqueeze(-1)
        return self.head(torch.tanh(self.mix(states.cumsum(dim=1))))


class LanguageServer(ThreadingHTTPServer):
    """Answers GET /v1/models and POST /v1/completions.

    Attributes:
        requests: every request's path, headers and body, in order.
        plan: what goes wrong with the next completions, first to last: a number is an HTTP status; "garbage", "drop",
            "cut body" and a float of seconds to wait first; a function changes the answer, or returns another.
    """

    daemon_threads = False  # waited for at the end: torch aborts the process where one still computes

    def __init__(self, model: nn.Module, *, max_logprobs: int = 20, max_model_len: int = 64, key: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.max_logprobs, self.max_model_len, self.key = model, max_logprobs, max_model_len, key
        self.requests: list[dict[str, Any]] = []
        self.plan: list[Any] = []
        self.root = "/models/toy"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def models(self) -> dict[str, Any]:
        other = {"id": "other", "object": "model", "root": "o", "parent": None, "max_model_len": 5}
        own = {"id": NAME, "object": "model", "root": self.root, "parent": None, "max_model_len": self.max_model_len}
        changing = {"created": time.time_ns(), "permission": [{"id": str(time.time_ns())}]}
        return {"object": "list", "data": [{**other, **changing}, {**own, **changing}]}

    def completions(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        k, longest = body["prompt_logprobs"], max(map(len, body["prompt"]))
        if body["model"] != NAME:
            return 404, refusal(f"The model `{body['model']}` does not exist.", "NotFoundError", 404)
        if k > self.max_logprobs:
            text = f"Requested prompt logprobs of {k}, which is greater than max allowed: {self.max_logprobs}"
            return 400, refusal(text, "BadRequestError", 400)
        if body["max_tokens"] < 1 or longest + body["max_tokens"] > self.max_model_len:
            text = f"This model's maximum context length is {self.max_model_len} tokens."
            return 400, refusal(text, "BadRequestError", 400)
        choices = [
            {"index": number, "text": "w", "finish_reason": "length", "prompt_logprobs": self.row(prompt, k)}
            for number, prompt in enumerate(body["prompt"])
        ]
        return 200, {"object": "text_completion", "model": NAME, "choices": choices[::-1]}

    def row(self, prompt: list[int], k: int) -> list[Any]:
        """First the text's own token, then the top k, which may hold it too; as vLLM does."""
        with torch.no_grad():
            log_probs = self.model(torch.tensor([prompt]))[0].log_softmax(-1)
        row: list[Any] = [None]
        for token, scores in zip(prompt[1:], log_probs[:-1], strict=True):
            told = {}
            for name in [token, *scores.topk(k).indices.tolist()]:
                rank = int((scores >= scores[name]).sum())
                value = max(float(scores[name]), -9999.0)
                told[str(name)] = {"logprob": value, "rank": rank, "decoded_token": f"w{name // 2}"}
            row.append(told)
        return row


def refusal(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class Handler(BaseHTTPRequestHandler):
    server: LanguageServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two wait for each other's acknowledgement

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.note(None)
        if self.is_allowed():
            self.send(200, self.server.models())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.note(body)
        if not self.is_allowed():
            return
        planned = self.server.plan.pop(0) if self.server.plan else None
        if isinstance(planned, float):
            time.sleep(planned)
        if isinstance(planned, tuple):
            self.send(planned[0], refusal("Try again", "Busy", planned[0]), **planned[1])
        elif isinstance(planned, int):
            self.send(planned, refusal("The engine is not well", "InternalServerError", planned))
        elif planned == "drop":
            self.close_connection = True
        elif planned == "cut body":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices"')
            self.close_connection = True
        elif planned == "garbage":
            self.send(200, b"<html>It works!</html>")
        else:
            status, answer = self.server.completions(body)
            self.send(status, (planned(answer) or answer) if callable(planned) else answer)

    def note(self, body: Any) -> None:
        self.server.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})

    def is_allowed(self) -> bool:
        given = self.headers.get("Authorization")
        if self.server.key and given != f"Bearer {self.server.key}":
            self.send(401, refusal(f"Incorrect API key provided: {given}", "AuthenticationError", 401))
            return False
        return True

    def send(self, status: int, content: Any, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        try:
            self.wfile.write(raw)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # whoever asked has given up waiting


@contextmanager
def running(model: nn.Module, **settings: Any) -> Iterator[LanguageServer]:
    """A server on a free port, until the end of the block."""
    server = LanguageServer(model, **settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
