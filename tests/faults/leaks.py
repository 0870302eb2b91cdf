"""Everything that is done with a key, by trackers and servers that show it in whatever they say."""

from __future__ import annotations

import importlib.util
import logging
import os
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
from lightning.pytorch.loggers import Logger
from torch import nn

import knowledge_distillation as kd
from knowledge_distillation.cli import main as kd_command
from knowledge_distillation.errors import DistillationError
from knowledge_distillation.kd_training import KnowledgeDistillationTraining
from knowledge_distillation.reporting import write_report
from knowledge_distillation.teachers import ServedTeacher
from knowledge_distillation.training import tracking
from tests.recipes.test_outside import run as run_outside
from tests.recipes.test_running import MODULE
from tests.teachers.language_server import NAME, VOCABULARY, CausalModel, running
from tests.training.toys import QUIET, loader, mlp

KEY = "Zq7kd9canary4Xw2Lm8"
VARIABLE = "KD_CANARY_KEY"
KEY_FILE, KEY_RECIPE = "comet.txt", "key.yaml"
"""Files with the key that the user wrote."""
USED = "the key was used"


class Tracker(Logger):
    """Stands for a tracker of Lightning's; says its key where `says` names."""

    says: frozenset[str] = frozenset()

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        address = os.environ.get("MLFLOW_TRACKING_URI")
        self.key = settings.get("api_key") or os.environ.get("WANDB_API_KEY") or address
        assert KEY in str(self.key)
        print(USED)
        self._speak("constructor")

    name = version = "fake"

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self._speak("metrics")

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        assert KEY not in str(params)
        self._speak("hyperparameters")

    def finalize(self, status: str) -> None:
        self._speak("end")

    def _speak(self, where: str) -> None:
        if f"log {where}" in self.says:
            logging.getLogger("fake_tracker").error("The key %s is not valid.", self.key)
        if where in self.says:
            try:
                raise ConnectionError(f"GET https://host/?api_key={self.key}")
            except ConnectionError as error:
                raise ValueError(f"403 for {self.key}") from error


def tracked(says: str, source: str = "comet") -> Callable[[], None]:
    """A training with a tracker, which fails or not."""

    def scenario() -> None:
        with faked(says):
            kd.distill(mlp(9), mlp(), loader(), max_epochs=1, directory="run", track=[source], trainer=QUIET)
            write_report("run")

    return scenario


@contextmanager
def faked(says: str) -> Iterator[None]:
    Tracker.says = frozenset(says.split(", "))
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: name in ("comet_ml", "wandb", "mlflow") or find(name, *rest)
    tracking.CometLogger = tracking.WandbLogger = tracking.MLFlowLogger = Tracker  # type: ignore[misc, assignment]
    yield


def front_door(says: str, **settings: Any) -> Callable[[], None]:
    """The original's way to train, with the key among the hyperparameters too."""

    def scenario() -> None:
        with faked(says):
            training = KnowledgeDistillationTraining(
                max_epoch=1,
                precision=32,
                train_data_loader=loader(),
                student_model=Original(),
                teacher_model=Original(),
                logging_param={"rate": 0.1, "api_key": KEY, "more": [{"key": f"is {KEY}"}]},
                **settings,
            )
            print(training, vars(training))
            training.start_kd_training()

    return scenario


class Original(nn.Module):
    """A model that speaks as the original's do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()

    def forward(self, inputs: Any, labels: Any = None, temperature: float = 1.0) -> dict[str, Any]:
        logits = self.inner(inputs) / temperature
        return {"logits": logits, "prob": logits.softmax(-1), "log_prob": logits.log_softmax(-1)}


class Echo(socketserver.StreamRequestHandler):
    """Answers whatever the server was told to, with the key that it was sent."""

    def handle(self) -> None:
        lines = iter(self.rfile.readline, b"\r\n")
        given = next((line.split()[-1] for line in lines if line.lower().startswith(b"authorization")), b"")
        assert given.decode() == KEY
        print(USED)
        self.wfile.write(self.server.answer.replace(b"{key}", given))  # type: ignore[attr-defined]


def answer(status: str, body: str = "", *headers: str) -> str:
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body.replace('{key}', KEY))}", *headers, "", body])


def served(raw: str) -> Callable[[], None]:
    """A teacher behind a server that echoes the key."""

    def scenario() -> None:
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
            server.answer = raw.encode()  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}"
            teacher = ServedTeacher(
                url, "m", vocabulary=5, k=2, api_key_env=VARIABLE, retries=1, pause=0.01, timeout=5.0
            )
            print(repr(teacher), vars(teacher), vars(teacher._endpoint))
            try:
                print(teacher.fingerprint)
            finally:
                server.shutdown()

    return scenario


def taught_by_a_server() -> None:
    """A whole training; all that it writes is looked through."""
    with running(CausalModel(), key=KEY) as server:
        section = {"name": "served", "url": server.url, "model": NAME, "vocabulary": VOCABULARY, "k": 3}
        run = run_outside({**section, "api_key_env": VARIABLE}, "top_k_kl")
        assert server.requests
        print(USED, run, run.module.teacher)
        write_report(run.directory)


def key_for_its_name(as_command: bool) -> None:
    section = f"{{name: served, url: 'http://127.0.0.1:1', model: a, vocabulary: 30, api_key_env: {KEY}}}"
    Path("mine.py").write_text(MODULE)
    print(USED)
    if as_command:
        Path(KEY_RECIPE).write_text(f"student: net\ndata: points\nteacher: {section}\n")
        sys.exit(kd_command(["train", KEY_RECIPE, "--module", "mine.py", "--directory", "run"]))
    ServedTeacher("http://127.0.0.1:1", "a", vocabulary=30, api_key_env=KEY)


def key_in_the_address(url: str) -> None:
    print(USED)
    ServedTeacher(url, "a", vocabulary=30)


class Hub:
    """A hub that refuses, and says whom."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token or os.environ["HF_TOKEN"]

    def create_repo(self, *_: Any, **__: Any) -> None:
        print(USED)
        raise RuntimeError(f"401 for {self.token}")


