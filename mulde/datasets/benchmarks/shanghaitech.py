"""ShanghaiTech Campus: 330 training videos and 107 test videos from 13 cameras, 856 x 480, 24 frames a second.

Liu, Luo, Lian, Gao, "Future Frame Prediction for Anomaly Detection - A New Baseline", CVPR 2018. The original layout is
the common one with videos on one side and frames on the other:

    training/videos/01_001.avi ...    testing/frames/01_0014/000.jpg ...
    testing/test_frame_mask/01_0014.npy ...    testing/test_pixel_mask/01_0014.npy ...

Much public code writes training/frames/ beside training/videos/: the videos are read, as they were published.

Boxes with track numbers: annotations/ShanghaiTech/01_0014.txt (Georgescu et al., TPAMI 2021), or without the folder
ShanghaiTech.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from mulde.datasets.benchmarks.benchmark import Benchmark, wrong_layout
from mulde.datasets.benchmarks.common import COMMON_LAYOUT, open_common
from mulde.datasets.facts import DatasetSpec, Facts
from mulde.datasets.labels.tracks import CornerTracks
from mulde.datasets.layout import folders_layout, locate, named, names_in, subfolder

FRAME_RATE = Fraction(24)
_PUBLISHED = {"train": "videos", "test": "frames"}
_NAME = re.compile(r"[0-9]{2}_[0-9]{3,4}")
_LAYOUT = folders_layout("training", "testing", proves=named("shanghai", lambda folder: _is_campus(folder)))


def open_shanghaitech(root: Path) -> Benchmark:
    """Raises UsageError when neither `root` nor a folder near it has that layout."""
    name = "shanghaitech"
    located = locate(name, root, (_LAYOUT,))
    if located is None:
        raise wrong_layout(name, root, COMMON_LAYOUT)
    base, _ = located
    campus = open_common(name, base, FRAME_RATE, published=_PUBLISHED)
    folder = subfolder(base, "annotations/ShanghaiTech")
    return replace(campus, boxes=CornerTracks(folder)) if folder is not None else campus


def _is_campus(folder: Path) -> bool:
    """True where a test video is named as those of this data set, after camera and number: 01_0014."""
    kinds = (subfolder(folder, kind) for kind in ("testing/frames", "testing/videos", "testing"))
    return any(_NAME.fullmatch(Path(name).stem) for kind in kinds if kind is not None for name in names_in(kind))


_FACTS = Facts(
    name="shanghaitech",
    title="ShanghaiTech Campus",
    address="https://svip-lab.github.io/dataset/campus_dataset.html",
    link="by hand",
    how="Download shanghaitech.tar.gz in parts from the cloud drives on that page, join them with cat, unpack. The"
    " whole file has SHA-256 c13a827043b259ccf8493c9d9130486872992153a9d714fe229e523cd4c94116.",
    licence="see the page (BSD 2-Clause according to anomalib)",
    citation="Liu, Luo, Lian, Gao, Future Frame Prediction for Anomaly Detection - A New Baseline, CVPR 2018",
    checked="address and counts in published scripts and tables (which also give 42,883 test frames, more than"
    " there are labels); the dead link in issue 1991 of anomalib (April 2024)",
    dead_link="http://101.32.75.151:8181/dataset/shanghaitech.tar.gz",
    num_train_videos=330,
    num_test_videos=107,
    num_train_frames=274_515,
    num_test_frames=40_791,
    one_size_hw=(480, 856),
    unpacks_to="shanghaitech/ with training/videos/, testing/frames/, testing/test_frame_mask/ and test_pixel_mask/",
)
SHANGHAITECH = DatasetSpec(_FACTS, open_shanghaitech)
