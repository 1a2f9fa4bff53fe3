"""Alerts to an HTTP server: the JSON of the alert as the body, signed."""

from __future__ import annotations

import hashlib
import hmac
import logging
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from mulde import __version__
from mulde.errors import UsageError, first_line
from mulde.secret import without_secrets
from mulde.sinks.message import Message, Sink, SinkError
from mulde.sinks.settings import WebhookSettings

SIGNATURE = "Mulde-Signature"
_MAX_WAIT_S = 3600
_BUSY = frozenset({408, 425, 429, 502, 503, 504})


def signature(secret: str, time_s: int, body: bytes) -> str:
    """The value of the header: the Unix time, and the HMAC-SHA256 of `TIME.BODY` in hexadecimal digits."""
    digest = hmac.new(secret.encode(), f"{time_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={time_s},sha256={digest}"


class WebhookSink(Sink):
    """Posts each alert. secret: the key of the signature, empty for none. No redirect is followed, and the text of an
    answer is not read. Raises UsageError for an address that is none, without a byte of it."""

    def __init__(
        self, settings: WebhookSettings, url: str, secret: str, *, utc: Callable[[], float] = time.time
    ) -> None:
        import httpx

        for name in ("httpx", "httpcore"):  # which log addresses
            logging.getLogger(name).setLevel(logging.WARNING)
        title = settings.title
        try:
            parts = urlsplit(url)
            is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
            httpx.URL(url)
        except (ValueError, httpx.InvalidURL):
            is_usable = False
        if not is_usable:
            raise UsageError(f"address of sink {title}", expected="http://... or https://...", got="something else")
        self._url, self._secret, self._utc = url, secret, utc
        self._place = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._secrets = [url, secret, parts.path, parts.query, parts.netloc.rpartition("@")[0], parts.password or ""]
        try:
            verify = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"ca_file of sink {title}: {first_line(error)}", expected="certificates (PEM)") from None
        self._client = httpx.Client(
            verify=verify,
            timeout=httpx.Timeout(settings.timeout_s, connect=min(settings.timeout_s, 5.0)),
            follow_redirects=False,
            headers={"User-Agent": f"mulde/{__version__}"},
        )

    def deliver(self, message: Message) -> None:
        """Post an alert. 2xx acknowledges it; 3xx says that the address is another; 4xx is final but for 408, 425 and
        429, so the sender has to change; anything else may be over later."""
        import httpx

        body = message.json.encode()
        headers = {"Content-Type": "application/json"}
        if self._secret:
            headers[SIGNATURE] = signature(self._secret, int(self._utc()), body)
        if message.is_test:
            headers["Mulde-Test"] = "1"
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                status, wait = answer.status_code, answer.headers.get("Retry-After", "")
        except httpx.TimeoutException:
            raise SinkError(f"{self._place}: no answer in time", "reconnect") from None
        except (httpx.HTTPError, OSError, ValueError) as error:
            reason = without_secrets(first_line(error), *self._secrets)
            raise SinkError(f"{self._place}: {reason}", "reconnect") from None
        if 200 <= status < 300:
            return
        wait_s = float(min(int(wait), _MAX_WAIT_S)) if wait.isascii() and wait.isdigit() and len(wait) < 9 else 0.0
        if status in _BUSY:
            raise SinkError(f"{self._place}: status {status}", "reconnect", wait_s=wait_s)
        if 300 <= status < 400:
            raise SinkError(f"{self._place}: status {status}, and redirects are not followed", "reconnect")
        raise SinkError(f"{self._place}: status {status}", "never" if 400 <= status < 500 else "message", wait_s=wait_s)

    def close(self) -> None:
        self._client.close()
