"""What a SOURCE means.

Relatives that were looked for: ways to write the same folder (., .., links, slashes behind it); every case of train and
test, their long names, two of them, levels of cameras and sites, what lies outside; names that clash (two sources,
suffixes, case, accents); sources that are none (addresses, devices, patterns, Windows, data sets without ROOT).
"""

from __future__ import annotations

import os
import re

import av
import cv2
import pytest

from mulde.datasets.left_out import Reason
from mulde.datasets.registry import DATASETS
from mulde.datasets.sources import absolute_source, distinct_names, open_source, open_sources
from mulde.errors import UsageError
from mulde.media import open_video
from mulde.progress import Reporter
from tests.conftest import moving_square


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_one_file_is_one_video(tmp_path):
    footage = open_source(str(touch(tmp_path / "door.mp4")))
    assert [(v.name, v.path) for v in footage.all] == [("door", tmp_path / "door.mp4")]
    assert footage.split("train") == footage.split("test") == footage.all


def test_a_folder_of_frames_is_one_video_and_a_folder_of_videos_many(tmp_path):
    touch(tmp_path / "cam" / "b" / "1.png")
    touch(tmp_path / "cam" / "a.mp4")
    assert [v.name for v in open_source(str(tmp_path / "cam")).all] == ["a", "b"]
    assert [v.name for v in open_source(str(tmp_path / "cam" / "b")).all] == ["b"]


def test_train_and_test_make_a_data_set(tmp_path):
    touch(tmp_path / "train" / "a.mp4")
    touch(tmp_path / "test" / "b.mp4")
    for source in (str(tmp_path), f"folder:{tmp_path}"):
        footage = open_source(source)
        assert [v.name for v in footage.split("train")] == ["a"]
        assert [v.name for v in footage.split("test")] == ["b"]
        assert len(footage.all) == 2


def test_cameras_above_the_split_make_a_data_set_too(tmp_path):
    for name in ("cam1/train/a.mp4", "cam1/test/b.mp4", "cam2/train/a.mp4"):
        touch(tmp_path / name)
    for source in (str(tmp_path), f"folder:{tmp_path}"):
        footage = open_source(source)
        assert footage.dataset is not None
        assert [v.name for v in footage.split("train")] == ["cam1/a", "cam2/a"]
        assert [v.name for v in footage.split("test")] == ["cam1/b"]
        assert {v.dataset for v in footage.all} == {tmp_path.name}


def test_cameras_without_a_split_are_loose_videos(tmp_path):
    for name in ("cam1/a.mp4", "cam2/a.mp4"):
        touch(tmp_path / name)
    footage = open_source(str(tmp_path))
    assert footage.dataset is None
    assert [v.name for v in footage.split("train")] == ["cam1/a", "cam2/a"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: str(p / "none.mp4"), "expected a video, .* got a path that does not exist"),
        (lambda p: str(p), "got a folder without any"),
        (lambda p: f"ucsd-ped3:{p}", f"expected one of {', '.join(DATASETS)}, got 'ucsd-ped3'"),
        (lambda p: f"folder:{p / 'none'}", "nothing there"),
        (
            lambda p: "rtsp://10.0.0.1/live",
            "file or folder on this machine, got an address .rtsp.; streams .* not read",
        ),
        (lambda p: "s3://bucket/a.mp4", "got an address .s3."),
        (lambda p: f"file://{p}/a.mp4", f"expected a path, got an address. Try: {re.escape('/')}"),
        (lambda p: "/dev/null", "got a pipe, socket or device. Try: record it to a file"),
        (lambda p: f"{p}/*.mp4", "got a pattern that no file matches"),
        (lambda p: "ucsd-ped2", "got the name of a data set without its folder. Try: ucsd-ped2:ROOT"),
        (lambda p: "ucsd-ped2:", "expected ucsd-ped2:ROOT with the folder of the data set"),
        (lambda p: f"ucsd-ped3:{p}", "Try: ucsd-ped2:"),
        (lambda p: "C:\\footage", "got a path of Windows that is not there"),
        (lambda p: "\\\\nas\\footage", "got a path of Windows that is not there"),
        (lambda p: "nas:/volume1/x", "a path that does not exist, or the unknown data set 'nas'"),
        (lambda p: "", "an empty source"),
        (lambda p: "x" * 5000, "File name too long"),
        (lambda p: str(touch(p / "file") / "below.mp4"), "got a path that does not exist"),
    ],
)
def test_a_source_without_videos_is_a_sentence(tmp_path, make, sentence):
    with pytest.raises(UsageError, match=sentence):
        open_source(make(tmp_path))


