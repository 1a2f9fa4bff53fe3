"""What `mulde data check` can find, how bad it is and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FAULT, NOTE = "fault", "note"

# kind -> severity, what to do
KINDS: Mapping[str, tuple[str, str]] = {
    "layout": (FAULT, "bring the folders into the layout of the data set"),
    "empty": (FAULT, "copy the video again, or delete the folder or file if there is none"),
    "unreadable": (FAULT, "copy the file again from its source"),
    "frame size": (FAULT, "keep frames of one size and camera in one video; convert or remove the others"),
    "missing frame": (FAULT, "copy the video again; labels count frames, so those after a gap no longer fit"),
    "duplicate": (FAULT, "keep one copy: between train and test it makes results too good, elsewhere it counts twice"),
    "frame rate": (FAULT, "convert the video to a constant rate, or supply frames with the correct rate"),
    "count": (FAULT, "find out which of the two is complete, and get the other again"),
    "off by one": (FAULT, "number frames from 0 or 1, and include or exclude the last frame, as this data set does"),
    "swapped masks": (FAULT, "swap the two mask folders"),
    "same masks": (FAULT, "get the masks of one of them again"),
    "masks disagree": (FAULT, "check the frames listed, and correct the masks or the intervals"),
    "mask size": (FAULT, "use masks with the size of the original frames, without smoothing"),
    "bad labels": (FAULT, "correct the label file as described"),
    "stray labels": (FAULT, "correct the name, or remove the labels if there is no such test video"),
    "unlabelled": (FAULT, "add labels; without them the video is left out of every figure"),
    "anomalous training": (FAULT, "move the video to test/, or remove the labels if it is normal"),
    "wholly anomalous": (NOTE, "nothing, if this is correct; such a video does not count in macro figures"),
    "no labels": (NOTE, "nothing; videos can be scored, but not evaluated"),
    "frame sizes": (NOTE, "nothing, if there are several cameras; features of different sizes are hard to compare"),
    "boxes": (NOTE, "nothing, if they are few; many mean another size of frames than that of the boxes"),
    "mixed training": (NOTE, "as described; a model of mixed videos finds less"),
    "frame rates": (NOTE, "nothing, if this is correct; seconds and false alarms per hour follow from the rate"),
    "not whole": (NOTE, "get a complete copy before comparing with published figures"),
    "chosen": (NOTE, "nothing, if this is intended; otherwise move or rename the rest"),
    "left out": (NOTE, "nothing, if this is correct; otherwise name it as a source, or move it into train/ or test/"),
    "labels read as": (NOTE, "nothing, if this is intended"),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing about a video ("test/Test001"; "" for the data set as a whole); `what` says it with its numbers."""

    kind: str
    video: str
    what: str

    @property
    def severity(self) -> str:
        return KINDS[self.kind][0]

    @property
    def advice(self) -> str:
        return KINDS[self.kind][1]

    def as_json(self) -> dict[str, Any]:
        return {
            "severity": self.severity,
            "kind": self.kind,
            "video": self.video,
            "what": self.what,
            "advice": self.advice,
        }


@dataclass
class CheckReport:
    """What a check saw and found, faults first."""

    dataset: str
    root: str
    num_videos: dict[str, int] = field(default_factory=dict)
    num_frames: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == FAULT]
