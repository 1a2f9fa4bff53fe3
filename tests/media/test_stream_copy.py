from __future__ import annotations

import dataclasses
import errno
import io
import shutil
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from mulde.errors import FileError, VideoError
from mulde.filetypes import is_clutter
from mulde.media import stream_copy
from mulde.media.packets import StreamPacket
from mulde.media.stream_copy import StreamCopy, StreamTemplate, rescue_all

from .media_samples import encode, pictures
from .stream_samples import GROUP, RATE, camera, camera_file, decoded


def template_of(packets: list[StreamPacket]) -> StreamTemplate:
    return StreamTemplate.of(packets[0].packet.stream)


def copied(path: Path, packets: list[StreamPacket]) -> StreamCopy:
    copy = StreamCopy(path, template_of(packets))
    for packet in packets:
        copy.write(packet)
    return copy


def same(copies, originals) -> bool:
    return len(copies) == len(originals) and all(
        np.array_equal(a, b) for (_, a), (_, b) in zip(copies, originals, strict=True)
    )


def restamped(packet: StreamPacket, *, pts: int | None, dts: int | None) -> StreamPacket:
    source = packet.packet
    other = av.Packet(bytes(source))
    other.time_base, other.is_keyframe, other.pts, other.dts = source.time_base, source.is_keyframe, pts, dts
    other.stream = source.stream
    return dataclasses.replace(packet, packet=other)


@pytest.mark.parametrize("num_b_frames", [0, 2])
@pytest.mark.parametrize("first", [0, 3, GROUP])
def test_a_copy_has_the_pictures_of_the_source_from_the_first_key_frame_on(tmp_path, num_b_frames, first):
    source = camera_file(num_b_frames=num_b_frames)
    with camera(source) as packets:
        copy = copied(tmp_path / "a.mp4", packets[first:])
        assert copy.close() == tmp_path / "a.mp4"
    start = 0 if first == 0 else GROUP
    originals, copies = decoded(source)[start:], decoded(tmp_path / "a.mp4")
    assert same(copies, originals)
    assert [time for time, _ in copies] == pytest.approx([n / RATE for n in range(len(originals))])
    assert (copy.num_written, copy.num_dropped) == (len(originals), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", "ts"), ("libx265", "ts"), ("libx265", "mp4"), ("mjpeg", "avi"), ("libx264", "avi")],
)
def test_streams_of_other_codecs_and_transports_are_copied(tmp_path, codec, suffix):
    """As cameras send: parameters in the stream itself, stamps from anywhere, or those of decoding alone."""
    options = {"libx265": {"x265-params": "log-level=none:keyint=10"}, "libx264": {"g": "10", "bf": "2"}}.get(codec, {})
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    source = encode(tmp_path / f"s.{suffix}", pictures(30), rate=RATE, codec=codec, pix_fmt=pix_fmt, options=options)
    with camera(source) as packets:
        copy = copied(tmp_path / "a.mp4", packets)
        assert copy.close() == tmp_path / "a.mp4"
    assert (copy.num_written, copy.num_dropped) == (30, 0)
    copies = decoded(tmp_path / "a.mp4")
    assert same(copies, decoded(source))
    assert copies[0][0] == 0


@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_a_copy_outlives_the_connection_that_its_packets_came_from(tmp_path, num_b_frames):
    source = camera_file(num_b_frames=num_b_frames)
    with camera(source) as packets:
        template = template_of(packets)
    copy = StreamCopy(tmp_path / "a.mp4", template)
    for packet in packets:
        copy.write(packet)
    copy.close()
    assert same(decoded(tmp_path / "a.mp4"), decoded(source))