def test_equal_names_from_two_folders_grow_by_the_folder(tmp_path):
    videos = [open_source(str(touch(tmp_path / cam / "1.mp4"))).all[0] for cam in ("x", "y")]
    assert [v.name for v in distinct_names(videos)[0]] == ["x/1", "y/1"]


def test_a_pattern_in_quotes_is_told_from_one_that_nothing_matches(tmp_path):
    touch(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match=r"got a pattern that 1 files match\. Try: leave out the quotes"):
        open_source(str(tmp_path / "*.mp4"))


def test_a_dead_link_is_named_with_its_target(tmp_path):
    (tmp_path / "a.mp4").symlink_to("gone.mp4")
    with pytest.raises(UsageError, match=r"got a link to gone\.mp4, which does not exist"):
        open_source(str(tmp_path / "a.mp4"))


@pytest.mark.parametrize("name", ["odd: name.mp4", "folder:x.mp4", "C:x.mp4", "~x.mp4", "a*.mp4", "file://x.mp4"])
def test_a_file_that_is_there_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / name)
    source = f"./{name}" if name.startswith("folder:") else name
    assert open_source(source).all[0].path.exists()


@pytest.mark.parametrize("name", ["clip.txt", "clip", "clip.gif", ".clip.mp4", "run/overlays/clip.mp4"])
def test_a_file_that_a_walk_leaves_out_can_be_named(tmp_path, name):
    footage = open_source(str(touch(tmp_path / name)))
    assert [video.path for video in footage.all] == [tmp_path / name]


@pytest.mark.parametrize("written", [".", "./", "../frames", "../frames/", "sub/..", "../link/../frames"])
def test_a_folder_of_frames_has_its_name_however_it_is_written(tmp_path, monkeypatch, written):
    touch(tmp_path / "frames" / "1.png")
    (tmp_path / "frames" / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "frames")
    monkeypatch.chdir(tmp_path / "frames")
    assert [video.name for video in open_source(written).all] == ["frames"]
    assert absolute_source(written) == str(tmp_path / "frames")


def test_a_link_names_what_it_leads_to(tmp_path):
    touch(tmp_path / "0001" / "1.png")
    (tmp_path / "front door").symlink_to("0001")
    source = str(tmp_path / "front door")
    for written in (source, f"{source}/", absolute_source(source)):
        assert [video.name for video in open_source(written).all] == ["front door"]


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("TRAIN", "test"), ("training", "Testing")])
def test_splits_are_known_in_any_case(tmp_path, train, test):
    touch(tmp_path / train / "a.mp4")
    touch(tmp_path / test / "incident.mp4")
    footage = open_source(str(tmp_path))
    assert [v.name for v in footage.split("train")] == ["a"]
    assert [v.name for v in footage.split("test")] == ["incident"]


@pytest.mark.parametrize("other", ["Train", "training"])
def test_two_folders_for_one_split_are_both_named(tmp_path, other):
    touch(tmp_path / "train" / "a.mp4")
    touch(tmp_path / other / "b.mp4")
    with pytest.raises(UsageError, match=r"expected one folder for the split train, got .*train"):
        open_source(str(tmp_path))


