"""What a model says of its training: a part of the JSON of its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mulde.typed import Count, FileModel


def _one_fold(data: Any) -> Any:
    """Older models of a single fold hold its value where newer ones hold a list with one value per fold."""
    is_one_fold = isinstance(data, int) or (isinstance(data, list) and data and all(isinstance(x, str) for x in data))
    return [data] if is_one_fold else data


class FrameRange(FileModel):
    """Frames start_frame to end_frame (half-open) of a training video."""

    video: str
    start_frame: Count
    end_frame: Count


class NormalPart(FileModel):
    """The frames of a held-out video behind one entry of `Bundle.normal`, and the fold that has not seen them."""

    name: str
    video: str
    start_frame: Count
    end_frame: Count
    fold: Count


class StreamCounts(FileModel):
    """Rows that each fold was fitted on and that were held out of it, the width of a row, and what each density says of
    its fit."""

    rows: Annotated[list[Count], BeforeValidator(_one_fold)] = Field([])
    heldout_rows: Annotated[list[Count], BeforeValidator(_one_fold)] = Field([])
    columns: Count = 0
    learnt: Any = None


class TrainingRecord(FileModel):
    """videos: that densities were fitted on; video_sha256: the content of all, by name, so that they are known again
    wherever they lie; heldout: for each fold, the videos held out of it; left_out: frames that
    were in neither. A fact that an older version did not note has its default here and is absent from the file."""

    seed: int = 0
    videos: list[str] = Field([])
    video_sha256: dict[str, str] = Field({})
    heldout: Annotated[list[list[str]], BeforeValidator(_one_fold)] = Field([])
    left_out: list[FrameRange] = Field([])
    normal_parts: list[NormalPart] = Field([])
    streams: Mapping[str, StreamCounts] = Field({})

    def as_json(self) -> dict[str, Any]:
        """What the file holds: the facts that were noted."""
        return self.model_dump(exclude_unset=True)
