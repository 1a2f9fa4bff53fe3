"""A small world with known anomalies, written to disk without any download."""

from mulde.datasets.synthetic.world import Cause, SyntheticDataset, WorldSettings, open_synthetic
from mulde.datasets.synthetic.writing import write_world

__all__ = ["Cause", "SyntheticDataset", "WorldSettings", "open_synthetic", "write_world"]
