"""Pictures and clips of alerts, in parts where a player asks for parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from mulde.pipeline.run_folder import REPORT
from mulde.service.routes import missing
from mulde.service.schema import Problem
from mulde.service.source import RunSource

_TYPES = {".jpg": "image/jpeg", ".mp4": "video/mp4", ".mkv": "video/x-matroska", ".html": "text/html"}


_REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A report has its script inside, which its own policy names. Here it is kept apart from the page: whatever lies there
under this name, it can ask the service for nothing."""


def file_routes(source: RunSource) -> APIRouter:
    router = APIRouter()
    responses: dict[int | str, dict[str, Any]] = {404: {"model": Problem}, 206: {}, 416: {}}

    @router.get("/alerts/{alert_id}.jpg", response_class=FileResponse, responses=responses, summary="Its picture")
    def picture(alert_id: str) -> _File:
        found = source.files(alert_id)
        return _file(source.root, found.picture if found else None, f"{alert_id}.jpg")

    @router.get("/alerts/{alert_id}.mp4", response_class=FileResponse, responses=responses, summary="Its clip")
    def clip(alert_id: str) -> _File:
        """From some seconds before it to some seconds behind it."""
        found = source.files(alert_id)
        return _file(source.root, found.clip if found else None, f"{alert_id}.mp4")

    @router.get("/report.html", response_class=FileResponse, responses=responses, summary="The report of the run")
    def report() -> _File:
        """As `mulde report` made it last."""
        answer = _file(source.root, source.root / REPORT, REPORT)
        answer.headers["Content-Security-Policy"] = _REPORT_POLICY
        return answer

    return router


class _File(FileResponse):
    """A file that may go at any moment, as the oldest clips do."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except (RuntimeError, FileNotFoundError):  # of starlette, before it has sent anything
            await JSONResponse({"error": "the file was removed a moment ago"}, 404)(scope, receive, send)


def _file(root: Path, path: Path | None, name: str) -> _File:
    """A regular file of the run folder; what a link brings from elsewhere is none."""
    if path is None or not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise missing("file", name)
    headers = {"Cache-Control": "private, no-cache"}
    return _File(path, headers=headers, media_type=_TYPES.get(path.suffix, "application/octet-stream"))