def pushed(token: str | None) -> None:
    huggingface_hub.HfApi = Hub  # type: ignore[misc, assignment]
    kd.export.export(mlp(), "safetensors", "export", example=next(iter(loader())))
    kd.export.push("export", "me/mine", token=token)


def key_file(mode: int) -> None:
    """Raises where the file is open to others and nothing is said of it, or is not and something is."""
    Path(KEY_FILE).write_text(f"{KEY}\nproject\nteam\n")
    Path(KEY_FILE).chmod(mode)
    said: list[str] = []
    listening = logging.Handler()
    listening.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    tracking.logger.addHandler(listening)
    assert tracking.read_comet_file(KEY_FILE)[0] == KEY
    print(USED, said)
    if (mode & 0o077 != 0) != any("chmod 600" in text for text in said):
        raise AssertionError(f"mode {mode:o}: {said}")
    raise DistillationError("It was said.")


CLEAN = "a finished training"
"""Scenarios of this name end without an error."""
SCENARIOS: dict[str, Callable[[], None]] = {
    "Comet refuses, by variable": tracked("constructor"),
    "Comet fails in training": tracked("metrics"),
    "Comet fails at the end": tracked("end"),
    "Comet logs the key and refuses": tracked("log constructor, constructor"),
    f"{CLEAN} tracked by a Comet that logs the key": tracked("log constructor, log metrics, log end"),
    "W&B refuses": tracked("constructor", "wandb"),
    "W&B fails in training": tracked("metrics", "wandb"),
    "MLflow refuses": tracked("constructor", "mlflow"),
    "MLflow fails in training": tracked("log metrics, metrics", "mlflow"),
    "Comet refuses, by file": front_door("constructor", log_to_comet=True, comet_info_path=KEY_FILE),
    "Comet fails on hyperparameters": front_door("hyperparameters", log_to_comet=True, comet_info_path=KEY_FILE),
    f"{CLEAN} by the original's front door": front_door("", log_to_comet=True, comet_info_path=KEY_FILE),
    f"{CLEAN} in TensorBoard": tracked("", "tensorboard"),
    "a server refuses": served(answer("401 Unauthorized", '{"error": "Incorrect key {key}"}')),
    "a server refuses in its status": served(answer("403 No {key}")),
    "a server breaks": served(answer("500 Error", "traceback with {key}")),
    "a server redirects": served(answer("302 Found", "", "Location: http://elsewhere/?key={key}")),
    "a server answers no JSON": served(answer("200 OK", "<html>{key}</html>")),
    "a server answers another JSON": served(answer("200 OK", '{"you": "{key}"}')),
    "a server has models of other names": served(answer("200 OK", '{"data": [{"id": "m-{key}"}]}')),
    "a server speaks another protocol": served("SSH {key}\r\n\r\n"),
    f"{CLEAN} with a server": taught_by_a_server,
    "the key for its variable's name": lambda: key_for_its_name(False),
    "the key for its variable's name, by command": lambda: key_for_its_name(True),
    "the key in an address": lambda: key_in_the_address(f"http://me:{KEY}@host"),
    "the key in an address without its scheme": lambda: key_in_the_address(f"me:{KEY}@host"),
    "the hub refuses a token": lambda: pushed(KEY),
    "the hub refuses a variable's token": lambda: pushed(None),
    "a key file that others may read": lambda: key_file(0o644),
    "a key file of one's own": lambda: key_file(0o600),
}


def main(name: str) -> None:
    """One scenario, in a process of its own; all that it says and writes is looked through."""
    logging.basicConfig(level=logging.DEBUG)
    Path(KEY_FILE).write_text(f"{KEY}\nproject\nteam\n")
    Path(KEY_FILE).chmod(0o600)
    try:
        SCENARIOS[name]()
    except DistillationError as error:
        traceback.print_exception(error)
        print(repr(error), error.__cause__, error.__context__)
        logging.getLogger("a.program").exception("It failed: %s", error)
        assert not name.startswith(CLEAN)
        return
    except SystemExit as end:
        if end.code != 2:
            raise
        return
    assert name.startswith(CLEAN), "It did not fail."
