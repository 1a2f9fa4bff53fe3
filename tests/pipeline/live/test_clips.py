from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulde.media.packets import StreamPacket
from mulde.media.stream_copy import StreamCopy
from mulde.pipeline.live import clips
from mulde.pipeline.live.clips import ClipWriter, FinishedClip, find_clips
from mulde.pipeline.live.packet_ring import PacketRing
from mulde.progress import Reporter
from tests.media.stream_samples import GROUP, RATE, camera, camera_file, decoded
from tests.pipeline.live import children
from tests.processes import CONTEXT


class Heard(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say


@pytest.fixture
def reporter():
    return Heard()


@pytest.fixture
def done() -> list[FinishedClip]:
    return []


@pytest.fixture
def writer(tmp_path, reporter, done):
    writer = ClipWriter(tmp_path, reporter, on_done=done.append)
    writer.open()
    yield writer
    assert writer.stop(60)


def numbers(path: Path, *, num_b_frames: int = 0) -> list[int]:
    """Which pictures of the camera a clip holds, bit for bit, in its order."""
    originals = [picture for _, picture in decoded(camera_file(num_b_frames=num_b_frames))]
    return [next(n for n, o in enumerate(originals) if np.array_equal(o, picture)) for _, picture in decoded(path)]


def feed(ring: PacketRing, packets: list[StreamPacket]) -> None:
    for packet in packets:
        ring.add(packet)


@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_a_clip_begins_before_its_alert_and_ends_after_it(tmp_path, writer, reporter, done, num_b_frames):
    with camera(camera_file(num_b_frames=num_b_frames)) as packets:
        ring = PacketRing(0.2)
        feed(ring, packets[:28])
        assert writer.start("yard-1", "yard", ring)
        feed(ring, packets[28:40])
        writer.finish("yard-1", 8.5 / RATE)
        feed(ring, packets[40:])
    assert writer.stop(60)
    path = tmp_path / "clips" / "yard" / "yard-1.mp4"
    assert done == [FinishedClip("yard-1", "yard", path, "")]
    seen = numbers(path, num_b_frames=num_b_frames)
    # Of reordered pictures the last ones sent are not the last ones shown.
    assert (seen[:26], len(seen)) == (list(range(20, 46)), 28)
    assert (writer.num_written, writer.num_cut, writer.num_failed, writer.queue_bytes) == (1, 0, 0, 0)
    assert reporter.lines == []
    assert find_clips(tmp_path, "yard", "yard-1") == [path]


def test_alerts_of_one_camera_at_once_and_of_others_have_a_clip_each(tmp_path, writer):
    with camera(camera_file()) as yard, camera(camera_file(), 7.0) as gate:
        rings = {"yard": PacketRing(0.0), "gate": PacketRing(0.0)}
        for n in range(60):
            rings["yard"].add(yard[n])
            rings["gate"].add(gate[n])
            if n in (5, 15, 25):
                writer.start(f"yard-{n}", "yard", rings["yard"])
            if n == 35:
                writer.start("gate-35", "gate", rings["gate"])
            if n in (30, 40, 50):
                writer.finish(f"yard-{n - 25}", 0.0)
    writer.finish("gate-35", 0.0)
    writer.stop(60)
    for n in (5, 15, 25):
        assert numbers(tmp_path / f"clips/yard/yard-{n}.mp4") == list(range(n - 5, n + 26))
    assert numbers(tmp_path / "clips/gate/gate-35.mp4") == list(range(30, 60))


def test_a_session_that_ends_leaves_the_clip_up_to_there(tmp_path, writer, reporter, done):
    with camera(camera_file()) as packets:
        ring = PacketRing(5.0)
        feed(ring, packets[:25])
        writer.start("yard-1", "yard", ring)
        ring.end_session()
        assert not writer.start("yard-2", "yard", ring)
        writer.finish("yard-1", 5.0)
        feed(ring, packets[30:])
    writer.stop(60)
    assert numbers(tmp_path / "clips/yard/yard-1.mp4") == list(range(25))
    assert reporter.lines == ["yard: the clip of alert yard-1 is cut: the connection to the camera ended"]
    assert [clip.cut for clip in done] == ["the connection to the camera ended"]
    assert (writer.num_written, writer.num_cut, writer.num_failed) == (1, 1, 0)


def test_a_clip_has_a_longest_length(tmp_path, reporter):
    writer = ClipWriter(tmp_path, reporter, max_clip_s=1.0)
    writer.open()
    with camera(camera_file()) as packets:
        ring = PacketRing(5.0)
        feed(ring, packets[:5])
        writer.start("yard-1", "yard", ring)
        feed(ring, packets[5:])
    writer.stop(60)
    assert numbers(tmp_path / "clips/yard/yard-1.mp4") == list(range(RATE + 1))
    assert reporter.lines == ["yard: the clip of alert yard-1 is cut: it has 1 s, the longest"]


def test_a_second_start_changes_nothing_and_a_late_finish_is_none(tmp_path, writer, done):
    with camera(camera_file()) as packets:
        ring = PacketRing(5.0)
        writer.finish("yard-1", 1.0)
        assert not writer.start("yard-1", "yard", ring)
        feed(ring, packets[:20])
        assert writer.start("yard-1", "yard", ring)
        assert writer.start("yard-1", "yard", ring)
        feed(ring, packets[20:30])
        writer.finish("yard-1", 0.0)
        feed(ring, packets[30:])
    writer.stop(60)
    writer.finish("yard-1", 1.0)
    assert len(done) == 1
    assert numbers(done[0].path) == list(range(30))


def test_a_clip_without_a_key_frame_is_said_and_leaves_no_file(tmp_path, writer, reporter, done):
    with camera(camera_file()) as packets:
        ring = PacketRing(5.0)
        feed(ring, packets[1:3])
        writer.start("yard-1", "yard", ring)
        writer.finish("yard-1", 0.1)
        feed(ring, packets[3:GROUP])
    writer.stop(60)
    assert [clip.path for clip in done] == [None]
    assert reporter.lines == ["yard: no clip of alert yard-1: no key frame came"]
    assert writer.num_failed == 1
    assert list((tmp_path / "clips" / "yard").iterdir()) == []


@pytest.fixture
def held_disk(monkeypatch):
    """A disk that takes nothing until it is let go."""
    gate, waiting = threading.Event(), threading.Event()

    class Held(StreamCopy):
        def write(self, packet):
            waiting.set()
            assert gate.wait(60)
            return super().write(packet)

    monkeypatch.setattr(clips, "StreamCopy", Held)
    yield gate, waiting
    gate.set()


def test_a_disk_that_hangs_keeps_no_reader_waiting_and_cuts_the_clip(tmp_path, reporter, done, held_disk):
    gate, waiting = held_disk
    with camera(camera_file()) as packets:
        sizes = [packet.packet.size + 512 for packet in packets]
        bound = sum(sizes[1:31])
        writer = ClipWriter(tmp_path, reporter, max_queue_bytes=bound, on_done=done.append)
        writer.open()
        ring = PacketRing(0.0)
        ring.add(packets[0])
        writer.start("yard-1", "yard", ring)
        assert waiting.wait(60)  # the first packet is with the disk, and out of the queue
        for packet in packets[1:]:
            ring.add(packet)
            assert writer.queue_bytes <= bound
        assert writer.queue_bytes == bound
        writer.start("yard-2", "yard", ring)  # of what is in the ring nothing fits
        gate.set()
    assert writer.stop(60)
    assert numbers(tmp_path / "clips/yard/yard-1.mp4") == list(range(31))
    assert reporter.lines == [
        "yard: the clip of alert yard-1 is cut: the disk is too slow",
        "yard: no clip of alert yard-2: the disk is too slow",
    ]
    assert (writer.num_written, writer.num_cut, writer.num_failed) == (1, 1, 1)


def test_stopping_ends_in_time_though_the_disk_hangs(tmp_path, reporter, held_disk):
    gate, waiting = held_disk
    writer, ring = ClipWriter(tmp_path, reporter), PacketRing(0.0)
    writer.open()
    with camera(camera_file()) as packets:
        feed(ring, packets[:5])
        writer.start("yard-1", "yard", ring)
        assert waiting.wait(60)
        assert not writer.stop(0.01)
        assert reporter.lines == ["The disk did not take all clips within 0.01 s; what it has is kept"]
        assert not writer.start("yard-2", "yard", ring)
        gate.set()
        assert writer.stop(60)
    assert numbers(tmp_path / "clips/yard/yard-1.mp4") == list(range(5))


def test_stopping_ends_the_clips_that_are_open(tmp_path, writer, reporter):
    with camera(camera_file()) as packets:
        ring = PacketRing(5.0)
        feed(ring, packets[:25])
        writer.start("yard-1", "yard", ring)
        assert writer.stop(60)
        feed(ring, packets[25:])
    assert numbers(tmp_path / "clips/yard/yard-1.mp4") == list(range(25))
    assert reporter.lines == ["yard: the clip of alert yard-1 is cut: the program ended"]


def test_a_clip_that_the_disk_refuses_ends_by_itself(tmp_path, reporter):
    ended = threading.Event()
    writer, ring = ClipWriter(tmp_path, reporter, on_done=lambda clip: ended.set()), PacketRing(0.0)
    (tmp_path / "clips").write_text("in the way")
    writer.open()
    with camera(camera_file()) as packets:
        ring.add(packets[0])
        writer.start("yard-1", "yard", ring)
        assert ended.wait(60)
        assert writer.stop(60)


def test_an_end_that_the_disk_does_not_take_is_a_cut(tmp_path, reporter, done, monkeypatch):
    class Full(StreamCopy):
        def close(self):
            self._file.error = OSError(28, "No space left on device")
            return super().close()

    monkeypatch.setattr(clips, "StreamCopy", Full)
    writer, ring = ClipWriter(tmp_path, reporter, on_done=done.append), PacketRing(0.0)
    writer.open()
    with camera(camera_file()) as packets:
        ring.add(packets[0])
        writer.start("yard-1", "yard", ring)
        feed(ring, packets[1:])
        writer.finish("yard-1", 0.0)
        writer.stop(60)
    assert numbers(done[0].path) == list(range(50))
    assert "yard-1.mp4 cannot be written: No space left" in done[0].cut


def test_a_place_that_takes_no_file_fails_one_clip_and_no_other(tmp_path, writer, reporter, done):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "yard").write_text("in the way")
    with camera(camera_file()) as yard, camera(camera_file()) as gate:
        rings = {"yard": PacketRing(0.0), "gate": PacketRing(0.0)}
        for name, packets in (("yard", yard), ("gate", gate)):
            rings[name].add(packets[0])
            writer.start(f"{name}-1", name, rings[name])
            feed(rings[name], packets[1:])
            writer.finish(f"{name}-1", 0.0)
    writer.stop(60)
    assert [clip.path for clip in done] == [None, tmp_path / "clips/gate/gate-1.mp4"]
    (line,) = [line for line in reporter.lines if "yard" in line]
    assert line.startswith("yard: no clip of alert yard-1: ")
    assert "cannot be written: expected a folder" in line


