"""A file that is played as a camera delivers what the file holds, at the pace of its stamps."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from mulde.errors import StreamEnded, UsageError, VideoError
from mulde.media import open_video
from mulde.media.file_stream import FileAsStream

from .media_samples import encode, picture


class Clock:
    def __init__(self) -> None:
        self.now_s, self.slept_s = 1000.0, []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


def test_it_delivers_what_a_reader_of_the_file_does(clip: Path):
    with open_video(clip) as reader:
        (batch_a, batch_b) = list(reader)
    images, times_s = (
        np.concatenate([getattr(batch, name) for batch in (batch_a, batch_b)]) for name in ("images", "time_s")
    )
    got = []
    with FileAsStream(clip, speed=0).open() as stream:
        packets = iter(stream)
        for _ in range(40):
            packet = next(packets)
            assert packet.packet.size
            got += [(one.stamp_s, np.array(one.load())) for one in packet.pictures]
        with pytest.raises(StreamEnded, match=r"clip\.mp4 is over"):
            next(packets)
        assert stream.size_hw == (48, 64)
        assert stream.camera_time_s is None
    np.testing.assert_array_equal([image for _, image in got], images)
    np.testing.assert_allclose([stamp_s - got[0][0] for stamp_s, _ in got], times_s, atol=1e-9)


@pytest.mark.parametrize(("speed", "expected_s"), [(1, 1.56), (4, 0.39), (0, 0.0), (float("inf"), 0.0)])
def test_it_keeps_the_pace_of_its_stamps(clip: Path, speed: float, expected_s: float):
    clock = Clock()
    with FileAsStream(clip, speed, clock=clock, sleep=clock.sleep).open() as stream:
        arrived_s = [packet.arrived_s for packet in itertools.islice(stream, 40)]
    assert sum(clock.slept_s) == pytest.approx(expected_s)
    np.testing.assert_allclose(np.diff(arrived_s), 0.04, atol=1e-9)
    assert arrived_s[0] == 1000.0


def test_it_does_not_wait_while_it_is_late(clip: Path):
    clock = Clock()
    with FileAsStream(clip, clock=clock, sleep=clock.sleep).open() as stream:
        packets = iter(stream)
        next(packets)
        clock.now_s += 0.5
        for _ in range(10):
            next(packets)
        assert clock.slept_s == []
        for _ in range(10):
            next(packets)
    assert sum(clock.slept_s) + 0.5 == pytest.approx(20 * 0.04)


def test_a_loop_is_one_stream_whose_stamps_rise(clip: Path):
    with FileAsStream(clip, speed=0, loop=True).open() as stream:
        packets = list(itertools.islice(stream, 100))
    pictures = [one for packet in packets for one in packet.pictures]
    np.testing.assert_allclose(np.diff([one.stamp_s for one in pictures]), 0.04, atol=1e-9)
    np.testing.assert_allclose(np.diff([packet.arrived_s for packet in packets]), 0.04, atol=1e-9)
    assert (np.diff([packet.packet.dts for packet in packets]) > 0).all()
    for first, second in zip(pictures[:40], pictures[40:80], strict=True):
        np.testing.assert_array_equal(first.load(), second.load())


def test_what_cannot_be_played_is_said(tmp_path: Path, clip: Path):
    with pytest.raises(UsageError, match="at least 0, got -1"):
        FileAsStream(clip, speed=-1)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="is empty"), FileAsStream(tmp_path / "empty.mp4").open():
        pass


def test_a_file_of_two_sizes_ends_where_they_change(tmp_path: Path):
    parts = [encode(tmp_path / f"{n}.ts", [picture(n, size)] * 9) for n, size in enumerate(((48, 64), (96, 128)))]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with FileAsStream(joined, speed=0).open() as stream, pytest.raises(StreamEnded, match="changed the size"):
        for _ in stream:
            pass
