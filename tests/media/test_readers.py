"""One suite for every reader: a new one is a line in SOURCES."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mulde.media import VideoReader, open_video
from mulde.records import Frames

from .media_samples import SIZE_HW, encode, index_of, picture, pictures, write_images


def _file(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    return encode(folder / "clip.mp4", images)


def _folder(folder: Path, images: list[np.ndarray]) -> Path:
    return write_images(folder / "frames", images)


# name of the reader, writer of a source for it, decoder to ask for, largest error of a channel after coding
SOURCES: list[tuple[str, Callable[[Path, list[np.ndarray]], Path], str, int]] = [
    ("decord", _file, "decord", 40),
    ("pyav", _file, "pyav", 40),
    ("frames", _folder, "pyav", 0),
]
NUM = 23

Open = Callable[..., VideoReader]


@pytest.fixture(params=SOURCES, ids=[name for name, *_ in SOURCES])
def source(request: pytest.FixtureRequest) -> tuple[str, Callable[[Path, list[np.ndarray]], Path], str, int]:
    return request.param


@pytest.fixture
def opened(source, tmp_path: Path) -> Open:
    """Open a source of the given pictures (23 numbered ones by default) with the reader under test."""
    _, write, decoder, _ = source
    numbered = write(tmp_path, pictures(NUM))

    def build(images: list[np.ndarray] | None = None, **settings: int) -> VideoReader:
        path = numbered if images is None else write(tmp_path / "other", images)
        return open_video(path, decoder=decoder, **settings)

    return build


def batches_of(reader: VideoReader) -> list[Frames]:
    with reader:
        return list(reader)


def joined(batches: list[Frames]) -> np.ndarray:
    return np.concatenate([batch.images for batch in batches])


def test_facts_at_opening(opened: Open, source) -> None:
    with opened() as reader:
        assert reader.path.exists()
        assert reader.decoder == source[0]
        assert any(letter.isdigit() for letter in reader.decoder_version)
        assert reader.size_hw == SIZE_HW
        assert reader.rate == Fraction(25)
        assert isinstance(reader.rate, Fraction)
        assert reader.num_frames_from_header == NUM
        assert reader.num_frames_decoded == 0


@pytest.mark.parametrize("batch_size", [1, 7, NUM, NUM + 9])
def test_batches_are_full_but_the_last(opened: Open, batch_size: int) -> None:
    batches = batches_of(opened(batch_size=batch_size))
    sizes = [len(batch) for batch in batches]
    assert sizes == [batch_size] * (NUM // batch_size) + ([NUM % batch_size] if NUM % batch_size else [])


def test_every_frame_comes_once_and_in_order(opened: Open) -> None:
    batches = batches_of(opened(batch_size=7))
    assert [index_of(image) for image in joined(batches)] == list(range(NUM))
    index = np.concatenate([batch.frame_index for batch in batches])
    assert index.dtype == np.int64
    assert index.tolist() == list(range(NUM))


def test_times_start_at_zero_and_step_by_the_rate(opened: Open) -> None:
    time_s = np.concatenate([batch.time_s for batch in batches_of(opened(batch_size=7))])
    assert time_s.dtype == np.float64
    np.testing.assert_allclose(time_s, np.arange(NUM) / 25, atol=1e-9)


def test_pictures_are_the_written_ones_in_rgb(opened: Open, source) -> None:
    images = joined(batches_of(opened()))
    assert images.dtype == np.uint8
    assert images.flags.c_contiguous
    error = np.abs(images.astype(int) - np.stack(pictures(NUM)))
    assert error.mean() < 4
    assert np.median(error) <= source[3]
    lower_left, lower_right = images[0, -4, 3], images[0, -4, -4]
    assert lower_left[0] > 150 > 90 > lower_left[2]
    assert lower_right[2] > 150 > 90 > lower_right[0]


def test_batch_size_changes_nothing(opened: Open) -> None:
    whole = joined(batches_of(opened(batch_size=NUM)))
    np.testing.assert_array_equal(joined(batches_of(opened(batch_size=1))), whole)
    np.testing.assert_array_equal(joined(batches_of(opened(batch_size=5))), whole)


def test_a_batch_that_is_kept_is_not_overwritten(opened: Open) -> None:
    with opened(batch_size=4) as reader:
        kept, copies = [], []
        for batch in reader:
            kept.append(batch.images)
            copies.append(batch.images.copy())
    assert all(np.array_equal(now, then) for now, then in zip(kept, copies, strict=True))
    assert not any(np.shares_memory(a, b) for a, b in pairwise(kept))


def test_the_count_follows_and_a_second_iteration_starts_again(opened: Open) -> None:
    with opened(batch_size=10) as reader:
        first = iter(reader)
        next(first)
        assert reader.num_frames_decoded == 10
        again = list(reader)
        assert reader.num_frames_decoded == NUM
        assert [index_of(image) for image in joined(again)] == list(range(NUM))
        assert next(first, None) is None


def test_leaving_half_way_ends_the_iteration(opened: Open) -> None:
    with opened(batch_size=3) as reader:
        running = iter(reader)
        next(running)
    assert next(running, None) is None
    assert reader.num_frames_decoded == 3


def test_one_frame(opened: Open) -> None:
    (batch,) = batches_of(opened([picture(5)]))
    assert len(batch) == 1
    assert index_of(batch.images[0]) == 5
    assert batch.time_s.tolist() == [0.0]


@pytest.mark.parametrize("size_hw", [(34, 48), (50, 66), (36, 24), (36, 100), (18, 322)])
def test_sizes_that_are_no_multiple_of_16(opened: Open, size_hw: tuple[int, int]) -> None:
    with opened(pictures(5, size_hw)) as reader:
        assert reader.size_hw == size_hw
        images = joined(list(reader))
    assert images.shape == (5, *size_hw, 3)
    assert [index_of(image) for image in images] == list(range(5))


@pytest.mark.parametrize("start_frame", [0, 1, 4, 7, 8, 20, NUM - 1, NUM, NUM + 5])
def test_a_later_start_gives_the_end_of_a_whole_reading(opened: Open, start_frame: int) -> None:
    whole, rest = batches_of(opened(batch_size=4)), batches_of(opened(batch_size=4, start_frame=start_frame))
    cut = whole[start_frame // 4 :] if start_frame < NUM else []
    assert len(rest) == len(cut)
    for number, (there, here) in enumerate(zip(cut, rest, strict=True)):
        first = start_frame % 4 if number == 0 else 0
        for name in ("images", "frame_index", "time_s"):
            np.testing.assert_array_equal(getattr(here, name), getattr(there, name)[first:])


def test_a_later_start_counts_what_it_delivers(opened: Open) -> None:
    with opened(batch_size=4, start_frame=9) as reader:
        assert sum(len(batch) for batch in reader) == reader.num_frames_decoded == NUM - 9
        assert sum(len(batch) for batch in reader) == reader.num_frames_decoded == NUM - 9
        assert reader.missing == []


def test_frames_are_averaged_to_the_working_size(opened: Open, source) -> None:
    """Each pixel is the mean of the four that it covers. decord has a sharper filter, within some grey levels of it."""
    wave = 120 + 60 * np.sin(np.arange(128) / 9)[None, :] + 40 * np.cos(np.arange(96) / 7)[:, None]
    images = [np.repeat(np.roll(wave, at, 1).astype(np.uint8)[..., None], 3, axis=2) for at in range(5)]
    with opened(images, working_size_px=64) as reader:
        assert reader.size_hw == (48, 64)
        (batch,) = reader
    means = np.stack(images).reshape(5, 48, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(batch.images - means).mean() < (0.6 if source[0] == "frames" else 3)


def test_smaller_videos_are_left_alone(opened: Open) -> None:
    for working_size_px in (max(SIZE_HW), 1000):
        with opened(working_size_px=working_size_px) as reader:
            assert reader.size_hw == SIZE_HW
            np.testing.assert_array_equal(joined(list(reader)), joined(batches_of(opened())))
