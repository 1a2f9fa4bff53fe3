"""The known data sets. A new one is a module with a builder and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mulde.datasets.base import Dataset
from mulde.datasets.benchmarks import avenue
from mulde.datasets.benchmarks.mvtec_ad import open_mvtec_ad
from mulde.datasets.benchmarks.nwpu_campus import open_nwpu_campus
from mulde.datasets.benchmarks.shanghaitech import open_shanghaitech
from mulde.datasets.benchmarks.street_scene import open_street_scene
from mulde.datasets.benchmarks.ubnormal import open_ubnormal
from mulde.datasets.benchmarks.ucf_crime import open_ucf_crime
from mulde.datasets.benchmarks.ucsd import open_ped1, open_ped2
from mulde.datasets.folder.dataset import open_folder
from mulde.datasets.synthetic.world import open_synthetic
from mulde.errors import UsageError

DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "folder": open_folder,
    "synthetic": open_synthetic,
    "ucsd-ped1": open_ped1,
    "ucsd-ped2": open_ped2,
    "avenue-masks": avenue.open_masks,
    "avenue-intervals": avenue.open_intervals,
    "shanghaitech": open_shanghaitech,
    "ubnormal": open_ubnormal,
    "ucf-crime": open_ucf_crime,
    "street-scene": open_street_scene,
    "nwpu-campus": open_nwpu_campus,
    "mvtec-ad": open_mvtec_ad,
}


def open_dataset(name: str, root: Path) -> Dataset:
    """Open the data set `name` under the folder `root`; label files are not read yet.

    Raises UsageError for an unknown name, a root that is no folder, or one without the layout of that data set.
    """
    builder = DATASETS.get(name)
    if builder is None:
        raise UsageError("name of a data set", expected=f"one of {', '.join(DATASETS)}", got=repr(name))
    if not root.is_dir():
        got = "a file" if root.is_file() else "nothing there"
        raise UsageError(f"{name} in {root}", expected="a folder", got=got)
    return builder(root if root.name not in ("", "..") else root.resolve())  # . has no parent to look into
