"""A reader: one model, its adapter and the taps that the objective wants, giving `Signals` batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.capture.paths import modules_by_path, resolve
from knowledge_distillation.capture.taps import Taps
from knowledge_distillation.errors import CaptureError, nearest
from knowledge_distillation.signals import OUTPUTS, Signals

INPUT = "input:"


class Reader:
    """Read the wanted signals of one model. Hooks live between `attach` and `detach`.

    Args:
        model: called by the adapter.
        adapter: (model, batch, temperature) -> Signals.
        temperature: handed to the adapter.
        wanted: names of signals: "logits", "log_probs", features that the adapter gives, or module paths, which
            are tapped: "layer3.1" is what the module gives, "input:fc" what it receives.
        whose: "student" or "teacher", for messages.
        stop_early: end the forward after the last wanted module when nothing else is wanted; for a model whose
            later modules need not run.
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
    ) -> None:
        self.model = model
        self.adapter = adapter
        self.temperature = temperature
        self.wanted = tuple(wanted)
        self.whose = whose
        paths = [name for name in self.wanted if name not in OUTPUTS and _is_path(model, name)]
        inputs = [name for name in paths if name.startswith(INPUT)]
        outputs = [name for name in paths if not name.startswith(INPUT)]
        self._stops = stop_early and bool(outputs) and len(outputs) == len(self.wanted)
        self._taps = Taps(model, outputs, keep="forward", until_last_tap=self._stops) if outputs else None
        self._inputs = (
            Taps(model, [name.removeprefix(INPUT) for name in inputs], "input", keep="forward") if inputs else None
        )
        self._checked = False

    def attach(self) -> None:
        """Put the hooks on the model."""
        for taps in (self._taps, self._inputs):
            if taps is not None:
                taps.attach()

    def detach(self) -> None:
        """Take the hooks off and let go of what they read."""
        for taps in (self._taps, self._inputs):
            if taps is not None:
                taps.detach()
                taps.clear()

    def read(self, batch: Any) -> Signals:
        """Call the model on one batch.

        Raises:
            CaptureError: if a wanted signal is neither a module that is called nor among what the adapter gives, a
                module did not fire, or its tensor was changed in place.
        """
        if self._taps is not None and self._stops:
            self._taps.run(self.adapter, self.model, batch, self.temperature)
            signals = Signals(features=self._taps.take())
        else:
            signals = self.adapter(self.model, batch, self.temperature)
            if self._taps is not None:
                signals = replace(signals, features={**signals.features, **self._taps.take()})
            if self._inputs is not None:
                received = {INPUT + path: tensor for path, tensor in self._inputs.take().items()}
                signals = replace(signals, features={**signals.features, **received})
        if not self._checked:
            self._check(signals)
        return signals

    def _check(self, signals: Signals) -> None:
        given = [*(name for name in OUTPUTS if getattr(signals, name) is not None), *signals.features]
        for name in self.wanted:
            if name not in given:
                if name.removeprefix(INPUT) in modules_by_path(self.model):
                    resolve(self.model, [name.removeprefix(INPUT)])  # says why this module cannot be tapped
                known = [*given, *filter(None, modules_by_path(self.model))]
                raise CaptureError(
                    f"A term compares the {self.whose}'s {name!r}, which is neither a module of "
                    f"{type(self.model).__name__} nor a signal that its adapter gives. {nearest(name, known)}"
                )
        self._checked = True


def _is_path(model: nn.Module, name: str) -> bool:
    try:
        resolve(model, [name.removeprefix(INPUT)])
    except CaptureError:
        return False
    return True
