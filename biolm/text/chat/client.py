"""A client of servers that speak the OpenAI protocol, ollama among them; nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from biolm.errors import ConfigError, ServerError

__all__ = ["ChatClient", "ChatOptions"]

_LARGEST = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """How a server is to draw its answer; what is None is left to the server.

    Parameters
    ----------
    temperature, top_p
        Sampling.
    frequency_penalty, presence_penalty
        Over generated tokens.
    max_tokens
        Most tokens of the answer.
    stop
        Texts that end it.
    seed
        Of the draws, where the server heeds it.
    """

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    max_tokens: int | None = 512
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def fields(self) -> dict[str, Any]:
        """What goes into the request."""
        names = [*self.__dataclass_fields__]
        fields = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        fields["stop"] = list(self.stop)
        return {name: value for name, value in fields.items() if value != []}


@dataclass(frozen=True, slots=True)
class ChatClient:
    """One model on one server.

    Parameters
    ----------
    url
        Up to the version: ``http://127.0.0.1:11434/v1`` for ollama.
    model
        Its name there.
    key_variable
        Environment variable that holds the key, where the server wants one; it is never written anywhere.
    timeout
        Seconds without a byte before the server counts as too slow.
    retries
        How often a busy server (429, 503) is asked again.
    longest_wait
        Most seconds between two tries, whatever the server asks for.
    sleep
        Waits; for tests.

    Raises
    ------
    ConfigError
        If the address is none, or the variable is not set.
    """

    url: str
    model: str
    key_variable: str = ""
    timeout: float = 60.0
    retries: int = 3
    longest_wait: float = 30.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"the server's address must begin with http:// or https://, not {self.url!r}")
        if self.key_variable and not os.environ.get(self.key_variable):
            raise ConfigError(f"the environment variable {self.key_variable} for the server's key is not set")

    def ask(self, messages: str | Sequence[Mapping[str, str]], options: ChatOptions | None = None) -> str:
        """The whole answer to a question or a conversation.

        Parameters
        ----------
        messages
            One question, or ``role`` and ``content`` of each turn.
        options
            See :class:`ChatOptions`.

        Raises
        ------
        ServerError
            If the server is down, too slow, busy for too long, refuses, or answers nonsense.
        """
        with self._open(messages, options, stream=False) as answer:
            try:
                # Bounded, as whoever runs the server may send without an end.
                body = answer.read(_LARGEST)
            except (TimeoutError, OSError, http.client.HTTPException) as error:
                raise self._broken(error) from error
        return self._content(body, lambda stored: stored["choices"][0]["message"]["content"])

    def stream(
        self, messages: str | Sequence[Mapping[str, str]], options: ChatOptions | None = None
    ) -> Iterator[str]:
        """Pieces of the answer as they come; arguments and errors as of :meth:`ask`.

        Parameters
        ----------
        messages, options
            As of :meth:`ask`.
        """
        with self._open(messages, options, stream=True) as answer:
            finished = False
            try:
                for line in answer:
                    text = line.strip()
                    if not text.startswith(b"data:"):
                        continue
                    payload = text.removeprefix(b"data:").strip()
                    if payload == b"[DONE]":
                        finished = True
                        break
                    piece = self._content(
                        payload, lambda stored: stored["choices"][0]["delta"].get("content") or ""
                    )
                    if piece:
                        yield piece
            except (TimeoutError, OSError, http.client.HTTPException) as error:
                raise self._broken(error) from error
        if not finished:
            raise ServerError(f"the server {self.url} broke off in the middle of its answer; ask again")

    def _open(
        self, messages: str | Sequence[Mapping[str, str]], options: ChatOptions | None, *, stream: bool
    ) -> Any:
        turns = (
            [{"role": "user", "content": messages}]
            if isinstance(messages, str)
            else [dict(m) for m in messages]
        )
        body = {
            "model": self.model,
            "messages": turns,
            "stream": stream,
            **(options or ChatOptions()).fields(),
        }
        headers = {"Content-Type": "application/json"}
        if self.key_variable:
            headers["Authorization"] = f"Bearer {os.environ[self.key_variable]}"
        address = f"{self.url.rstrip('/')}/chat/completions"
        for attempt in range(self.retries + 1):
            request = urllib.request.Request(address, json.dumps(body).encode(), headers)  # noqa: S310  # http only
            try:
                return urllib.request.urlopen(request, timeout=self.timeout)  # noqa: S310
            except urllib.error.HTTPError as error:
                # Only these say "later": any other answer would be the same again.
                if error.code not in (429, 503) or attempt == self.retries:
                    reason = " ".join(error.read(300).decode("utf-8", "replace").split())
                    raise ServerError(
                        f"the server {self.url} answered {error.code} {error.reason}: {reason}"
                    ) from error
                self.sleep(min(self._wait(error, attempt), self.longest_wait))
            except (TimeoutError, OSError, http.client.HTTPException) as error:
                raise self._broken(error) from error
        raise AssertionError  # the loop returns or raises

    def _wait(self, error: urllib.error.HTTPError, attempt: int) -> float:
        try:
            return max(0.0, float(error.headers.get("Retry-After", "")))
        except ValueError:
            return float(2**attempt)

    def _broken(self, error: Exception) -> ServerError:
        reason = getattr(error, "reason", error)
        if isinstance(error, TimeoutError) or isinstance(reason, TimeoutError):
            return ServerError(
                f"the server {self.url} said nothing for {self.timeout:g} s; try a longer timeout"
            )
        return ServerError(f"the server {self.url} cannot be reached ({reason}); is it running?")

    def _content(self, body: bytes, pick: Callable[[Any], Any]) -> str:
        try:
            content = pick(json.loads(body))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            shown = body[:80].decode("utf-8", "replace")
            raise ServerError(
                f"the server {self.url} answered nonsense: {shown!r}; is it the right address?"
            ) from error
        if not isinstance(content, str):
            raise ServerError(f"the server {self.url} answered without a text; is the model one that chats?")
        return content
