from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.errors import FileError, UsageError
from mulde.pipeline.live import recorder as module
from mulde.pipeline.live.recorder import Recorder, recorded_slice
from mulde.pipeline.live.utc import HOUR_MS
from tests.media.stream_samples import GROUP, camera, camera_file, decoded

HOUR = int(datetime(2026, 11, 28, 13, tzinfo=UTC).timestamp()) * 1000
MINUTE_MS = 60_000


def numbers(path) -> list[int]:
    originals = [picture for _, picture in decoded(camera_file())]
    return [next(n for n, o in enumerate(originals) if np.array_equal(o, picture)) for _, picture in decoded(path)]


@pytest.mark.parametrize(
    ("share", "minutes"),
    [
        (0.2, [(start, start + 2) for start in range(0, 60, 10)]),
        (0.5, [(start, start + 5) for start in range(0, 60, 10)]),
        (0.05, [(0, 1), (20, 21), (40, 41)]),
        (0.01, [(0, 0.6)]),
        (1, [(0, 60)]),
    ],
)
def test_slices_of_an_hour(share, minutes):
    spans = {recorded_slice(HOUR + second * 1000, share) for second in range(3600)} - {None}
    expected = {(HOUR + int(start * MINUTE_MS), HOUR + int(end * MINUTE_MS)) for start, end in minutes}
    assert spans == expected


@settings(deadline=None)
@given(st.integers(0, 2**42), st.floats(0.01, 1))
def test_a_slice_holds_the_moment_in_one_hour_and_slices_are_the_share(utc_ms, share):
    hour = utc_ms // HOUR_MS * HOUR_MS
    spans = {recorded_slice(hour + minute * MINUTE_MS, share) for minute in range(60)} - {None}
    assert all(hour <= start < end <= hour + HOUR_MS for start, end in spans)
    assert sum(end - start for start, end in spans) == pytest.approx(share * HOUR_MS, abs=len(spans))
    span = recorded_slice(utc_ms, share)
    assert span is None or (span[0] <= utc_ms < span[1] and span in spans)


def test_hours_follow_each_other_without_a_gap(tmp_path):
    """A packet each 200 s: key frames at :00:00, :33:20, :06:40, ..."""
    with camera(camera_file()) as packets:
        recorder = Recorder(tmp_path, "yard")
        for n, packet in enumerate(packets):
            recorder.write(packet, HOUR + n * 200_000)
        assert sorted(path.name for path in (tmp_path / "yard").glob("[!.]*")) == [
            "20261128T130000Z.mp4",
            "20261128T140640Z.mp4",
        ]
        recorder.end_session()
    files = sorted((tmp_path / "yard").iterdir())
    assert [path.name for path in files] == [
        "20261128T130000Z.mp4", "20261128T140640Z.mp4", "20261128T151320Z.mp4",
    ]  # fmt: skip
    assert [numbers(path) for path in files] == [list(range(20)), list(range(20, 40)), list(range(40, 60))]
    assert (recorder.num_files, recorder.num_packets, recorder.num_dropped) == (3, 60, 0)


def test_a_share_is_recorded_in_whole_groups(tmp_path):
    """A packet each 12 s: key frames each 2 minutes."""
    with camera(camera_file()) as packets:
        recorder = Recorder(tmp_path, "yard", 0.3)
        for n, packet in enumerate(packets):
            recorder.write(packet, HOUR + n * 12_000)
        recorder.end_session()
    files = sorted((tmp_path / "yard").iterdir())
    assert [path.name for path in files] == ["20261128T130000Z.mp4", "20261128T131000Z.mp4"]
    assert [numbers(path) for path in files] == [list(range(20)), list(range(50, 60))]


