"""Where in the picture an event is that a stream without boxes found: the highest place of a pixel model's map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mulde.events import Event, EventRegion
from mulde.extractors.prediction import PredictionRows
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.extraction.video import StoredVideo
from mulde.reconstruction.peaks import highest_box
from mulde.records import Frames, Int64, UInt8, Window

_MOST = 200
"""Events of a video that are looked at, the clearest: each takes as long as the extraction of a frame."""


def located(events: Sequence[Event], stored: StoredVideo, plan: ExtractionPlan) -> list[Event]:
    """The events of one video; those whose reason is a map of whole frames with the box of its highest mean at the
    peak.

    Frames that the video does not have any more leave their events as they are. Raises VideoError where it cannot be
    opened.
    """
    stream = next((e for e in plan.extractors if isinstance(e, PredictionRows) and not e.object_centric), None)
    mine = [event for event in events if stream is not None and _is_of(event, stream)]
    mine = sorted(mine, key=lambda event: -event.score)[:_MOST]
    if stream is None or not mine:
        return list(events)
    own = stream.for_video(*stored.origin)
    regions = {}
    for event, window in _windows(mine, stored, plan, stream.before):
        heat = own.pixel_maps(window)[0, own.map_names.index(own.telling_map)]
        height, width = window.frames.size_hw
        x0, y0, x1, y1 = (highest_box(heat) * np.array([width, height] * 2)).tolist()
        regions[event.event_id] = EventRegion(event.peak_frame, (x0, y0, x1, y1), -1, "")
    return [
        replace(event, reason=replace(event.reason, region=regions[event.event_id]))
        if event.reason is not None and event.event_id in regions
        else event
        for event in events
    ]


def _is_of(event: Event, stream: PredictionRows) -> bool:
    return event.reason is not None and event.reason.stream == stream.name and event.reason.region is None


def _at(index: Int64, event: Event) -> int:
    """The last of the described frames that is not after the peak: the one whose row the peak has."""
    return max(int(np.searchsorted(index, event.peak_frame, side="right")) - 1, 0)


def _windows(
    events: Sequence[Event], stored: StoredVideo, plan: ExtractionPlan, past: int
) -> Iterator[tuple[Event, Window]]:
    """Each event with a window whose core is its peak; the video is decoded once, and few pictures are held."""
    frames, index_of = stored.frame_index[stored.described], dict[str, Int64]()
    for event in events:
        at = _at(frames, event)
        last = min(max(at, past), len(frames) - 1)  # as rows of the first frames are made
        index_of[event.event_id] = frames[max(last - past, 0) : last + 1]
    waiting = sorted(events, key=lambda event: int(index_of[event.event_id][-1]))
    wanted = np.unique(np.concatenate(list(index_of.values()))).tolist()
    pictures: dict[int, UInt8] = {}
    for frame, image in wanted_frames(stored.video, plan, wanted):
        pictures[frame] = image.copy()  # not the batch that it is part of
        while waiting and int(index_of[waiting[0].event_id][-1]) <= frame:
            event = waiting.pop(0)
            index = index_of[event.event_id]
            if all(int(number) in pictures for number in index):
                images = np.stack([pictures[int(number)] for number in index])
                core = _at(index, event)
                yield event, Window(Frames(images, index, np.arange(len(index), dtype=np.float64)), core, core + 1)
        first = min((int(index_of[event.event_id][0]) for event in waiting), default=frame + 1)
        pictures = {number: picture for number, picture in pictures.items() if number >= first}
