"""Logging in: the token is typed once, and the browser keeps a cookie that no script can read."""

from __future__ import annotations

import math
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from mulde.errors import MuldeError
from mulde.files import parse_json
from mulde.service.gate import TokenGate

COOKIE, LOGIN = "mulde", "/login"
_MAX_AGE_S = 30 * 86_400
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>mulde: log in</title></head>
<body><main><h1>mulde</h1><form method="post" action="/login">
<p><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button></p>{note}</form></main></body></html>
"""


def login_routes(gate: TokenGate | None) -> APIRouter:
    """gate: None where no token is needed; then everyone is sent to the page."""
    router = APIRouter()

    @router.get(LOGIN, response_class=HTMLResponse, summary="A form for the token")
    def form() -> Response:
        return RedirectResponse("/", 303) if gate is None else HTMLResponse(_PAGE.format(note=""))

    @router.post(LOGIN, summary="Log in with the token, as a form or as JSON")
    async def login(request: Request) -> Response:
        if gate is None:
            return RedirectResponse("/", 303)
        is_json = request.headers.get("content-type", "").startswith("application/json")
        token = _token(await request.body(), is_json)
        verdict = gate.check_token(request.client.host if request.client else "", token)
        if verdict.is_right:
            answer: Response = JSONResponse({}) if is_json else RedirectResponse("/", 303)
            is_https = request.url.scheme == "https"
            answer.set_cookie(COOKIE, gate.cookie, _MAX_AGE_S, httponly=True, samesite="strict", secure=is_https)
            return answer
        status, text = 401, "That is not the token."
        if verdict.wait_s:
            status, text = 429, f"Too many wrong tokens. The next one in {math.ceil(verdict.wait_s)} s."
        if is_json:
            return JSONResponse({"error": text}, status)
        return HTMLResponse(_PAGE.format(note=f'<p role="alert">{text}</p>'), status)

    return router


def _token(body: bytes, is_json: bool) -> str:
    if not is_json:
        return next(iter(parse_qs(body.decode("utf-8", "replace"), max_num_fields=10).get("token", [])), "").strip()
    try:
        data = parse_json(body.decode("utf-8", "replace"), "the token")
    except MuldeError:
        return ""
    token = data.get("token", "") if isinstance(data, dict) else ""
    return token.strip() if isinstance(token, str) else ""
