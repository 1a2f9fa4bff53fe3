"""From a data set to pixels: what `open_video` delivers of its videos has the length that its labels want."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np

from mulde.datasets import open_dataset
from mulde.media import open_video

from .benchmark_copies import CAMPUS, mvtec_one, nwpu_campus, street_scene
from .dataset_copies import SIZE_HW, write_mp4


def decoded(video):
    with open_video(video.path, frame_rate=video.frame_rate) as reader:
        batches = list(reader)
    return reader, np.concatenate([batch.images for batch in batches])


def test_images_are_videos_of_one_frame(tmp_path):
    copy = mvtec_one(tmp_path)
    colour = np.random.default_rng(3).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    assert cv2.imwrite(str(copy.root / "test" / "broken_large" / "000.png"), colour[..., ::-1])
    dataset = open_dataset(copy.name, copy.root)
    for video in dataset.videos("test"):
        reader, images = decoded(video)
        assert (len(images), reader.num_frames_from_header) == (1, 1)
        assert dataset.labels(video, len(images)).anomalous.astype(int).tolist() == copy.truth[video.name]
    assert np.array_equal(decoded(dataset.videos("test")[0])[1][0], colour)


def test_video_files(tmp_path):
    copy = nwpu_campus(tmp_path)
    dataset = open_dataset(copy.name, copy.root)
    for video in dataset.videos("test"):
        frames = np.zeros((len(CAMPUS[video.name]), 32, 48, 3), np.uint8)
        write_mp4(video.path, frames, Fraction(25))
        reader, images = decoded(video)
        assert reader.rate == 25
        assert dataset.labels(video, len(images)).anomalous.astype(int).tolist() == CAMPUS[video.name]


def test_frame_folders_come_at_the_rate_of_the_benchmark(tmp_path):
    copy = street_scene(tmp_path)
    video = open_dataset(copy.name, copy.root).videos("test")[0]
    reader, images = decoded(video)
    assert (reader.rate, len(images)) == (15, 6)
