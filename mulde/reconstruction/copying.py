"""The null of frame prediction: a frame is foreseen to be the one before it."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from mulde.errors import BundleError
from mulde.reconstruction.frames import as_tensor, error_maps
from mulde.reconstruction.pixel_model import Arrays, Fitting, PixelModel
from mulde.records import Float32, UInt8
from mulde.section import Section


class CopyOptions(Section):
    side: int = Field(256, ge=32, le=1024, multiple_of=32, description="height and width of a frame, pixels")


class CopyModel(PixelModel):
    """Knows nothing and learns nothing. A prediction is worth what it is better than this."""

    kind = "copy"
    MAPS = ("error", "gradient")
    NUM_PAST = 1
    OPTIONS = CopyOptions

    def _learn(self, given: Fitting) -> None:
        pass

    def _maps(self, clips: UInt8) -> Float32:
        before, frame = as_tensor(clips, self.device).unbind(dim=1)
        return error_maps(before, frame)

    def arrays(self) -> Arrays:
        return {}

    def restore(self, arrays: Arrays) -> Self:
        if arrays:
            raise BundleError("stored model copy", expected="no arrays", got=f"{len(arrays)}")
        return self
