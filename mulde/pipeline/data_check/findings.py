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
    "missing frame": (FAULT, "copy the video again; labels count frames, so those behind a hole no longer fit"),
    "duplicate": (FAULT, "keep one of them: in train and test it makes results too good, else it counts twice"),
    "frame rate": (FAULT, "convert the video to a constant rate, or give the frames with the right one"),
    "count": (FAULT, "look which of the two is whole, and get the other one again"),
    "off by one": (FAULT, "count from 0 or 1, and include the last frame or not, as this data set does"),
    "swapped masks": (FAULT, "exchange the two mask folders"),
    "same masks": (FAULT, "get the masks of one of them again"),
    "masks disagree": (FAULT, "look at the frames named and correct the masks or the intervals"),
    "mask size": (FAULT, "use masks of the size of the original frames, without smoothing"),
    "bad labels": (FAULT, "correct the label file as the sentence says"),
    "stray labels": (FAULT, "correct the name, or remove the labels if there is no such test video"),
    "unlabelled": (FAULT, "add labels; without them the video is left out of every figure"),
    "anomalous training": (FAULT, "move the video to test/, or remove the labels if it is normal"),
    "wholly anomalous": (NOTE, "nothing, if that is so; such a video does not count for macro figures"),
    "no labels": (NOTE, "nothing; videos are scored, but there is nothing to evaluate them against"),
    "frame sizes": (NOTE, "nothing, if there are several cameras; features of sizes that differ are hard to compare"),
    "mixed training": (NOTE, "as the sentence says; a model of mixed footage finds less"),
    "frame rates": (NOTE, "nothing, if that is so; seconds and false alarms per hour come from the rate"),
    "not whole": (NOTE, "get a full copy before figures are compared with published ones"),
    "chosen": (NOTE, "nothing, if that is what was meant; else move or rename what is not"),
    "left out": (NOTE, "nothing, if none of it is footage; else name it as a source, or move it into train/ or test/"),
    "labels read as": (NOTE, "nothing, if that is what was meant"),
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

    def of_kind(self, kind: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind == kind]
