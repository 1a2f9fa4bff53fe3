"""`mulde overlay` on run folders written by hand: frames, times, sizes and sound of the sources; clips of events."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mulde.datasets.base import Video
from mulde.errors import UsageError, VideoError
from mulde.events import Event, EventRegion, Reason
from mulde.media import content_hash, open_video
from mulde.pipeline.events.drawing import draw_overlay
from mulde.pipeline.events.tables import write_events
from mulde.pipeline.review.overlay import TIMELINE, run_overlay
from mulde.pipeline.scoring.frames import write_scores
from mulde.pipeline.scoring.pixel_maps import Heat
from mulde.pipeline.scoring.regions import write_regions
from mulde.records import RegionScores, ScoredVideo, ScoreTrack
from mulde.report.colours import shades
from mulde.settings_file import dump_toml, load_settings
from tests.media.media_samples import encode, overwrite_packets, write_images
from tests.media.test_writer import add_sound, sound_packets
from tests.pipeline.clips import QUIET

SIZE_HW = (96, 128)


def ground(count: int, size_hw: tuple[int, int] = SIZE_HW) -> list[np.ndarray]:
    """Frames of one grey level each, another from frame to frame."""
    return [np.full((*size_hw, 3), 60 + 5 * (i % 20), np.uint8) for i in range(count)]


def decoded(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, Fraction]:
    with open_video(path) as reader:
        batches = list(reader)
        images, index, times = (
            np.concatenate([getattr(b, f) for b in batches]) for f in ("images", "frame_index", "time_s")
        )
        return images, index, times, reader.rate


def track_of(path: Path, name: str, rate: Fraction | None = None) -> ScoreTrack:
    with open_video(path, frame_rate=rate) as reader:
        batches = list(reader)
    index, times = (np.concatenate([getattr(b, f) for b in batches]) for f in ("frame_index", "time_s"))
    score = np.where((index >= 10) & (index < 20), 8.0, 1.0)
    return ScoreTrack(name, index, times, score, score, {"velocity": score})


def boxes(name: str, index: np.ndarray, size_hw: tuple[int, int] = SIZE_HW) -> RegionScores:
    """One box in each frame, in the middle of frames of `size_hw`."""
    height, width = size_hw
    box = np.tile(np.array([width / 4, height / 4, width / 2, height / 2], np.float32), (len(index), 1))
    return RegionScores(name, size_hw, box, index, np.full(len(index), 6.0), np.full(len(index), 3), {})


def event(name: str, track: ScoreTrack) -> Event:
    reason = Reason(
        "velocity", "person is 3.1 × as fast as usual", region=EventRegion(15, (32, 24, 64, 48), 3, "person")
    )
    times = track.time_s
    return Event(name, 10, 20, float(times[10]), float(times[19]), 15, float(times[15]), 8.0, 0.01, reason)


def make_run(folder: Path, source: Path, names: list[str], *, with_digests: bool = True) -> Path:
    run = folder / "run"
    run.mkdir()
    (run / "settings.toml").write_text(dump_toml(load_settings()))
    events, digests = [], {}
    for name in names:
        path = next(p for p in source.iterdir() if p.stem == name)
        track = track_of(path, name)
        write_scores(ScoredVideo(track, 1.0, 0, 25.0), run / "scores")
        write_regions(boxes(name, track.frame_index), run / "regions")
        events.append(event(name, track))
        digests[name] = content_hash(path)
    write_events(events, run)
    alarm = {"levels": {"centred": {"alarm": 4.0}, "causal": {"alarm": 4.0}}}
    record = {"sources": [str(source)], "alarm": alarm, "video_sha256": digests if with_digests else {}}
    (run / "run.json").write_text(json.dumps(record))
    return run


def overlay(path: Path, target: Path, *changes: str, rate: Fraction | None = None, **found) -> ScoreTrack:
    track = track_of(path, "v", rate)
    regions = found.get("regions", boxes("v", track.frame_index))
    events = [event("v", track)] if len(track) > 20 else []
    draw_overlay(Video("v", "test", path, rate), track, regions, events, None, load_settings(overrides=list(changes)),
                 4.0, target, QUIET)  # fmt: skip
    return track


def test_a_copy_has_the_frames_times_size_rate_and_sound_of_its_source(tmp_path: Path) -> None:
    source = add_sound(encode(tmp_path / "bare.mp4", ground(30), rate=Fraction(30000, 1001)), tmp_path / "v.mp4", "aac")
    overlay(source, tmp_path / "out.mp4")
    (was, was_index, was_s, was_rate), (now, now_index, now_s, now_rate) = (
        decoded(source),
        decoded(tmp_path / "out.mp4"),
    )
    assert now.shape == was.shape == (30, 96, 128, 3)
    assert now_rate == was_rate == Fraction(30000, 1001)
    np.testing.assert_array_equal(now_index, was_index)
    np.testing.assert_allclose(now_s, was_s, atol=1e-6)
    free = (slice(None), slice(26, 60), slice(80, 120))  # where nothing is drawn
    np.testing.assert_allclose(now[free].mean(axis=(1, 2, 3))[:9], was[free].mean(axis=(1, 2, 3))[:9], atol=2)
    assert sound_packets(tmp_path / "out.mp4")[0] == sound_packets(source)[0]
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert [s.codec_context.name for s in file.streams] == ["h264", "aac"]


def test_a_variable_rate_is_kept(tmp_path: Path) -> None:
    stamps = np.cumsum([0, 40, 40, 100, 7, 250, *[35] * 19, 80]).tolist()
    source = encode(tmp_path / "v.mkv", ground(26), pts_ms=stamps)
    overlay(source, tmp_path / "out.mp4")
    _, _, now_s, _ = decoded(tmp_path / "out.mp4")
    np.testing.assert_allclose(now_s, np.array(stamps) / 1000, atol=2e-5)


def test_frames_that_cannot_be_decoded_leave_a_gap_in_time(tmp_path: Path) -> None:
    source = encode(tmp_path / "v.avi", ground(24), codec="mjpeg", pix_fmt="yuvj420p")
    overwrite_packets(source, [4, 5, 11])
    _, index, times_s, _ = decoded(source)
    overlay(source, tmp_path / "out.mp4")
    images, _, now_s, _ = decoded(tmp_path / "out.mp4")
    assert len(images) == len(index) < 24
    np.testing.assert_allclose(now_s, times_s, atol=1e-6)


def test_a_folder_of_frames_with_odd_sides_and_a_rate_of_its_own(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "v", ground(24, (95, 127)))
    overlay(folder, tmp_path / "out.mp4", rate=Fraction(10))
    images, _, times_s, rate = decoded(tmp_path / "out.mp4")
    assert (images.shape, rate, round(float(times_s[-1]), 6)) == ((24, 96, 128, 3), 10, 2.3)


def test_boxes_of_smaller_frames_are_drawn_in_full_size(tmp_path: Path) -> None:
    source = encode(tmp_path / "v.mp4", ground(3))
    regions = boxes("v", np.arange(3), (48, 64))
    overlay(source, tmp_path / "out.mp4", "video.working_size_px=64", regions=regions)
    images, *_ = decoded(tmp_path / "out.mp4")
    luma = images[0].mean(axis=2)
    assert luma[24:48, 32].mean() > luma[24:48, 20].mean() + 30  # its left side
    assert images.shape[1:3] == SIZE_HW


def test_a_video_that_fails_does_not_stop_the_others(tmp_path: Path, mulde) -> None:
    source = tmp_path / "footage"
    source.mkdir()
    for name in ("a", "b", "c", "d"):
        encode(source / f"{name}.mp4", ground(24))
    run = make_run(tmp_path, source, ["a", "b", "c", "d"])
    (source / "a.mp4").unlink()
    encode(source / "b.mp4", ground(25))
    code, _, err = mulde("overlay", run, "--quiet")
    assert code == 3
    assert "a: the video no longer exists: expected one of that name in" in err
    assert "b.mp4 is not the video that was scored" in err
    assert sorted(p.name for p in (run / "overlays").iterdir()) == ["c.mp4", "d.mp4"]
    (run / "overlays" / "d.mp4").unlink()
    assert mulde("overlay", run, "--video", "c", "--quiet")[0] == 0
    assert [p.name for p in (run / "overlays").iterdir()] == ["c.mp4"]
    with pytest.raises(UsageError, match="video z: expected one of a, b, c, d, got one without scores"):
        run_overlay(run, QUIET, only=["z"], clips=False, labels=None)
    with pytest.raises(UsageError, match="expected a data set with labels"):
        run_overlay(run, QUIET, only=[], clips=False, labels=str(source))


def test_a_source_that_is_gone_is_a_sentence(tmp_path: Path, mulde) -> None:
    source = tmp_path / "footage"
    source.mkdir()
    encode(source / "a.mp4", ground(24))
    run = make_run(tmp_path, source, ["a"])
    source.rename(tmp_path / "elsewhere")
    code, _, err = mulde("overlay", run, "--quiet")
    assert code == 1
    assert "got a path that does not exist" in err
    assert "a: the video no longer exists" in err


def test_frames_without_scores_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    source = encode(tmp_path / "v.mp4", ground(24))
    track = track_of(source, "v")
    short = ScoreTrack("v", track.frame_index[:20], track.time_s[:20], track.fused[:20], track.smoothed[:20])
    with pytest.raises(VideoError, match="v: frame 20 has no score"):
        draw_overlay(
            Video("v", "test", source), short, None, [], None, load_settings(), None, tmp_path / "o" / "v.mp4", QUIET
        )
    assert not list((tmp_path / "o").iterdir())


def test_clips_and_sheets_of_events(tmp_path: Path) -> None:
    source = tmp_path / "footage"
    source.mkdir()
    encode(source / "a.mp4", ground(40, (160, 1280)), rate=5)
    encode(source / "still.mp4", ground(30), rate=5)
    run = make_run(tmp_path, source, ["a", "still"])
    track = track_of(source / "a.mp4", "a")
    second = Event("a", 30, 40, 6.0, 7.8, 39, 7.8, 5.0, 0.2)
    write_events([event("a", track), second], run)
    outcome = run_overlay(run, QUIET, only=[], clips=True, labels=None)
    assert (outcome.done, outcome.failures) == (1, [])
    assert sorted(p.name for p in (run / "clips" / "a").iterdir()) == [
        "000015.mp4",
        "000015.png",
        "000039.mp4",
        "000039.png",
    ]
    images, _, times_s, rate = decoded(run / "clips" / "a" / "000015.mp4")
    assert (images.shape, rate, times_s[0]) == ((30, 80, 640, 3), 5, 0)  # frames 0 to 29: 2 s around 10 to 19
    assert len(decoded(run / "clips" / "a" / "000039.mp4")[0]) == 20  # frames 20 to 39
    content = (run / "clips" / "a" / "000015.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    sheet = cv2.imread(str(run / "clips" / "a" / "000015.png"))
    assert sheet.shape[1] > 3 * 360
    assert cv2.imread(str(run / TIMELINE)) is not None
    shutil.rmtree(run / "clips")
    run_overlay(run, QUIET, only=[], clips=True, labels=None, max_clips=1)
    assert sorted(p.name for p in (run / "clips" / "a").iterdir()) == ["000015.mp4", "000015.png"]


def test_a_long_event_is_cut_around_its_peak(tmp_path: Path) -> None:
    source = tmp_path / "footage"
    source.mkdir()
    encode(source / "a.mp4", ground(150), rate=5)
    run = make_run(tmp_path, source, ["a"])
    write_events([Event("a", 0, 150, 0.0, 29.8, 75, 15.0, 8.0, 0.1)], run)
    run_overlay(run, QUIET, only=["a"], clips=True, labels=None)
    images, *_ = decoded(run / "clips" / "a" / "000075.mp4")
    assert len(images) == 101  # 10 s on each side


@pytest.mark.parametrize("highest_normal", [1.0, None])
def test_where_a_pixel_model_finds_something_its_map_lies_over_the_picture(tmp_path: Path, highest_normal) -> None:
    """The middle of what is drawn, strength 0.5, is what normal frames reach; without that the highest is the end."""
    source = tmp_path / "videos"
    source.mkdir()
    encode(source / "a.mp4", ground(30))
    run = make_run(tmp_path, source, ["a"])
    maps = np.zeros((30, 2, 64, 64), np.float16)
    maps[12, 1, 32:, :32] = 1.0
    (run / "pixel_maps").mkdir()
    np.save(run / "pixel_maps/a.npy", maps)
    facts = {"maps": ["error", "gradient"], "num_frames": 30, "side": 64, "telling": "gradient",
             "highest_normal": highest_normal}  # fmt: skip
    (run / "pixel_maps/a.json").write_text(json.dumps(facts))
    assert run_overlay(run, QUIET, only=(), clips=False, labels=None).done == 1
    images = decoded(run / "overlays/a.mp4")[0].astype(float)
    strength = 0.5 if highest_normal else 1.0
    colour = shades(np.array(strength)).astype(float)
    quiet, hot = images[[11, 13]].mean(axis=0), images[12]
    share = 0.75 * strength
    inside, outside = np.s_[56:66, 8:28], np.s_[56:66, 100:120]  # below the header, above the curve, beside the box
    np.testing.assert_allclose(hot[outside], quiet[outside], atol=8)
    expected = quiet[inside] * (1 - share) + colour * share
    np.testing.assert_allclose(hot[inside].mean(axis=(0, 1)), expected.mean(axis=(0, 1)), atol=12)
    np.save(run / "pixel_maps/a.npy", maps[:20])
    (run / "pixel_maps/a.json").write_text(json.dumps(facts | {"num_frames": 20}))
    assert "30 frames" in run_overlay(run, QUIET, only=(), clips=False, labels=None).failures[0].reason


def test_frames_that_were_skipped_for_the_rate_show_the_map_of_the_one_before(tmp_path: Path) -> None:
    """Every second frame is described: that of frame 12 has number 6, and frame 13 shows it too."""
    maps = np.zeros((15, 1, 64, 64), np.float16)
    maps[6] = 1.0
    np.save(tmp_path / "a.npy", maps)
    facts = {"maps": ["gradient"], "num_frames": 15, "side": 64, "telling": "gradient", "highest_normal": 1.0,
             "frames": [[i, i + 1] for i in range(0, 30, 2)]}  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(facts))
    index = np.arange(30)
    heat = Heat.of(
        tmp_path, ScoreTrack("a", index, index / 25.0, index * 1.0, index * 1.0, {"prediction": index * 1.0})
    )
    assert heat is not None
    changed = []
    for row in range(30):
        image = np.full((64, 64, 3), 100, np.uint8)
        heat.paint(image, row)
        if (image != 100).any():
            changed.append(row)
    assert changed == [12, 13]