def test_sites_above_cameras_above_the_splits(tmp_path):
    for name in ("north/cam1/train/a.mp4", "north/cam1/Test/b.mp4", "south/cam2/train/a.mp4"):
        touch(tmp_path / name)
    footage = open_source(str(tmp_path))
    assert [v.name for v in footage.split("train")] == ["north/cam1/a", "south/cam2/a"]
    assert [v.name for v in footage.split("test")] == ["north/cam1/b"]


def test_a_folder_called_test_without_videos_deep_down_makes_no_split(tmp_path):
    touch(tmp_path / "code" / "test" / "x.py")
    touch(tmp_path / "demo" / "world" / "train" / "a.mp4")
    (tmp_path / "demo" / "world" / "world.json").write_text('{"generator": 2}')
    touch(tmp_path / "monday.mp4")
    footage = open_source(str(tmp_path))
    assert footage.dataset is None
    assert [video.name for video in footage.all] == ["monday"]


def test_what_lies_outside_the_splits_is_said(tmp_path):
    for name in ("train/a.mp4", "test/b.mp4", "val/c.mp4", "d.mp4", "labels.csv", "masks/b/0.png", "photo.jpg"):
        touch(tmp_path / name)
    left_out = {one.name: one.reason for one in open_source(str(tmp_path)).left_out}
    assert left_out == {"val/c.mp4": Reason.OUTSIDE, "d.mp4": Reason.OUTSIDE, "photo.jpg": Reason.PICTURE}


@pytest.mark.parametrize(("split", "there"), [("train", "test"), ("test", "train")])
def test_a_split_that_is_not_there_is_a_sentence(tmp_path, split, there):
    touch(tmp_path / there / "a.mp4")
    with pytest.raises(UsageError, match=f"expected videos in {split}/, got {there}/ alone"):
        open_sources([str(tmp_path)], split)


def opened_names(*paths, split=None):
    return [video.name for video in open_sources([str(path) for path in paths], split).videos]


def test_names_from_several_sources_grow_by_as_many_folders_as_it_takes(tmp_path):
    for recorder in ("01", "02"):
        touch(tmp_path / "nvr" / recorder / "12" / "front" / "33.10.mp4")
    touch(tmp_path / "nvr" / "02" / "13" / "front" / "34.mp4")
    assert opened_names(tmp_path / "nvr" / "01", tmp_path / "nvr" / "02") == [
        "01/12/front/33.10", "02/12/front/33.10", "13/front/34"
    ]  # fmt: skip
    for site in ("a", "b"):
        touch(tmp_path / site / "nvr" / "x" / "1.mp4")
    assert opened_names(tmp_path / "a" / "nvr", tmp_path / "b" / "nvr") == ["a/nvr/x/1", "b/nvr/x/1"]


def test_data_sets_of_equal_names_grow_too(tmp_path):
    for root in ("p", "q"):
        touch(tmp_path / root / "train" / "cam" / "a.mp4")
    assert opened_names(tmp_path / "p", tmp_path / "q", split="train") == ["p/train/cam/a", "q/train/cam/a"]
    touch(tmp_path / "p" / "test" / "cam" / "a.mp4")
    assert opened_names(tmp_path / "p") == ["train/cam/a", "test/cam/a"]


def test_files_that_differ_in_suffix_alone_keep_it(tmp_path):
    for name in ("a.mp4", "a.avi", "b.mp4"):
        touch(tmp_path / name)
    assert opened_names(tmp_path) == ["a.avi", "a.mp4", "b"]
    assert opened_names(tmp_path / "a.mp4", tmp_path / "a.avi", tmp_path / "b.mp4") == ["a.mp4", "a.avi", "b"]


def test_a_video_that_is_named_twice_is_taken_once_and_that_is_said(tmp_path):
    touch(tmp_path / "a.mp4")
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    opened = open_sources([str(tmp_path / name) for name in ("a.mp4", "", "./a.mp4", "link.mp4")])
    assert [video.name for video in opened.videos] == ["a"]
    assert {one.reason for one in opened.left_out} == {Reason.TWICE}
    assert len(opened.left_out) == 4


