"""Video files decoded by PyAV (FFmpeg's libraries)."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mulde.media.container import DecodeDamage, import_av, open_stream, packets, pictures
from mulde.media.file_reader import FileReader
from mulde.media.reader import Picture, ReadOptions, size_changed
from mulde.records import UInt8


class PyAVReader(FileReader):
    """Continues after damage: what cannot be decoded is left out with a warning, numbers and times stay true."""

    decoder: ClassVar[str] = "pyav"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        av = import_av()
        libavcodec = ".".join(str(part) for part in av.library_versions["libavcodec"])
        self.decoder_version = f"PyAV {av.__version__} (libavcodec {libavcodec})"
        super().__init__(path, options)

    def _decode(self) -> Generator[Picture, None, None]:
        facts, damage, index = self._facts, DecodeDamage(), -1
        # Kept for all pictures: to set up a conversion, and threads for it, takes longer than to convert.
        converter = import_av().video.reformatter.VideoReformatter()
        with open_stream(self.path, self.options.stream) as (source, container, stream):
            for packet in packets(source, container, stream, damage):
                for picture in pictures(stream, packet, damage):
                    index, in_place = facts.index_of(picture.pts, index + 1)
                    damage.num_out_of_place += not in_place
                    yield Picture(index, facts.time_s(index), partial(self._upright, converter, picture))
        self._finish(damage)

    def _upright(self, converter: Any, picture: Any) -> UInt8:
        facts, turned = self._facts, self._facts.quarter_turns % 2
        if (picture.height, picture.width) != (facts.size_hw[::-1] if turned else facts.size_hw):
            now_hw = (picture.height, picture.width)
            raise size_changed(self.path, facts.size_hw, now_hw[::-1] if turned else now_hw)
        height, width = self.size_hw[::-1] if turned else self.size_hw
        # libswscale takes colour matrix and range from the picture itself; without resizing no filter is involved.
        area = import_av().video.reformatter.Interpolation.AREA if self.size_hw != facts.size_hw else None
        made = converter.reformat(
            picture, width=width, height=height, format="rgb24", interpolation=area, threads=1
        ).planes[0]
        rows = np.frombuffer(made, np.uint8).reshape(height, made.line_size)  # rows may end in padding
        return np.rot90(rows[:, : 3 * width].reshape(height, width, 3), facts.quarter_turns)
