"""What other processes do in the tests of live cameras: they are killed, or their disk is full."""

from __future__ import annotations

import os
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path

from mulde.pipeline.live.clips import ClipWriter
from mulde.pipeline.live.hourly_scores import HourlyScores, LiveScore
from mulde.pipeline.live.packet_ring import PacketRing
from mulde.progress import Reporter
from tests.media.stream_samples import camera


def grow_a_clip(source: Path, root: Path, num_packets: int, ready: Connection) -> None:
    """Write a clip that does not end; say so when all but the last packet are with the muxer, and wait for death."""
    writer, ring = ClipWriter(root, Reporter(quiet=True)), PacketRing(5.0)
    writer.open()
    with camera(source) as packets:
        ring.add(packets[0])
        assert writer.start("yard-1", "yard", ring)
        for packet in packets[1:num_packets]:
            ring.add(packet)
        while writer.queue_bytes:
            time.sleep(0.001)
        ready.send(os.getpid())
        time.sleep(600)


def fill_the_disk(source: Path, root: Path, room: int, done: Connection) -> None:
    """Write a clip where no file may have more than `room` bytes; send what became of it."""
    finished = []
    writer, ring = ClipWriter(root, Reporter(), on_done=finished.append), PacketRing(5.0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    writer.open()
    with camera(source) as packets:
        ring.add(packets[0])
        writer.start("yard-1", "yard", ring)
        for packet in packets[1:]:
            ring.add(packet)
        writer.finish("yard-1", 0.0)
        writer.stop(60)
    done.send((finished, writer.num_written, writer.num_cut, writer.num_failed))


def collect_scores(root: Path, hour_ms: int, ready: Connection) -> None:
    """Flush 20 scores, keep 5 more in memory, and wait for death."""
    scores = HourlyScores(root, Reporter(quiet=True), lambda: hour_ms, flush_s=3600)
    scores.set_camera("yard", 2.0, 1.0)
    scores.open()
    for number in range(25):
        scores.add("yard", LiveScore(hour_ms + 500 * number, 1.0, 1.0, {"motion": 1.0}))
        if number == 19:
            scores.flush()
    ready.send(os.getpid())
    time.sleep(600)
