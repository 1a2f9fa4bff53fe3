"""The normal index: some rows of the training videos, with pictures, that events are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.errors import MuldeError, sentence
from mulde.extractors.boxes import crop
from mulde.images import shrunk
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.extraction.tracking import row_keys
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.model.normal_index import VALUES, NormalIndex
from mulde.pipeline.training.exclusions import Exclusions, Range, kept
from mulde.pipeline.training.health import HealthSampler
from mulde.progress import Reporter
from mulde.records import FeatureTable, Float32, Int64, UInt8

_BOX_PX, _FRAME_PX = 96, 128  # longer side of a picture
_MARGIN = 0.3  # around a box, as a share of its longer side
_JPEG_QUALITY = 85

Columns = dict[str, NDArray[Any]]
"""Arrays with one entry per sample; a stream's values are NaN where the sample has no row in it."""


def make_normal_index(
    videos: Sequence[StoredVideo],
    bundle: Bundle,
    plan: ExtractionPlan,
    *,
    seed: int,
    reporter: Reporter,
    health: HealthSampler | None = None,
) -> NormalIndex | None:
    """Draw samples of the training videos, at most `reasons.normal_moments`, with their rows and pictures.

    Samples of a video that can no longer be decoded have no picture, with a warning. None where no samples are
    wanted. health: takes pictures in the same pass over the videos.
    """
    max_samples = bundle.settings.reasons.normal_moments
    dims = {name: stream.dim for name, stream in bundle.streams.items()}
    if max_samples == 0:
        if health is not None:
            _pictures(videos, _nothing(dims), plan, reporter, health)
        return None
    exclusions = Exclusions.of_record(bundle.training.left_out)
    samples = draw_reference_samples(videos, dims, max_samples, seed, exclusions)
    pictures = _pictures(videos, samples, plan, reporter, health)
    return _index(videos, samples, tuple(bundle.streams), pictures)


