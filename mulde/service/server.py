"""The server: a socket, and a thread that answers on it."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mulde.errors import UsageError, first_line
from mulde.pipeline.live.service_settings import ServiceSettings, host_and_port, read_token
from mulde.service.app import new_app
from mulde.service.gate import Hosts, TokenGate
from mulde.service.source import RunSource
from mulde.service.stream import EventStream

MAX_SILENCE_S = 20.0
"""For which a client may leave what it is sent unread."""
_END_S, _START_S = 3.0, 30.0


class _Patient(H11Protocol):
    """HTTP with a client that reads: one that takes nothing for MAX_SILENCE_S is cut off, whatever it was sent."""

    _cut: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cut = self.loop.call_later(MAX_SILENCE_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._forget()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None


def listening(listen: str) -> socket.socket:
    """A socket on HOST:PORT. Raises UsageError where there can be none; the cause is an OSError."""
    host, port = host_and_port(listen)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        got = "one that another program has" if taken else first_line(error)
        raise UsageError(f"listen {listen}", expected="a free address", got=got, hint="another port") from error


@contextmanager
def serving(source: RunSource, settings: ServiceSettings, listener: socket.socket) -> Iterator[str]:
    """Answer on `listener` in a thread while the block runs; the address of the page. Raises UsageError for a token
    that cannot be read."""
    token = read_token(settings)
    gate = TokenGate(token) if token else None
    host, _ = host_and_port(settings.listen)
    thread = _ServerThread(source, settings, listener, gate, Hosts([*settings.hosts, host]))
    thread.start()
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{listener.getsockname()[1]}"
    finally:
        thread.end(_END_S)


class _ServerThread:
    def __init__(
        self,
        source: RunSource,
        settings: ServiceSettings,
        listener: socket.socket,
        gate: TokenGate | None,
        hosts: Hosts,
    ) -> None:
        self._source, self._gate, self._hosts, self._listener = source, gate, hosts, listener
        self._config: dict[str, Any] = {
            "http": _Patient,
            "ws": "none",
            "loop": "asyncio",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "timeout_graceful_shutdown": 1,
            "timeout_keep_alive": 30,
            "h11_max_incomplete_event_size": 65_536,
            "proxy_headers": bool(settings.trusted_proxies),
            "forwarded_allow_ips": list(settings.trusted_proxies),
        }
        self._has_started, self._is_ending = threading.Event(), False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._stream: EventStream | None = None
        self._thread = threading.Thread(target=self._work, name="service", daemon=True)

    def start(self) -> None:
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        self._thread.start()
        self._has_started.wait(_START_S)

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except (OSError, ValueError):
            if not self._is_ending:  # else it was too slow to end: its socket is closed already
                raise
        finally:
            self._has_started.set()
            self._listener.close()

    async def _serve(self) -> None:
        self._loop, self._stream = asyncio.get_running_loop(), EventStream(self._source)
        app = new_app(self._source, self._gate, self._hosts, self._stream)
        self._server = uvicorn.Server(uvicorn.Config(app, **self._config))
        self._loop.call_soon(self._has_started.set)
        await self._server.serve(sockets=[self._listener])

    def end(self, limit_s: float) -> None:
        """Stop answering, within limit_s seconds."""
        self._is_ending = True
        loop, server, stream = self._loop, self._server, self._stream
        if loop is not None and server is not None and stream is not None:

            def stop() -> None:
                stream.close()
                server.should_exit = True

            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(stop)
        self._thread.join(limit_s)
