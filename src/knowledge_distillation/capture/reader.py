"""A reader: one model, its adapter and the taps that the objective wants, giving `Signals` batch by batch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.capture.left_head import LeftHead, output_layer
from knowledge_distillation.capture.paths import modules_by_path, resolve
from knowledge_distillation.capture.taps import Taps
from knowledge_distillation.errors import CaptureError, ModelContractError, nearest
from knowledge_distillation.losses import Projected, TopK
from knowledge_distillation.signals import OUTPUTS, Signals

INPUT = "input:"
WEIGHT = "weight:"


class Reader:
    """Read the wanted signals of one model. Hooks live between `attach` and `detach`.

    Args:
        model: called by the adapter.
        adapter: (model, batch, temperature) -> Signals.
        temperature: handed to the adapter.
        wanted: names of signals: "logits", "log_probs", features that the adapter gives, or module paths, which
            are tapped: "layer3.1" is what the module gives, "input:fc" what it receives, "weight:fc" its weight.
        whose: "student" or "teacher", for messages.
        stop_early: end the forward after the last wanted module when nothing else is wanted; for a model whose
            later modules need not run.
        leaves_head: give a `Projected` in the place of whole logits, where the adapter takes a `head` and no tap reads
            what the model's head gives.
    """

    def __init__(
        self,
        model: nn.Module,
        adapter: Adapter,
        *,
        temperature: float = 1.0,
        wanted: Sequence[str] = (),
        whose: str = "student",
        stop_early: bool = False,
        leaves_head: bool = False,
    ) -> None:
        self.model = model
        self.adapter = adapter
        self.temperature = temperature
        self.wanted = tuple(wanted)
        self.whose = whose
        known = modules_by_path(model)
        paths = [name for name in self.wanted if name not in OUTPUTS and _is_path(model, name)]
        self._weights = {name: known[_bare(name)] for name in paths if name.startswith(WEIGHT)}
        inputs = [_bare(name) for name in paths if name.startswith(INPUT)]
        outputs = [name for name in paths if not name.startswith((INPUT, WEIGHT))]
        self._stops = stop_early and bool(outputs) and len(outputs) + len(self._weights) == len(self.wanted)
        self._taps = Taps(model, outputs, keep="forward", until_last_tap=self._stops) if outputs else None
        # An in-place activation writes over what it received, so that a copy must be kept.
        kinds = {clone: [path for path in inputs if _in_place(known, path) == clone] for clone in (False, True)}
        self._inputs = [
            Taps(model, some, "input", keep="forward", clone=clone) for clone, some in kinds.items() if some
        ]
        tapped = {known[path] for path in outputs if path in known}
        leaves = leaves_head and "head" in inspect.signature(adapter).parameters and output_layer(model) not in tapped
        self._left: dict[str, Any] = {"head": LeftHead(whose)} if leaves else {}
        self._checked = False

    def attach(self) -> None:
        """Put the hooks on the model."""
        for taps in filter(None, (self._taps, *self._inputs)):
            taps.attach()

    def detach(self) -> None:
        """Take the hooks off and let go of what they read."""
        for taps in filter(None, (self._taps, *self._inputs)):
            taps.detach()
            taps.clear()

    def read(self, batch: Any) -> Signals:
        """Call the model on one batch.

        Raises:
            CaptureError: if a wanted signal is neither a module that is called nor among what the adapter gives, a
                module did not fire, or its tensor was changed in place.
            ModelContractError: if the adapter gives no `Signals`, or what it calls logits is no tensor.
        """
        if self._taps is not None and self._stops:
            self._taps.run(self.adapter, self.model, batch, self.temperature)
            signals = Signals(features=self._taps.take())
        else:
            signals = self.adapter(self.model, batch, self.temperature, **self._left)
            if not isinstance(signals, Signals):
                raise ModelContractError(
                    f"The {self.whose}'s adapter must return Signals, got {type(signals).__name__}. Write "
                    "`return Signals(logits=..., labels=...)`."
                )
            if self._taps is not None:
                signals = replace(signals, features={**signals.features, **self._taps.take()})
            for taps in self._inputs:
                received = {INPUT + path: tensor for path, tensor in taps.take().items()}
                signals = replace(signals, features={**signals.features, **received})
        if self._weights:
            signals = replace(signals, features={**signals.features, **self._read_weights()})
        if not self._checked:
            self._check(signals)
        return signals

    def _read_weights(self) -> dict[str, Tensor]:
        """The weights that are wanted: with gradient for the student, without for a teacher."""
        found = {}
        for name, module in self._weights.items():
            weight = getattr(module, "weight", None)
            if not isinstance(weight, Tensor):
                raise CaptureError(
                    f"{name!r} names a {type(module).__name__} of the {self.whose}, which has no weight. Name a linear "
                    "or convolutional layer."
                )
            found[name] = weight if torch.is_grad_enabled() else weight.detach()
        return found

    def _check(self, signals: Signals) -> None:
        for name in OUTPUTS:
            value = getattr(signals, name)
            if value is not None and not isinstance(value, (Tensor, TopK, Projected)):
                raise ModelContractError(
                    f"The {self.whose}'s {name} must be a tensor of shape [*batch, classes], got "
                    f"{type(value).__name__}. Let {type(self.model).__name__}'s forward return one, or pass an adapter."
                )
            if self.whose == "student" and isinstance(value, Tensor) and not value.is_floating_point():
                raise ModelContractError(
                    f"The student's {name} must be floating-point scores, got {value.dtype}: whole numbers carry no "
                    "gradient, so it would not learn. Return raw scores, not class ids."
                )
        given = [*(name for name in OUTPUTS if getattr(signals, name) is not None), *signals.features]
        for name in self.wanted:
            if name not in given:
                if _bare(name) in modules_by_path(self.model):
                    resolve(self.model, [_bare(name)])  # says why this module cannot be tapped
                known = [*given, *filter(None, modules_by_path(self.model))]
                raise CaptureError(
                    f"A term compares the {self.whose}'s {name!r}, which is neither a module of "
                    f"{type(self.model).__name__} nor a signal that its adapter gives. {nearest(name, known)}"
                )
        self._checked = True


def _is_path(model: nn.Module, name: str) -> bool:
    try:
        resolve(model, [_bare(name)])
    except CaptureError:
        return False
    return True


def _bare(name: str) -> str:
    return name.removeprefix(INPUT).removeprefix(WEIGHT)


def _in_place(known: Mapping[str, nn.Module], path: str) -> bool:
    return bool(getattr(known.get(path), "inplace", False))
