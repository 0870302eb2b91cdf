"""A server that speaks JSON over HTTP: asked again where that can help, and quoted where it refuses."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
from http.client import HTTPException, IncompleteRead
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.errors import ConfigError, TeacherError
from knowledge_distillation.losses.inputs import check_positive

LONGEST_QUOTE = 500
LONGEST_PAUSE = 30.0
DROPPED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, IncompleteRead)
BUSY = 429
LARGEST_ANSWER = 2**30
"""Bytes that are read of one answer."""
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
HIDDEN = "***"


class Endpoint:
    """An address, and how patiently it is asked. Holds no connection and no secret, so it can be copied and pickled.

    Args:
        url: http or https, up to but without the path "/v1"; with it is understood as well.
        api_key_env: name of the environment variable with the key, which is read for every request and kept nowhere;
            None sends no key.
        timeout: seconds without a byte from the server after which it counts as gone, > 0.
        retries: how often a request is repeated after HTTP 429 or 5xx or a dropped connection, >= 0. Nothing else is
            repeated: it would fail again.
        pause: seconds before the first repetition, > 0; doubled each time up to 30. A longer Retry-After of the
            server's wins, up to 30 as well.

    Raises:
        ConfigError: if an argument is wrong, or the url holds a password.
    """

    def __init__(
        self, url: str, *, api_key_env: str | None = None, timeout: float = 120.0, retries: int = 4, pause: float = 0.5
    ) -> None:
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            shown = repr(url) if "@" not in str(url) else "one with an '@', which may stand behind a password"
            raise ConfigError(f"url must be an http or https address such as http://localhost:8000, got {shown}.")
        if parts.username is not None or parts.query:
            raise ConfigError(
                "url must hold no user, password or query: it is shown in messages. Put the key into an environment "
                "variable and give its name as api_key_env."
            )
        if api_key_env is not None and not (isinstance(api_key_env, str) and VARIABLE.fullmatch(api_key_env)):
            raise ConfigError(  # and not what it is: it may be the key itself
                "api_key_env must be the name of an environment variable, of capital letters, digits and '_', got "
                f"another {type(api_key_env).__name__}. A key that stood there would be written into the run's recipe."
            )
        self.url = url.rstrip("/").removesuffix("/v1")
        self.api_key_env = api_key_env
        self.timeout = check_positive("timeout", timeout)
        self.retries = check_whole("retries", retries, 0)
        self.pause = check_positive("pause", pause)

    def ask(self, path: str, body: Any = None) -> Any:
        """What the server answers, read as JSON.

        Args:
            path: such as "v1/models".
            body: sent as JSON with POST; None asks with GET.

        Raises:
            TeacherError: if the server is away, too slow, refuses, or answers something else than JSON.
            ConfigError: if the environment variable with the key is not set.
        """
        for attempt in range(self.retries + 1):
            try:
                return _read(self._once(path, body), f"{self.url}/{path}")
            except _Passing as failure:
                if attempt == self.retries:
                    tries = f" {attempt + 1} times" if attempt else ""
                    raise TeacherError(
                        f"{failure}{tries}. The server must answer before the student can learn. Look into its log, "
                        "send smaller batches, or raise retries."
                    ) from None
                time.sleep(min(LONGEST_PAUSE, max(self.pause * 2**attempt, failure.wait)))
        raise AssertionError("the last attempt neither answered nor failed")

    def _once(self, path: str, body: Any) -> bytes:
        address = f"{self.url}/{path}"
        key = self._key()
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(address, data=data, headers=headers)  # noqa: S310  (http or https, see above)
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as answer:
                found: bytes = answer.read(LARGEST_ANSWER + 1)
                if (
                    answer.length and len(found) <= LARGEST_ANSWER
                ):  # http.client complains of a cut body only without a size
                    raise IncompleteRead(found, answer.length)
        except HTTPError as error:
            failure = _refusal(error, address, key)
        except (OSError, HTTPException) as error:
            failure = self._failure(error.reason if isinstance(error, URLError) else error, address, key)
        else:
            if len(found) > LARGEST_ANSWER:
                raise TeacherError(f"The server at {address} sent more than {LARGEST_ANSWER:,} bytes. Correct url.")
            return _without(found, key)
        raise failure  # out of the handlers, so that what the server said is no context of it

    def _failure(self, reason: Any, address: str, key: str) -> Exception:
        if isinstance(reason, DROPPED):
            return _Passing(f"The server at {address} dropped the connection ({type(reason).__name__})")
        if isinstance(reason, TimeoutError):
            return TeacherError(
                f"The server at {address} must answer within {self.timeout:g} seconds, and sent nothing. The student "
                "would wait for ever. Raise timeout, or send smaller batches."
            )
        return TeacherError(
            f"The server at {address} cannot be reached: {_hidden(str(reason), key)}. Nobody would teach the student. "
            "Start it, or correct url."
        )

    def _key(self) -> str:
        if self.api_key_env is None:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key or not key.isascii() or not key.isprintable():  # http.client would quote a key that it cannot send
            state = "holds characters that no header can" if key else "is not set"
            raise ConfigError(
                f"The environment variable {self.api_key_env!r} must hold the server's API key, and {state}: the "
                "server would refuse. api_key_env is the variable's name, never the key itself."
            )
        return key


class _Passing(Exception):
    """A failure after which it is worth asking again."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Urllib would carry the key on to any other host, and turn a POST into a GET."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _refusal(error: HTTPError, address: str, key: str) -> Exception:
    """What the server said, without the key."""
    try:
        with error:
            raw = error.read(LARGEST_ANSWER)
    except (OSError, HTTPException):
        raw = b""
    said = _hidden(_message(_without(raw, key)), key)
    text = f"The server at {address} answered HTTP {error.code}: {said[:LONGEST_QUOTE] or _hidden(error.reason, key)}"
    if error.code == BUSY or error.code >= 500:
        return _Passing(text, _seconds(error.headers.get("Retry-After")))
    advice = {
        401: " Give the name of the variable with the key as api_key_env.",
        403: " Give the name of the variable with the key as api_key_env.",
        404: " Correct url or model.",
    }.get(error.code, "")
    if 300 <= error.code < 400:
        advice = (
            f" Redirects are not followed. Give the address itself: {_hidden(str(error.headers.get('Location')), key)}."
        )
    return TeacherError(f"{text}{'' if text.endswith('.') else '.'}{advice}")


def _hidden(text: str, key: str) -> str:
    """What a server said, without the key, which some servers quote."""
    return text.replace(key, HIDDEN) if key else text


def _without(raw: bytes, key: str) -> bytes:
    return raw.replace(key.encode(), HIDDEN.encode()) if key else raw


def _message(raw: bytes) -> str:
    text = raw.decode("utf-8", errors="replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        return text
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return found if isinstance(found, str) else json.dumps(found)


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdecimal() else 0.0


def _read(raw: bytes, address: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        start = raw[:100].decode("utf-8", errors="replace")
        raise TeacherError(
            f"The server at {address} must answer in JSON, and answered {start!r}. Something else may listen there: "
            "correct url."
        ) from None
