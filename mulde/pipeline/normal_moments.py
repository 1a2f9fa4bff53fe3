"""The index of normal moments: some rows of the training videos, with pictures, that events are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.density.standardise import Standardiser
from mulde.density.state import check_version
from mulde.errors import MuldeError, RecordError
from mulde.extractors.boxes import crop
from mulde.files import whole_file
from mulde.pipeline.bundle import Bundle
from mulde.pipeline.extract import StoredVideo
from mulde.pipeline.leave_out import LeaveOut, Range, kept
from mulde.pipeline.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.progress import Reporter
from mulde.pipeline.region_scores import CORNERS, METADATA_KEY
from mulde.pipeline.tracking import row_keys
from mulde.records import FeatureTable, Float32, Float64, Int64, UInt8

MOMENTS = "normal_moments.parquet"
"""The file's name, beside the model."""
SCHEMA_VERSION = 1
_VALUES = "values_"
_BOX_PX, _FRAME_PX = 96, 128  # longer side of a picture
_MARGIN = 0.3  # around a box, as a share of its longer side
_JPEG_QUALITY = 85
_MOST_FOR_UNIT = 2000  # moments whose nearest one is looked for to learn the unit of distances

Columns = dict[str, NDArray[Any]]
"""Arrays with one entry per moment; a stream's values are NaN where the moment has no row in it."""


def write_moments(
    videos: Sequence[StoredVideo],
    bundle: Bundle,
    plan: ExtractionPlan,
    path: Path,
    *,
    seed: int,
    reporter: Reporter,
) -> None:
    """Draw moments of the training videos, at most `reasons.normal_moments`, and keep them as `path`, a Parquet file.

    Its columns: moment, video, frame_index, time_s, x0 to y1 (NaN for whole frames), track_id, height, width, jpeg, and
    for each stream a list `values_<stream>`, null where the moment has no row in it. A video that cannot be decoded any
    more costs its moments the picture, which is said. No file where no moments are wanted.
    """
    most = bundle.settings.reasons.normal_moments
    if most == 0:
        path.unlink(missing_ok=True)  # one of an earlier training would be of another model
        return
    left_out = LeaveOut.of_record(bundle.training.get("left_out", ()))
    dims = {name: stream.dim for name, stream in bundle.streams.items()}
    moments = draw_moments(videos, dims, most, seed, left_out)
    pictures = _pictures(videos, moments, plan, reporter)
    _write(path, videos, moments, tuple(bundle.streams), pictures)


