"""Events: what a run found, each with the reason why it is unusual. Small frozen records, checked when they are made.

Frame indices are 0-based. Times are seconds from the start of the video.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mulde.errors import RecordError


@dataclass(frozen=True)
class ReferenceSample:
    """A row of normal video that an event resembles: `moment` is its row number in the normal index,
    `distance` is in units of how far such rows lie from each other."""

    moment: int
    video: str
    frame_index: int
    time_s: float
    distance: float


@dataclass(frozen=True)
class EventRegion:
    """Where in a frame an event is: a box in pixels of the frames that were worked on, and what was found there.

    track_id: -1 for a box on no track; what: `person`, `moving object` ...
    """

    frame_index: int
    box_xyxy: tuple[float, float, float, float]
    track_id: int
    what: str


@dataclass(frozen=True)
class Reason:
    """Why an event is unusual.

    stream: the one that drove it; text: a sentence. streams: name -> its share of the event's score, in surprises
    sqrt(-2 log p), all of which add up to the score. scales: noise levels, in standard deviations of the features, each
    with how many standard deviations of normal rows its energy lies above theirs. groups: groups of the stream's
    columns with their shares of the gradient, largest first. facts: the numbers in the sentence.
    """

    stream: str
    text: str
    streams: Mapping[str, float] = field(default_factory=dict)
    region: EventRegion | None = None
    scales: tuple[tuple[float, float], ...] = ()
    groups: tuple[tuple[str, float], ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
    nearest: tuple[ReferenceSample, ...] = ()


@dataclass(frozen=True)
class Event:
    """Frames start_frame to end_frame of a video (half-open) in which the score reaches the alarm level.

    start_s, end_s: times of the first and the last of these frames that was looked at; score: the highest smoothed one,
    at peak_frame; p_value: among the peaks of held-out normal video. suppression: the id of the one that covers it, or
    empty.
    """

    video: str
    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    peak_frame: int
    peak_s: float
    score: float
    p_value: float
    reason: Reason | None = None
    suppression: str = ""

    def __post_init__(self) -> None:
        if not self.start_frame <= self.peak_frame < self.end_frame:
            raise RecordError(
                f"event of {self.video}",
                expected=f"its peak in frames {self.start_frame} to {self.end_frame}",
                got=f"frame {self.peak_frame}",
            )

    @property
    def event_id(self) -> str:
        """Identifies the event within a run, and names its pictures."""
        return f"{self.video}@{self.peak_frame}"


def by_likelihood(event: Event) -> tuple[float, float]:
    """The key that sorts events: the least likely first, and of equally likely ones the highest score."""
    return event.p_value, -event.score


def sorted_events(events: Iterable[Event]) -> list[Event]:
    """The least likely first."""
    return sorted(events, key=by_likelihood)