def test_an_error_that_nobody_foresaw_ends_one_clip_alone(tmp_path, writer, reporter, done, monkeypatch):
    monkeypatch.setattr(writer, "_begin", lambda clip: 1 / 0)
    with camera(camera_file()) as packets:
        ring = PacketRing(0.0)
        ring.add(packets[0])
        writer.start("yard-1", "yard", ring)
        writer.finish("yard-1", 0.0)
        ring.add(packets[1])
        writer.stop(60)
    assert "the clip of yard-1: unexpected ZeroDivisionError" in reporter.lines[0]
    assert [clip.path for clip in done] == [None]


def test_what_is_written_after_a_restart_stands_beside_the_first_part(tmp_path, reporter):
    with camera(camera_file()) as packets:
        for part in (packets[:20], packets[30:45]):
            writer, ring = ClipWriter(tmp_path, reporter), PacketRing(5.0)
            writer.open()
            ring.add(part[0])
            writer.start("yard-1", "yard", ring)
            feed(ring, part[1:])
            writer.stop(60)
    paths = find_clips(tmp_path, "yard", "yard-1")
    assert [path.name for path in paths] == ["yard-1.mp4", "yard-1-2.mp4"]
    assert [numbers(path) for path in paths] == [list(range(20)), list(range(30, 45))]