def test_two_copies_share_packets_and_change_none(tmp_path):
    with camera(camera_file()) as packets:
        before = [(p.packet.pts, p.packet.dts, p.packet.time_base, p.packet.stream) for p in packets]
        one, two = (StreamCopy(tmp_path / f"{n}.mp4", template_of(packets)) for n in (1, 2))
        for number, packet in enumerate(packets):
            one.write(packet)
            if number >= GROUP:
                two.write(packet)
        one.close(), two.close()
        assert [(p.packet.pts, p.packet.dts, p.packet.time_base, p.packet.stream) for p in packets] == before
    assert same(decoded(tmp_path / "2.mp4"), decoded(tmp_path / "1.mp4")[GROUP:])


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libvpx")])
def test_what_is_written_can_be_played_before_it_is_closed(tmp_path, suffix, codec):
    """But for what a piece holds back, half a second, and a picture or two in the hands of the muxer."""
    options = {"libx264": {"bf": "0"}, "libvpx": {"lag-in-frames": "0"}}[codec]
    source = encode(tmp_path / "s.mkv", pictures(60), rate=RATE, codec=codec, options={"g": "60", **options})
    (tmp_path / "out").mkdir()
    with camera(source) as packets:
        copy = copied(tmp_path / "out" / "a.mp4", packets)
        (partial,) = (tmp_path / "out").iterdir()
        assert partial.name == f".a.{suffix}.part"
        assert is_clutter(partial.name)
        seen = decoded(partial)
        assert 60 - RATE // 2 - 2 <= len(seen) < 60
        assert same(seen, decoded(source)[: len(seen)])
        copy.close()
    assert same(decoded(tmp_path / "out" / f"a.{suffix}"), decoded(source))


def test_a_closed_copy_can_be_sought_in(tmp_path):
    with camera(camera_file()) as packets:
        copied(tmp_path / "a.mp4", packets).close()
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.frames, float(stream.duration * stream.time_base)) == (60, 60 / RATE)
        file.seek(int(2 / stream.time_base), stream=stream)
        assert next(file.decode(stream)).pts * stream.time_base == 2


def test_packets_without_a_stamp_or_going_back_are_dropped_up_to_the_next_key_frame(tmp_path):
    source = camera_file()
    with camera(source) as packets:
        packets[13] = restamped(packets[13], pts=None, dts=None)
        packets[25] = restamped(packets[25], pts=packets[24].packet.pts, dts=packets[24].packet.dts)
        packets[38] = restamped(packets[38], pts=packets[3].packet.pts, dts=packets[3].packet.dts)
        packets[44] = restamped(packets[44], pts=packets[43].packet.pts, dts=packets[44].packet.dts)
        copy = copied(tmp_path / "a.mp4", packets)
        copy.close()
    kept = [n for n in range(60) if n not in {*range(13, 20), *range(25, 30), 38, 39, *range(44, 50)}]
    assert copy.num_dropped == 60 - len(kept)
    assert copy.num_written == len(kept)
    original, copies = decoded(source), decoded(tmp_path / "a.mp4")
    assert same(copies, [original[n] for n in kept])
    assert [time for time, _ in copies] == pytest.approx([n / RATE for n in kept])


def test_a_first_key_frame_without_a_stamp_is_not_the_start(tmp_path):
    source = camera_file()
    with camera(source) as packets:
        packets[0] = restamped(packets[0], pts=None, dts=None)
        copied(tmp_path / "a.mp4", packets).close()
    assert same(decoded(tmp_path / "a.mp4"), decoded(source)[GROUP:])


def test_a_packet_with_one_stamp_is_shown_when_it_is_decoded(tmp_path):
    with camera(camera_file()) as packets:
        copied(tmp_path / "a.mp4", [restamped(p, pts=None, dts=p.packet.dts) for p in packets]).close()
    assert same(decoded(tmp_path / "a.mp4"), decoded(camera_file()))


def test_no_key_frame_leaves_no_file(tmp_path):
    with camera(camera_file()) as packets:
        copy = copied(tmp_path / "new" / "a.mp4", packets[1:GROUP])
    assert copy.close() is None
    assert (copy.failure, copy.num_written, list((tmp_path / "new").iterdir())) == (None, 0, [])


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    (tmp_path / "a.mp4").write_text("older")
    with camera(camera_file()) as packets:
        copies = [StreamCopy(tmp_path / "a.mp4", template_of(packets)) for _ in range(2)]
        assert [copy.path.name for copy in copies] == ["a-2.mp4", "a-3.mp4"]
        for packet in packets:
            [copy.write(packet) for copy in copies]
        [copy.close() for copy in copies]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.mp4", "a-3.mp4", "a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "older"


