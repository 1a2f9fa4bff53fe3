"""Damage in a stream: what is delivered equals what was encoded, and the next key frame ends the silence."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import av
import numpy as np
import pytest

from mulde.errors import StreamLost
from mulde.media import stream_decoding
from mulde.media.packets import StreamPacket
from mulde.media.stream_decoding import StreamDecoder

from .media_samples import encode, picture

KEY_EVERY, NUM_PICTURES = 10, 40
X264 = {"g": str(KEY_EVERY), "sc_threshold": "0"}
CODINGS = {
    "camera": ("libx264", {**X264, "bf": "0", "tune": "zerolatency"}),
    "B frames": ("libx264", X264),
    "open groups": ("libx264", {**X264, "x264-params": "open-gop=1"}),
    "4:4:4 with scaling lists": ("libx264", {**X264, "x264-params": "cqm=jvt", "profile": "high444"}),
    "hevc": ("libx265", {"x265-params": f"keyint={KEY_EVERY}:bframes=0:scenecut=0:log-level=none"}),
}


def moving(index: int) -> np.ndarray:
    texture = np.random.default_rng(0).integers(60, 200, (64, 96, 1)).astype(np.uint8).repeat(3, axis=2)
    return np.roll(texture, 3 * index, axis=1)


@pytest.fixture(scope="module", params=CODINGS)
def clip(request, tmp_path_factory) -> Path:
    codec, options = CODINGS[request.param]
    pix_fmt = "yuv444p" if "4:4:4" in request.param else "yuv420p"
    path = tmp_path_factory.mktemp("damage") / "clip.mp4"
    return encode(path, [moving(n) for n in range(NUM_PICTURES)], codec=codec, options=options, pix_fmt=pix_fmt)


@pytest.fixture(scope="module", params=["mp4", "mpegts"])
def coded(request, clip, tmp_path_factory) -> Path:
    """The clip with sizes in front of its units, and with start codes."""
    target = tmp_path_factory.mktemp("coded") / f"clip.{request.param}"
    with av.open(str(clip)) as old, av.open(str(target), "w", format=request.param) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.fixture(scope="module")
def originals(coded) -> dict[float, np.ndarray]:
    with av.open(str(coded)) as file:
        stream = file.streams.video[0]
        return {float(one.pts * stream.time_base): one.to_ndarray(format="rgb24") for one in file.decode(stream)}


def decoded(
    path: Path,
    *,
    dropped: Set[int] = frozenset(),
    repeated: Set[int] = frozenset(),
    cut: Set[int] = frozenset(),
    emptied: Set[int] = frozenset(),
) -> list[StreamPacket]:
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        decoder, made = StreamDecoder(stream, "the camera"), []
        for number, packet in enumerate(one for one in file.demux(stream) if one.size):
            if number in cut | emptied:
                replaced = av.Packet(bytes(packet)[: packet.size // 2] if number in cut else bytes(packet.size))
                replaced.pts, replaced.dts, replaced.time_base = packet.pts, packet.dts, packet.time_base
                replaced.is_keyframe = packet.is_keyframe
                packet = replaced
            if number not in dropped:
                made.append(decoder.decode(packet, float(number)))
            if number in repeated:
                made.append(decoder.decode(packet, float(number)))
        made[-1] = decoder.finish(made[-1])
    return made


def pictures(packets: list[StreamPacket]) -> dict[float, np.ndarray]:
    return {one.stamp_s: one.load() for packet in packets for one in packet.pictures}


def test_a_sound_stream_is_delivered_whole(coded, originals):
    packets = decoded(coded)
    got = pictures(packets)
    assert got.keys() == originals.keys()
    assert all(np.array_equal(got[stamp_s], originals[stamp_s]) for stamp_s in originals)
    assert sum(packet.num_corrupt for packet in packets) == 0


@pytest.mark.parametrize("number", [10, 11, 12, 15, 19])
def test_behind_a_lost_picture_nothing_is_delivered_until_the_next_key_frame(coded, originals, number):
    got = pictures(decoded(coded, dropped={number}))
    wrong = [stamp_s for stamp_s in got if not np.array_equal(got[stamp_s], originals[stamp_s])]
    assert wrong == []
    times = sorted(originals)
    assert set(times[: number - 4]) <= got.keys(), "well before the damage"
    assert set(times[KEY_EVERY * (number // KEY_EVERY + 1) :]) <= got.keys(), "from the next key frame on"
    assert len(got) < len(originals)


@pytest.mark.parametrize("number", [10, 11, 12, 15, 19])
def test_a_picture_that_is_sent_twice_leaves_nothing_wrong(coded, originals, number):
    got = pictures(decoded(coded, repeated={number}))
    assert all(np.array_equal(got[stamp_s], originals[stamp_s]) for stamp_s in got)
    assert set(sorted(originals)[KEY_EVERY * (number // KEY_EVERY + 1) :]) <= got.keys()


@pytest.mark.parametrize("number", range(1, NUM_PICTURES - 1, 3))
def test_a_picture_that_was_cut_is_not_delivered(tmp_path, number):
    """As cameras code: without B frames. Of others, and of HEVC, libav lets some cut pictures pass without a word."""
    codec, options = CODINGS["camera"]
    clip = encode(tmp_path / "a.ts", [moving(n) for n in range(NUM_PICTURES)], codec=codec, options=options)
    sound, damaged = pictures(decoded(clip)), pictures(decoded(clip, cut={number}))
    assert all(np.array_equal(damaged[stamp_s], sound[stamp_s]) for stamp_s in damaged)
    assert len(damaged) == NUM_PICTURES - (KEY_EVERY - number % KEY_EVERY)


def test_a_packet_that_cannot_be_decoded_is_damage_as_well(tmp_path):
    """MPEG-4 has no numbers that would say so, and predicts what follows from what it has."""
    clip = encode(
        tmp_path / "a.mp4", [moving(n) for n in range(NUM_PICTURES)], codec="mpeg4", options={"g": str(KEY_EVERY)}
    )
    sound, packets = pictures(decoded(clip)), decoded(clip, emptied={13})
    damaged = pictures(packets)
    assert packets[13].num_corrupt == 1
    next_key = next(n for n, packet in enumerate(packets) if packet.is_key and n > 13)
    assert list(damaged) == [stamp_s for n, stamp_s in enumerate(sound) if n not in range(13, next_key)]
    assert all(np.array_equal(damaged[stamp_s], sound[stamp_s]) for stamp_s in damaged)


def test_corrupt_pictures_are_counted(tmp_path):
    codec, options = CODINGS["camera"]
    clip = encode(tmp_path / "a.mp4", [moving(n) for n in range(20)], codec=codec, options=options)
    counts = [packet.num_corrupt for packet in decoded(clip, dropped={13})]
    assert counts == [0] * 13 + [1] * 6
    assert sum(len(packet.pictures) for packet in decoded(clip, dropped={13})) == 13


def test_nothing_is_trusted_in_front_of_the_first_key_frame(coded, originals):
    got = pictures(decoded(coded, dropped=set(range(4))))
    assert got
    assert all(np.array_equal(got[stamp_s], originals[stamp_s]) for stamp_s in got)
    assert not set(sorted(originals)[:9]) & got.keys()


def test_pictures_come_upright(tmp_path):
    from .media_samples import rotate_mp4

    plain = encode(tmp_path / "plain.mp4", [picture(n) for n in range(3)], options={"crf": "1"})
    turned = rotate_mp4(plain, tmp_path / "turned.mp4", 90)
    upright, rotated = (next(iter(pictures(decoded(path)).values())) for path in (plain, turned))
    assert rotated.shape == (64, 48, 3)
    np.testing.assert_array_equal(rotated, np.rot90(upright, -1))


def test_a_picture_that_is_too_large_is_refused(tmp_path, monkeypatch):
    clip = encode(tmp_path / "a.mp4", [picture(0)])
    monkeypatch.setattr(stream_decoding, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(StreamLost, match="the camera has too large a picture: 64 x 48: expected at most 3071 pixels"):
        decoded(clip)


def test_a_picture_of_another_size_is_refused(tmp_path):
    with av.open(str(encode(tmp_path / "a.mp4", [picture(0)]))) as file:
        stream = file.streams.video[0]
        decoder = StreamDecoder(stream, "the camera")
        small, large = (av.VideoFrame.from_ndarray(picture(0, size), format="rgb24") for size in ((48, 64), (64, 48)))
        small.pts = large.pts = 0
        decoder._made(small)
        with pytest.raises(StreamLost, match=r"expected 48 x 64 .*, got 64 x 48"):
            decoder._made(large)
