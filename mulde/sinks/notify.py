"""Alerts to people through Apprise: mail, ntfy, Telegram and whatever else it reaches."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from mulde.errors import UsageError
from mulde.secret import without_secrets
from mulde.sinks.message import Message, Sink, SinkError
from mulde.sinks.settings import AppriseSettings
from mulde.sinks.words import body, title


class NotifySink(Sink):
    """Sends each alert to every address. An address that has a message is not sent it again where another failed.

    Raises UsageError for addresses that Apprise does not know, without a byte of them.
    """

    def __init__(self, settings: AppriseSettings, urls: str) -> None:
        import apprise

        logging.getLogger("urllib3").setLevel(logging.ERROR)  # which logs addresses
        self._settings, self._apprise = settings, apprise
        self._secrets = _secret_parts(urls)
        self._servers = []
        for number, url in enumerate(urls.split(), 1):
            with _LOG.heard(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of what its plug-ins import
                server = apprise.Apprise.instantiate(url)
            if server is None:
                raise UsageError(
                    f"address {number} of sink {settings.title}",
                    expected="one that Apprise knows, such as ntfy://... or mailtos://...",
                    got="something else",
                )
            self._servers.append(server)
        if not self._servers:
            raise UsageError(f"addresses of sink {settings.title}", expected="at least one", got="none")
        self._key: tuple[str, int] | None = None
        self._reached = set[int]()

    def deliver(self, message: Message) -> None:
        """Send an alert to the addresses that do not have it yet."""
        if message.key != self._key:
            self._key, self._reached = message.key, set()
        problems = {}
        for number, server in enumerate(self._servers):
            if number in self._reached:
                continue
            is_sent, why = self._send(server, message)
            if is_sent:
                self._reached.add(number)
            else:
                problems[str(server.service_name)] = without_secrets(why, *self._secrets) or "not sent"
        if problems:
            raise SinkError("; ".join(f"{kind}: {why}" for kind, why in problems.items()), "message")

    def _send(self, server: Any, message: Message) -> tuple[bool, str]:
        one = self._apprise.Apprise()
        one.add(server)
        picture = message.picture if self._settings.picture else None
        is_over = message.alert["state"] == "closed"
        kind = self._apprise.NotifyType.INFO if is_over else self._apprise.NotifyType.WARNING
        with _LOG.heard() as heard:
            is_sent = one.notify(
                body=body(message),
                title=title(message),
                notify_type=kind,
                body_format=self._apprise.NotifyFormat.TEXT,
                attach=str(picture) if picture is not None and picture.is_file() else None,
            )
        return bool(is_sent), "".join(heard)


class _Log(logging.Filter):
    """Keeps all that Apprise logs out of every log, because its lines hold addresses, and the last warning for whoever
    listens. It sends in threads of its own, so nobody hears anything while two listen."""

    def __init__(self) -> None:
        super().__init__()
        self._lock, self._listeners = threading.Lock(), list[list[str]]()

    @contextmanager
    def heard(self) -> Iterator[list[str]]:
        """A list that has the last warning, once there is one."""
        heard: list[str] = []
        logging.getLogger("apprise").addFilter(self)  # once, however often
        with self._lock:
            self._listeners.append(heard)
        try:
            yield heard
        finally:
            with self._lock:
                self._listeners = [other for other in self._listeners if other is not heard]

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            with self._lock:
                if len(self._listeners) == 1:
                    self._listeners[0][:] = [" ".join(record.getMessage().split())[:200].rstrip(".")]
        return False


_LOG = _Log()


def _secret_parts(urls: str) -> Iterable[str]:
    """Whatever of the addresses may be a password, a token or a name."""
    parts = set()
    for url in urls.split():
        _, _, rest = url.partition("://")
        words = re.split(r"[/@:?&=,+#]", rest)
        parts |= {word for text in (*words, *map(unquote, words), rest, url) if len(word := text) >= 4}
    return parts
