"""ShanghaiTech Campus: 330 training videos and 107 test videos from 13 cameras, 856 x 480, 24 frames a second.

Liu, Luo, Lian, Gao, "Future Frame Prediction for Anomaly Detection - A New Baseline", CVPR 2018. The original layout is
the common one with videos on one side and frames on the other:

    training/videos/01_001.avi ...    testing/frames/01_0014/000.jpg ...
    testing/test_frame_mask/01_0014.npy ...    testing/test_pixel_mask/01_0014.npy ...

Boxes with track numbers: annotations/ShanghaiTech/01_0014.txt (Georgescu et al., TPAMI 2021), or without the folder
ShanghaiTech.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from mulde.datasets.benchmark import Benchmark, wrong_layout
from mulde.datasets.common import COMMON_LAYOUT, open_common
from mulde.datasets.tracks import CornerTracks

FRAME_RATE = Fraction(24)


def open_shanghaitech(root: Path) -> Benchmark:
    """Raises UsageError when `root` has not that layout."""
    found = open_common("shanghaitech", root, FRAME_RATE, below=("shanghaitech", "ShanghaiTech"))
    if found is None:
        raise wrong_layout("shanghaitech", root, COMMON_LAYOUT)
    folder = found.root / "annotations" / "ShanghaiTech"
    return replace(found, boxes=CornerTracks(folder)) if folder.is_dir() else found