def draw_moments(
    videos: Sequence[StoredVideo],
    dims: Mapping[str, int],
    most: int,
    seed: int,
    left_out: LeaveOut = LeaveOut(),  # noqa: B008 - frozen
) -> Columns:
    """At most `most` moments, in order of video and frame: random boxes, every one of every video with the same chance,
    but a second one of a frame only when no other frame is left; and likewise random frames, as many as boxes, where
    there are frame-centric streams. dims: the width of each stream; left_out: frames that are not normal.
    """
    rng = np.random.default_rng(seed)
    kinds = {whole: _nothing(dims) for whole in (False, True)}
    for place, stored in enumerate(videos):
        tables = {name: _normal_rows(stored.features(name), left_out.of(stored.video.name)) for name in dims}
        for whole, held in kinds.items():
            own = {name: table for name, table in tables.items() if (table.box_xyxy is None) == whole}
            if own:
                kinds[whole] = _first(_joined(held, _candidates(place, stored, own, dims, most, rng)), most)
    boxes, frames = kinds[False], kinds[True]
    num_frames = min(len(frames["lot"]), max(most // 2, most - len(boxes["lot"])))
    drawn = _joined(_first(boxes, most - num_frames), _first(frames, num_frames))
    return _pick(drawn, np.lexsort([drawn["lot"], drawn["frame_index"], drawn["video"]]))


def _normal_rows(table: FeatureTable, left_out: Sequence[Range]) -> FeatureTable:
    return table.select(kept(table.frame_index, left_out)) if left_out else table


def _nothing(dims: Mapping[str, int]) -> Columns:
    counts = ("video", "frame_index", "track_id", "turn", "height", "width")
    return {
        **{name: np.zeros(0, np.int64) for name in counts},
        **{name: np.zeros(0) for name in ("time_s", "lot")},
        "box_xyxy": np.zeros((0, 4), np.float32),
        **{_VALUES + name: np.zeros((0, dim), np.float32) for name, dim in dims.items()},
    }


def _candidates(
    place: int,
    stored: StoredVideo,
    tables: Mapping[str, FeatureTable],
    dims: Mapping[str, int],
    most: int,
    rng: np.random.Generator,
) -> Columns:
    """The moments of one video that may be among the first `most` of all: each draws a lot, and the `turn` of a moment
    is how many of its frame drew a lower one."""
    frame_index = np.concatenate([table.frame_index for table in tables.values()])
    box_xyxy = np.concatenate([_corners(table) for table in tables.values()])
    track_id = np.concatenate([_tracks(table) for table in tables.values()])
    _, first, moment_of = np.unique(row_keys(frame_index, box_xyxy), return_index=True, return_inverse=True)
    frame, lot = frame_index[first], rng.random(len(first))
    order = np.lexsort([lot, frame])
    turn = np.empty(len(first), np.int64)
    turn[order] = np.arange(len(first)) - np.searchsorted(frame[order], frame[order])
    kept = np.lexsort([lot, turn])[:most]
    found = {
        "video": np.full(len(kept), place),
        "frame_index": frame[kept],
        "track_id": track_id[first[kept]],
        "turn": turn[kept],
        "height": np.full(len(kept), stored.size_hw[0]),
        "width": np.full(len(kept), stored.size_hw[1]),
        "time_s": stored.time_s[np.searchsorted(stored.frame_index, frame[kept])],
        "lot": lot[kept],
        "box_xyxy": box_xyxy[first[kept]],
        **{_VALUES + name: np.full((len(kept), dim), np.nan, np.float32) for name, dim in dims.items()},
    }
    start = 0
    for name, table in tables.items():
        row_of = np.full(len(first), -1)
        row_of[moment_of[start : start + len(table)]] = np.arange(len(table))
        row = row_of[kept]
        found[_VALUES + name][row >= 0] = table.values[row[row >= 0]]
        start += len(table)
    return found


def _corners(table: FeatureTable) -> Float32:
    return np.full((len(table), 4), np.nan, np.float32) if table.box_xyxy is None else table.box_xyxy


def _tracks(table: FeatureTable) -> Int64:
    return np.full(len(table), -1, np.int64) if table.track_id is None else table.track_id


def _first(moments: Columns, most: int) -> Columns:
    return _pick(moments, np.lexsort([moments["lot"], moments["turn"]])[:most])


def _joined(one: Columns, other: Columns) -> Columns:
    return {name: np.concatenate([values, other[name]]) for name, values in one.items()}


def _pick(moments: Columns, rows: Int64) -> Columns:
    return {name: values[rows] for name, values in moments.items()}


def _pictures(
    videos: Sequence[StoredVideo], moments: Columns, plan: ExtractionPlan, reporter: Reporter
) -> list[bytes | None]:
    """The picture of each moment; every video is decoded once, up to the last frame that is wanted."""
    pictures: list[bytes | None] = [None] * len(moments["video"])
    with reporter.bar("normal moments", len(videos), "videos") as advance:
        for place, stored in enumerate(videos):
            wanted = np.flatnonzero(moments["video"] == place)
            try:
                _take_pictures(stored, plan, moments, wanted, pictures)
            except MuldeError as error:
                reporter.warn(f"{stored.video.name}: normal moments stay without pictures: {error}")
            advance(1)
    return pictures


def _take_pictures(
    stored: StoredVideo, plan: ExtractionPlan, moments: Columns, wanted: Int64, pictures: list[bytes | None]
) -> None:
    frame_index = moments["frame_index"][wanted]
    for frame, image in wanted_frames(stored.video, plan, frame_index.tolist()):
        for moment in wanted[slice(*np.searchsorted(frame_index, [frame, frame + 1]))]:
            pictures[moment] = _jpeg(image, moments["box_xyxy"][moment])


def _jpeg(image: UInt8, box_xyxy: Float32) -> bytes:
    """The box (4,) of an image (H, W, 3) RGB with what is around it, or, if it is NaN, the whole image."""
    import cv2

    whole = bool(np.isnan(box_xyxy).any())
    if not whole:
        around = _MARGIN * np.max(box_xyxy[2:] - box_xyxy[:2])
        image = crop(image, box_xyxy + np.array([-around, -around, around, around], np.float32))
    height, width = image.shape[:2]
    shrink = min(1.0, (_FRAME_PX if whole else _BOX_PX) / max(height, width))
    size_wh = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    written, coded = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not written:
        raise MuldeError("picture of a normal moment", expected="OpenCV to write JPEG", got="a refusal")
    return bytes(coded.tobytes())


def _write(
    path: Path,
    videos: Sequence[StoredVideo],
    moments: Columns,
    streams: Sequence[str],
    pictures: Sequence[bytes | None],
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "moment": np.arange(len(pictures)),
        "video": pa.array([videos[place].video.name for place in moments["video"]], pa.string()),
        **{name: moments[name] for name in ("frame_index", "time_s")},
        **{name: moments["box_xyxy"][:, i] for i, name in enumerate(CORNERS)},
        **{name: moments[name] for name in ("track_id", "height", "width")},
        "jpeg": pa.array(pictures, pa.binary()),
        **{_VALUES + name: _lists(moments[_VALUES + name]) for name in streams},
    }
    facts = {"schema": SCHEMA_VERSION, "dims": {name: moments[_VALUES + name].shape[1] for name in streams}}
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(facts)})
    with whole_file(path) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


