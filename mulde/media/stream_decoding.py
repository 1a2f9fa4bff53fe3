"""The pictures of a stream's packets, and which of them can be trusted."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from mulde.errors import StreamLost
from mulde.images import MAX_PIXELS
from mulde.media.container import import_av
from mulde.media.facts import quarter_turns_of
from mulde.media.h264 import FrameNumberCheck
from mulde.media.packets import StreamPacket, StreamPicture
from mulde.media.reader import shape_text
from mulde.records import UInt8


class StreamDecoder:
    """Decodes the packets of one video stream of PyAV, whose decoder it sets up.

    From the first sign of damage on (an error, a picture that its decoder calls corrupt, a packet that was marked so, a
    picture of H.264 that was lost or sent twice) no picture is trusted until the next key frame, as none is in front of
    the first. `size_hw` is upright; until a picture was decoded it is what the stream's header says. `name` stands in
    errors.
    """

    def __init__(self, stream: Any, name: str) -> None:
        context = stream.codec_context
        if context is None:
            raise StreamLost(f"{name} is coded in a way that this build of PyAV cannot decode")
        if context.width * context.height > MAX_PIXELS:
            raise StreamLost(
                f"{name} has too large a picture: {context.width} x {context.height}",
                expected=f"at most {MAX_PIXELS} pixels",
            )
        self.size_hw: tuple[int, int] = (context.height, context.width)
        self._stream, self._name, self._has_decoded = stream, name, False
        # One thread per camera: there are many, and each picture is wanted when its packet is there, not a few later.
        stream.thread_type, context.thread_count = "NONE", 1
        # Without output_corrupt some decoders leave out what they know to be damaged, which then nobody counts.
        context.options = {"max_pixels": str(MAX_PIXELS), "flags": "+output_corrupt"}
        is_h264 = context.codec.canonical_name == "h264"
        self._numbers = FrameNumberCheck(bytes(context.extradata or b"")) if is_h264 else None
        self._converter = import_av().video.reformatter.VideoReformatter()
        self._is_trusted, self._awaits_key, self._key_stamp = False, True, None

    def decode(self, packet: Any, arrived_s: float) -> StreamPacket:
        """The packet with what became ready with it. Raises StreamLost for a picture of another size."""
        if packet.is_corrupt or (self._numbers and self._numbers.is_out_of_order(bytes(packet))):
            self._distrust()
        if packet.is_keyframe and self._awaits_key:
            self._awaits_key, self._key_stamp = False, packet.pts
        return self._ready(packet, arrived_s)

    def finish(self, last: StreamPacket) -> StreamPacket:
        """The last packet again, with the pictures that a decoder still holds at the end of a file."""
        rest = self._ready(None, last.arrived_s)
        return StreamPacket(
            last.packet,
            last.is_key,
            last.arrived_s,
            last.pictures + rest.pictures,
            last.num_corrupt + rest.num_corrupt,
        )

    def _ready(self, packet: Any, arrived_s: float) -> StreamPacket:
        num_corrupt, good = 0, []
        try:
            pictures = self._stream.decode(packet)
        except import_av().FFmpegError:
            self._distrust()
            pictures, num_corrupt = [], 1
        for picture in pictures:
            if self._trusts(picture):
                good.append(self._made(picture))
            else:
                num_corrupt += 1
        return StreamPacket(packet, packet is not None and packet.is_keyframe, arrived_s, tuple(good), num_corrupt)

    def _distrust(self) -> None:
        """A packet is damaged: its picture comes later, behind others that may be sound."""
        self._is_trusted, self._awaits_key, self._key_stamp = False, True, None

    def _trusts(self, picture: Any) -> bool:
        if picture.is_corrupt:
            self._is_trusted = False
        elif not self._is_trusted and not self._awaits_key and picture.key_frame:
            # A decoder that reorders may still hold a key frame from in front of the damage.
            stamps = (picture.pts, self._key_stamp)
            self._is_trusted = None in stamps or stamps[0] >= stamps[1]
        return self._is_trusted

    def _made(self, picture: Any) -> StreamPicture:
        turns = quarter_turns_of(picture)
        size_hw = (picture.height, picture.width)[:: -1 if turns % 2 else 1]
        if self._has_decoded and size_hw != self.size_hw:
            raise StreamLost(
                f"{self._name} changed the size of its picture",
                expected=shape_text(self.size_hw),
                got=shape_text(size_hw),
            )
        self.size_hw, self._has_decoded = size_hw, True
        # Not picture.time, which knows no unit for what a decoder still held at the end.
        stamp_s = None if picture.pts is None else float(picture.pts * self._stream.time_base)
        return StreamPicture(stamp_s, size_hw, partial(self._upright, picture, turns))

    def _upright(self, picture: Any, turns: int) -> UInt8:
        # As for files: colour matrix and range from the picture itself, and rows that may end in padding.
        height, width = picture.height, picture.width
        plane = self._converter.reformat(picture, format="rgb24", threads=1).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)
        return np.rot90(rows[:, : 3 * width].reshape(height, width, 3), turns)
