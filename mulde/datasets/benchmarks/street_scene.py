"""Street Scene: 46 training and 35 test sequences of one camera, 1280 x 720, 15 frames a second.

Ramachandra, Jones, "Street Scene: A new dataset and evaluation protocol for video anomaly detection", WACV 2020.
Original layout, in a folder StreetScene:

    Train/Train001/001.jpg ...    Test/Test001/001.jpg ...    Test/Test001/Test001_gt.txt (or Test/Test001_gt.txt)

A line of the text is "frame.jpg track cx cy w h": frames from 1, the centre of the box. A frame is anomalous where it
has a box.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from mulde.datasets.benchmarks.benchmark import Benchmark, in_folders, wrong_layout
from mulde.datasets.benchmarks.common import COMMON_LAYOUT, beside, common_layout, open_common
from mulde.datasets.facts import DatasetSpec, Download, Facts
from mulde.datasets.labels.tracks import CentreTracks, TrackFlags
from mulde.datasets.layout import first_file, folders_layout, locate, named, subfolder
from mulde.datasets.tree import sub_folders

FRAME_RATE = Fraction(15)
_FOLDERS = {"train": "Train", "test": "Test"}
_NAME = re.compile(r"test[0-9]{3}", re.IGNORECASE)
_LAYOUT = folders_layout(*_FOLDERS.values(), proves=named("streetscene", lambda folder: _is_street(folder)))
_COMMON = common_layout("streetscene")


def open_street_scene(root: Path) -> Benchmark:
    """Raises UsageError when neither `root` nor a folder near it has one of these layouts."""
    name = "street-scene"
    located = locate(name, root, (_LAYOUT, _COMMON))
    if located is None:
        raise wrong_layout(name, root, f"Train and Test, or {COMMON_LAYOUT}")
    base, layout = located
    if layout is _COMMON:
        return open_common(name, base, FRAME_RATE)
    truth = CentreTracks()
    return in_folders(name, base, _FOLDERS, FRAME_RATE, TrackFlags(truth), boxes=truth, notes=beside(base, _COMMON))


def _is_street(folder: Path) -> bool:
    """True where the test sequences are named Test001 and so on, and boxes lie in or beside one of them."""
    test = subfolder(folder, "Test")
    sequences = [path for path in sub_folders(test) if _NAME.fullmatch(path.name)] if test is not None else []
    return any(
        first_file(path.parent, (f"{path.name}/{path.name}_gt.txt", f"{path.name}_gt.txt")) for path in sequences
    )


_ARCHIVE = Download(
    "https://zenodo.org/records/10870472/files/StreetScene.zip?download=1",
    None,
    "md5:a74c51e99881c860d97e1ebb51ee1f2c",
)
_FACTS = Facts(
    name="street-scene",
    title="Street Scene",
    address="https://zenodo.org/records/10870472",
    link="direct",
    how="One archive at Zenodo.",
    licence="CC BY-SA 4.0",
    citation="Ramachandra, Jones, Street Scene: A New Dataset and Evaluation Protocol for Video Anomaly Detection,"
    " WACV 2020",
    checked="address, size and MD5 of the Zenodo record in published notes; counts in a published table, another source"
    " gives 202,545 frames in all",
    size_bytes=48_980_000_000,
    downloads=(_ARCHIVE,),
    num_train_videos=46,
    num_test_videos=35,
    num_train_frames=56_847,
    num_test_frames=146_410,
    one_size_hw=(720, 1280),
    unpacks_to="StreetScene/ with Train/ and Test/",
)
STREET_SCENE = DatasetSpec(_FACTS, open_street_scene)
