"""Times that a source lists are those of the frames that a reader delivers."""

from fractions import Fraction

import numpy as np
import pytest

from mulde.errors import VideoError
from mulde.media import open_video, read_frame_times, write_video
from mulde.records import BoxesAlone
from tests.conftest import moving_square


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(10)])
def test_a_file_lists_what_is_decoded(tmp_path, rate):
    path = tmp_path / "a.mp4"
    write_video(path, iter(moving_square(37)), rate)
    with open_video(path) as reader:
        decoded = np.concatenate([frames.time_s for frames in reader])
    found = read_frame_times(path)
    assert found.rate == reader.rate == rate
    np.testing.assert_array_equal(found.time_s, decoded)


def test_a_folder_and_an_image_are_not_even_opened(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.png").touch()
    found = read_frame_times(tmp_path, Fraction(10))
    assert found.rate == 10
    np.testing.assert_allclose(found.time_s, np.arange(12) / 10)
    assert read_frame_times(tmp_path).rate == 25
    assert read_frame_times(tmp_path / "3.png").time_s.tolist() == [0]


def test_a_video_of_boxes_alone_is_as_long_as_it_is_said_to_be(tmp_path):
    boxes = BoxesAlone((96, 128), 70, Fraction(30000, 1001))
    with open_video(tmp_path, boxes=boxes) as reader:
        decoded = np.concatenate([frames.time_s for frames in reader])
    found = read_frame_times(tmp_path / "gone.txt", Fraction(5), boxes=boxes)
    assert found.rate == reader.rate
    np.testing.assert_array_equal(found.time_s, decoded)


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="empty"):
        read_frame_times(tmp_path / "empty")
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"x\.mp4"):
        read_frame_times(tmp_path / "x.mp4")
