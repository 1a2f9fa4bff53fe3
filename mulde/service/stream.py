"""What changes, as it changes: server-sent events that a client can take up again where it was cut off.

Events stand in one list for all clients, whose oldest go; a client is a place in it. So one that never reads costs
nothing, and is cut off when its place is gone. Changes of alerts are numbered in the run's own record, which is their
id: a client that comes back with the last one gets all it has missed, however long ago that was.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from mulde.errors import MuldeError
from mulde.service.schema import Camera
from mulde.service.source import Refusal, RunSource

MAX_EVENTS, MAX_CLIENTS = 2048, 200
POLL_S, HEARTBEAT_S = 0.5, 15.0
_EVERY_SCORE, _EVERY_STATE = 2, 20
"""Polls between two scores of a camera, and between two states where nothing has changed."""
_PAGE = 100
_ID = re.compile(r"\d{1,18}", re.ASCII)
_STATE = {"name", "state", "since_utc_ms", "health", "level", "alert", "picture_is_old", "paused_until_utc_ms",
          "needs_a_hand", "drift"}  # fmt: skip


class EventStream:
    """Looks for what is new, and hands it to all clients. For one event loop."""

    def __init__(self, source: RunSource) -> None:
        self._source = source
        self._events: deque[tuple[int, bytes]] = deque(maxlen=MAX_EVENTS)  # with the change, 0 of none
        self._count = 0  # of all events that there were
        self._change = 0  # the last one that is among the events
        self._news = asyncio.Event()
        self.num_clients = 0
        self.is_closed = False
        self._states: dict[str, Any] = {}
        self._scored: dict[str, int] = {}
        self._polls = 0

    async def run(self) -> None:
        """Look for what is new until the task is cancelled."""
        self._change = await self._in_thread(self._source.last_change, 0)
        while True:
            await asyncio.sleep(POLL_S)
            self._add(*await self._in_thread(self._changed, ([], self._change)))
            self._add([(0, event) for event in await self._in_thread(self._now, [])], self._change)

    async def _in_thread(self, function: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return await asyncio.to_thread(function)
        except (sqlite3.Error, OSError, MuldeError):  # /healthz says it; the next time it may be there
            return otherwise

    def _changed(self) -> tuple[list[tuple[int, bytes]], int]:
        events, change = list[tuple[int, bytes]](), self._change
        if self._source.last_change() > change:
            for number, alert in self._source.changes(change, _PAGE):
                events.append((number, _event("alert", alert, number)))
                change = number
        return events, change

    def _now(self) -> list[bytes]:
        self._polls += 1
        if not self.num_clients:
            return []
        events = self._new_states(self._polls % _EVERY_STATE == 0)
        return events + (self._new_scores() if self._polls % _EVERY_SCORE == 0 else [])

    def _new_states(self, all_of_them: bool) -> list[bytes]:
        events = []
        for camera in self._source.cameras():
            state = camera.model_dump(include=_STATE)
            if all_of_them or self._states.get(camera.name) != state:
                self._states[camera.name] = state
                events.append(_state(camera))
        return events

    def _new_scores(self) -> list[bytes]:
        events = []
        for now in self._source.scores_now():
            if self._scored.get(now.camera) != now.utc_ms:
                self._scored[now.camera] = now.utc_ms
                fields = {"camera": now.camera, "utc_ms": now.utc_ms, "score": now.score, "level": now.level}
                events.append(_event("score", fields))
        return events

    def _add(self, events: list[tuple[int, bytes]], change: int) -> None:
        if not events:
            return
        self._events.extend(events)
        self._count, self._change = self._count + len(events), change
        self._news.set()
        self._news = asyncio.Event()

    def close(self) -> None:
        """End all streams. Called in the event loop."""
        self.is_closed = True
        self._news.set()

    async def follow(self, last_id: int | None) -> AsyncIterator[bytes]:
        """The events of one client, from its first moment on or, with `last_id`, from behind that change."""
        self.num_clients += 1
        try:
            place, upto = self._count, self._change
            yield b"retry: 2000\n\n"
            after = upto if last_id is None else min(last_id, upto)  # a later one is of another ledger
            while after < upto:
                missed = await self._in_thread(partial(self._source.changes, after, _PAGE), [])
                if not missed:
                    break
                for number, alert in missed:
                    yield _event("alert", alert, number)
                    after = number
            yield f"id: {after}\n\n".encode()
            for camera in await self._in_thread(self._source.cameras, []):
                yield _state(camera)
            async for event in self._from(place, after):
                yield event
        finally:
            self.num_clients -= 1

    async def _from(self, place: int, after: int) -> AsyncIterator[bytes]:
        while not self.is_closed:
            first = self._count - len(self._events)
            if place < first:  # it was too slow; it comes back with its last id
                return
            if place < self._count:
                events = islice(self._events, place - first, None)
                new = b"".join(event for number, event in events if not 0 < number <= after)
                place = self._count
                if new:
                    yield new
                continue
            try:
                await asyncio.wait_for(self._news.wait(), HEARTBEAT_S)
            except TimeoutError:
                yield b": \n\n"


def _event(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {name}\ndata: {text}\n\n".encode()


def _state(camera: Camera) -> bytes:
    return _event("state", camera.model_dump(mode="json"))


def stream_routes(stream: EventStream) -> APIRouter:
    router = APIRouter()

    @router.get(
        "/api/stream",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
        summary="Server-sent events: alert, state, score",
    )
    async def follow(request: Request) -> StreamingResponse:
        """With the header Last-Event-ID, alerts that changed since come first."""
        if stream.num_clients >= MAX_CLIENTS:
            raise Refusal(503, "clients of this address", expected=f"at most {MAX_CLIENTS}")
        given = request.headers.get("last-event-id", "")
        last_id = int(given) if _ID.fullmatch(given) else None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream.follow(last_id), 200, headers, "text/event-stream")

    return router
