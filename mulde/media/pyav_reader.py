"""Video files decoded by PyAV (FFmpeg's libraries)."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mulde.media.container import Damage, import_av, open_stream, packets, pictures
from mulde.media.file_reader import FileReader
from mulde.records import UInt8


class PyAVReader(FileReader):
    """Reads on behind damage: what cannot be decoded is left out, times stay true, and a warning is logged."""

    decoder: ClassVar[str] = "pyav"

    def __init__(self, path: Path, batch_size: int, default_rate: Fraction | None) -> None:
        av = import_av()
        libavcodec = ".".join(str(part) for part in av.library_versions["libavcodec"])
        self.decoder_version = f"PyAV {av.__version__} (libavcodec {libavcodec})"
        super().__init__(path, batch_size, default_rate)

    def _decode(self) -> Generator[tuple[UInt8, float], None, None]:
        facts, damage, index, time_s = self._facts, Damage(), 0, 0.0
        with open_stream(self.path) as (container, stream):
            for packet in packets(container, stream, damage):
                for picture in pictures(stream, packet, damage):
                    time_s = facts.time_s(index, picture.pts if facts.pictures_carry_times else None)
                    yield self._upright(picture), time_s
                    index += 1
        self._warn_if_short(index, time_s, damage)

    def _upright(self, picture: Any) -> UInt8:
        # libswscale takes colour matrix and range from the picture itself; without resizing no filter is involved.
        rgb: UInt8 = picture.to_ndarray(format="rgb24")
        return np.rot90(rgb, self._facts.quarter_turns)