def test_names_that_are_one_file_on_some_disks_get_a_number(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for name in (composed, decomposed, "Cam", "cam", "cam (2)"):
        touch(tmp_path / f"{name}.mp4")
    names = opened_names(tmp_path)
    assert len(names) == 5
    assert sorted(names) == sorted(["Cam", "cam (2)", "cam (2) (2)", decomposed, f"{composed} (2)"])
    touch(tmp_path / "set" / "test" / "A.mp4")
    touch(tmp_path / "set" / "test" / "a.mp4")
    assert opened_names(tmp_path / "set") == ["A", "a"]  # labels may know them


def test_what_is_left_out_is_said_and_strict_refuses_what_may_have_been_wanted(tmp_path):
    lines: list[str] = []
    reporter = Reporter(quiet=True)
    reporter.warn = lines.append  # type: ignore[method-assign]
    touch(tmp_path / "a.mp4")
    touch(tmp_path / ".DS_Store")
    open_sources([str(tmp_path)]).report(reporter, strict=True)
    assert lines == []  # nothing that anybody wants
    touch(tmp_path / "folder.jpg")
    opened = open_sources([str(tmp_path)])
    opened.report(reporter)
    assert lines == ["left out: 1 picture beside videos: folder.jpg; 1 hidden or system entry: .DS_Store"]
    with pytest.raises(UsageError, match=r"left out: 1 picture beside videos: folder\.jpg\. Try: "):
        opened.report(reporter, strict=True)


def test_a_source_that_cannot_be_read_is_a_sentence(tmp_path, monkeypatch):
    touch(tmp_path / "a.mp4")

    def scandir(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match="expected a folder that can be read, got Permission denied"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [
        (".MTS", "mpegts", "libx264"),
        (".m2ts", "mpegts", "mpeg2video"),
        (".h264", "h264", "libx264"),
        (".265", "hevc", "libx265"),
        (".vob", "vob", "mpeg2video"),
        (".m2v", "mpeg2video", "mpeg2video"),
        (".mxf", "mxf", "mpeg2video"),
        (".asf", "asf", "mpeg4"),
        (".f4v", "mp4", "libx264"),
        (".3g2", "3g2", "mpeg4"),
        (".mjpeg", "mjpeg", "mjpeg"),
        (".ivf", "ivf", "libvpx"),
        (".nut", "nut", "mpeg4"),
    ],
)
def test_what_counts_as_a_video_can_be_read(tmp_path, suffix, container, codec):
    with av.open(str(tmp_path / f"a{suffix}"), "w", format=container) as written:
        stream = written.add_stream(codec, rate=25)
        stream.height, stream.width = 96, 128
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        for image in [*moving_square(6), None]:
            written.mux(stream.encode(None if image is None else av.VideoFrame.from_ndarray(image, format="rgb24")))
    (video,) = open_source(str(tmp_path)).all
    with open_video(video.path) as reader:
        assert sum(len(frames.images) for frames in reader) == 6


@pytest.mark.parametrize("suffix", [".webp", ".pgm", ".ppm", ".jpe"])
def test_what_counts_as_a_frame_can_be_read(tmp_path, suffix):
    for i, image in enumerate(moving_square(3)):
        assert cv2.imwrite(str(tmp_path / f"{i}{suffix}"), image[..., 0] if suffix == ".pgm" else image)
    (video,) = open_source(str(tmp_path)).all
    with open_video(video.path) as reader:
        assert sum(len(frames.images) for frames in reader) == 3


def test_empty_folders_of_splits_do_not_hide_the_videos_beside_them(tmp_path):
    """As an archive brings them, or a person who has begun to sort."""
    (tmp_path / "Test").mkdir()
    (tmp_path / "a.mp4").touch()
    footage = open_source(str(tmp_path))
    assert [video.name for video in footage.all] == ["a"]
    assert [one.name for one in footage.left_out] == ["Test"]
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(UsageError, match="expected video files or folders of frames"):
        open_source(str(tmp_path))
