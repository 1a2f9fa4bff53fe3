"""A single image file is a video of one frame, exactly like a folder with that one image."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from mulde.errors import VideoError
from mulde.media import content_hash, open_video

from .media_samples import picture, write_images


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_images(tmp_path / "folder", [picture(7)], "{:03d}.PNG") / "000.PNG"


@pytest.mark.parametrize(
    "settings",
    [{}, {"batch_size": 1}, {"frame_rate": Fraction(3)}, {"working_size_px": 20}, {"decoder": "decord"}, {"stream": 0}],
)
def test_it_reads_like_a_folder_with_that_image(image: Path, settings: dict[str, object]) -> None:
    with open_video(image, **settings) as one, open_video(image.parent, **settings) as folder:
        ((ours,), (theirs,)) = list(one), list(folder)
        np.testing.assert_array_equal(ours.images, theirs.images)
        assert (ours.frame_index.tolist(), ours.time_s.tolist()) == ([0], [0.0])
        for fact in ("decoder", "decoder_version", "size_hw", "rate", "num_frames_from_header", "num_frames_decoded"):
            assert getattr(one, fact) == getattr(folder, fact)


def test_the_frame_may_be_left_out(image: Path) -> None:
    with open_video(image, start_frame=1) as reader:
        assert list(reader) == []


def test_identity_is_that_of_the_bytes(image: Path, tmp_path: Path) -> None:
    (tmp_path / "other.bmp").write_bytes(image.read_bytes())
    assert content_hash(image) == content_hash(tmp_path / "other.bmp")
    assert cv2.imwrite(str(image), np.zeros((4, 4, 3), np.uint8))
    assert content_hash(image) != content_hash(tmp_path / "other.bmp")


def test_a_damaged_image_and_a_stream_it_has_not(image: Path) -> None:
    with pytest.raises(VideoError, match=r"The image .*000\.PNG: expected stream 0 or auto, got stream 1"):
        open_video(image, stream=1)
    image.write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"The frame .*000\.PNG is not a readable image: .*got 10 bytes"):
        open_video(image)
