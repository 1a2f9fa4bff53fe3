"""A camera whose packets get lost on their way: nothing that it did not send may be scored."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from pathlib import Path
from typing import BinaryIO

from benchmarks.watching.figures import Figure, Result
from benchmarks.watching.parity import pictures_of
from benchmarks.watching.servers import CameraServer
from benchmarks.watching.steady import Cameras
from benchmarks.watching.watcher import Watcher

_RTP_HEADER, _FIRST_S = 4, 3.0


class LossyProxy:
    """Between clients and an RTSP server: of the RTP packets that the server sends between its answers (RFC 2326,
    10.12) a share is left out, once `is_losing`."""

    def __init__(self, target_port: int, share: float, seed: int) -> None:
        self._target_port, self._share, self._random = target_port, share, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_losing = False
        self.num_sent = self.num_dropped = 0
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> LossyProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._sockets):
            _close(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
                self._sockets += [client, server]
                threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        _close(server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), server.makefile("rb") as stream:
            while True:
                client.sendall(self._thinned(_next_unit(stream)))
        _close(client)

    def _thinned(self, unit: bytes) -> bytes:
        is_rtp = unit[:1] == b"$" and unit[1] % 2 == 0  # odd channels carry RTCP
        if not is_rtp:
            return unit
        self.num_sent += 1
        if self.is_losing and self._random.random() < self._share:
            self.num_dropped += 1
            return b""
        return unit


def _next_unit(stream: BinaryIO) -> bytes:
    """The next packet or answer. Raises EOFError at the end."""
    first = _exactly(stream, 1)
    if first == b"$":
        head = _exactly(stream, _RTP_HEADER - 1)
        return first + head + _exactly(stream, int.from_bytes(head[1:], "big"))
    head = first
    while not head.endswith(b"\r\n\r\n"):
        head += _exactly(stream, 1)
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    return head + _exactly(stream, int(lengths[0]) if lengths else 0)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def measure(watching: Cameras, clip: Path, seconds: float, share: float, seed: int) -> Result:
    """Watch the camera that plays `clip` over and over, behind a proxy that drops so many of its packets."""
    name = next(iter(watching.files))
    with (
        CameraServer({name: watching.files[name]}) as server,
        LossyProxy(server.port, share, seed) as proxy,
        Watcher(watching.folder, {name: f"rtsp://127.0.0.1:{proxy.port}/{name}"}, watching.model) as watcher,
    ):
        watcher.wait_for_all(3)
        proxy.is_losing, num_before = True, proxy.num_sent
        time.sleep(seconds)
        proxy.is_losing = False
        sent = proxy.num_sent - num_before
        num_scores = len(watcher.seen().of(name))
        watcher.wait_for_all(num_scores + 2)  # whole again
        time.sleep(_FIRST_S)
        num_corrupt = watcher.state()[name]["num_skipped"]["corrupt"]
        seen = watcher.seen().of(name)
    known = set(pictures_of(clip))
    figures = (
        Figure("packets dropped", proxy.num_dropped, 1, "at least"),
        Figure("of those that were sent", proxy.num_dropped / max(sent, 1)),
        Figure("pictures that were not trusted", num_corrupt),
        Figure("frames scored", len(seen), 1, "at least"),
        Figure("of them not as the camera sent them", sum(score["picture"] not in known for score in seen), 0),
    )
    return Result("corrupt", figures, {"seconds": seconds})