def _lists(values: Float32) -> Any:
    """Values (M, D) as an Arrow column of lists, null where a row is NaN."""
    import pyarrow as pa

    there = ~np.isnan(values).any(axis=1)
    ends = np.concatenate([[0], np.cumsum(there)]) * values.shape[1]
    flat = pa.array(values[there].ravel(), pa.float32())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat, mask=pa.array(~there))


@dataclass(frozen=True)
class Moments:
    """M moments of the training videos. A moment is a box in a frame or, of frame-centric streams, a whole frame.

    video: M names; frame_index (M,) int64; time_s (M,) float64; box_xyxy (M, 4) float32 in pixels of frames of
    size_hw (M, 2) int64, NaN for whole frames; track_id (M,) int64, -1 for none.
    """

    video: tuple[str, ...]
    frame_index: Int64
    time_s: Float64
    box_xyxy: Float32
    track_id: Int64
    size_hw: Int64
    _rows: Mapping[str, tuple[Int64, Float32]]
    _jpegs: Any  # an Arrow column
    _spaces: dict[str, _Space] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, path: Path) -> Moments | None:
        """None where there is no such file. Raises MuldeError for one that is damaged or of a newer version."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not path.is_file():
            return None
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            facts = json.loads(table.schema.metadata[METADATA_KEY])
            check_version(f"normal moments {path}, schema version", facts["schema"], SCHEMA_VERSION)
            columns = {name: table[name].combine_chunks() for name in table.column_names}
            return cls(
                tuple(columns["video"].to_pylist()),
                columns["frame_index"].to_numpy(),
                columns["time_s"].to_numpy(),
                np.stack([columns[name].to_numpy() for name in CORNERS], axis=1),
                columns["track_id"].to_numpy(),
                np.stack([columns[name].to_numpy() for name in ("height", "width")], axis=1),
                {name: _arrays(columns[_VALUES + name], dim) for name, dim in facts["dims"].items()},
                columns["jpeg"],
            )
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise MuldeError(
                f"normal moments {path} cannot be read ({error})", hint="copy the file again, or train again"
            ) from None

    def __len__(self) -> int:
        return len(self.video)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of the model, those without rows too."""
        return tuple(self._rows)

    def rows_of(self, stream: str) -> Int64:
        """The moments (n,) that have a row in the stream, rising. Raises MuldeError for a stream that is none."""
        return self._of(stream)[0]

    def values(self, stream: str) -> Float32:
        """The rows (n, D) of the moments `rows_of(stream)`, as the extractor made them."""
        return self._of(stream)[1]

    def nearest(self, stream: str, values: Float32, k: int) -> tuple[Int64, Float64]:
        """The k moments nearest to each row of values (N, D), nearest first: moment (N, k) and distance (N, k).

        Distances are Euclidean, in columns standardised by the moments; 1 is how far a moment usually (in the median)
        lies from the nearest one of another video or, where all are of one video, of another quarter of it. Fewer
        columns than k where fewer moments have a row in the stream, none where none has. Raises RecordError for values
        of another width.
        """
        rows = self.rows_of(stream)
        places, distance = self._space(stream, values).nearest(values, min(k, len(rows)))
        return rows[places], distance

    def distance(self, stream: str, a: Float32, b: Float32) -> Float64:
        """How far the rows of a (N, D) and b (N, D) or (1, D) lie apart, in the units of `nearest`: (N,).

        NaN where the stream has no moments to measure by.
        """
        space = self._space(stream, a, b)
        return space.distance(space.prepared(a), space.prepared(b))

    def jpeg(self, moment: int) -> bytes | None:
        """The picture of a moment: its box with a margin, or the whole frame; None where the video had none to give."""
        picture: bytes | None = self._jpegs[moment].as_py()
        return picture

    def _of(self, stream: str) -> tuple[Int64, Float32]:
        if stream not in self._rows:
            raise MuldeError("normal moments", expected=f"a stream among {', '.join(self._rows)}", got=repr(stream))
        return self._rows[stream]

    def _space(self, stream: str, *given: Float32) -> _Space:
        """Where rows of the stream are compared, made when it is first asked for."""
        moments, values = self._of(stream)
        for rows in given:
            if rows.ndim != 2 or rows.shape[1] != values.shape[1]:
                width = f"rows of {values.shape[1]} numbers"
                raise RecordError(f"normal moments of {stream}", expected=width, got=f"an array of shape {rows.shape}")
        if stream not in self._spaces:
            videos = np.unique([self.video[i] for i in moments], return_inverse=True)[1]
            self._spaces[stream] = _Space.of(values, _groups(videos, self.frame_index[moments]))
        return self._spaces[stream]


