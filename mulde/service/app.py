"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from mulde import __version__
from mulde.errors import MuldeError, sentence
from mulde.service.files import file_routes
from mulde.service.gate import Hosts, TokenGate
from mulde.service.guard import Guard
from mulde.service.health import health_routes
from mulde.service.login import login_routes
from mulde.service.metrics import metric_routes
from mulde.service.routes import add_routes
from mulde.service.source import Refusal, RunSource
from mulde.service.stream import EventStream, stream_routes

log = logging.getLogger(__name__)

_NO_TELEMETRY: Any = {
    "tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False,
}  # fmt: skip
"""No variable of the environment may have requests, and the token in them, sent elsewhere."""


def new_app(source: RunSource, gate: TokenGate | None, hosts: Hosts, stream: EventStream) -> ASGIApp:
    """The service of a run. gate: None where no token is needed."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(stream.run())
        yield
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking

    app = FastAPI(
        title="mulde",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    add_routes(app, source)
    for routes in (file_routes, health_routes, metric_routes):
        app.include_router(routes(source))
    app.include_router(stream_routes(stream))
    app.include_router(login_routes(gate))
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (sqlite3.Error, OSError, MuldeError):
        app.add_exception_handler(kind, _failed)
    return Guard(app, gate, hosts)


def _problem(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return _problem(error.status, str(error))


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _problem(400, f"{place[:100]}: {first['msg']}"[:300])


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _failed(request: Request, error: Exception) -> JSONResponse:
    """The disk, or a file of the run, fails: what else works goes on."""
    log.warning("%s: %s", request.url.path, sentence(error, "the run"))
    return _problem(503, f"the run folder cannot be read: {type(error).__name__}")
