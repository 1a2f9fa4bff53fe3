"""The addresses of the service, and what each of them answers."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from mulde.pipeline.live.alerts import utc_text
from mulde.pipeline.run_folder import REPORT
from mulde.service import page
from mulde.service.pictures import grey_jpeg, jpeg
from mulde.service.schema import (
    MAX_ALERTS,
    MAX_POINTS,
    AlertPage,
    Camera,
    Cameras,
    MarkFilter,
    MarkRequest,
    Overview,
    PauseRequest,
    Problem,
    ScoreBins,
    StateFilter,
)
from mulde.service.source import AlertJson, AlertQuery, Refusal, RunSource

_MAX_MS = 253_402_300_799_999  # the year 9999
_CURSOR = re.compile(r"\d{1,18}", re.ASCII)
Ms = Annotated[int | None, Query(ge=0, le=_MAX_MS)]
_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
_REFUSED: dict[int | str, dict[str, Any]] = {**_MISSING, 409: {"model": Problem}}
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}, 503: {"content": {"image/jpeg": {}}}}


T = TypeVar("T")


def missing(what: str, name: str) -> Refusal:
    return Refusal(404, f"{what} {name[:100]!r}", expected="one of this run", got="none")


def found(thing: T | None, what: str, name: str) -> T:
    """What was asked for by name. Raises Refusal where there is none."""
    if thing is None:
        raise missing(what, name)
    return thing


def add_routes(app: FastAPI, source: RunSource) -> None:
    """The page, and what programs ask for as JSON."""
    app.include_router(_page_routes(source))
    app.include_router(_camera_routes(source))
    app.include_router(_alert_routes(source))


def _page_routes(source: RunSource) -> APIRouter:
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse, summary="The page")
    def index() -> HTMLResponse:
        return HTMLResponse(page.render(source.name, source.mode, has_report=(source.root / REPORT).is_file()))

    @router.get("/static/{name:path}", response_class=Response, responses=_MISSING, summary="A file of the page")
    def static(name: str) -> Response:
        asset = found(page.asset(name), "file", name)
        return Response(asset.content, media_type=asset.media_type)

    @router.get("/api/overview", summary="How the run fares as a whole")
    def overview() -> Overview:
        return source.overview()

    return router


def _camera_routes(source: RunSource) -> APIRouter:
    router = APIRouter()

    @router.get("/api/cameras", summary="All cameras, or videos")
    def cameras() -> Cameras:
        return Cameras(cameras=source.cameras())

    @router.post("/api/cameras/{name:path}/pause", responses=_REFUSED, summary="Raise no alerts for a while")
    def pause(name: str, request: PauseRequest) -> Camera:
        return found(source.pause(name, request.minutes), "camera", name)

    @router.get("/api/cameras/{name:path}", responses=_MISSING, summary="One camera")
    def camera(name: str) -> Camera:
        return found(source.camera(name), "camera", name)

    @router.get("/cameras/{name:path}/now.jpg", response_class=Response, responses=_JPEG, summary="Its newest picture")
    def now(name: str, request: Request) -> Response:
        """503 with a grey picture that shows the time where there is none that shows the camera as it is now."""
        found(source.camera(name), "camera", name)
        picture = source.picture(name)
        headers = {"Cache-Control": "no-store"}
        if picture is not None:
            headers["X-Taken"] = utc_text(picture.utc_ms)
        if picture is None or picture.is_old:
            taken_ms = None if picture is None else picture.utc_ms
            return Response(grey_jpeg(name, taken_ms), 503, headers, "image/jpeg")
        headers["ETag"] = f'"{picture.utc_ms}"'
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        return Response(jpeg(picture), 200, headers, "image/jpeg")

    @router.get("/api/scores", responses=_MISSING, summary="Lowest and highest scores over a time")
    def scores(
        camera: Annotated[str, Query(max_length=4096)],
        start_ms: Annotated[int | None, Query(alias="from", ge=0, le=_MAX_MS)] = None,
        end_ms: Annotated[int | None, Query(alias="to", ge=0, le=_MAX_MS)] = None,
        points: Annotated[int, Query(ge=1, le=MAX_POINTS)] = 600,
    ) -> ScoreBins:
        """Without `from` and `to`, the last hour of a camera, and the whole of a video."""
        return found(source.scores(camera, start_ms, end_ms, points), "camera", camera)

    return router


def _alert_routes(source: RunSource) -> APIRouter:
    router = APIRouter()

    @router.get("/api/alerts", summary="Alerts, the newest first; of videos, the least likely first")
    def alerts(
        state: StateFilter = "",
        camera: Annotated[str, Query(max_length=4096)] = "",
        mark: MarkFilter = "",
        since: Ms = None,
        before: Annotated[str, Query(max_length=20)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_ALERTS)] = 50,
    ) -> AlertPage:
        """mark: `none` for those that are still to be looked at; state: `open` for those that are not closed."""
        if before and not _CURSOR.fullmatch(before):
            raise Refusal(400, "before", expected="the `next` of another page", got=repr(before))
        return source.alerts(AlertQuery(state, camera, mark, since, int(before) if before else None, limit))

    @router.post("/api/alerts/{alert_id}/mark", responses=_REFUSED, summary="Say what an alert was")
    def mark(alert_id: str, request: MarkRequest) -> AlertJson:
        """`normal` here: like alerts are suppressed from now on; `seen`; `true`: it was unusual; empty: no mark."""
        return found(source.mark(alert_id, request), "alert", alert_id)

    @router.get("/api/alerts/{alert_id}", responses=_MISSING, summary="One alert")
    def alert(alert_id: str) -> JSONResponse:
        return JSONResponse(found(source.alert(alert_id), "alert", alert_id))

    return router
