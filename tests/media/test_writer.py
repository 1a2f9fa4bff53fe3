"""What is written is read back by OpenCV's own FFmpeg as well as by the readers; sound is copied byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mulde.errors import UsageError, VideoError
from mulde.media import Sound, VideoWriter, open_video, timing, write_video

from .media_samples import encode, index_of, picture, pictures


def read(path: Path, decoder: str) -> np.ndarray:
    with open_video(path, decoder=decoder) as reader:
        return np.concatenate([batch.images for batch in reader])


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(10)])
def test_frames_come_back(tmp_path: Path, rate: Fraction) -> None:
    path = tmp_path / "new" / "a.mp4"
    assert write_video(path, iter(pictures(30)), rate) == 30
    for decoder in ("decord", "pyav"):
        images = read(path, decoder)
        assert [index_of(image) for image in images] == list(range(30))
        assert np.abs(images.astype(int) - np.stack(pictures(30))).mean() < 3
    with open_video(path) as reader:
        assert reader.rate == rate
        assert reader.num_frames_from_header == 30
    assert [entry.name for entry in path.parent.iterdir()] == ["a.mp4"]


def test_another_program_reads_it(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", pictures(20), Fraction(25))
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    found = []
    while True:
        ok, image = capture.read()
        if not ok:
            break
        found.append(index_of(image))
    assert found == list(range(20))
    with av.open(str(tmp_path / "a.mp4")) as file:
        said = next(file.decode(video=0))
        assert said.colorspace in (5, 6)  # two names of BT.601
        assert (said.color_range, said.format.name) == (1, "yuv420p")  # limited range


@pytest.mark.parametrize("size_hw", [(47, 64), (48, 63), (47, 63)])
def test_an_odd_side_grows_by_a_repeated_row_or_column(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    write_video(tmp_path / "a.mp4", pictures(5, size_hw), Fraction(25))
    images = read(tmp_path / "a.mp4", "pyav")
    height, width = size_hw
    assert images.shape == (5, height + height % 2, width + width % 2, 3)
    assert np.abs(images[:, :height, :width].astype(int) - np.stack(pictures(5, size_hw))).mean() < 4
    assert (
        np.abs(
            images[:, -1].astype(int)
            - np.pad(picture(0, size_hw), ((0, 1), (0, 1), (0, 0)), "edge")[-1, : images.shape[2]]
        ).mean()
        < 12
    )


def test_a_smaller_crf_is_nearer(tmp_path: Path) -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (6, 48, 64, 1), np.uint8).repeat(3, axis=3))
    errors = []
    for crf in (1, 18, 45):
        write_video(tmp_path / "a.mp4", noise, Fraction(25), crf=crf)
        errors.append(np.abs(read(tmp_path / "a.mp4", "pyav").astype(int) - np.stack(noise)).mean())
    assert errors[0] < 3 < errors[2]
    assert errors == sorted(errors)


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from pictures(60)  # more than the encoder holds back
        raise RuntimeError("the source broke")

    path = tmp_path / "a.mp4"
    with pytest.raises(RuntimeError, match="the source broke"):
        write_video(path, broken(), Fraction(25))
    assert list(tmp_path.iterdir()) == []
    write_video(path, pictures(4), Fraction(25))
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="the source broke"):
        write_video(path, broken(), Fraction(25))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([], r"No frames to write to .*a\.mp4"),
        ([picture(0), picture(1, (50, 64))], r"Frame 1 for .*expected .*48 x 64.*got uint8 of shape \(50, 64, 3\)"),
        ([picture(0).astype(np.float32)], r"Frame 0 for .*expected .*uint8.*got float32"),
        ([picture(0)[..., 0]], r"Frame 0 for .*expected .*uint8.*got uint8 of shape \(48, 64\)"),
    ],
)
def test_frames_that_cannot_be_written(tmp_path: Path, frames: list[np.ndarray], sentence: str) -> None:
    with pytest.raises(VideoError, match=sentence):
        write_video(tmp_path / "a.mp4", frames, Fraction(25))
    assert list(tmp_path.iterdir()) == []


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rate: expected more than 0 frames per second, got 0"):
        write_video(tmp_path / "a.mp4", pictures(1), Fraction(0))
    with pytest.raises(UsageError, match="crf: expected 0 to 51, got 52"):
        write_video(tmp_path / "a.mp4", pictures(1), Fraction(25), crf=52)


def test_views_and_read_only_frames_can_be_written(tmp_path: Path) -> None:
    big = np.stack(pictures(4, (96, 128)))
    big.flags.writeable = False
    assert write_video(tmp_path / "a.mp4", (image[::2, ::2] for image in big), Fraction(25)) == 4
    np.testing.assert_array_equal([index_of(image) for image in read(tmp_path / "a.mp4", "decord")], range(4))


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    images = [np.roll(noise[:34, :46], 2 * index, axis=1) for index in range(12)]
    contents = set()
    for _ in range(25):
        write_video(tmp_path / "a.mp4", images, Fraction(25))
        contents.add((tmp_path / "a.mp4").read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(10)])
def test_even_times_become_multiples_of_the_rate_in_spite_of_rounding(rate: Fraction) -> None:
    index = np.array([0, 1, 2, 5, 900])
    when = timing(np.round(index / float(rate), 3), rate)  # as Matroska keeps them
    assert (when.rate, when.time_base, when.pts.tolist()) == (rate, 1 / rate, index.tolist())


def test_uneven_times_are_kept_and_no_two_are_the_same() -> None:
    time_s = np.array([0.0, 0.04, 0.1, 0.1, 0.35])
    when = timing(time_s, Fraction(25))
    np.testing.assert_allclose(when.pts * float(when.time_base), time_s, atol=2e-5)
    assert (np.diff(when.pts) > 0).all()
    assert timing(np.zeros(0), Fraction(25)).pts.size == 0


def test_a_variable_rate_comes_back(tmp_path: Path) -> None:
    time_s = np.cumsum([0, 40, 40, 100, 7, 250, 40, 40, 33, 33]) / 1000
    when = timing(time_s, Fraction(25))
    with VideoWriter(tmp_path / "a.mp4", when.rate, time_base=when.time_base, quick=True) as writer:
        for image, pts in zip(pictures(10), when.pts, strict=True):
            writer.write(image, int(pts))
    with open_video(tmp_path / "a.mp4") as reader:
        batch = next(iter(reader))
    np.testing.assert_allclose(batch.time_s, time_s, atol=2e-5)
    assert [index_of(image) for image in batch.images] == list(range(10))


def test_a_quick_file_plays_while_it_loads(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", Fraction(25), quick=True) as writer:
        for image in pictures(5):
            writer.write(image)
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    half = tmp_path / "half.mp4"
    half.write_bytes(content[: content.index(b"mdat") + 2000])
    assert cv2.VideoCapture(str(half)).read()[0]


def add_sound(video: Path, target: Path, codec: str, *, before_s: float = 0.0, seconds: float = 2.0) -> Path:
    """A copy of a video file with a tone beside its pictures, which begin `before_s` after the sound does."""
    with av.open(str(video)) as old, av.open(str(target), "w") as new:
        pictures_out = new.add_stream_from_template(old.streams.video[0])
        sound_out = new.add_stream(codec, rate=16000, layout="mono")
        sound_out.codec_context.time_base = Fraction(1, 16000)
        tone = av.AudioResampler(format=sound_out.codec_context.format, layout="mono", rate=16000)
        wave = np.sin(np.arange(round(16000 * seconds)) / 9).astype(np.float32)
        made = []
        for start in range(0, len(wave), 1600):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1600], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            for resampled in tone.resample(frame):
                made += sound_out.encode(resampled)
        made += sound_out.encode(None)
        for packet in old.demux(video=0):
            if packet.dts is not None:
                by = round(before_s / packet.time_base)
                packet.stream, packet.pts, packet.dts = pictures_out, packet.pts + by, packet.dts + by
                new.mux(packet)
        for packet in made:
            new.mux(packet)
    return target


ADTS_HEADER_BYTES = 7  # of each AAC packet in a transport stream; an mp4 says the same once for all


def sound_packets(path: Path) -> tuple[list[bytes], list[float]]:
    with av.open(str(path)) as file:
        found = [p for p in file.demux(audio=0) if p.size] if file.streams.audio else []
        return [bytes(p) for p in found], [float(p.pts * p.time_base) for p in found]


def copy_with_sound(source: Path, target: Path) -> list[str]:
    with (
        open_video(source) as reader,
        Sound(source) as sound,
        VideoWriter(target, reader.rate, quick=True, sound=sound) as writer,
    ):
        for batch in reader:
            for image in batch.images:
                writer.write(image)
    return sound.remarks


@pytest.mark.parametrize(
    ("name", "codec", "before_s"),
    [("a.mp4", "aac", 0.0), ("a.mkv", "libopus", 0.0), ("b.mkv", "libmp3lame", 0.25), ("a.ts", "aac", 0.5)],
)
def test_sound_is_copied_byte_by_byte(tmp_path: Path, name: str, codec: str, before_s: float) -> None:
    bare = encode(tmp_path / "bare.mp4", pictures(50))
    source = add_sound(bare, tmp_path / name, codec, before_s=before_s)
    assert copy_with_sound(source, tmp_path / "copy.mp4") == []
    (was, was_s), (now, now_s) = sound_packets(source), sound_packets(tmp_path / "copy.mp4")
    assert len(was) > 15
    if name.endswith(".ts"):
        was = [packet[ADTS_HEADER_BYTES:] for packet in was]
    assert now == was
    with av.open(str(source)) as file:
        first_s = min(float(p.pts * p.time_base) for p in file.demux(video=0) if p.pts is not None)
    np.testing.assert_allclose(now_s, np.array(was_s) - first_s, atol=0.003)
    assert [index_of(image) for image in read(tmp_path / "copy.mp4", "pyav")] == list(range(50))


def test_sound_that_an_mp4_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    source = add_sound(encode(tmp_path / "bare.mp4", pictures(10)), tmp_path / "a.mov", "pcm_mulaw")
    assert copy_with_sound(source, tmp_path / "copy.mp4") == ["sound in pcm_mulaw was left out, which mp4 cannot hold"]
    assert sound_packets(tmp_path / "copy.mp4") == ([], [])
    assert len(read(tmp_path / "copy.mp4", "pyav")) == 10


def test_pixels_that_are_not_square_stay_so(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.mp4", pictures(5), sample_aspect_ratio=Fraction(4, 3))
    copy_with_sound(source, tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as file:
        assert file.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
