"""A server that speaks the contract of the service, whose cameras, alerts and clock a test moves as it likes."""

from __future__ import annotations

import io
import json
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image

from mulde.service import page

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HOUR_MS, DAY_MS, VIDEO_MS = 3_600_000, 86_400_000, 20_000


def utc_text(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def jpeg(brightness: int = 150) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 36), (brightness, brightness, brightness)).save(buffer, "JPEG")
    return buffer.getvalue()


def camera(name: str, **fields: object) -> dict:
    return {
        "name": name, "state": "live", "since_utc_ms": None, "text": "", "health": [], "fps_wanted": 2.0,
        "fps_scored": 2.0, "latency_p95_s": 0.2, "skipped": {}, "score": 1.5, "level": 6.0, "alert": None,
        "picture_utc_ms": None, "picture_is_old": False, "paused_until_utc_ms": None, "needs_a_hand": False,
        "drift": None, **fields,
    }  # fmt: skip


def alert(name: str, start_ms: int, **fields: object) -> dict:
    """An alert of 8 s whose peak is 2 s behind its start."""
    alert_id = f"{name}-{utc_text(start_ms).translate(str.maketrans('', '', '-:.'))}"
    return {
        "schema": 1, "id": alert_id, "revision": 2, "state": "closed", "kind": "unusual", "camera": name,
        "start": utc_text(start_ms), "peak": utc_text(start_ms + 2000), "end": utc_text(start_ms + 8000),
        "score": 8.41, "level": 6.0, "p_value": 0.0004, "expected_per_hour": 0.25, "stream": "velocity",
        "reason": "person: moves 3.1 times as fast as usual here", "streams": {"velocity": 5.2}, "object": "person",
        "box_xyxy": [10, 10, 30, 30], "size_hw": [36, 64], "video": "", "peak_frame": None,
        "picture": f"/alerts/{alert_id}.jpg", "clip": f"/alerts/{alert_id}.mp4", "exemption": "", "health": [],
        "cut_short": False, "model_sha256": "", "mulde": "0.2.0", "covered_by": "",
        "mark": "", "marked_by": "", "marked_utc_ms": None, **fields,
    }  # fmt: skip


