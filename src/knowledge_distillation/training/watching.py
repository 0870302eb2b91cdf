"""Processes that train together end together: none waits for one that has died."""

from __future__ import annotations

import logging
import os
import secrets
import selectors
import socket
import threading
from contextlib import suppress

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

logger = logging.getLogger(__name__)
GRACE = 8.0
"""Seconds for the backend to raise by itself, which says more."""
TICK = 0.5
"""About how many seconds it takes to notice that the training is over here."""
WELL = b"."


class Watch(Callback):
    """Ends this process when another one ends in the middle of the training and the backend does not raise.

    Gloo as a rule raises within milliseconds when a process is gone. Rarely it waits in a send instead, until its
    timeout of half an hour (torch 2.13: after 7 of 1,701 kills in a loop of small sums); torchrun would end such a
    process, other launchers do not all. So each process keeps a connection to the first one, and the system closes it
    with the process. The first closes all of them by ending, so that every process learns of any other.

    Where a process cannot be connected, the training is not watched; a line at level INFO says so.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._others: list[socket.socket] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._over, self._others = threading.Event(), []
        if trainer.world_size > 1 and distributed.is_available() and distributed.is_initialized():
            self._others = _connected(trainer)
            threading.Thread(target=_watch, args=(self._others, self._over), daemon=True).start()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(WELL)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end(b"")

    def _end(self, word: bytes) -> None:
        for other in self._others:
            try:
                other.sendall(word)
                other.shutdown(socket.SHUT_WR)
            except OSError:  # it has ended already
                continue
        self._over.set()  # only now: what watches closes the connections


def _connected(trainer: Trainer) -> list[socket.socket]:
    """In the first process connections to all others, in the others one to the first; none if one is missing."""
    is_first, others = trainer.global_rank == 0, trainer.world_size - 1
    server = _listening(others) if is_first else None
    port = server.getsockname()[1] if server else None
    port, secret = trainer.strategy.broadcast((port, secrets.token_bytes(16)))
    mine = None if is_first else _connection(port, secret)
    if not trainer.strategy.reduce_boolean_decision(bool(server or mine)):
        logger.info("Nobody notices if a process of this training dies: they cannot be connected.")
        for one in filter(None, (server, mine)):
            one.close()
        return []
    found = [mine] if mine else []
    if server is None:
        return found
    with server, suppress(TimeoutError):  # of one that has died since, which the backend finds with its next sum
        server.settimeout(GRACE)
        while len(found) < others:
            one = server.accept()[0]
            one.settimeout(GRACE)
            if _says(one, secret):  # not whatever else looks for open ports
                found.append(one)
            else:
                one.close()
    return found


def _listening(expected: int) -> socket.socket | None:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", 0), family=family, dualstack_ipv6=both, backlog=expected)
    except OSError:
        return None


def _connection(port: int | None, secret: bytes) -> socket.socket | None:
    try:
        made = socket.create_connection((os.environ["MASTER_ADDR"], port), timeout=GRACE) if port else None
        if made is not None:
            made.sendall(secret)
    except (KeyError, OSError):
        return None
    return made


def _watch(others: list[socket.socket], over: threading.Event) -> None:
    """Until the training is over here or in all others, or one of them has died."""
    with selectors.DefaultSelector() as selector:
        for other in others:
            selector.register(other, selectors.EVENT_READ, other)
        while selector.get_map() and not over.is_set():
            for key, _ in selector.select(TICK):
                selector.unregister(key.data)
                if not _says(key.data, WELL) and not over.wait(GRACE):
                    _end_this_process()
    for other in others:
        other.close()


def _says(other: socket.socket, word: bytes) -> bool:
    try:
        return other.recv(len(word)) == word
    except OSError:
        return False


def _end_this_process() -> None:
    logger.critical(
        "Processes that train together must all be there, and one has ended in the middle of the training. This one "
        "would wait for it, perhaps for half an hour, and ends now. See what the other printed; the training goes on "
        "from its last checkpoint with resume='auto'."
    )
    logging.shutdown()
    os._exit(1)  # the thread that trains waits within the backend, where no exception reaches it
