"""Video files: both decoders deliver the same frames, the right colours, upright, at their true times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mulde.errors import VideoError
from mulde.media import open_video
from mulde.media.decord_reader import end_of_stretch
from mulde.records import Frames

from .media_samples import copy_packets, encode, encode_planes, index_of, picture, pictures, rotate_mp4

DECODERS = ["decord", "pyav"]


def read(path: Path, decoder: str, **settings: object) -> Frames:
    with open_video(path, decoder=decoder, **settings) as reader:
        batches = list(reader)
    return Frames(
        *(np.concatenate([getattr(b, name) for b in batches]) for name in ("images", "frame_index", "time_s"))
    )


def assert_same(path: Path) -> Frames:
    ours, other = (read(path, decoder) for decoder in DECODERS)
    np.testing.assert_array_equal(ours.images, other.images)
    np.testing.assert_array_equal(ours.time_s, other.time_s)
    return ours


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"), ("a.mov", "libx264", "yuv420p"), ("a.m4v", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv422p"), ("b.mkv", "libx264", "yuv444p"), ("c.mkv", "libx264", "gray"),
        ("a.flv", "libx264", "yuv420p"), ("a.avi", "mpeg4", "yuv420p"), ("b.avi", "mjpeg", "yuvj420p"),
        ("c.avi", "libx264", "yuv420p"), ("a.mpg", "mpeg1video", "yuv420p"), ("a.mpeg", "mpeg2video", "yuv420p"),
        ("a.webm", "libvpx", "yuv420p"), ("a.wmv", "wmv2", "yuv420p"), ("a.3gp", "mpeg4", "yuv420p"),
    ],
)  # fmt: skip
def test_both_decoders_deliver_the_same_pixels(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, caplog: pytest.LogCaptureFixture
) -> None:
    frames = assert_same(encode(tmp_path / name, pictures(12, (48, 96)), codec=codec, pix_fmt=pix_fmt))
    assert [index_of(image) for image in frames.images] == frames.frame_index.tolist() == list(range(12))
    assert not caplog.records
    np.testing.assert_allclose(frames.time_s, np.arange(12) / 25, atol=1e-3)


@pytest.mark.parametrize("size_hw", [(48, 64), (50, 66), (36, 100), (34, 24), (34, 48), (34, 72), (18, 322)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p"])
def test_same_pixels_at_any_size(tmp_path: Path, size_hw: tuple[int, int], pix_fmt: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, *size_hw, 3), np.uint8)
    assert_same(encode(tmp_path / "a.mp4", list(noise), pix_fmt=pix_fmt))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("color_range", "colorspace"), [(1, 5), (1, 1), (2, 5), (2, 1)])
def test_colour_range_and_matrix_follow_the_file(
    tmp_path: Path, decoder: str, color_range: int, colorspace: int
) -> None:
    luma = np.tile(np.arange(40, 200, 2, np.uint8), (48, 1))
    path = encode_planes(tmp_path / "a.mp4", luma, 110, 140, color_range=color_range, colorspace=colorspace)
    red, blue = (0.299, 0.114) if colorspace == 5 else (0.2126, 0.0722)  # BT.601, BT.709
    y, u, v = luma[0].astype(float), 110.0 - 128, 140.0 - 128
    if color_range == 1:  # limited: 16..235 and 16..240
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    expected = np.clip(np.stack([r, g, b], axis=1), 0, 255)
    assert np.abs(read(path, decoder).images[0, 20] - expected).max() < 2.5


@pytest.mark.parametrize("decoder", DECODERS)
def test_full_range_grey_is_the_luma_plane(tmp_path: Path, decoder: str) -> None:
    luma = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    path = encode_planes(tmp_path / "a.mp4", luma, 128, 128, color_range=2, colorspace=5)
    images = read(path, decoder).images
    np.testing.assert_array_equal(images, np.broadcast_to(luma[None, :, :, None], images.shape))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("degrees_clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("size_hw", [(48, 64), (50, 66)])
def test_rotation_is_honoured(tmp_path: Path, decoder: str, degrees_clockwise: int, size_hw: tuple[int, int]) -> None:
    plain = encode(tmp_path / "plain.mp4", pictures(6, size_hw))
    turned = rotate_mp4(plain, tmp_path / "turned.mp4", degrees_clockwise)
    expected = np.rot90(read(plain, decoder).images, -degrees_clockwise // 90, axes=(1, 2))
    with open_video(turned, decoder=decoder) as reader:
        assert reader.size_hw == expected.shape[1:3]
        np.testing.assert_array_equal(next(iter(reader)).images, expected)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate_keeps_true_times(tmp_path: Path, name: str) -> None:
    pts_ms = (np.cumsum(np.random.default_rng(1).integers(11, 90, 30)) + 170).tolist()
    frames = assert_same(encode(tmp_path / name, pictures(30), pts_ms=pts_ms))
    np.testing.assert_allclose(frames.time_s, (np.array(pts_ms) - pts_ms[0]) / 1000, atol=1e-9)
    assert [index_of(image) for image in frames.images] == list(range(30))


@pytest.mark.parametrize(("codec", "options"), [("libx264", {}), ("mpeg4", {"bf": "2"})])
def test_reordered_pictures_of_an_avi_have_even_steps(tmp_path: Path, codec: str, options: dict[str, str]) -> None:
    """An AVI numbers its packets in coding order and says nothing about the order of presentation."""
    frames = assert_same(encode(tmp_path / "a.avi", pictures(20), rate=10, codec=codec, options=options))
    assert [index_of(image) for image in frames.images] == list(range(20))
    np.testing.assert_allclose(frames.time_s, np.arange(20) / 10, atol=1e-9)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_rate_that_is_no_whole_number(tmp_path: Path, decoder: str) -> None:
    path = encode(tmp_path / "a.mp4", pictures(10), rate=Fraction(30000, 1001))
    with open_video(path, decoder=decoder) as reader:
        assert reader.rate == Fraction(30000, 1001)
        np.testing.assert_allclose(next(iter(reader)).time_s, np.arange(10) * 1001 / 30000, atol=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_unknown_rate_does_not_stop_the_reader(
    tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mulde.media.facts._named_rates", lambda stream: [])
    path = encode(tmp_path / "a.mp4", pictures(10), rate=12)
    with open_video(path, decoder=decoder) as reader:
        assert reader.rate == 12  # from the time stamps
    one = encode(tmp_path / "one.mp4", [picture(1)], rate=12)
    with open_video(one, decoder=decoder, frame_rate=Fraction(7)) as reader:
        assert reader.rate == 7


def test_frames_hidden_by_an_edit_list_stay_hidden(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(
        tmp_path / "a.mp4",
        pictures(30),
        pts_ms=[40 * index - 200 for index in range(30)],
        container={"avoid_negative_ts": "disabled"},
    )
    frames = assert_same(path)
    assert [index_of(image) for image in frames.images] == list(range(5, 30))
    assert not caplog.records
    np.testing.assert_allclose(frames.time_s, np.arange(25) / 25, atol=1e-9)


def _in_stretches(monkeypatch: pytest.MonkeyPatch, num_frames: int) -> None:
    """Let decord drop what it has decoded ahead and seek after at most so many of the small test frames."""
    monkeypatch.setattr("mulde.media.decord_reader._MAX_BYTES_IN_STRETCH", num_frames * 48 * 64 * 3)


@pytest.mark.parametrize("num_frames", [7, 25])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {"options": {"g": "12"}}),
        ("one key frame.mp4", {}),
        ("a.mkv", {"options": {"g": "12"}}),
        ("open gop.mp4", {"options": {"g": "12", "x264-params": "open-gop=1:b-pyramid=normal"}}),
        ("a.avi", {"codec": "mpeg4", "options": {"g": "12"}}),
        ("a.webm", {"codec": "libvpx", "options": {"g": "12"}}),
        ("vfr.mp4", {"options": {"g": "12"}, "pts_ms": [40 * i + i * i % 30 for i in range(45)]}),
    ],
)
def test_a_long_video_in_stretches_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, Any], num_frames: int
) -> None:
    _in_stretches(monkeypatch, num_frames)
    frames = assert_same(encode(tmp_path / name, pictures(45), **settings))
    assert [index_of(image) for image in frames.images] == list(range(45))


def test_stretches_of_a_recording_that_starts_between_two_key_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _in_stretches(monkeypatch, 7)
    whole = encode(tmp_path / "whole.mkv", pictures(60), options={"g": "20"})
    frames = assert_same(copy_packets(whole, tmp_path / "middle.mkv", first=7))
    assert index_of(frames.images[-1]) == 59


def test_a_file_in_which_decord_loses_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mpg", pictures(45), codec="mpeg1video")
    assert_same(path)
    _in_stretches(monkeypatch, 7)
    with pytest.raises(VideoError, match=r"a\.mpg: .*it does not find its place in the file again.*'pyav'"):
        read(path, "decord")


def test_where_a_stretch_ends() -> None:
    keys = np.array([0, 10, 20, 30])
    assert end_of_stretch(0, 5, 9, keys) == 5
    assert end_of_stretch(0, 40, 9, keys) == 9
    assert end_of_stretch(0, 40, 10, keys) == 10
    assert end_of_stretch(0, 40, 29, keys) == 20
    assert end_of_stretch(10, 40, 12, keys) == 20
    assert end_of_stretch(30, 40, 9, keys) == 39
    assert end_of_stretch(30, 40, 10, keys) == 40


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_relative_path_with_a_colon_is_a_file(
    tmp_path: Path, clip: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cam:1 ü.mp4").write_bytes(clip.read_bytes())
    assert len(read(Path("cam:1 ü.mp4"), decoder)) == 40


@pytest.mark.parametrize("name", ["Test/Test004.mp4"])
def test_real_clips_are_the_same_from_both_decoders(ped2_clips: Path, name: str) -> None:
    path = ped2_clips / name
    frames = assert_same(path)
    with open_video(path) as reader:
        assert len(frames) == reader.num_frames_from_header
        assert frames.size_hw == reader.size_hw == (240, 360)
    np.testing.assert_array_equal(frames.images[..., 0], frames.images[..., 2])  # grey
