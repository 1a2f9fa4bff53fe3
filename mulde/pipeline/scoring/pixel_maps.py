"""Maps of pixel models, as one array per video: what heat maps of images and pixel figures are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mulde.errors import MuldeError, UsageError
from mulde.extractors.prediction import PredictionRows
from mulde.files import atomic_write, write_json
from mulde.images import write_png
from mulde.names import output_path
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.extraction.windows import windows
from mulde.pipeline.model.normal_index import NormalIndex
from mulde.reconstruction.peaks import box_means
from mulde.records import Float32, Float64, Int64, ScoreTrack, UInt8
from mulde.report.colours import over
from mulde.typed import Count, FileModel, read_typed

_HIGHEST = float(np.finfo(np.float16).max)


class PixelMapFacts(FileModel):
    """`<video>.json` beside the maps: the name of each map and which of them is drawn; the highest mean that it has in
    a box of any normal frame, where that is known; where not every frame is described, the numbers of those that are,
    as half-open ranges."""

    maps: list[str]
    num_frames: Count
    side: Count
    telling: str
    highest_normal: float | None = Field(ge=0, allow_inf_nan=False)
    frames: list[list[Count]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _telling_is_a_map(self) -> PixelMapFacts:
        if self.telling not in self.maps:
            raise ValueError("telling is none of the maps")
        return self


def maps_pixels(plan: ExtractionPlan) -> bool:
    """Whether the model has a stream of a pixel model."""
    return any(isinstance(extractor, PredictionRows) for extractor in plan.extractors)


def mapping_stream(plan: ExtractionPlan) -> PredictionRows:
    """The stream of a pixel model. Raises UsageError where the model has none."""
    for extractor in plan.extractors:
        if isinstance(extractor, PredictionRows):
            return extractor
    raise UsageError(
        "--pixel-maps", expected="a model with a stream of a pixel model (prediction)", got=" and ".join(plan.streams)
    )


def write_pixel_maps(stored: StoredVideo, plan: ExtractionPlan, normal: NormalIndex | None, folder: Path) -> Path:
    """`<folder>/<video>.npy`, float16 (T, M, S, S): the maps of each frame that is described, the mean over the
    networks that have not seen it; and `<video>.json`, which names them. The path of the array. Memory does not grow
    with T."""
    stream = mapping_stream(plan).for_video(*stored.origin)
    num_frames = int(stored.described.sum())
    path = output_path(folder, stored.video.name, ".npy")
    shape = (num_frames, len(stream.map_names), stream.side, stream.side)
    with atomic_write(path) as partial, partial.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        written = 0
        with plan.open(stored.video) as source:
            reader = plan.converted(source, stored.match)
            for window in windows(reader, stream.before, stream.after, reader.options.batch_size):
                maps = stream.pixel_maps(window)
                file.write(np.minimum(maps, _HIGHEST).astype(np.float16).tobytes())
                written += len(maps)
        if written != num_frames:
            raise MuldeError(f"maps of {stored.video.name}", expected=f"{num_frames} frames", got=f"{written}")
    runs = [] if stored.described.all() else _runs(stored.frame_index[stored.described])
    facts = PixelMapFacts(
        frames=runs,
        maps=list(stream.map_names),
        num_frames=num_frames,
        side=stream.side,
        telling=stream.telling_map,
        highest_normal=highest_normal(normal, stream),
    )
    write_json(path.with_suffix(".json"), facts.model_dump(mode="json", exclude_defaults=True))
    return path


def _runs(index: Int64) -> list[list[int]]:
    """Rising numbers as half-open ranges."""
    parts = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)
    return [[int(part[0]), int(part[-1]) + 1] for part in parts]


@dataclass(frozen=True, eq=False)
class Heat:
    """The telling map of each described frame of a video (N, S, S), which of them each frame (T,) shows, and the value
    that gets the brightest colour: twice what normal frames reach, so that this lies in the middle."""

    maps: NDArray[np.float16]
    rows: Int64
    brightest: float

    @classmethod
    def of(cls, folder: Path, track: ScoreTrack) -> Heat | None:
        """That of a scored video which has maps in `folder`. Raises MuldeError as `read_pixel_maps` does, and for maps
        of another number of frames."""
        if not output_path(folder, track.video, ".json").exists():
            return None
        facts, maps = _open(folder, track.video)
        rows = np.arange(len(track))
        if facts.frames:
            described = np.concatenate([np.arange(*ends) for ends in facts.frames])
            rows = np.maximum(np.searchsorted(described, track.frame_index, side="right") - 1, 0)
        if len(maps) != (len(described) if facts.frames else len(track)):
            got, hint = f"maps of {len(maps)}", "mulde score --pixel-maps"
            raise MuldeError(f"{track.video} in {folder}", expected=f"{len(track)} frames", got=got, hint=hint)
        told = maps[:, facts.maps.index(facts.telling)]
        if facts.highest_normal:
            return cls(told, rows, 2 * facts.highest_normal)
        highest = max((float(box_means(one.astype(np.float32)).max()) for one in told), default=0.0)
        return cls(told, rows, max(highest, 1e-6))

    def paint(self, image: UInt8, row: int) -> None:
        """The map of a row of the track over its picture (H, W, 3), in place."""
        heat = box_means(self.maps[self.rows[row]].astype(np.float32)) / self.brightest
        image[:] = over(image, _stretched(heat, *image.shape[:2]))


def draw_heat(stored: StoredVideo, track: ScoreTrack, plan: ExtractionPlan, folder: Path) -> Path:
    """`<folder>/<video>.png` beside the maps of a single image: the image, and the image under its telling map."""
    heat = Heat.of(folder, track)
    ((_, image),) = wanted_frames(stored.video, plan, [int(stored.frame_index[0])])
    under = image.copy()
    if heat is not None:
        heat.paint(under, 0)
    path = output_path(folder, stored.video.name, ".png")
    write_png(path, np.concatenate([image, under], axis=1))
    return path


def _stretched(heat: Float32, height: int, width: int) -> Float64:
    import cv2

    return np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), np.float64)


def highest_normal(index: NormalIndex | None, stream: PredictionRows) -> float | None:
    """The highest value of the telling map in any box of the reference samples, or inside one of their boxes."""
    if index is None or stream.name not in index.rows:
        return None
    rows = index.rows[stream.name][1]
    return float(stream.peaks(rows).max()) if len(rows) else None


def read_pixel_maps(folder: Path, video: str) -> tuple[list[str], Iterator[NDArray[np.float16]]]:
    """The names of the maps of a video, and the maps (M, S, S) of one frame after the other.

    Raises MuldeError for files that `write_pixel_maps` has not written.
    """
    facts, maps = _open(folder, video)
    return facts.maps, _checked(output_path(folder, video, ".npy"), maps)


def _open(folder: Path, video: str) -> tuple[PixelMapFacts, NDArray[np.float16]]:
    path = output_path(folder, video, ".npy")
    facts = read_typed(path.with_suffix(".json"), PixelMapFacts, hint="mulde score --pixel-maps")
    expected = (facts.num_frames, len(facts.maps), facts.side, facts.side)
    try:
        maps = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MuldeError(f"{path} cannot be read: {error}", hint="mulde score --pixel-maps") from None
    if maps.shape != expected or maps.dtype != np.float16:
        got = f"{maps.dtype} of shape {maps.shape}"
        raise MuldeError(f"{path}", expected=f"float16 of shape {expected}", got=got, hint="mulde score --pixel-maps")
    return facts, maps


def _checked(path: Path, maps: NDArray[np.float16]) -> Iterator[NDArray[np.float16]]:
    for number, frame in enumerate(maps):
        if not (np.isfinite(frame).all() and (frame >= 0).all()):
            raise MuldeError(f"{path}", expected="finite numbers from 0 up", got=f"others in frame {number}")
        yield np.asarray(frame)