def _arrays(lists: Any, dim: int) -> tuple[Int64, Float32]:
    """The places (n,) of a column of lists that are not null, and what is there (n, dim)."""
    rows = np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
    return rows, lists.flatten().to_numpy().reshape(len(rows), dim)


def _groups(videos: Int64, frame_index: Int64) -> Int64:
    """Which moments (M,) are as good as the same: those of one video or, of a single video, of one quarter of it."""
    if len(videos) == 0 or videos.min() != videos.max():
        return videos
    first, last = frame_index.min(), frame_index.max()
    return np.asarray(4 * (frame_index - first) // (last + 1 - first), np.int64)


@dataclass(frozen=True)
class _Space:
    """Standardised rows (M, D) of the moments in one stream, and the unit of their distances."""

    standardiser: Standardiser | None  # None: there are no rows
    rows: Float32
    unit: float
    index: Any = None  # scikit-learn's NearestNeighbors

    @classmethod
    def of(cls, values: Float32, groups: Int64) -> _Space:
        from sklearn.neighbors import NearestNeighbors

        if not len(values):
            return cls(None, values, np.nan)
        standardiser = Standardiser.fit(values)
        rows = standardiser.apply(values, np.float32)
        return cls(standardiser, rows, _unit(rows, groups), NearestNeighbors().fit(rows))

    def prepared(self, values: Float32) -> Float32:
        return values if self.standardiser is None else self.standardiser.apply(values, np.float32)

    def distance(self, a: Float32, b: Float32) -> Float64:
        """Of prepared rows."""
        return np.asarray(np.linalg.norm(a.astype(np.float64) - b, axis=1) / self.unit)

    def nearest(self, values: Float32, k: int) -> tuple[Int64, Float64]:
        """Places (N, k) in `rows` and distances (N, k)."""
        if not len(values) or k == 0:
            return np.zeros((len(values), k), np.int64), np.zeros((len(values), k))
        x = self.prepared(values)
        places = self.index.kneighbors(x, k, return_distance=False)
        # Distances by |x|^2 - 2xy + |y|^2, as scikit-learn has them, are not 0 for equal rows; these are.
        distance = np.stack([self.distance(x, self.rows[column]) for column in places.T], axis=1)
        order = np.argsort(distance, axis=1, kind="stable")
        return np.take_along_axis(places, order, axis=1), np.take_along_axis(distance, order, axis=1)


def _unit(rows: Float32, groups: Int64) -> float:
    """The median distance of a row (M, D) to the nearest one of another group (M,); 1 where there is no such thing."""
    from sklearn.metrics import pairwise_distances_chunked

    picked = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_FOR_UNIT)).round().astype(np.int64))

    def nearest(distances: NDArray[Any], start: int) -> NDArray[Any]:
        own = groups[picked[start : start + len(distances)]]
        return np.asarray(np.where(own[:, None] == groups, np.inf, distances).min(axis=1))

    found = np.concatenate(list(pairwise_distances_chunked(rows[picked], rows, reduce_func=nearest)))
    unit = float(np.median(found))
    return unit if 0 < unit < np.inf else 1.0
