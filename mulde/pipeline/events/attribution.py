"""Facts about the rows that drove events: the object, the noise levels, the columns, the nearest reference samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from mulde.events import EventRegion, Reason, ReferenceSample
from mulde.extractors.boxes import overlap
from mulde.extractors.class_names import object_name
from mulde.extractors.registry import EXTRACTORS
from mulde.extractors.spec import one_group
from mulde.extractors.wording import Comparison, Wording, describe_appearance
from mulde.pipeline.model.bundle import Bundle, Stream
from mulde.pipeline.model.normal_index import NormalIndex
from mulde.records import FeatureTable, Float32, Float64, Int64, Regions

Groups = tuple[tuple[str, float], ...]
_EVENTS_AT_A_TIME = 256
_NUM_NEAR, _MIN_NEAR, _SHARE_NEAR = 50, 10, 0.25  # of the reference samples: the objects that stood near
_PATH_STEPS = 8
_REACH_FRAMES = 5
_MIN_SAME_IOU = 0.3  # of the boxes of one object in two frames
_MIN_PATH = 0.1  # as a share of the box's diagonal


class DescribedVideo(Protocol):
    """What reasons are made from: the rows and the boxes of a video, or of the part of a stream that is at hand."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the frames that boxes are in."""
        ...

    def features(self, extractor: str) -> FeatureTable:
        """The rows of one stream."""
        ...

    def regions(self) -> Regions | None:
        """The boxes; None if no finder looked for any."""
        ...


class Objects:
    """Class names of the boxes of a video. Its table of regions is read once, when the first box is asked for."""

    def __init__(self, video: DescribedVideo, bundle: Bundle) -> None:
        self._video, self._names = video, bundle.classes
        self._regions: Regions | None = None

    def name(self, frame_index: int, box_xyxy: Float32) -> str:
        if self._regions is None:
            self._regions = self._video.regions() or Regions.empty()  # none of boxes that came with imported features
        first, last = np.searchsorted(self._regions.frame_index, [frame_index, frame_index + 1])
        same = np.flatnonzero((self._regions.box_xyxy[first:last] == box_xyxy).all(axis=1))
        return object_name(int(self._regions.class_id[first + same[0]]), self._names) if len(same) else "object"


