"""Cameras on loopback: a real RTSP server, a proxy that breaks its connections, and small servers that answer badly."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import aio_rtsp_toolkit.server as rtsp

JOIN_S = 20


@contextlib.contextmanager
def rtsp_server(folder: Path) -> Iterator[int]:
    """Serves the mp4 files of a folder at their own pace, with RTCP; gives its port.

    rtsp://127.0.0.1:PORT/NAME.mp4?play_count=100 plays it so many times.
    """
    loop, port = asyncio.new_event_loop(), free_port()
    server = rtsp.RtspServer(str(folder), host="127.0.0.1", port=port)
    server.logger = logging.Logger("not listened to", logging.CRITICAL)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(JOIN_S)
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(JOIN_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(JOIN_S)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _end(server: rtsp.RtspServer) -> None:
    server._server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if others:  # they end as their clients have
        _, late = await asyncio.wait(others, timeout=5)
        for task in late:
            task.cancel()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Proxy:
    """Between a client and an RTSP server: what the server sends goes through `alter`, answer by answer and packet by
    packet (a packet starts with `$`, RFC 2326 10.12); it may return nothing, something else, or wait."""

    def __init__(self, target_port: int, alter: Callable[[bytes], bytes] = bytes) -> None:
        self.target_port, self.alter = target_port, alter
        self.flowing = threading.Event()
        self.flowing.set()
        self.num_connects = 0
        self.port = free_port()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    def __enter__(self) -> Proxy:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.flowing.set()
        self.cut()
        for thread in self._threads:
            thread.join(JOIN_S)
            assert not thread.is_alive()

    def listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept, self._listener)

    def cut(self) -> None:
        """Close all connections and the port, as a camera that loses its power."""
        if self._listener is not None:
            _close(self._listener)
        for one in self._sockets:
            _close(one)
        self._sockets.clear()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                return
            self.num_connects += 1
            self._sockets += [client, server]
            self._start(self._pump, client, server, bytes, False)
            self._start(self._pump, server, client, lambda unit: self.alter(unit), True)

    def _pump(
        self, source: socket.socket, target: socket.socket, alter: Callable[[bytes], bytes], in_units: bool
    ) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                held += data
                while unit := _unit(held) if in_units else held:
                    held = held[len(unit) :]
                    if in_units:
                        self.flowing.wait(JOIN_S)
                    target.sendall(alter(unit))
        _close(source)
        _close(target)


def _unit(data: bytes) -> bytes:
    """The first whole packet or answer."""
    if data[:1] == b"$":
        size = 4 + int.from_bytes(data[2:4], "big") if len(data) >= 4 else len(data) + 1
    else:
        head, end, _ = data.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        size = len(head) + len(end) + int(lengths[0] if lengths else 0) if end else len(data) + 1
    return data[:size] if len(data) >= size else b""


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


class Refusal:
    """An RTSP or HTTP server that wants a user and a password (Basic) and answers `status` then; it keeps all it was
    sent."""

    def __init__(self, status: int = 401) -> None:
        self._status = status
        self.credentials: list[str] = []
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Refusal:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)
        self._thread.join(JOIN_S)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError), client.makefile("rb") as lines:
                while request := self._request(lines):
                    client.sendall(self._answer(request))

    def _request(self, lines: IO[bytes]) -> str:
        text = b""
        while (line := lines.readline()).strip():
            text += line
        return text.decode()

    def _answer(self, request: str) -> bytes:
        headers = dict(line.split(": ", 1) for line in request.splitlines()[1:])
        self.requests.append(request.splitlines()[0])
        status = 200 if request.startswith("OPTIONS") else 401
        if "Authorization" in headers:
            self.credentials.append(base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode())
            status = self._status
        challenge = 'WWW-Authenticate: Basic realm="camera"\r\n' if status == 401 else ""
        version = self.requests[-1].split()[-1]
        return f"{version} {status} X\r\nCSeq: {headers.get('CSeq')}\r\n{challenge}\r\n".encode()


@contextlib.contextmanager
def http_server(files: dict[str, bytes | str]) -> Iterator[int]:
    """Serves these names, of which a text is an address to go to instead; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.partition("?")[0].lstrip("/"))
            self.send_response(404 if content is None else 302 if isinstance(content, str) else 200)
            if isinstance(content, str):
                self.send_header("Location", content)
                content = b""
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(JOIN_S)


class PasswordProxy(Proxy):
    """A proxy that lets nobody in who does not send a user and a password (Basic); it keeps those that came."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.credentials: list[str] = []

    def _pump(
        self, source: socket.socket, target: socket.socket, alter: Callable[[bytes], bytes], in_units: bool
    ) -> None:
        if in_units:
            super()._pump(source, target, alter, in_units)
            return
        held = b""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                held += data
                while unit := _unit(held):
                    held = held[len(unit) :]
                    if unit[:1] == b"$" or unit.startswith(b"OPTIONS") or self._knows(unit):
                        target.sendall(unit)
                    else:
                        source.sendall(_challenge(unit))
        _close(source)
        _close(target)

    def _knows(self, request: bytes) -> bool:
        for line in request.split(b"\r\n"):
            if line.startswith(b"Authorization: Basic "):
                self.credentials.append(base64.b64decode(line.split()[-1]).decode())
                return True
        return False


def _challenge(request: bytes) -> bytes:
    number = next(line for line in request.split(b"\r\n") if line.startswith(b"CSeq"))
    return b'RTSP/1.0 401 X\r\n%s\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n' % number
