"""Names, splits and labels of benchmarks and of own footage, and a synthetic world."""

from mulde.datasets.base import SPLITS, Dataset, Video
from mulde.datasets.registry import DATASETS, open_dataset
from mulde.datasets.synthetic import write_world

__all__ = ["DATASETS", "SPLITS", "Dataset", "Video", "open_dataset", "write_world"]
