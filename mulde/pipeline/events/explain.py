"""Why an event is unusual: its streams' shares, the object, the noise levels, what differs from normal, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mulde.errors import MuldeError, sentence, stops_all
from mulde.evaluation.smoothing import Smoothing
from mulde.events import Event, Reason
from mulde.pipeline.events.attribution import DescribedVideo, Objects, ReasonBuilder, same_object
from mulde.pipeline.events.tables import by_video
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle, Stream
from mulde.pipeline.model.normal_index import NormalIndex
from mulde.pipeline.outcome import Failed
from mulde.records import FeatureTable, Float32, Float64, Int64, ScoredVideo

_NEAR_SIGMAS, _FAR_SIGMAS = 2.0, 4.0  # of the smoothing, around a peak; beyond the second the kernel is cut
_SAME = 1e-3  # of a frame, by which times are rounded
_ROWS_AT_A_TIME = 32_768


@dataclass(frozen=True)
class Explained:
    """Events with their reasons; rows: event id -> the stream that drove the event and its row (D,) there, as
    extracted. Events near whose peak this stream has no row are not in `rows`."""

    events: list[Event]
    rows: dict[str, tuple[str, Float32]]


def explain(
    events: Sequence[Event],
    scored: Mapping[str, ScoredVideo],
    stored: Mapping[str, StoredVideo],
    bundle: Bundle,
    normal_index: NormalIndex | None,
    failed: Failed | None = None,
) -> Explained:
    """The events, in their order, each with a reason; without `normal_index` reasons do not speak of the place.

    failed: takes the error of one video, whose events then have no reason; without it the error is raised, a
    StoreError where features are no longer in the store.
    """
    reasons: dict[str, Reason] = {}
    rows: dict[str, tuple[str, Float32]] = {}
    for video, events_of_video in by_video(events).items():
        try:
            explained = list(explain_video(events_of_video, scored[video], stored[video], bundle, normal_index))
        except Exception as error:
            if failed is None or stops_all(error):
                raise
            about = stored[video].video.path
            failed(video, MuldeError(f"events without reasons: {sentence(error, about)}"), lost=False)
            continue
        for event, reason, row in explained:
            reasons[event.event_id] = reason
            if row is not None:
                rows[event.event_id] = (reason.stream, row)
    return Explained([replace(event, reason=reasons.get(event.event_id)) for event in events], rows)


def stream_shares(scored: ScoredVideo, how: str) -> dict[str, Float64]:
    """What each stream adds to the smoothed score of every frame: (T,) each; together they are the score.

    A sum of streams is smoothed stream by stream, as smoothing is linear; of a maximum, the score of a frame belongs to
    the highest stream there.
    """
    streams = scored.track.streams
    if how == "max":
        highest = np.argmax(np.stack(list(streams.values())), axis=0)
        streams = {name: np.where(highest == i, scores, 0.0) for i, (name, scores) in enumerate(streams.items())}
    smoothing, mode = Smoothing.of(scored), scored.smoothing
    return {name: smoothing(scores, mode) for name, scores in streams.items()}


def explain_video(
    events: Sequence[Event], scored: ScoredVideo, video: DescribedVideo, bundle: Bundle, index: NormalIndex | None
) -> Iterator[tuple[Event, Reason, Float32 | None]]:
    """The reasons of the events of one video, table by table, with the rows (D,) behind them, None for none; without
    an index of reference samples reasons do not speak of the place."""
    peaks = np.searchsorted(scored.track.frame_index, [event.peak_frame for event in events])
    shares = {name: values[peaks] for name, values in stream_shares(scored, bundle.settings.fusion.combine).items()}
    facts = {  # what each stream alone says at the peaks
        f"p_{name}": np.exp(-0.5 * np.square(Smoothing.of(scored)(scores, scored.smoothing)[peaks]))
        for name, scores in scored.track.streams.items()
        if bundle.streams[name].surprise is not None
    }
    driving = np.argmax(np.stack(list(shares.values())), axis=0)  # (n,)
    objects = Objects(video, bundle)
    for i in np.unique(driving):
        name, mine = list(shares)[i], np.flatnonzero(driving == i).tolist()
        builder = ReasonBuilder(name, bundle, index, video.size_hw, objects)
        table = video.features(name)
        chosen = chosen_rows(table, bundle.streams[name], [events[at] for at in mine], scored)
        for at, row, reason in zip(mine, chosen, builder.reasons(table, chosen), strict=True):
            reason = replace(
                reason,
                streams={stream: float(values[at]) for stream, values in shares.items()},
                facts={**reason.facts, **{fact: float(values[at]) for fact, values in facts.items()}},
            )
            yield events[at], reason, None if row < 0 else table.values[row]


def chosen_rows(table: FeatureTable, stream: Stream, events: Sequence[Event], scored: ScoredVideo) -> Int64:
    """The row (n,) of the table behind each event, -1 for none: of the object that gave most to the score at the peak.

    Such a score is a sum over frames, each of which gives its highest row, weighted by the smoothing: so one wild box
    gives less than an object that stays. Of that object's rows it is the one that gives most. Looked at are the frames
    of the event within two sigma of the peak, and where these have no row, those as far as smoothing looks.
    """
    spans = [_span(table, event, scored) for event in events]
    wanted = np.zeros(len(table) + 1, np.int64)
    for first, last in spans:
        wanted[first] += 1
        wanted[last] -= 1
    needed = np.flatnonzero(np.cumsum(wanted[:-1]) > 0)
    scores = np.full(len(table), -np.inf)
    for start in range(0, len(needed), _ROWS_AT_A_TIME):
        part = needed[start : start + _ROWS_AT_A_TIME]
        scores[part] = stream.score_rows(table.values[part])
    chosen = np.full(len(events), -1, np.int64)
    for i, (event, (first, last)) in enumerate(zip(events, spans, strict=True)):
        if last > first:
            weights = _weights(table.frame_index[first:last], event.peak_frame, scored)
            chosen[i] = first + _of_main_object(table.select(slice(first, last)), scores[first:last] * weights)
    return chosen


def _of_main_object(table: FeatureTable, gives: Float64) -> int:
    """The row that gives most among those of the object that does; gives (N,): what each row would give."""
    order = np.lexsort([gives, table.frame_index])
    highest = order[np.flatnonzero(np.diff(table.frame_index[order], append=-1))].tolist()  # one of each frame
    objects: list[list[int]] = []
    for row in highest:
        known = next((rows for rows in objects if same_object(table, rows[-1], row)), None)
        if known is None:
            objects.append([row])
        else:
            known.append(row)
    main = max(objects, key=lambda rows: float(gives[rows].sum()))
    return max(main, key=lambda row: float(gives[row]))


def _span(table: FeatureTable, event: Event, scored: ScoredVideo) -> tuple[int, int]:
    """Where in the table the rows near an event's peak lie."""
    frames, times = scored.track.frame_index, scored.track.time_s * scored.rate
    peak = int(np.searchsorted(frames, event.peak_frame))
    for reach, low, high in ((_NEAR_SIGMAS, event.start_frame, event.end_frame), (_FAR_SIGMAS, 0, np.inf)):
        near = int(reach * scored.sigma_frames) + _SAME
        at = np.searchsorted(times, [times[peak] - near, times[peak] + near])
        first = max(int(frames[at[0]]), low)
        last = event.peak_frame + 1 if scored.is_causal else min(int(frames[at[1] - 1]) + 1, high)
        span = np.searchsorted(table.frame_index, [first, last])
        if span[1] > span[0]:
            break
    return int(span[0]), int(span[1])


def _weights(row_frame: Int64, peak_frame: int, scored: ScoredVideo) -> Float64:
    """The weight (n,) that smoothing gives each row's frame at the peak."""
    at = scored.track.time_s[np.searchsorted(scored.track.frame_index, [*row_frame.tolist(), peak_frame])]
    away = (at[:-1] - at[-1]) * scored.rate
    return np.asarray(np.exp(-0.5 * np.square(away / max(scored.sigma_frames, 1e-9))), np.float64)
