"""The last seconds of a camera as packets, from which a clip begins before its alert did."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Protocol

from mulde.errors import VideoError
from mulde.media.packets import StreamPacket
from mulde.media.stream_copy import StreamTemplate

MAX_RING_BYTES = 2**25
"""Of the packets of one camera: 5 s of a stream of 50 Mbit/s."""


class PacketListener(Protocol):
    """Takes the packets of one session of a camera. It is called by the thread that reads the camera, which it must not
    keep waiting, and must not call the ring."""

    def begin(self, template: StreamTemplate) -> None:
        """The session of the packets that follow."""
        ...

    def add(self, packet: StreamPacket) -> bool:
        """Take the next packet, without its pictures; whether more are wanted."""
        ...

    def end(self) -> None:
        """The session has ended. Not called where no more packets were wanted."""
        ...


@dataclass
class _Group:
    """A key frame and the packets that build on it."""

    packets: list[StreamPacket] = field(default_factory=list)
    num_bytes: int = 0


class PacketRing:
    """Keeps the packets of a session of a camera that cover at least the last pre_roll_s seconds, by their arrival.

    These are whole groups of pictures, so what is kept begins at a key frame, and has at most max_bytes: where that is
    too little, the oldest groups go first. A group that alone has more is dropped, the next one is kept again, and
    `num_cut_groups` counts it. A packet of another stream than the last one begins a new session. `refusal` says why
    nothing is kept of a session whose codec no file can hold. Safe for several threads.
    """

    def __init__(self, pre_roll_s: float, max_bytes: int = MAX_RING_BYTES) -> None:
        self.pre_roll_s, self.max_bytes = pre_roll_s, max_bytes
        self.num_bytes = self.num_cut_groups = 0
        self.refusal: VideoError | None = None
        self._lock = threading.Lock()
        self._groups: deque[_Group] = deque()
        self._listeners: list[PacketListener] = []
        self._stream: object = None
        self._template: StreamTemplate | None = None

    def add(self, packet: StreamPacket) -> None:
        """Keep a packet, whose stream is open, and hand it to all listeners."""
        packet = replace(packet, pictures=())  # which hold memory, and are no longer there by then
        with self._lock:
            stream = packet.packet.stream
            if stream is not self._stream:
                self._end_session()
                self._begin_session(stream)
            if self._template is None:
                return
            self._keep(packet)
            self._listeners = [listener for listener in self._listeners if listener.add(packet)]

    def end_session(self) -> None:
        """Forget all packets, as the connection is lost or the stream changes; listeners are told."""
        with self._lock:
            self._end_session()

    def follow(self, listener: PacketListener) -> bool:
        """Hand the packets that are kept to a listener, and then each one that comes, without a gap between.

        False without calling it where there is no session, or one that nothing is kept of.
        """
        with self._lock:
            if self._template is None:
                return False
            listener.begin(self._template)
            if all(listener.add(packet) for packet in self._packets()):
                self._listeners.append(listener)
            return True

    def packets(self) -> tuple[StreamPacket, ...]:
        """What is kept, oldest first; the first is a key frame."""
        with self._lock:
            return tuple(self._packets())

    def _packets(self) -> list[StreamPacket]:
        return [packet for group in self._groups for packet in group.packets]

    def _begin_session(self, stream: object) -> None:
        self._stream = stream
        try:
            self._template, self.refusal = StreamTemplate.of(stream), None
        except VideoError as error:
            self.refusal = error

    def _end_session(self) -> None:
        self._groups.clear()
        self.num_bytes = 0
        self._stream = self._template = None
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.end()

    def _keep(self, packet: StreamPacket) -> None:
        if packet.is_key:
            self._groups.append(_Group())
        if not self._groups:  # in the middle of a group whose key frame is not there
            return
        newest, num_bytes = self._groups[-1], packet.packet.size
        newest.packets.append(packet)
        newest.num_bytes += num_bytes
        self.num_bytes += num_bytes
        while len(self._groups) > 1 and (self.num_bytes > self.max_bytes or self._is_covered(packet.arrived_s)):
            self.num_bytes -= self._groups.popleft().num_bytes
        if self.num_bytes > self.max_bytes:
            # What is left of it could not be followed by the packets that come, and would be older with each of them.
            self._groups.clear()
            self.num_bytes = 0
            self.num_cut_groups += 1

    def _is_covered(self, now_s: float) -> bool:
        """Whether the pre-roll is there without the oldest group."""
        return now_s - self._groups[1].packets[0].arrived_s >= self.pre_roll_s
