from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.media.packets import StreamPacket, StreamPicture
from mulde.media.stream_copy import StreamTemplate
from mulde.pipeline.live import packet_ring
from mulde.pipeline.live.packet_ring import PacketRing
from tests.media.media_samples import encode, pictures
from tests.media.stream_samples import RATE, camera, camera_file


@dataclass
class FakePacket:
    stream: object
    size: int


@dataclass
class Listener:
    """Writes down what it is told; wants so many packets."""

    limit: int = 10**9
    heard: list[object] = field(default_factory=list)

    def begin(self, template):
        self.heard.append(template)

    def add(self, packet):
        self.heard.append(packet)
        return sum(isinstance(heard, StreamPacket) for heard in self.heard) < self.limit

    def end(self):
        self.heard.append("end")


@pytest.fixture(autouse=True)
def any_stream(monkeypatch):
    """Streams that are names; PyAV's work as ever."""
    of = StreamTemplate.of
    monkeypatch.setattr(
        packet_ring.StreamTemplate,
        "of",
        lambda stream: StreamTemplate("h264", stream) if isinstance(stream, str) else of(stream),
    )


def packets(kinds: list[tuple[bool, int, float]], stream: str = "one") -> list[StreamPacket]:
    """From (whether it is a key frame, bytes, seconds since the one before)."""
    arrivals = np.cumsum([step for *_, step in kinds])
    return [
        StreamPacket(FakePacket(stream, size), is_key, float(arrived_s))
        for (is_key, size, _), arrived_s in zip(kinds, arrivals, strict=True)
    ]


streams = st.lists(
    st.tuples(st.booleans(), st.integers(1, 100), st.sampled_from([0.0, 0.1, 0.5, 3.0])), min_size=1, max_size=60
).map(packets)


@settings(deadline=None)
@given(streams, st.sampled_from([0.0, 0.3, 1.0, 5.0]), st.integers(50, 400))
def test_a_ring_begins_at_a_key_frame_and_has_no_gap_and_covers_what_it_can(stream, pre_roll_s, max_bytes):
    """Against a look at all that came: the newest start at a key frame that covers the seconds, or the oldest one that
    fits, as long as no group has outgrown the bound."""
    ring, origin = PacketRing(pre_roll_s, max_bytes), 0
    for number, packet in enumerate(stream, 1):
        ring.add(packet)
        starts = [n for n in range(origin, number) if stream[n].is_key]
        fitting = [n for n in starts if sum(p.packet.size for p in stream[n:number]) <= max_bytes]
        covering = [n for n in starts if packet.arrived_s - stream[n].arrived_s >= pre_roll_s]
        if starts and not fitting:
            origin = number
        elif fitting:  # what was let go of does not come back
            origin = max([origin, fitting[0], *covering[-1:]])
        assert list(ring.packets()) == (stream[origin:number] if fitting else [])
        assert ring.num_bytes == sum(p.packet.size for p in ring.packets()) <= max_bytes
        assert not ring.packets() or ring.packets()[0].is_key


def test_an_outgrown_group_is_counted_and_the_next_one_kept():
    ring = PacketRing(5.0, max_bytes=100)
    stream = packets([(True, 60, 0.0), (False, 60, 0.1), (False, 10, 0.1), (True, 50, 0.1), (False, 10, 0.1)])
    for packet in stream:
        ring.add(packet)
    assert ring.num_cut_groups == 1
    assert list(ring.packets()) == stream[3:]


def test_pictures_are_not_kept():
    ring = PacketRing(5.0)
    (packet,) = packets([(True, 60, 0.0)])
    ring.add(StreamPacket(packet.packet, True, 0.0, (StreamPicture(0.0, (2, 2), lambda: np.zeros(1, np.uint8)),)))
    assert ring.packets()[0].pictures == ()


def test_a_ring_of_a_real_stream_holds_the_last_groups():
    with camera(camera_file()) as stream:
        ring = PacketRing(0.5)
        for packet in stream[:47]:
            ring.add(packet)
        assert list(ring.packets()) == stream[30:47]
        assert ring.packets()[-1].arrived_s - ring.packets()[0].arrived_s == pytest.approx(16 / RATE)


def test_another_stream_begins_a_new_session():
    ring, listener = PacketRing(5.0), Listener()
    first, second = packets([(True, 1, 0.0)], "one"), packets([(True, 1, 0.0), (False, 1, 0.1)], "two")
    ring.add(first[0])
    assert ring.follow(listener)
    ring.add(second[0])
    ring.add(second[1])
    assert [type(heard) for heard in listener.heard] == [StreamTemplate, StreamPacket, str]
    assert list(ring.packets()) == second
    ring.end_session()
    assert (ring.packets(), ring.num_bytes) == ((), 0)
    assert not ring.follow(listener)
    assert len(listener.heard) == 3


def test_a_listener_gets_what_is_kept_and_then_what_comes_until_it_has_enough():
    ring, listener, short = PacketRing(5.0), Listener(limit=4), Listener(limit=1)
    stream = packets([(True, 1, 0.0), (False, 1, 0.1), (False, 1, 0.1), (False, 1, 0.1), (False, 1, 0.1)])
    for packet in stream[:2]:
        ring.add(packet)
    assert ring.follow(listener)
    assert ring.follow(short)
    for packet in stream[2:]:
        ring.add(packet)
    ring.end_session()
    assert listener.heard[1:] == stream[:4]
    assert short.heard[1:] == stream[:1]


def test_a_listener_that_comes_while_packets_come_misses_none():
    ring, stream = PacketRing(5.0), packets([(True, 1, 0.0), (False, 1, 0.1), (False, 1, 0.1), (False, 1, 0.1)])
    reading = threading.Thread(target=lambda: [ring.add(packet) for packet in stream[2:]])

    class Slow(Listener):
        def add(self, packet):
            if packet == stream[0]:
                reading.start()
                reading.join(0.2)  # where nothing held it back, it would be through by now
            return super().add(packet)

    listener = Slow()
    for packet in stream[:2]:
        ring.add(packet)
    ring.follow(listener)
    reading.join()
    assert listener.heard[1:] == stream


def test_a_codec_that_no_file_holds_keeps_nothing_and_says_so(tmp_path):
    ring = PacketRing(5.0)
    with camera(encode(tmp_path / "s.nut", pictures(3), codec="gif", pix_fmt="rgb8")) as stream:
        for packet in stream:
            ring.add(packet)
    assert "A stream in gif cannot be written" in str(ring.refusal)
    assert (ring.packets(), ring.follow(Listener())) == ((), False)
    with camera(camera_file()) as stream:
        ring.add(stream[0])
        assert (ring.refusal, len(ring.packets())) == (None, 1)
