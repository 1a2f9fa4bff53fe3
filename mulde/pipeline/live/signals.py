"""What the system asks of a process that watches, by signals, and what its service manager is told."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def told_service() -> Iterator[Callable[[str], None]]:
    """Tells systemd how the process fares (sd_notify), where it asks for that."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        yield lambda text: None
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)  # one that does not listen must not hold up what it watches over

        def notify(text: str) -> None:
            try:
                channel.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
            except OSError:  # it is being restarted, or behind
                return

        yield notify


@contextmanager
def asked_to_end(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop` while the block runs, so that none comes between a change of an alert and its
    record; what they do elsewhere is done behind it. A second one does it at once."""
    before: dict[int, Any] = {}
    interrupts: list[BaseException] = []

    def note(number: int, frame: object) -> None:
        stop.set()
        try:
            before[number](number, frame)
        except KeyboardInterrupt as interrupt:
            if interrupts:
                raise
            interrupts.append(interrupt)

    if threading.current_thread() is threading.main_thread():
        for wanted in (signal.SIGTERM, signal.SIGINT):
            if callable(handler := signal.getsignal(wanted)):
                before[wanted] = handler
                signal.signal(wanted, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupts:
        raise interrupts[0]


@contextmanager
def asked_to_reread(wanted: bool) -> Iterator[threading.Event]:
    """An event that SIGHUP sets while the block runs."""
    asked = threading.Event()
    if not wanted or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGHUP"):
        yield asked
        return
    before = signal.signal(signal.SIGHUP, lambda number, frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)
