"""Street Scene: 46 training and 35 test sequences of one camera, 1280 x 720, 15 frames a second.

Ramachandra, Jones, "Street Scene: A new dataset and evaluation protocol for video anomaly detection", WACV 2020.
Original layout, in `root` or a folder StreetScene of it:

    Train/Train001/001.jpg ...    Test/Test001/001.jpg ...    Test/Test001/Test001_gt.txt (or Test/Test001_gt.txt)

A line of the text is "frame.jpg track cx cy w h": frames from 1, the centre of the box. A frame is anomalous where it
has a box.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from mulde.datasets.benchmark import Benchmark, base_with, videos_below, wrong_layout
from mulde.datasets.common import COMMON_LAYOUT, open_common
from mulde.datasets.tracks import CentreTracks, TrackFlags

FRAME_RATE = Fraction(15)
_FOLDERS = {"train": "Train", "test": "Test"}
_BELOW = ("StreetScene", "street-scene")


def open_street_scene(root: Path) -> Benchmark:
    """Raises UsageError when `root` has neither layout."""
    name = "street-scene"
    base = base_with(root, tuple(_FOLDERS.values()), _BELOW)
    if base is not None:
        splits = {split: videos_below(base / folder, split, FRAME_RATE) for split, folder in _FOLDERS.items()}
        return Benchmark(name, base, splits, TrackFlags(CentreTracks()), boxes=CentreTracks())
    found = open_common(name, root, FRAME_RATE, below=_BELOW)
    if found is None:
        raise wrong_layout(name, root, f"Train and Test, or {COMMON_LAYOUT}")
    return found
