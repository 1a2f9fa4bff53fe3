"""Maps of pixel models, as one array per video: what heat maps of images and pixel figures are made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.errors import MuldeError, UsageError
from mulde.extractors.prediction import PredictionRows
from mulde.files import atomic_write, write_json
from mulde.images import write_png
from mulde.names import output_path
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.extraction.windows import windows
from mulde.pipeline.model.normal_index import NormalIndex
from mulde.records import Float32
from mulde.report.colours import shades
from mulde.typed import Count, FileModel, read_typed

_OPAQUE = 0.75
_HIGHEST = float(np.finfo(np.float16).max)


class PixelMapFacts(FileModel):
    """`<video>.json` beside the maps: the name of each map, and the numbers of the frames as half-open ranges."""

    maps: list[str]
    num_frames: Count
    side: Count


def mapping_stream(plan: ExtractionPlan) -> PredictionRows:
    """The stream of a pixel model. Raises UsageError where the model has none."""
    for extractor in plan.extractors:
        if isinstance(extractor, PredictionRows):
            return extractor
    raise UsageError(
        "--pixel-maps", expected="a model with a stream of a pixel model (prediction)", got=" and ".join(plan.streams)
    )


def write_pixel_maps(stored: StoredVideo, plan: ExtractionPlan, folder: Path) -> Path:
    """`<folder>/<video>.npy`, float16 (T, M, S, S): the maps of each frame that is described, the mean over the
    networks that have not seen it; and `<video>.json`, which names them. The path of the array. Memory does not grow
    with T."""
    stream = mapping_stream(plan).for_video(stored.passports["frames"].video_sha256)
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
    facts: dict[str, Any] = {"maps": list(stream.map_names), "num_frames": num_frames, "side": stream.side}
    write_json(path.with_suffix(".json"), facts)
    return path


def draw_heat(stored: StoredVideo, plan: ExtractionPlan, maps: Path, highest_normal: float | None) -> Path:
    """`<video>.png` beside the maps of a single image: the image, and over it the colours of the first map.

    highest_normal: what the map reached on normal images, which gets the colour in the middle; None: nobody knows, so
    the map's own highest value gets the brightest.
    """
    heat = np.load(maps, mmap_mode="r")[0, 0].astype(np.float32)
    ((_, image),) = wanted_frames(stored.video, plan, [int(stored.frame_index[0])])
    height, width = image.shape[:2]
    brightest = 2 * highest_normal if highest_normal else max(float(heat.max()), 1e-6)
    strength = np.clip(_stretched(heat, height, width) / brightest, 0, 1).astype(np.float64)
    over = image * (1 - _OPAQUE * strength[..., None]) + shades(strength) * (_OPAQUE * strength[..., None])
    path = maps.with_suffix(".png")
    write_png(path, np.concatenate([image, np.rint(over).astype(np.uint8)], axis=1))
    return path


def _stretched(heat: Float32, height: int, width: int) -> Float32:
    import cv2

    return np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def highest_normal(index: NormalIndex | None, stream: PredictionRows) -> float | None:
    """The highest value of the first map in any box of the reference samples, or inside one of their boxes."""
    if index is None or stream.name not in index.rows:
        return None
    rows = index.rows[stream.name][1]
    return float(np.exp(rows[:, int(stream.object_centric)].max())) if len(rows) else None


def read_pixel_maps(folder: Path, video: str) -> tuple[list[str], Iterator[NDArray[np.float16]]]:
    """The names of the maps of a video, and the maps (M, S, S) of one frame after the other.

    Raises MuldeError for files that `write_pixel_maps` has not written.
    """
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
    return facts.maps, _checked(path, maps)


def _checked(path: Path, maps: NDArray[np.float16]) -> Iterator[NDArray[np.float16]]:
    for number, frame in enumerate(maps):
        if not (np.isfinite(frame).all() and (frame >= 0).all()):
            raise MuldeError(f"{path}", expected="finite numbers from 0 up", got=f"others in frame {number}")
        yield np.asarray(frame)