def test_clips_are_found_by_their_alert_alone(tmp_path):
    assert find_clips(tmp_path, "yard", "yard-1") == []
    folder = tmp_path / "clips" / "yard"
    folder.mkdir(parents=True)
    for name in ("yard-1.mkv", "yard-1-10.mp4", "yard-1-9.mp4", "yard-11.mp4", "yard-1.png", ".yard-1.mp4.part", "x"):
        (folder / name).touch()
    assert [path.name for path in find_clips(tmp_path, "yard", "yard-1")] == [
        "yard-1.mkv",
        "yard-1-9.mp4",
        "yard-1-10.mp4",
    ]


def test_a_killed_process_leaves_a_clip_that_plays(tmp_path, reporter):
    ready, child_end = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=children.grow_a_clip, args=(camera_file(), tmp_path, 45, child_end))
    child.start()
    assert ready.poll(120)
    child.kill()
    child.join()
    folder = tmp_path / "clips" / "yard"
    assert [path.name for path in folder.iterdir()] == [".yard-1.mp4.part"]
    (folder / ".yard-2.mp4.part").write_bytes(b"")
    assert find_clips(tmp_path, "yard", "yard-1") == []
    writer = ClipWriter(tmp_path, reporter)
    assert writer.open() == [folder / "yard-1.mp4"]
    assert writer.stop(60)
    assert [path.name for path in folder.iterdir()] == ["yard-1.mp4"]
    assert numbers(folder / "yard-1.mp4") == list(range(40))
    assert reporter.lines == ["yard: clips that an earlier run did not finish: 1 kept, 1 without any picture removed"]