def draw_reference_samples(
    videos: Sequence[StoredVideo],
    dims: Mapping[str, int],
    max_samples: int,
    seed: int,
    exclusions: Exclusions = Exclusions(),  # noqa: B008 - frozen
) -> Columns:
    """At most `max_samples` samples, in order of video and frame: random boxes, each box of each video with the same
    probability, but a second one of a frame only when no other frame is left; and random frames, as many as boxes and
    drawn in the same way, where there are frame-centric streams. dims: the width of each stream; exclusions: frames
    that are not normal.
    """
    rng = np.random.default_rng(seed)
    kinds = {whole: _nothing(dims) for whole in (False, True)}
    for place, stored in enumerate(videos):
        tables = {name: _normal_rows(stored.features(name), exclusions.ranges_of(stored.video.name)) for name in dims}
        for whole, drawn in kinds.items():
            of_kind = {name: table for name, table in tables.items() if (table.box_xyxy is None) == whole}
            if of_kind:
                candidates = _candidates(place, stored, of_kind, dims, max_samples, rng)
                kinds[whole] = _first(_joined(drawn, candidates), max_samples)
    boxes, frames = kinds[False], kinds[True]
    num_frames = min(len(frames["lot"]), max(max_samples // 2, max_samples - len(boxes["lot"])))
    drawn = _joined(_first(boxes, max_samples - num_frames), _first(frames, num_frames))
    return _pick(drawn, np.lexsort([drawn["lot"], drawn["frame_index"], drawn["video"]]))


def _normal_rows(table: FeatureTable, exclusions: Sequence[Range]) -> FeatureTable:
    return table.select(kept(table.frame_index, exclusions)) if exclusions else table


def _nothing(dims: Mapping[str, int]) -> Columns:
    counts = ("video", "frame_index", "track_id", "turn", "height", "width")
    return {
        **{name: np.zeros(0, np.int64) for name in counts},
        **{name: np.zeros(0) for name in ("time_s", "lot")},
        "box_xyxy": np.zeros((0, 4), np.float32),
        **{VALUES + name: np.zeros((0, dim), np.float32) for name, dim in dims.items()},
    }


def _candidates(
    place: int,
    stored: StoredVideo,
    tables: Mapping[str, FeatureTable],
    dims: Mapping[str, int],
    max_samples: int,
    rng: np.random.Generator,
) -> Columns:
    """The samples of one video that may be among the first `max_samples` of all.

    Each draws a `lot`, a random number. Its `turn` counts the samples of the same frame that drew a lower one, so that
    sorting by turn takes one sample of each frame first.
    """
    frame_index = np.concatenate([table.frame_index for table in tables.values()])
    box_xyxy = np.concatenate([_corners(table) for table in tables.values()])
    track_id = np.concatenate([_tracks(table) for table in tables.values()])
    _, first, moment_of = np.unique(row_keys(frame_index, box_xyxy), return_index=True, return_inverse=True)
    frame, lot = frame_index[first], rng.random(len(first))
    order = np.lexsort([lot, frame])
    turn = np.empty(len(first), np.int64)
    turn[order] = np.arange(len(first)) - np.searchsorted(frame[order], frame[order])
    kept = np.lexsort([lot, turn])[:max_samples]
    candidates = {
        "video": np.full(len(kept), place),
        "frame_index": frame[kept],
        "track_id": track_id[first[kept]],
        "turn": turn[kept],
        "height": np.full(len(kept), stored.size_hw[0]),
        "width": np.full(len(kept), stored.size_hw[1]),
        "time_s": stored.time_s[np.searchsorted(stored.frame_index, frame[kept])],
        "lot": lot[kept],
        "box_xyxy": box_xyxy[first[kept]],
        **{VALUES + name: np.full((len(kept), dim), np.nan, np.float32) for name, dim in dims.items()},
    }
    start = 0
    for name, table in tables.items():
        row_of = np.full(len(first), -1)
        row_of[moment_of[start : start + len(table)]] = np.arange(len(table))
        row = row_of[kept]
        candidates[VALUES + name][row >= 0] = table.values[row[row >= 0]]
        start += len(table)
    return candidates


def _corners(table: FeatureTable) -> Float32:
    return np.full((len(table), 4), np.nan, np.float32) if table.box_xyxy is None else table.box_xyxy


def _tracks(table: FeatureTable) -> Int64:
    return np.full(len(table), -1, np.int64) if table.track_id is None else table.track_id


def _first(samples: Columns, max_samples: int) -> Columns:
    return _pick(samples, np.lexsort([samples["lot"], samples["turn"]])[:max_samples])


def _joined(first: Columns, second: Columns) -> Columns:
    return {name: np.concatenate([values, second[name]]) for name, values in first.items()}


def _pick(samples: Columns, rows: Int64) -> Columns:
    return {name: values[rows] for name, values in samples.items()}


def _pictures(
    videos: Sequence[StoredVideo],
    samples: Columns,
    plan: ExtractionPlan,
    reporter: Reporter,
    health: HealthSampler | None,
) -> list[bytes | None]:
    """The picture of each sample; every video is decoded once, up to the last frame that is wanted."""
    pictures: list[bytes | None] = [None] * len(samples["video"])
    with reporter.bar("reference samples", len(videos), "videos") as advance:
        for place, stored in enumerate(videos):
            wanted = np.flatnonzero(samples["video"] == place)
            try:
                frames = [] if health is None else health.wanted(place)
                for frame, image in _take_pictures(stored, plan, samples, wanted, pictures, frames):
                    if health is not None:
                        health.take(place, frame, image)
            except Exception as error:  # the training is done
                known = sentence(error, stored.video.path)
                reporter.warn(f"{stored.video.name}: reference samples have no pictures: {known}")
            advance(1)
    return pictures


def _take_pictures(
    stored: StoredVideo,
    plan: ExtractionPlan,
    samples: Columns,
    wanted: Int64,
    pictures: list[bytes | None],
    frames: Sequence[int],
) -> Iterator[tuple[int, UInt8]]:
    """Make the pictures of the samples in `wanted`; all frames that are decoded for it are handed on, and `frames`."""
    frame_index = samples["frame_index"][wanted]
    for frame, image in wanted_frames(stored.video, plan, {*frame_index.tolist(), *frames}):
        for sample in wanted[slice(*np.searchsorted(frame_index, [frame, frame + 1]))]:
            pictures[sample] = _jpeg(image, samples["box_xyxy"][sample])
        yield frame, image


def _jpeg(image: UInt8, box_xyxy: Float32) -> bytes:
    """The box (4,) of an image (H, W, 3) RGB with what is around it, or, if it is NaN, the whole image."""
    import cv2

    whole = bool(np.isnan(box_xyxy).any())
    if not whole:
        around = _MARGIN * np.max(box_xyxy[2:] - box_xyxy[:2])
        image = crop(image, box_xyxy + np.array([-around, -around, around, around], np.float32))
    small = shrunk(image, _FRAME_PX if whole else _BOX_PX)
    written, coded = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not written:
        raise MuldeError("picture of a reference sample", expected="OpenCV to write JPEG", got="a refusal")
    return bytes(coded.tobytes())


def _index(
    videos: Sequence[StoredVideo], samples: Columns, streams: Sequence[str], pictures: Sequence[bytes | None]
) -> NormalIndex:
    import pyarrow as pa

    return NormalIndex(
        video=tuple(videos[place].video.name for place in samples["video"]),
        frame_index=samples["frame_index"],
        time_s=samples["time_s"],
        box_xyxy=samples["box_xyxy"],
        track_id=samples["track_id"],
        size_hw=np.stack([samples["height"], samples["width"]], axis=1),
        rows={name: _rows(samples[VALUES + name]) for name in streams},
        jpegs=pa.array(pictures, pa.binary()),
    )


def _rows(values: Float32) -> tuple[Int64, Float32]:
    """Which samples (n,) have a row among values (M, D), which are NaN elsewhere, and these rows (n, D)."""
    there = np.flatnonzero(~np.isnan(values).any(axis=1))
    return there, values[there]
