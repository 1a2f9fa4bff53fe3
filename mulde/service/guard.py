"""What stands before every address of the service: host, size, origin and token of a request, headers of an answer."""

from __future__ import annotations

import json
import math
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mulde.service.gate import Hosts, TokenGate, Verdict
from mulde.service.login import COOKIE, LOGIN

MAX_BODY_BYTES = 16_384
_OPEN = (LOGIN, "/healthz", "/readyz")
"""Addresses that need no token, besides `/static/`: they tell nothing of the run."""
_FORM = "application/x-www-form-urlencoded"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """An ASGI application around another one. gate: None where no token is needed."""

    def __init__(self, app: ASGIApp, gate: TokenGate | None, hosts: Hosts) -> None:
        self._app, self._gate, self._hosts = app, gate, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        send = _with_headers(send)
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused is not None:
            await refused(send)
            return
        body = await _body(receive, headers)
        if body is None:
            await _Answer(413, f"a request of at most {MAX_BODY_BYTES:,} bytes")(send)
            return
        await self._app(scope, _replayed(body, receive), send)

    def _refusal(self, scope: Scope, headers: Headers) -> _Answer | None:
        host = headers.get("host", "")
        if not self._hosts.allows(host):
            return _Answer(421, f"unknown host {host[:100]!r}. Try: add it to [service] hosts")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            answer = _cross_site(scope, headers, host)
            if answer is not None:
                return answer
        path = scope["path"]
        if self._gate is None or path in _OPEN or path.startswith("/static/"):
            return None
        return self._unauthorised(scope, headers, self._gate)

    def _unauthorised(self, scope: Scope, headers: Headers, gate: TokenGate) -> _Answer | None:
        address = (scope.get("client") or ("",))[0]
        kind, _, token = headers.get("authorization", "").partition(" ")
        cookie = _cookie(headers.get("cookie", ""))
        verdict = Verdict(False)
        if kind.casefold() == "bearer":
            verdict = gate.check_token(address, token.strip())
        elif cookie:
            verdict = gate.check_cookie(address, cookie)
        if verdict.is_right:
            return None
        if verdict.wait_s:
            return too_many(verdict)
        more = {"WWW-Authenticate": "Bearer"}
        if cookie:  # of another token: it would count as a wrong one again and again
            more["Set-Cookie"] = f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return _Answer(303, "log in first", {**more, "Location": LOGIN})
        return _Answer(401, "a token is needed: Authorization: Bearer TOKEN, or log in at /login", more)


class _Answer:
    """An answer that the application behind has no part in."""

    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None) -> None:
        self._status, self._body = status, json.dumps({"error": error}).encode()
        self._headers = {
            "Content-Type": "application/json", "Content-Length": str(len(self._body)), "Cache-Control": "no-store",
            **(headers or {}),
        }  # fmt: skip

    async def __call__(self, send: Send) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def too_many(verdict: Verdict) -> _Answer:
    seconds = math.ceil(verdict.wait_s)
    return _Answer(429, f"too many wrong tokens; the next one in {seconds} s", {"Retry-After": str(seconds)})


def _cross_site(scope: Scope, headers: Headers, host: str) -> _Answer | None:
    """Refuses what a page from elsewhere can have a browser send."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return _Answer(403, "a request from another site")
    origin = headers.get("origin")
    if origin is not None and _netloc(origin) != host.casefold():
        return _Answer(403, f"a request from another site, {origin[:100]!r}")
    kind = headers.get("content-type", "").partition(";")[0].strip().casefold()
    if kind not in ("application/json", *([_FORM] if scope["path"] == LOGIN else [])):
        return _Answer(415, f"expected Content-Type: application/json, got {kind[:100]!r}")
    return None


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.casefold()
    except ValueError:
        return ""


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


async def _body(receive: Receive, headers: Headers) -> bytes | None:
    """The whole body; None for one that is too long."""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:12]) > MAX_BODY_BYTES:
        return None
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    is_read = False

    async def again() -> Message:
        nonlocal is_read
        if not is_read:
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return with_headers
