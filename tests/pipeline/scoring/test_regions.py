"""Scores of boxes: whatever any stream has a row for, each box once, against a loop over the boxes."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.config import FusionSettings
from mulde.errors import MuldeError
from mulde.pipeline.model.calibration import combine
from mulde.pipeline.scoring.regions import ScoredRows, read_regions, region_scores, write_regions
from mulde.records import FeatureTable, RegionScores

HOW = FusionSettings().combine
A, B, C = ([x, 10, x + 20, 40] for x in (0, 30, 60.5))


def rows(*entries: tuple[int, list[float], float], floor: float = -1.0, tracks: list[int] | None = None) -> ScoredRows:
    """A stream from its (frame, box, score)."""
    table = FeatureTable(
        np.zeros((len(entries), 2), np.float32),
        np.array([frame for frame, _, _ in entries], np.int64),
        np.array([box for _, box, _ in entries], np.float32).reshape(-1, 4),
        None if tracks is None else np.array(tracks, np.int64),
    )
    return ScoredRows(table, np.array([score for _, _, score in entries], np.float64), floor)


def found(regions: RegionScores, stream: str) -> list[tuple[int, list[float], float]]:
    boxes = zip(regions.frame_index.tolist(), regions.box_xyxy.tolist(), regions.streams[stream].tolist(), strict=True)
    return [(frame, box, score) for frame, box, score in boxes if not np.isnan(score)]


def test_no_boxes_at_all_are_an_ordinary_value(tmp_path):
    regions = region_scores("v", (90, 160), {"a": rows(), "b": rows()}, HOW)
    assert regions.box_xyxy.shape == (0, 4)
    assert set(regions.streams) == {"a", "b"}
    write_regions(regions, tmp_path)
    again = read_regions(tmp_path)["v"]
    assert again.box_xyxy.shape == (0, 4)
    assert again.box_xyxy.dtype == np.float32
    assert len(again) == len(again.anomaly_score) == 0


def test_one_stream_keeps_its_boxes_and_scores():
    entries = [(0, B, 0.25), (0, A, 2.0), (7, A, -0.5)]
    regions = region_scores("v", (90, 160), {"a": rows(*entries, tracks=[4, -1, 4])}, HOW)
    assert sorted(found(regions, "a")) == sorted(entries)
    assert regions.frame_index.tolist() == [0, 0, 7]
    assert regions.anomaly_score.tolist() == regions.streams["a"].tolist()
    assert regions.size_hw == (90, 160)
    assert regions.track_id[np.argsort(regions.streams["a"])].tolist() == [4, 4, -1]


def test_streams_with_other_rows_are_united_and_lacking_ones_count_as_the_floor():
    one = rows((0, A, 0.5), (2, B, 0.75), (10, C, 0.0), floor=0.125, tracks=[3, 5, -1])
    two = rows((0, A, 0.25), (1, B, 1.5), (2, A, 0.0), (2, B, 0.5), floor=-0.25, tracks=[3, 6, 7, 5])
    regions = region_scores("v", (90, 160), {"one": one, "two": two}, HOW)
    assert found(regions, "one") == [(0, A, 0.5), (2, B, 0.75), (10, C, 0.0)]
    assert sorted(found(regions, "two")) == [(0, A, 0.25), (1, B, 1.5), (2, A, 0.0), (2, B, 0.5)]
    assert len(regions) == 5
    assert regions.frame_index.tolist() == [0, 1, 2, 2, 10]
    assert sorted(regions.track_id.tolist()) == [-1, 3, 5, 6, 7]
    for i in range(len(regions)):
        own = {"one": regions.streams["one"][i], "two": regions.streams["two"][i]}
        filled = {
            name: np.array([floor if np.isnan(own[name]) else own[name]])
            for name, floor in {"one": 0.125, "two": -0.25}.items()
        }
        assert regions.anomaly_score[i] == pytest.approx(combine(filled, HOW)[0])


def test_boxes_that_differ_in_the_last_bit_are_two():
    near = [float(np.nextafter(np.float32(60.5), np.float32(99))), *C[1:]]
    regions = region_scores("v", (90, 160), {"a": rows((0, C, 1.0)), "b": rows((0, near, 1.0))}, HOW)
    assert len(regions) == 2


def test_frames_are_in_order_of_number_and_not_of_bytes():
    """The keys of rows are bytes, in which frame 256 stands before frame 1."""
    frames = [1, 2, 255, 256, 300, 70000]
    regions = region_scores("v", (90, 160), {"a": rows(*((frame, A, float(frame)) for frame in frames))}, HOW)
    assert regions.frame_index.tolist() == frames
    assert regions.streams["a"].tolist() == frames


def test_what_is_written_is_read_again(tmp_path):
    one, two = rows((0, A, 0.5), (2, C, 0.75), tracks=[3, -1]), rows((1, B, 1.5), tracks=[8])
    first = region_scores("cam1/door", (90, 160), {"one": one, "two": two}, HOW)
    second = region_scores("hall", (480, 640), {"one": rows((5, B, 9.0))}, HOW)
    assert write_regions(first, tmp_path) == tmp_path / "cam1" / "door.parquet"
    write_regions(second, tmp_path)
    again = read_regions(tmp_path)
    assert set(again) == {"cam1/door", "hall"}
    for regions in (first, second):
        read = again[regions.video]
        assert read.size_hw == regions.size_hw
        assert set(read.streams) == set(regions.streams)
        for name in ("box_xyxy", "frame_index", "anomaly_score", "track_id"):
            np.testing.assert_array_equal(getattr(read, name), getattr(regions, name))
        for name, values in regions.streams.items():
            np.testing.assert_array_equal(read.streams[name], values)


def test_a_folder_without_tables_is_an_ordinary_value(tmp_path):
    assert read_regions(tmp_path) == read_regions(tmp_path / "none") == {}


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"hello" * 30])
def test_a_damaged_table_is_a_sentence(tmp_path, damage):
    path = write_regions(region_scores("v", (90, 160), {"a": rows((0, A, 0.5))}, HOW), tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MuldeError, match=r"table of boxes .*v\.parquet cannot be read .*\. Try: mulde score"):
        read_regions(tmp_path)


def test_a_table_of_something_else_is_a_sentence(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"frame_index": [0]}), tmp_path / "v.parquet")
    with pytest.raises(MuldeError, match="cannot be read"):
        read_regions(tmp_path)
