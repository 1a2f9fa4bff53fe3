"""Pictures of events: the frame with the object that drove each, and the reference samples that it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mulde.events import Event
from mulde.files import atomic_write
from mulde.images import shrunk
from mulde.pipeline.events.tables import picture_path
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.normal_index import NormalIndex
from mulde.pipeline.run_folder import NORMAL, THUMBNAILS
from mulde.records import UInt8

_LONGER_SIDE_PX = 320
_QUALITY = 85
_FRAME, _EDGE = (255, 230, 80), (20, 20, 20)  # light on dark: seen on any ground, in grey too


def write_pictures(
    events: Sequence[Event],
    stored: StoredVideo,
    plan: ExtractionPlan,
    root: Path,
    figure_frames: Iterable[int] = (),
) -> dict[int, UInt8]:
    """Thumbnails of the events of one video as `<root>/thumbnails/<video>/<peak frame>.jpg`; the pictures of
    `figure_frames`, RGB (H, W, 3) by frame index.

    A thumbnail is the frame in which the event's object was found, a box around it, or the frame of the peak where it
    has no object. The video is decoded once, up to the last frame that is wanted; frames that it does not have are left
    out. Raises VideoError where it cannot be opened any more.
    """
    of_frame: dict[int, list[Event]] = {}
    for event in events:
        of_frame.setdefault(shown_frame(event), []).append(event)
    kept = set(figure_frames)
    pictures: dict[int, UInt8] = {}
    for frame, image in wanted_frames(stored.video, plan, of_frame.keys() | kept):
        for event in of_frame.get(frame, []):
            write_jpeg(thumbnail(image, event), picture_path(root / THUMBNAILS, event, ".jpg"))
        if frame in kept:
            pictures[frame] = image.copy()  # not the batch that it is part of
    return pictures


def write_normal_pictures(events: Iterable[Event], normal_index: NormalIndex | None, root: Path) -> None:
    """Pictures of the reference samples that the events name, as `<root>/normal/<moment>.jpg`."""
    if normal_index is None:
        return
    named = {near.moment for event in events if event.reason for near in event.reason.nearest}
    for sample in sorted(named):
        content = normal_index.jpeg(sample)
        if content is not None:
            with atomic_write(root / NORMAL / f"{sample}.jpg") as partial:
                partial.write_bytes(content)


def shown_frame(event: Event) -> int:
    """The frame that an event's thumbnail shows."""
    region = event.reason.region if event.reason else None
    return region.frame_index if region else event.peak_frame


def thumbnail(image: UInt8, event: Event, longer_side_px: int = _LONGER_SIDE_PX) -> UInt8:
    """A frame (H, W, 3) as a small picture, its longer side at most so many pixels, with the event's box drawn."""
    import cv2

    small = shrunk(image, longer_side_px)
    small = small.copy() if small is image else small
    zoom = min(longer_side_px / max(image.shape[:2]), 1.0)
    region = event.reason.region if event.reason else None
    if region is not None:
        x0, y0, x1, y1 = (round(corner * zoom) for corner in region.box_xyxy)
        for thickness, colour in ((3, _EDGE), (1, _FRAME)):
            cv2.rectangle(small, (x0 - 2, y0 - 2), (x1 + 1, y1 + 1), colour, thickness)  # around, not on it
    return np.asarray(small, np.uint8)


def thumbnails(events: Iterable[Event], stored: StoredVideo, plan: ExtractionPlan) -> Iterator[tuple[str, bytes]]:
    """JPEGs of the events of one video, by event id, in order of the frames that they show."""
    of_frame: dict[int, list[Event]] = {}
    for event in events:
        of_frame.setdefault(shown_frame(event), []).append(event)
    for frame, image in wanted_frames(stored.video, plan, of_frame):
        for event in of_frame[frame]:
            yield event.event_id, _jpeg(thumbnail(image, event))


def write_jpeg(image: UInt8, path: Path) -> None:
    """Write a picture (H, W, 3), whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_bytes(_jpeg(image))


def _jpeg(image: UInt8) -> bytes:
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    content: bytes = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
    return content
