"""The known data sets. A new one is a file with its `DatasetSpec`, and one line here."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name

from mulde.datasets.base import Dataset
from mulde.datasets.facts import DatasetSpec
from mulde.errors import UsageError

DATASETS: dict[str, str] = {
    "folder": "mulde.datasets.folder.dataset:FOLDER",
    "boxes": "mulde.datasets.boxes.dataset:BOXES",
    "synthetic": "mulde.datasets.synthetic.world:SYNTHETIC",
    "ucsd-ped1": "mulde.datasets.benchmarks.ucsd:PED1",
    "ucsd-ped2": "mulde.datasets.benchmarks.ucsd:PED2",
    "avenue-masks": "mulde.datasets.benchmarks.avenue:AVENUE_MASKS",
    "avenue-intervals": "mulde.datasets.benchmarks.avenue:AVENUE_INTERVALS",
    "avenue-tracks": "mulde.datasets.benchmarks.avenue_tracks:AVENUE_TRACKS",
    "shanghaitech": "mulde.datasets.benchmarks.shanghaitech:SHANGHAITECH",
    "ubnormal": "mulde.datasets.benchmarks.ubnormal:UBNORMAL",
    "ucf-crime": "mulde.datasets.benchmarks.ucf_crime:UCF_CRIME",
    "street-scene": "mulde.datasets.benchmarks.street_scene:STREET_SCENE",
    "nwpu-campus": "mulde.datasets.benchmarks.nwpu_campus:NWPU_CAMPUS",
    "kolektor-sdd-1": "mulde.datasets.benchmarks.kolektor_sdd:FOLD_1",
    "kolektor-sdd-2": "mulde.datasets.benchmarks.kolektor_sdd:FOLD_2",
    "kolektor-sdd-3": "mulde.datasets.benchmarks.kolektor_sdd:FOLD_3",
    "mvtec-ad": "mulde.datasets.benchmarks.mvtec_ad:MVTEC_AD",
}
"""Name of each data set and where its `DatasetSpec` stands, imported when it is asked for."""


def find_dataset(name: str) -> DatasetSpec:
    """What the registry knows of the data set `name`. Raises UsageError for an unknown name."""
    if name not in DATASETS:
        raise UsageError("name of a data set", expected=f"one of {', '.join(DATASETS)}", got=repr(name))
    spec: DatasetSpec = resolve_name(DATASETS[name])
    return spec


def open_dataset(name: str, root: Path) -> Dataset:
    """Open the data set `name` under the folder `root`; label files are not read yet.

    Raises UsageError for an unknown name, a root that is no folder, or one without the layout of that data set.
    """
    spec = find_dataset(name)
    if not root.is_dir():
        got = "a file" if root.is_file() else "nothing there"
        raise UsageError(f"{name} in {root}", expected="a folder", got=got)
    return spec.open(root if root.name not in ("", "..") else root.resolve())  # . has no parent to look into
