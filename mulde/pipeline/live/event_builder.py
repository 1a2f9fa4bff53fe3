"""The event behind an alert: where it stands in the video of an hour, why it is unusual, and a picture of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mulde.errors import sentence
from mulde.evaluation.conformal import event_p_values
from mulde.events import Event, EventRegion, Reason
from mulde.pipeline.events.explain import explain_video
from mulde.pipeline.events.thumbnails import shown_frame
from mulde.pipeline.live.alerts import Alert, Change, Moment, Stretch
from mulde.pipeline.live.hourly_scores import FramePlace
from mulde.pipeline.live.recent import RecentFrames
from mulde.pipeline.live.scoring import LiveResult
from mulde.pipeline.live.utc import HOUR_MS, hour_name
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.scoring.threshold import AlarmRule
from mulde.progress import Reporter
from mulde.records import Float32, UInt8

_SMOOTHING_SIGMAS = 4.0
"""As far as smoothing, and so a reason, looks back from a peak."""


@dataclass(frozen=True)
class LiveEvent:
    """An event in the video of the hour of its peak: the part of an alert that lies in this hour.

    peak: the number of the peak's frame; row: (D,) of the stream that drove it; picture: (H, W, 3) of size_hw.
    """

    peak: int
    event: Event
    row: Float32 | None = None
    picture: UInt8 | None = None
    size_hw: tuple[int, int] | None = None


@dataclass
class _Unfinished:
    """What is remembered of an event that goes on. first, last: its frames at or above the level, by hour; peak: the
    highest so far, with all that its reason is made from, None where an earlier process saw it."""

    first: dict[str, FramePlace]
    last: dict[str, FramePlace]
    peak: tuple[int, FramePlace, RecentFrames] | None = None
    told: LiveEvent | None = field(default=None)


class EventBuilder:
    """Follows the frames of a camera and makes the events of what its scores change. rate: frames per second that are
    looked at."""

    def __init__(self, camera: str, predictor: Predictor, alarm: AlarmRule, rate: float, reporter: Reporter) -> None:
        self.camera, self.predictor, self.alarm, self.rate, self.reporter = camera, predictor, alarm, rate, reporter
        self._sigma_frames = predictor.settings.fusion.smoothing_s * rate
        self._recent = RecentFrames(_SMOOTHING_SIGMAS * predictor.settings.fusion.smoothing_s + 1.5 / rate)
        self._unfinished: dict[int, _Unfinished] = {}  # by the number of the first frame; two where one ends by another

    def follow(self, number: int, place: FramePlace, result: LiveResult, stretch: Stretch | None) -> None:
        """Take the next frame; stretch: the one that is open behind it."""
        self._recent.add(place, result.scored, result.described)
        if stretch is None or stretch.last_above.number != number:
            return
        event = self._of(stretch)
        event.first.setdefault(place.video, place)
        event.last[place.video] = place
        if stretch.start.number == number:
            event.first = {place.video: place}
        if stretch.peak.number == number:
            event.peak = number, place, self._recent.copy()

    def forget(self, stretch: Stretch | None) -> None:
        """Keep the event of this stretch alone."""
        kept = None if stretch is None else stretch.start.number
        self._unfinished = {start: event for start, event in self._unfinished.items() if start == kept}

    def end_session(self) -> None:
        """What is at hand belongs to no later frame."""
        self._recent.clear()

    def build(self, change: Change, known: Alert | None) -> LiveEvent:
        """The event as it is with a change; known: the alert before it. What an earlier process saw of its peak is
        taken from there."""
        unfinished = self._of(change)
        told, peak = unfinished.told, unfinished.peak
        if peak is not None and peak[0] == change.peak.number:
            _, place, frames = peak
            event = self._event(change, place, unfinished)
            if told is not None and told.peak == change.peak.number:
                unfinished.told = replace(told, event=replace(event, reason=told.event.reason))
            else:
                unfinished.told = self._explained(change.peak.number, event, frames)
        elif told is not None:
            event = self._event(change, self._place(change.peak), unfinished)
            unfinished.told = replace(told, event=replace(event, reason=told.event.reason))
        else:
            place, reason = self._place(change.peak), None
            if known is not None and known.peak == change.peak.utc_ms and known.peak_frame is not None:
                place, reason = replace(place, video=known.video, frame_index=known.peak_frame), _reason_of(known)
            size_hw = None if known is None else known.size_hw
            event = replace(self._event(change, place, unfinished), reason=reason)
            unfinished.told = LiveEvent(change.peak.number, event, size_hw=size_hw)
        return unfinished.told

    def _of(self, span: Stretch | Change) -> _Unfinished:
        """What is remembered of an event; of one that an earlier process began, what its times say."""
        start, end = self._place(span.start), self._place(span.last_above)
        begun = _Unfinished({end.video: end, start.video: start}, {start.video: start, end.video: end})
        return self._unfinished.setdefault(span.start.number, begun)

    def _place(self, moment: Moment) -> FramePlace:
        time_s = moment.utc_ms % HOUR_MS / 1000
        return FramePlace(f"{self.camera}/{hour_name(moment.utc_ms)}", round(time_s * self.rate), time_s)

    def _event(self, change: Change, peak: FramePlace, unfinished: _Unfinished) -> Event:
        first, last = (places.get(peak.video, peak) for places in (unfinished.first, unfinished.last))
        p_value = event_p_values(np.array([change.score]), self.alarm.normal, merge_gap_s=self.alarm.rules.merge_gap_s)
        return Event(
            video=peak.video,
            start_frame=min(first.frame_index, peak.frame_index),
            end_frame=max(last.frame_index, peak.frame_index) + 1,
            start_s=min(first.time_s, peak.time_s),
            end_s=max(last.time_s, peak.time_s),
            peak_frame=peak.frame_index,
            peak_s=peak.time_s,
            score=change.score,
            p_value=float(p_value[0]),
        )

    def _explained(self, peak: int, event: Event, frames: RecentFrames) -> LiveEvent:
        reason, row = None, None
        scored = frames.scored(event.video, self._sigma_frames, self.rate)
        bundle, index = self.predictor.bundle, self.predictor.normal_index
        try:
            ((_, reason, row),) = explain_video([event], scored, frames, bundle, index)
        except Exception as error:  # an alert without a reason is an alert
            self.reporter.warn(f"{self.camera}: no reason: {sentence(error, self.camera)}")
        event = replace(event, reason=reason)
        picture = frames.picture(shown_frame(event))
        if picture is None:
            picture = frames.picture(event.peak_frame)
        return LiveEvent(peak, event, row, picture, frames.size_hw)


def _reason_of(alert: Alert) -> Reason | None:
    if not alert.stream:
        return None
    box, frame = alert.box_xyxy, alert.peak_frame or 0
    region = None if box is None else EventRegion(frame, box, -1, alert.object)
    return Reason(alert.stream, alert.reason, dict(alert.streams), region)
