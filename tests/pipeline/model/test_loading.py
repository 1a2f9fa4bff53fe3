"""The door to a model on disk: the bundle and the index beside it, together."""

from dataclasses import replace

import numpy as np
import pytest

from mulde.errors import BundleError
from mulde.pipeline.model.loading import TrainedModel, load_model, load_normal_index
from mulde.pipeline.model.normal_index import NORMAL_INDEX_FILE, NormalIndex
from tests.pipeline.model.test_bundle import of_version_1


def an_index():
    import pyarrow as pa

    return NormalIndex(
        ("a", "a", "b"),
        np.array([0, 3, 1]),
        np.array([0.0, 0.12, 0.04]),
        np.array([[1, 2, 3, 4], [np.nan] * 4, [5, 6, 7.5, 8]], np.float32),
        np.array([7, -1, -1]),
        np.full((3, 2), 96),
        {"boxes": (np.array([0, 2]), np.ones((2, 3), np.float32)), "none": (np.array([], int), np.ones((0, 2), "f4"))},
        pa.array([b"jpeg", None, b"other"], pa.binary()),
    )


def test_bundle_and_index_come_and_go_together(tmp_path):
    index = an_index()
    TrainedModel(of_version_1(), index).save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.bundle.sha256 is not None
    assert again.normal_index is not None
    for name in ("video", "frame_index", "time_s", "box_xyxy", "track_id", "size_hw"):
        np.testing.assert_array_equal(getattr(again.normal_index, name), getattr(index, name))
    assert [again.normal_index.jpeg(i) for i in range(3)] == [b"jpeg", None, b"other"]
    for stream in ("boxes", "none"):
        np.testing.assert_array_equal(again.normal_index.rows_of(stream), index.rows_of(stream))
        np.testing.assert_array_equal(again.normal_index.values(stream), index.values(stream))


def test_an_index_of_another_model_does_not_stay(tmp_path):
    model = TrainedModel(of_version_1(), an_index())
    model.save(tmp_path / "m.safetensors")
    replace(model, normal_index=None).save(tmp_path / "m.safetensors")
    assert not (tmp_path / NORMAL_INDEX_FILE).exists()
    assert load_model(tmp_path / "m.safetensors").normal_index is None


def test_the_index_is_read_where_the_bundle_is_gone(tmp_path):
    an_index().write(tmp_path / NORMAL_INDEX_FILE)
    index = load_normal_index(tmp_path / "gone.safetensors")
    assert index is not None
    assert len(index) == 3
    with pytest.raises(BundleError, match="gone"):
        load_model(tmp_path / "gone.safetensors")
