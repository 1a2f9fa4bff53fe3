"""The store: what goes in comes out, damage is seen, other settings are never served."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import socket
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mulde.errors import StoreError
from mulde.records import FeatureTable, Regions
from mulde.store.store import (
    FeatureStore,
    Passport,
    features_from_arrow,
    features_to_arrow,
    regions_from_arrow,
    regions_to_arrow,
)
from mulde.store.table_file import written

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
    with pytest.raises(StoreError, match=r"made with other settings: extractor\.bins: expected 9, got 8"):
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


def put_parts(store: FeatureStore, features: FeatureTable, edges: list[int]) -> None:
    """Parts of a table with a row per frame."""
    for start, stop in itertools.pairwise(edges):
        store.write_part(PASSPORT, start, stop, features_to_arrow(features.select(slice(start, stop))))


@pytest.mark.parametrize("edges", [[0, 6], [0, 2, 6], [0, 1, 2, 3, 4, 5, 6]])
def test_parts_become_the_table_with_a_row_group_for_each(tmp_path, edges):
    store, features = FeatureStore(tmp_path), table(6)
    put_parts(store, features, edges)
    assert store.finished(PASSPORT) == edges
    assert PASSPORT not in store
    store.join_parts(PASSPORT, 6)
    back = features_from_arrow(store.read(PASSPORT))
    assert np.array_equal(back.values, features.values)
    assert pq.ParquetFile(store.path(PASSPORT)).num_row_groups == len(edges) - 1
    assert not store.parts(PASSPORT).exists()
    assert store.finished(PASSPORT) == [0]


def test_parts_without_rows_are_parts_as_well(tmp_path):
    store = FeatureStore(tmp_path)
    for start in (0, 32):
        store.write_part(PASSPORT, start, start + 32, features_to_arrow(table(0)))
    assert store.finished(PASSPORT) == [0, 32, 64]
    store.join_parts(PASSPORT, 64)
    assert features_from_arrow(store.read(PASSPORT)).values.shape == (0, 3)


@pytest.mark.parametrize("how", ["missing", "cut", "flipped", "empty", "made otherwise"])
def test_what_is_finished_ends_at_a_part_that_is_not_sound(tmp_path, how):
    store, features = FeatureStore(tmp_path), table(6)
    put_parts(store, features, [0, 2, 4, 6])
    part = store.parts(PASSPORT) / "000000002-000000004.parquet"
    whole = part.read_bytes()
    if how == "missing":
        part.unlink()
    elif how == "made otherwise":
        other = Passport("velocity", "ab" * 32, {"decoder": {"name": "decord"}, "extractor": {"bins": 9}})
        store.write_part(other, 2, 4, features_to_arrow(features.select(slice(2, 4))))
        shutil.copyfile(store.parts(other) / part.name, part)
    else:
        part.write_bytes({"cut": whole[:-9], "flipped": flip(whole, 40), "empty": b""}[how])
    assert store.finished(PASSPORT) == [0, 2]


def test_parts_of_version_0_1_are_made_again(tmp_path):
    """Nobody looked, before they were written, whether the video was still the one that had been hashed."""
    store, features = FeatureStore(tmp_path), table(6)
    put_parts(store, features, [0, 2])
    arrow = features_to_arrow(features.select(slice(2, 4)))
    with written(store.parts(PASSPORT) / "000000002-000000004.parquet", PASSPORT, arrow.schema) as append:
        append(arrow)
    assert store.finished(PASSPORT) == [0, 2]


def test_parts_are_cut_off_behind_a_frame_and_go_on_from_there(tmp_path):
    store, features = FeatureStore(tmp_path), table(6)
    put_parts(store, features, [0, 2, 4, 6])
    store.trim_parts(PASSPORT, 2)
    assert store.finished(PASSPORT) == [0, 2]
    put_parts(store, features, [2, 5, 6])
    store.join_parts(PASSPORT, 6)
    assert np.array_equal(features_from_arrow(store.read(PASSPORT)).values, features.values)
    store.trim_parts(PASSPORT, 0)  # no parts are no trouble


@pytest.mark.parametrize("edges", [[2, 4, 6], [0, 2, 4], []])
def test_a_table_is_never_made_of_some_of_its_parts(tmp_path, edges):
    store = FeatureStore(tmp_path)
    put_parts(store, table(6), edges)
    with pytest.raises(StoreError, match=r"parts of velocity .* expected frames 0 to 6 without a gap, got ends at"):
        store.join_parts(PASSPORT, 6)
    assert PASSPORT not in store


def test_the_same_rows_in_other_row_groups_have_the_same_checksum(tmp_path):
    digests = set()
    for edges in ([0, 6], [0, 1, 5, 6]):
        store = FeatureStore(tmp_path / str(len(edges)))
        put_parts(store, table(6), edges)
        store.join_parts(PASSPORT, 6)
        digests.add(pq.read_metadata(store.path(PASSPORT)).metadata[b"mulde.sha256"])
    assert len(digests) == 1


def test_a_lock_keeps_others_out_until_it_is_let_go(tmp_path):
    store, told, order = FeatureStore(tmp_path), threading.Event(), []

    def other() -> None:
        with store.lock(PASSPORT.video_sha256, told.set):
            order.append("other")

    with store.lock(PASSPORT.video_sha256, lambda: pytest.fail("nobody has it")):
        waits = threading.Thread(target=other)
        waits.start()
        assert told.wait(10)
        order.append("first")
    waits.join(10)
    assert order == ["first", "other"]


def test_who_gives_up_waiting_for_a_lock_gets_a_sentence(tmp_path):
    store = FeatureStore(tmp_path)
    with (
        store.lock(PASSPORT.video_sha256, lambda: None),
        pytest.raises(StoreError, match="another process works in"),
        store.lock(PASSPORT.video_sha256, lambda: None, lambda: True),
    ):
        pytest.fail("two have it")


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError()])
def test_on_a_file_system_without_locks_everybody_works(tmp_path, monkeypatch, error):
    import filelock

    def refuses(self: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refuses)
    with FeatureStore(tmp_path).lock(PASSPORT.video_sha256, lambda: None):
        done = True
    assert done


def test_a_failed_write_leaves_nothing_and_the_old_file_stays(tmp_path):
    store, features = FeatureStore(tmp_path), table()
    put(store, features)
    with pytest.raises(OSError, match="disk"):
        _fail_while_writing(store)
    assert len(features_from_arrow(store.read(PASSPORT))) == 5
    assert [p.name for p in store.path(PASSPORT).parent.iterdir()] == [store.path(PASSPORT).name]


def test_what_dead_writers_left_is_cleared_and_live_ones_are_left_alone(tmp_path):
    """Under the names of version 0.1; of those since, `tests/test_writing.py` knows."""
    store = FeatureStore(tmp_path)
    path = store.path(PASSPORT)
    path.parent.mkdir(parents=True)
    dead = path.with_name(f".{path.name}.{socket.gethostname()}.999999999.0123abcd")
    live = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.0123abcd")
    elsewhere = path.with_name(f".{path.name}.other-machine.1.0123abcd")
    for leftover in (dead, live, elsewhere):
        leftover.touch()
    put(store, table())
    assert not dead.exists()
    assert live.exists()
    assert elsewhere.exists()