class ReasonBuilder:
    """Reasons from the rows of one stream of one video."""

    def __init__(
        self, name: str, bundle: Bundle, normal_index: NormalIndex | None, size_hw: tuple[int, int], objects: Objects
    ) -> None:
        self.name, self.stream, self.settings, self.objects = name, bundle.streams[name], bundle.settings, objects
        self.normal_index = normal_index if normal_index is not None and name in normal_index.streams else None
        if self.normal_index is not None and not len(self.normal_index.rows_of(name)):
            self.normal_index = None
        self.normal, self.ground_point = self._normal(size_hw)

    def reasons(self, table: FeatureTable, chosen: Int64) -> Iterator[Reason]:
        """A reason for each chosen row (n,) of the table; one that says little for -1."""
        values = table.values[chosen[chosen >= 0]]
        excess = np.mean([density.level_excess(values) for density in self.stream.densities], axis=0)
        levels = self.stream.densities[0].noise_levels
        samples, distance, reference = self._nearest(values)
        groups = self._groups(values, reference)
        at = 0
        for row in chosen:
            if row < 0:
                yield Reason(self.name, "nothing is seen at its peak")
                continue
            yield self._reason(
                table,
                int(row),
                tuple((float(level), float(z)) for level, z in zip(levels, excess[at], strict=True)),
                groups[at],
                tuple(zip(samples[at].tolist(), distance[at].tolist(), strict=True)),
            )
            at += 1

    def _reason(
        self,
        table: FeatureTable,
        row: int,
        scales: tuple[tuple[float, float], ...],
        groups: Groups,
        nearest: tuple[tuple[int, float], ...],
    ) -> Reason:
        region = self._region(table, row)
        usual, is_local = self._usual(region)
        comparison = Comparison(
            table.values[row],
            usual,
            self.normal,
            is_local=is_local,
            is_object=region is not None,
            score_rows=self.stream.score_rows,
            angle=way(table, row),
            distance=nearest[0][1] if nearest else None,
            groups=groups,
        )
        text, facts = self._described(comparison)
        if region is not None:
            subject = region.what if region.track_id < 0 else f"{region.what} {region.track_id}"
            text = f"{subject}: {text}"
        return Reason(
            self.name, text, region=region, scales=scales, groups=groups, facts=facts, nearest=self._named(nearest)
        )

    def _region(self, table: FeatureTable, row: int) -> EventRegion | None:
        if table.box_xyxy is None:
            return None
        frame, box = int(table.frame_index[row]), table.box_xyxy[row]
        track_id = -1 if table.track_id is None else int(table.track_id[row])
        x0, y0, x1, y1 = (float(corner) for corner in box)
        return EventRegion(frame, (x0, y0, x1, y1), track_id, self.objects.name(frame, box))

    def _normal(self, size_hw: tuple[int, int]) -> tuple[Float32, Float64]:
        """Normal rows (m, D), and where in frames of this size their objects stood, (m, 2), NaN where not at all.

        Without reference samples the one row is the mean of the training rows.
        """
        if self.normal_index is None:
            mean = np.mean([density.standardiser_.mean for density in self.stream.densities], axis=0)
            return mean[None].astype(np.float32), np.full((1, 2), np.nan)
        rows = self.normal_index.rows_of(self.name)
        ground_point = _foot(self.normal_index.box_xyxy[rows].astype(np.float64))
        ground_point[(self.normal_index.size_hw[rows] != size_hw).any(axis=1)] = np.nan
        return self.normal_index.values(self.name), ground_point

    def _usual(self, region: EventRegion | None) -> tuple[Float32, bool]:
        """The normal rows (n, D) of objects near a region, and whether they are near; else all."""
        placed = np.flatnonzero(np.isfinite(self.ground_point).all(axis=1))
        count = min(_NUM_NEAR, int(_SHARE_NEAR * len(placed)))
        if region is None or count < _MIN_NEAR:
            return self.normal, False
        away = np.square(self.ground_point[placed] - _foot(np.array([region.box_xyxy]))).sum(axis=1)
        return self.normal[placed[np.argpartition(away, count)[:count]]], True

    def _nearest(self, values: Float32) -> tuple[Int64, Float64, Float32]:
        """The nearest reference samples (n, k), their distances (n, k), and the row (n, D) that each row is compared
        with."""
        if self.normal_index is None:
            none = np.zeros((len(values), 0))
            return none.astype(np.int64), none, np.repeat(self.normal, len(values), axis=0)
        samples, distance = self.normal_index.nearest(self.name, values, max(self.settings.reasons.nearest, 1))
        place = np.searchsorted(self.normal_index.rows_of(self.name), samples[:, 0])
        return samples, distance, self.normal[place]

    def _named(self, nearest: tuple[tuple[int, float], ...]) -> tuple[ReferenceSample, ...]:
        if self.normal_index is None:
            return ()
        m = self.normal_index
        return tuple(
            ReferenceSample(sample, m.video[sample], int(m.frame_index[sample]), float(m.time_s[sample]), distance)
            for sample, distance in nearest[: self.settings.reasons.nearest]
        )

    def _groups(self, values: Float32, reference: Float32) -> list[Groups]:
        dim, spec = values.shape[1], EXTRACTORS.get(self.name)
        names = spec.groups(dim, self.settings.features.for_extractor(self.name)) if spec else one_group(dim)
        return group_shares(self.stream, values, reference, names)

    def _described(self, comparison: Comparison) -> Wording:
        spec = EXTRACTORS.get(self.name)  # None: features made elsewhere
        if spec is None:
            return describe_appearance(comparison)
        return spec.describe(comparison, self.settings.features.for_extractor(self.name))


