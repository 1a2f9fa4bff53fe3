"""What a stream delivers: packets, each with the pictures that became ready with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mulde.records import UInt8


@dataclass(frozen=True)
class StreamPicture:
    """A picture of a stream that can be trusted: no decoder reported an error between it and its key frame.

    stamp_s: its time by the stream's stamps, in seconds from any zero, None without one; size_hw: upright; load: gives
    it as (H, W, 3) RGB uint8, until the next packet is asked for.
    """

    stamp_s: float | None
    size_hw: tuple[int, int]
    load: Callable[[], UInt8]


@dataclass(frozen=True)
class StreamPacket:
    """A packet of a stream, as it can be written to a file without encoding it again.

    packet: PyAV's, whose `stream` is the one it came from; arrived_s: by the monotonic clock of this machine, when it
    was read; num_corrupt: how many pictures became ready with it and cannot be trusted.
    """

    packet: Any
    is_key: bool
    arrived_s: float
    pictures: tuple[StreamPicture, ...] = ()
    num_corrupt: int = 0