def test_a_lost_connection_and_a_camera_whose_time_went_back_begin_another_file(tmp_path):
    with camera(camera_file()) as first, camera(camera_file()) as second:
        recorder = Recorder(tmp_path, "yard")
        for n, packet in enumerate(first[:25]):
            recorder.write(packet, HOUR + n * 1000)
        recorder.end_session()
        for n, packet in enumerate(second[15:35], 30):  # in the middle of a group
            recorder.write(packet, HOUR + n * 1000)
        for n, packet in enumerate(first[15:35], 60):  # another stream, without a word
            recorder.write(packet, HOUR + n * 1000)
        for n, packet in enumerate(first[25:], 90):
            recorder.write(packet, HOUR + n * 1000)
        recorder.end_session()
    files = sorted((tmp_path / "yard").iterdir())
    assert [path.name.removeprefix("20261128T13") for path in files] == [
        "0000Z.mp4",
        "0035Z.mp4",
        "0105Z.mp4",
        "0135Z.mp4",
    ]
    assert [numbers(path) for path in files] == [
        list(range(25)), list(range(20, 35)), list(range(20, 35)), list(range(30, 60)),
    ]  # fmt: skip


def test_another_stream_whose_stamps_go_on_begins_another_file(tmp_path):
    with camera(camera_file()) as first, camera(camera_file()) as second:
        recorder = Recorder(tmp_path, "yard")
        for n, packet in enumerate([*first[:25], *second[27:]]):
            recorder.write(packet, HOUR + n * 1000)
        recorder.end_session()
    files = sorted((tmp_path / "yard").iterdir())
    assert [numbers(path) for path in files] == [list(range(25)), list(range(30, 60))]


def test_a_clock_that_is_set_back_writes_over_nothing(tmp_path):
    with camera(camera_file()) as packets:
        recorder = Recorder(tmp_path, "yard", 0.2)
        for packet in packets[:GROUP]:
            recorder.write(packet, HOUR)
        recorder.end_session()
        for packet in packets[GROUP : 2 * GROUP]:
            recorder.write(packet, HOUR)
        for packet in packets[2 * GROUP :]:  # an hour back
            recorder.write(packet, HOUR - HOUR_MS)
        recorder.end_session()
    assert {path.name: len(numbers(path)) for path in (tmp_path / "yard").iterdir()} == {
        "20261128T130000Z.mp4": 10, "20261128T130000Z-2.mp4": 10, "20261128T120000Z.mp4": 40,
    }  # fmt: skip


def test_what_a_killed_process_left_is_finished(tmp_path):
    with camera(camera_file()) as packets:
        recorder = Recorder(tmp_path, "yard")
        for packet in packets[:45]:
            recorder.write(packet, HOUR)
        content = (tmp_path / "yard" / ".20261128T130000Z.mp4.part").read_bytes()
        recorder.end_session()
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / ".20261128T130000Z.mp4.part").write_bytes(content)
    assert Recorder(tmp_path, "gate").rescued == 1
    assert numbers(tmp_path / "gate" / "20261128T130000Z.mp4") == list(range(40))


def test_a_disk_that_takes_no_more_is_an_error_and_keeps_what_is_there(tmp_path, monkeypatch):
    class Full(module.StreamCopy):
        def write(self, packet):
            if self.num_written == 30:
                self._file.error = OSError(28, "No space left on device")
            return super().write(packet)

    monkeypatch.setattr(module, "StreamCopy", Full)
    with camera(camera_file()) as packets:
        recorder = Recorder(tmp_path, "yard")
        with pytest.raises(FileError, match=r"20261128T130000Z\.mp4 cannot be written: No space left"):
            [recorder.write(packet, HOUR) for packet in packets]
    assert [path.name for path in (tmp_path / "yard").iterdir()] == ["20261128T130000Z.mp4"]
    assert numbers(tmp_path / "yard" / "20261128T130000Z.mp4") in ([*range(20)], [*range(30)])
    assert recorder.num_files == 1


@pytest.mark.parametrize("share", [0.0, -1.0, 1.01, float("nan")])
def test_shares_that_are_none(tmp_path, share):
    with pytest.raises(UsageError, match=r"share: expected 0\.01 to 1 of each hour"):
        Recorder(tmp_path, "yard", share)
