"""Receivers of alerts on loopback that do what a test says, and an alert as the ledger has it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mulde.sinks.message import Message
from tests.pipeline.live.stored_alerts import alert


def message(revision=1, state=None, **fields) -> Message:
    extra = {name: fields.pop(name) for name in ("picture", "is_test", "num_withheld") if name in fields}
    return Message(alert(revision, state, **{"reason": "person: moves fast", **fields}).to_json(), **extra)


@dataclass
class HttpReceiver:
    """answers: statuses with headers, one for each request and then 200; requests: path, headers, body; accepted: the
    bodies that were answered with 200."""

    port: int = 0
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    accepted: list[bytes] = field(default_factory=list)
    is_silent: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    receiver = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            receiver.requests.append((self.path, dict(self.headers), body))
            if receiver.is_silent.is_set():
                receiver.goes_on.wait(60)
                return
            status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
            if status == 200:
                receiver.accepted.append(body)
            self.send_response(status)
            for name, value in {"Content-Length": "2", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.goes_on.set()
            server.shutdown()
            thread.join()
