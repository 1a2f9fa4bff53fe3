"""The store: what goes in comes out, damage is seen, other settings are never served."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mulde.errors import StoreError
from mulde.pipeline.store import (
    FeatureStore,
    Passport,
    features_from_arrow,
    features_to_arrow,
    regions_from_arrow,
    regions_to_arrow,
)
from mulde.records import FeatureTable, Regions

PASSPORT = Passport("velocity", "ab" * 32, {"decoder": {"name": "decord"}, "extractor": {"bins": 8}})


def table(n: int = 5, dim: int = 3, *, boxes: bool = True) -> FeatureTable:
    rng = np.random.default_rng(0)
    box = np.tile(np.array([1, 2, 3, 4], np.float32), (n, 1)) if boxes else None
    return FeatureTable(rng.normal(size=(n, dim)).astype(np.float32), np.arange(n), box)


def put(store: FeatureStore, features: FeatureTable, passport: Passport = PASSPORT) -> None:
    arrow = features_to_arrow(features)
    with store.writer(passport, arrow.schema) as append:
        append(arrow)


@pytest.mark.parametrize("features", [table(0), table(5), table(5, boxes=False), table(0, boxes=False), table(1, 1)])
def test_features_come_out_as_they_went_in(tmp_path, features):
    store = FeatureStore(tmp_path)
    put(store, features)
    back = features_from_arrow(store.read(PASSPORT))
    assert np.array_equal(back.values, features.values)
    assert np.array_equal(back.frame_index, features.frame_index)
    assert (back.box_xyxy is None) == (features.box_xyxy is None)
    assert back.box_xyxy is None or np.array_equal(back.box_xyxy, features.box_xyxy)


def test_regions_come_out_as_they_went_in(tmp_path):
    regions = Regions(np.array([[1, 2, 3, 4]], np.float32), np.array([9]), np.array([0.5], np.float32), np.array([7]))
    back = regions_from_arrow(regions_to_arrow(regions))
    for name in ("box_xyxy", "frame_index", "confidence", "class_id"):
        assert np.array_equal(getattr(back, name), getattr(regions, name))


def test_row_groups_add_up(tmp_path):
    store, features = FeatureStore(tmp_path), table(6)
    arrow = features_to_arrow(features)
    with store.writer(PASSPORT, arrow.schema) as append:
        for start in (0, 2, 4):
            append(arrow.slice(start, 2))
    assert np.array_equal(features_from_arrow(store.read(PASSPORT)).values, features.values)


def test_pandas_opens_a_stored_file(tmp_path):
    store = FeatureStore(tmp_path)
    put(store, table())
    frame = pd.read_parquet(store.path(PASSPORT))
    assert list(frame.columns) == ["frame_index", "x0", "y0", "x1", "y1", "values"]
    assert len(frame) == 5


def test_another_setting_is_another_file(tmp_path):
    store = FeatureStore(tmp_path)
    put(store, table())
    other = Passport("velocity", "ab" * 32, {"decoder": {"name": "decord"}, "extractor": {"bins": 9}})
    assert PASSPORT in store
    assert other not in store
    with pytest.raises(StoreError, match="no stored velocity"):
        store.read(other)


def test_a_file_under_a_wrong_name_is_refused_with_the_field(tmp_path):
    store = FeatureStore(tmp_path)
    put(store, table())
    other = Passport("velocity", "ab" * 32, {"decoder": {"name": "decord"}, "extractor": {"bins": 9}})
    os.replace(store.path(PASSPORT), store.path(other))
    with pytest.raises(StoreError, match=r"made otherwise: extractor\.bins: expected 9, got 8"):
        store.read(other)


RNG = np.random.default_rng(0)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def _reads_as(store: FeatureStore, path: Path, data: bytes, features: FeatureTable) -> bool:
    """Whether damaged `data` can still be read; then it must say the same as `features`."""
    path.write_bytes(data)
    try:
        back = features_from_arrow(store.read(PASSPORT))
    except StoreError:
        return False
    assert np.array_equal(back.values, features.values)
    assert np.array_equal(back.frame_index, features.frame_index)
    return True


def test_every_flipped_byte_and_every_cut_is_seen_or_harmless(tmp_path):
    store, features = FeatureStore(tmp_path), table(200, 8)
    put(store, features)
    path = store.path(PASSPORT)
    whole = path.read_bytes()
    seen = sum(not _reads_as(store, path, flip(whole, at), features) for at in RNG.integers(0, len(whole), 150))
    assert seen > 75
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="is damaged"):
            store.read(PASSPORT)


def _fail_while_writing(store: FeatureStore) -> None:
    arrow = features_to_arrow(table(2))
    with store.writer(PASSPORT, arrow.schema) as append:
        append(arrow)
        raise OSError("disk")


def test_a_failed_write_leaves_nothing_and_the_old_file_stays(tmp_path):
    store, features = FeatureStore(tmp_path), table()
    put(store, features)
    with pytest.raises(OSError, match="disk"):
        _fail_while_writing(store)
    assert len(features_from_arrow(store.read(PASSPORT))) == 5
    assert [p.name for p in store.path(PASSPORT).parent.iterdir()] == [store.path(PASSPORT).name]


def test_what_dead_writers_left_is_cleared_and_live_ones_are_left_alone(tmp_path):
    store = FeatureStore(tmp_path)
    path = store.path(PASSPORT)
    path.parent.mkdir(parents=True)
    dead = path.with_name(f".{path.name}.{socket.gethostname()}.999999999.abc")
    live = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.abc")
    elsewhere = path.with_name(f".{path.name}.other-machine.1.abc")
    for leftover in (dead, live, elsewhere):
        leftover.touch()
    put(store, table())
    assert not dead.exists()
    assert live.exists()
    assert elsewhere.exists()
