"""The door to a trained model on disk: the bundle, and the normal index that lies beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mulde.pipeline.model.bundle import Bundle, load_bundle
from mulde.pipeline.model.normal_index import NORMAL_INDEX_FILE, NormalIndex


@dataclass(frozen=True)
class TrainedModel:
    """A bundle and the reference samples that its events are compared with; None where none were kept."""

    bundle: Bundle
    normal_index: NormalIndex | None = None

    def save(self, path: Path) -> None:
        """Write the bundle to `path` and the index beside it; an index of another model that lies there is removed."""
        self.bundle.save(path)
        save_normal_index(self.normal_index, path)


def load_model(path: Path, device: str = "cpu") -> TrainedModel:
    """Read the bundle at `path` and the index beside it, both as data: nothing in them is executed.

    Raises BundleError for a bundle, and MuldeError for an index, that is damaged or of a newer version.
    """
    return TrainedModel(load_bundle(path, device), load_normal_index(path))


def load_normal_index(model: Path) -> NormalIndex | None:
    """The index beside the bundle at `model`, which need not be there any more; None where there is no index."""
    return NormalIndex.read(model.with_name(NORMAL_INDEX_FILE))


def save_normal_index(index: NormalIndex | None, model: Path) -> None:
    """Write the index beside the bundle at `model`; None removes one that lies there, which would be of another."""
    if index is None:
        model.with_name(NORMAL_INDEX_FILE).unlink(missing_ok=True)
    else:
        index.write(model.with_name(NORMAL_INDEX_FILE))