@dataclass
class FakeService:
    """mode: `live` or `review`; clock: UTC in milliseconds; pictures: by camera, when each was taken; scores: by
    camera, [utc_ms, lowest, highest] or None; is_gone: nothing is answered any more."""

    mode: str = "live"
    cameras: list[dict] = field(default_factory=list)
    alerts: list[dict] = field(default_factory=list)
    pictures: dict[str, int] = field(default_factory=dict)
    scores: dict[str, list] = field(default_factory=dict)
    overview: dict = field(default_factory=dict)
    clip: bytes = b""
    is_gone: bool = False
    refusal: str = ""
    now_ms: int | None = None
    requests: list[str] = field(default_factory=list)
    posts: list[tuple[str, dict]] = field(default_factory=list)
    clients: list[queue.SimpleQueue] = field(default_factory=list)

    def clock(self) -> int:
        return int(time.time() * 1000) if self.now_ms is None else self.now_ms

    def send(self, name: str, data: dict) -> None:
        for client in list(self.clients):
            client.put(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

    def end_streams(self) -> None:
        for client in list(self.clients):
            client.put(None)

    def overview_json(self) -> dict:
        to_look_at = sum(not one["mark"] for one in self.alerts)
        unwell = sum(one["needs_a_hand"] for one in self.cameras)
        watching = sum(one["state"] == "live" for one in self.cameras)
        counts = {
            "to_look_at": to_look_at, "watching": watching, "need_a_hand": unwell, "cameras": len(self.cameras),
            "alerts_today": len(self.alerts), "expected_today": 3.5,
        }  # fmt: skip
        storage = {"free_bytes": 812_000_000_000, "clips_bytes": 4_000_000, "problem": ""}
        return {
            "schema": 1, "mode": self.mode, "run": "watch <b>&", "utc_ms": self.clock(), "counts": counts,
            "outbox": {"mqtt": 2, "hook": 1}, "storage": storage, "problems": [], **self.overview,
        }  # fmt: skip

    def alerts_json(self, query: dict[str, str]) -> dict:
        """The cursor is the place in the list of all."""
        found = []
        limit = int(query.get("limit", 50))
        for place in range(int(query.get("before", -1)) + 1, len(self.alerts)):
            one = self.alerts[place]
            if query.get("camera") and one["camera"] != query["camera"]:
                continue
            if query.get("mark") and one["mark"] != ("" if query["mark"] == "none" else query["mark"]):
                continue
            found.append(one)
            if len(found) == limit:
                return {"alerts": found, "next": str(place)}
        return {"alerts": found, "next": None}

    def scores_json(self, query: dict[str, str]) -> dict:
        end = int(query.get("to", self.clock() if self.mode == "live" else VIDEO_MS))
        start = int(query.get("from", end - HOUR_MS if self.mode == "live" else 0))
        points = int(query["points"])
        bins = [None] * points
        for one in self.scores.get(query["camera"], []):
            i = int((one[0] - start) / (end - start) * points)
            if 0 <= i < points:
                bins[i] = one
        return {"camera": query["camera"], "from_utc_ms": start, "to_utc_ms": end, "level": 6.0, "bins": bins}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: FakeService

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, data: object, status: int = 200) -> None:
        self.answer(status, json.dumps(data).encode())

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        service = self.service
        service.requests.append(self.path)
        if service.is_gone:
            self.close_connection = True
            return
        if path == "/":
            self.answer(
                200, page.render("watch <b>&", service.mode, has_report=True).encode(), "text/html; charset=utf-8"
            )
        elif path.startswith("/static/") and (found := page.asset(path.removeprefix("/static/"))):
            self.answer(200, found.content, found.media_type)
        elif path == "/api/overview":
            self.json(service.overview_json())
        elif path == "/api/cameras":
            self.json({"cameras": service.cameras})
        elif path == "/api/alerts":
            self.json(service.alerts_json(query))
        elif path == "/api/scores":
            self.json(service.scores_json(query))
        elif path == "/api/stream":
            self.stream()
        elif path.endswith("/now.jpg"):
            self.picture(path.removeprefix("/cameras/").removesuffix("/now.jpg"))
        elif path.endswith(".jpg"):
            self.answer(200, jpeg(), "image/jpeg")
        elif path.endswith(".mp4") and service.clip:
            self.answer(200, service.clip, "video/mp4")
        else:
            self.json({"error": f"{path} is not there"}, 404)

    def picture(self, name: str) -> None:
        taken = self.service.pictures.get(name)
        if taken is None:
            self.answer(503, jpeg(), "image/jpeg")
            return
        tag = f'"{taken}"'
        status = 304 if self.headers.get("If-None-Match") == tag else 200
        self.answer(status, b"" if status == 304 else jpeg(), "image/jpeg", X_Taken=utc_text(taken), ETag=tag)

    def stream(self) -> None:
        mine: queue.SimpleQueue = queue.SimpleQueue()
        self.service.clients.append(mine)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            self.wfile.write(b"retry: 50\n\n")
            while (event := mine.get()) is not None:
                self.wfile.write(event)
        self.service.clients.remove(mine)

    def do_POST(self) -> None:
        service, path = self.service, unquote(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service.posts.append((path, body))
        if service.refusal or self.headers["Content-Type"] != "application/json":
            self.json({"error": service.refusal}, 409)
        elif path.endswith("/mark"):
            alert_id = path.removeprefix("/api/alerts/").removesuffix("/mark")
            found = next(one for one in service.alerts if one["id"] == alert_id)
            found |= {"mark": body["mark"], "marked_by": body["who"], "marked_utc_ms": service.clock()}
            self.json(found)
        else:
            name = path.removeprefix("/api/cameras/").removesuffix("/pause")
            found = next(one for one in service.cameras if one["name"] == name)
            until = service.clock() + 60_000 * body["minutes"] if body["minutes"] else None
            found |= {"state": "paused" if until else "live", "paused_until_utc_ms": until}
            self.json(found)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Browsers end connections as they like."""


class Serving:
    """The address of a service while it serves."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self._server = _Server(("127.0.0.1", 0), type("Bound", (Handler,), {"service": service}))
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Serving:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.service.is_gone = True
        self.service.end_streams()
        self._server.shutdown()
        self._server.server_close()