def test_a_codec_that_mp4_cannot_hold_goes_into_matroska(tmp_path):
    source = encode(tmp_path / "s.mkv", pictures(10), codec="libvpx", options={"g": "5"})
    with camera(source) as packets:
        assert copied(tmp_path / "a.mp4", packets).close() == tmp_path / "a.mkv"
    assert same(decoded(tmp_path / "a.mkv"), decoded(source))


def test_a_codec_that_no_file_can_hold_is_refused(tmp_path):
    source = encode(tmp_path / "s.nut", pictures(3), codec="gif", pix_fmt="rgb8")
    refused = pytest.raises(VideoError, match=r"A stream in gif cannot be written to a file .* Try: set the camera")
    with camera(source) as packets, refused:
        StreamTemplate.of(packets[0].packet.stream)


def test_a_place_that_takes_no_file_is_an_error_with_its_name(tmp_path):
    (tmp_path / "file").touch()
    with camera(camera_file()) as packets:
        with pytest.raises(FileError, match=r"file/a\.mp4 cannot be written: expected a folder"):
            StreamCopy(tmp_path / "file" / "a.mp4", template_of(packets))
        with pytest.raises(FileError, match="cannot be written: File name too long"):
            StreamCopy(tmp_path / ("a" * 300 + ".mp4"), template_of(packets))


RealFile = io.FileIO


class FullDisk:
    """A raw file that takes so many bytes and then no more, as a disk does."""

    def __init__(self, path, room: int) -> None:
        self.file, self.room = RealFile(path, "x"), room

    def write(self, data) -> int:
        if self.room <= 0 and len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self.file.write(data[: self.room])
        self.room -= count
        return count

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_wherever_the_disk_is_full_what_is_there_is_kept(tmp_path, monkeypatch, num_b_frames):
    source = camera_file(num_b_frames=num_b_frames)
    originals, lengths = decoded(source), set()
    with camera(source) as packets:
        copied(tmp_path / "all.mp4", packets).close()
        most = (tmp_path / "all.mp4").stat().st_size
        for room in sorted({*range(0, most, 97), *range(most - 40, most)}):
            monkeypatch.setattr(stream_copy.io, "FileIO", lambda path, mode, room=room: FullDisk(path, room))
            copy = StreamCopy(tmp_path / f"{room}.mp4", template_of(packets))
            with suppress(FileError):
                for packet in packets:
                    copy.write(packet)
            path = copy.close()
            assert copy.failure.errno == errno.ENOSPC
            assert f"{room}.mp4 cannot be written: No space left" in str(copy.failure)
            seen = [] if path is None else decoded(path)
            assert same(seen, originals[: len(seen)])
            lengths.add(len(seen))
    assert lengths == {0, 10, 20, 30, 40, 50}  # a piece for each group of pictures
    assert not list(tmp_path.glob(".*"))


def test_files_of_a_dead_process_are_finished_or_removed(tmp_path):
    alive, dead = tmp_path / "alive", tmp_path / "dead"
    with camera(camera_file()) as packets:
        copies = [
            copied(alive / "a.mp4", packets),
            copied(alive / "b.mp4", packets[: GROUP + 3]),
            copied(alive / "c.mp4", packets[:2]),  # no piece is out yet
        ]
        shutil.copytree(alive, dead)
        for copy in copies:
            copy.close()
    (dead / "b.mp4").write_text("older")
    (dead / ".d.mp4.part").write_bytes(bytes(5000))
    (dead / ".e.mp4.part").symlink_to(dead / "b.mp4")
    assert rescue_all(dead) == ([dead / "a.mp4", dead / "b-2.mp4"], 2)
    assert sorted(path.name for path in dead.iterdir()) == [".e.mp4.part", "a.mp4", "b-2.mp4", "b.mp4"]
    originals = decoded(camera_file())
    assert same(decoded(dead / "a.mp4"), originals[:50])
    assert same(decoded(dead / "b-2.mp4"), originals[:GROUP])
    assert (dead / "b.mp4").read_text() == "older"
    assert rescue_all(dead) == ([], 0)
    assert rescue_all(dead / "none") == ([], 0)
