"""write_video: what it writes is read back by OpenCV's own FFmpeg as well as by the readers."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mulde.errors import UsageError, VideoError
from mulde.media import open_video, write_video

from .media_samples import index_of, picture, pictures


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
