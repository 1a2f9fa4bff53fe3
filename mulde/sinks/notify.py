"""Alerts to people through Apprise: mail, ntfy, Telegram and whatever else it reaches."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable
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
        self._said = _Said()
        self._servers = []
        for number, url in enumerate(urls.split(), 1):
            with self._said:
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
        for number, server in enumerate(self._servers):
            if number not in self._reached and self._send(server, message):
                self._reached.add(number)
        if missing := [number for number in range(len(self._servers)) if number not in self._reached]:
            kinds = ", ".join(sorted({str(self._servers[number].service_name) for number in missing}))
            why = without_secrets(self._said.last, *self._secrets)
            raise SinkError(f"{kinds}: {why or 'not sent'}", "message")

    def _send(self, server: Any, message: Message) -> bool:
        one = self._apprise.Apprise()
        one.add(server)
        picture = message.picture if self._settings.picture else None
        is_over = message.alert["state"] == "closed"
        kind = self._apprise.NotifyType.INFO if is_over else self._apprise.NotifyType.WARNING
        with self._said:
            return bool(
                one.notify(
                    body=body(message),
                    title=title(message),
                    notify_type=kind,
                    body_format=self._apprise.NotifyFormat.TEXT,
                    attach=str(picture) if picture is not None and picture.is_file() else None,
                )
            )


class _Said(logging.Handler):
    """The last warning that Apprise logs in this thread, while it is entered. Nothing of it reaches other logs: its
    lines hold addresses."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last, self._thread = "", 0

    def __enter__(self) -> None:
        self.last, self._thread = "", threading.get_ident()
        logger = logging.getLogger("apprise")
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.addHandler(self)

    def __exit__(self, *error: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.last = " ".join(record.getMessage().split())[:200].rstrip(".")


def _secret_parts(urls: str) -> Iterable[str]:
    """Whatever of the addresses may be a password, a token or a name."""
    parts = set()
    for url in urls.split():
        _, _, rest = url.partition("://")
        words = re.split(r"[/@:?&=,+#]", rest)
        parts |= {word for text in (*words, *map(unquote, words), rest, url) if len(word := text) >= 4}
    return parts