def group_shares(stream: Stream, values: Float32, reference: Float32, names: Sequence[str]) -> list[Groups]:
    """How much each group of columns adds on the way from a normal row to an unusual one, as shares, largest first.

    values, reference (N, D); names (D,): the group of each column. Integrated gradients (Sundararajan, Taly, Yan, 2017,
    eq. 1): deviation times mean gradient on the straight way between the two rows. Groups that make the row less
    unusual have a share of 0.
    """
    known = list(dict.fromkeys(names))
    if len(known) == 1 or not len(values):
        return [((known[0], 1.0),)] * len(values)
    if stream.least is not None:
        values, reference = np.maximum(values, stream.least), np.maximum(reference, stream.least)
    added = np.concatenate(
        [_added(stream, *part) for part in zip(*(_parts(rows) for rows in (values, reference)), strict=True)]
    )
    column = np.array([known.index(name) for name in names])
    totals = np.stack([added[:, column == i].sum(axis=1) for i in range(len(known))], axis=1)
    totals = np.maximum(totals, 0)
    totals /= np.maximum(totals.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    orders = np.argsort(-totals, axis=1, kind="stable")
    return [tuple((known[i], float(total[i])) for i in order) for order, total in zip(orders, totals, strict=True)]


def _added(stream: Stream, values: Float32, reference: Float32) -> Float64:
    """What each column of rows (n, D) adds on the straight way from their reference (n, D), (n, D)."""
    steps = ((np.arange(_PATH_STEPS, dtype=np.float32) + 0.5) / _PATH_STEPS)[:, None, None]
    on_the_way = reference + steps * (values - reference)  # (steps, n, D)
    added = np.zeros(values.shape)
    for density in stream.densities:
        gradient = density.gradient(on_the_way.reshape(-1, values.shape[1])).reshape(on_the_way.shape)
        added += gradient.mean(axis=0) * (values - reference) / density.standardiser_.scale
    return added


def _parts(rows: Float32) -> list[Float32]:
    return [rows[start : start + _EVENTS_AT_A_TIME] for start in range(0, len(rows), _EVENTS_AT_A_TIME)]


def same_object(table: FeatureTable, row: int, other: int) -> bool:
    """Whether two rows are of one track or, without tracks, of boxes that overlap; whole pictures are all the same."""
    if table.box_xyxy is None:
        return True
    if table.track_id is not None and table.track_id[row] >= 0 and table.track_id[other] >= 0:
        return bool(table.track_id[row] == table.track_id[other])
    return bool(overlap(table.box_xyxy[[row]], table.box_xyxy[[other]])[0, 0] >= _MIN_SAME_IOU)


def way(table: FeatureTable, row: int) -> float | None:
    """The direction in radians that a box moves in, by the boxes that overlap it most in the frames before and after;
    None where it stays."""
    if table.box_xyxy is None:
        return None
    first, last = (_followed(table.box_xyxy, table.frame_index, row, step) for step in (-1, 1))
    move = (last[:2] + last[2:] - first[:2] - first[2:]).astype(np.float64) / 2
    sides = table.box_xyxy[row, 2:] - table.box_xyxy[row, :2]
    if np.hypot(*move) < _MIN_PATH * np.hypot(*sides):
        return None
    return float(np.arctan2(move[1], move[0]))


def _followed(box_xyxy: Float32, frame_index: Int64, row: int, step: int) -> Float32:
    """The box (4,) that one of the boxes (N, 4) becomes some frames later (step 1) or earlier (-1)."""
    frame = int(frame_index[row])
    for _ in range(_REACH_FRAMES):
        frame += step
        low, high = np.searchsorted(frame_index, [frame, frame + 1])
        shared = overlap(box_xyxy[row : row + 1], box_xyxy[low:high])[0]
        if not len(shared) or shared.max() < _MIN_SAME_IOU:
            break
        row = int(low + shared.argmax())
    return np.asarray(box_xyxy[row], np.float32)


def _foot(box_xyxy: Float64) -> Float64:
    """Where the objects in boxes (N, 4) stand: (N, 2)."""
    return np.stack([(box_xyxy[:, 0] + box_xyxy[:, 2]) / 2, box_xyxy[:, 3]], axis=1)
