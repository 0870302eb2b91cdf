"""Ctrl-C and SIGTERM while a training runs: noted at once, obeyed when the step is done."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from knowledge_distillation.errors import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Takes the two signals over; a second one stops at once.

    Attributes:
        received: the signal that came, or None.
        at_once: raise where the program stands, instead of waiting for whoever asks; for work that changes nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.at_once = False
        self._before: dict[int, Any] = {}

    def begin(self) -> None:
        """Take the signals over, in the main thread; elsewhere Python does not allow it."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            self.received = None
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def end(self) -> None:
        """Give the signals back to who had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def obey(self) -> None:
        """Raise what the signal means, if one came.

        Raises:
            KeyboardInterrupt: for SIGINT.
            Terminated: for SIGTERM.
        """
        if self.received is not None:
            raise KeyboardInterrupt if self.received == signal.SIGINT else Terminated

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = self.received or number
        if self.at_once or again:
            self.obey()