def test_links_among_the_folders_of_cameras_are_not_followed(tmp_path, reporter):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".a.mp4.part").write_bytes(b"")
    (tmp_path / "run" / "clips").mkdir(parents=True)
    (tmp_path / "run" / "clips" / "yard").symlink_to(elsewhere)
    writer = ClipWriter(tmp_path / "run", reporter)
    assert writer.open() == []
    writer.stop(60)
    assert (elsewhere / ".a.mp4.part").exists()


@pytest.mark.parametrize("room", [2500, 10])
def test_a_full_disk_cuts_the_clip_and_keeps_what_it_has(tmp_path, room):
    done, child_end = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=children.fill_the_disk, args=(camera_file(), tmp_path, room, child_end))
    child.start()
    assert done.poll(120)
    (clip,), *counts = done.recv()
    child.join()
    path = tmp_path / "clips" / "yard" / "yard-1.mp4"
    if room == 10:
        assert (clip.path, counts) == (None, [0, 0, 1])
        assert list(path.parent.iterdir()) == []
    else:
        assert (clip.path, counts) == (path, [1, 1, 0])
        seen = numbers(path)
        assert seen == list(range(len(seen)))
        assert 0 < len(seen) < 60
    assert "yard-1.mp4 cannot be written: File too large" in clip.cut
    assert replace(clip, cut="") == FinishedClip("yard-1", "yard", clip.path, "")
