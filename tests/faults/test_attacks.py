"""What goes wrong when an attack is none: the payloads must sing, and the watch must see."""

from __future__ import annotations

import io
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from knowledge_distillation.errors import ConfigError
from tests.faults.attacks.attack import Attack, Place, Shell, Source, importing
from tests.faults.attacks.judging import judge


def refuse(place: Place) -> None:
    raise ConfigError("No.")


def fall_for(read: Callable[[Place], object]) -> Callable[[Place], None]:
    def use(place: Place) -> None:
        read(place)
        refuse(place)

    return use


ATTACKS = (
    Attack("falls for a command", lambda place: None, fall_for(lambda place: pickle.loads(pickle.dumps(Shell(place))))),
    Attack("falls for source", lambda place: None, fall_for(lambda place: pickle.loads(pickle.dumps(Source(place))))),
    Attack("falls for an import", lambda place: None, fall_for(lambda place: pickle.loads(importing()))),
    Attack("reads outside", lambda place: None, fall_for(lambda place: place.secret.read_text())),
    Attack("writes outside", lambda place: None, fall_for(lambda place: place.secret.write_text(""))),
    Attack("starts a process", lambda place: None, fall_for(lambda place: subprocess.run(["true"]))),
    Attack("fills the memory", lambda place: None, fall_for(lambda place: bytearray(2**30).count(1))),
    Attack("takes it", lambda place: None, lambda place: None),
    Attack("ends in another error", lambda place: None, lambda place: {}["x"]),
    Attack(
        "takes an old checkpoint",
        lambda place: None,
        fall_for(lambda place: torch.load(old(place), weights_only=False)),
    ),
    Attack("refuses it", lambda place: None, refuse),
)


def old(place: Place) -> io.BytesIO:
    return io.BytesIO(pickle.dumps(Shell(place)))


@pytest.mark.parametrize("number", range(len(ATTACKS) - 1), ids=[attack.name for attack in ATTACKS[:-1]])
def test_whoever_falls_for_an_attack_is_caught(number: int, tmp_path: Path) -> None:
    """Otherwise the faults suite counts attacks as refused that were not."""
    with pytest.raises(AssertionError, match=ATTACKS[number].name):
        judge(__name__, number, tmp_path, tmp_path)


def test_a_refusal_is_no_fault(tmp_path: Path) -> None:
    """Otherwise nothing passes, and the test above says nothing."""
    judge(__name__, len(ATTACKS) - 1, tmp_path, tmp_path)
