"""Whether the service and what it shows are well, for service managers, containers and load balancers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from mulde.service.schema import Problem
from mulde.service.source import RunSource

_UNWELL: dict[int | str, dict[str, Any]] = {503: {"model": Problem}}


def health_routes(source: RunSource) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", responses=_UNWELL, summary="Whether the run is well")
    def healthz() -> JSONResponse:
        """503 where the loop that scores has not turned for 10 s, or the ledger of alerts cannot be written."""
        problem = source.unwell()
        return JSONResponse({"error": problem}, 503) if problem else JSONResponse({"status": "ok"})

    @router.get("/readyz", summary="Whether the service answers")
    def readyz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return router
