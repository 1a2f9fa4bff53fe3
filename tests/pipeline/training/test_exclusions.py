"""What is left out of a training is neither learnt from nor calibrated on, and a bad list of it is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulde.datasets.base import Video
from mulde.errors import FitError, UsageError
from mulde.files import write_csv
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.training_record import FrameRange
from mulde.pipeline.training.exclusions import Exclusions, kept, read_exclusions
from mulde.pipeline.training.folds import split_folds
from mulde.settings_file import load_settings
from mulde.store.store import FeatureStore


def video(name: str, num_frames: int = 100) -> StoredVideo:
    frames = np.arange(num_frames)
    store = FeatureStore(Path("nowhere"))
    return StoredVideo(Video(name, "train", Path(name)), frames, frames / 25, Fraction(25), (96, 128), store, {})


VIDEOS = [video("a"), video("b", 50), video("dir/ü c")]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "out.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_ranges_are_merged_and_sorted(tmp_path):
    path = written(tmp_path, "video,start_frame,end_frame\nb,0,50\na,30,40\na,10,20\na,15,25\na,40,41\n")
    left_out = read_exclusions(path, VIDEOS)
    assert left_out.ranges == {"a": ((10, 25), (30, 41)), "b": ((0, 50),)}
    assert left_out.ranges_of("dir/ü c") == ()
    assert left_out.as_record()[1] == FrameRange(video="a", start_frame=30, end_frame=41)


@pytest.mark.parametrize("mark", ["yes", "YES", "true", "1", "x", " yes "])
def test_where_rows_can_be_marked_only_marked_ones_count(tmp_path, mark):
    """Columns in any order, further ones, a byte order mark, spaces: what spreadsheets make of the table."""
    rows = f"\ufeffleave_out, end_frame,start_frame ,note,video\n{mark},20,10,,dir/ü c\n,30,20,,a\nno,9,1,,gone\n"
    assert read_exclusions(written(tmp_path, rows), VIDEOS).ranges == {"dir/ü c": ((10, 20),)}


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "-1", "@x", "'=x"])
def test_a_video_whose_name_is_a_formula_is_found(tmp_path, name):
    frame = pd.DataFrame({"video": [name], "start_frame": [1], "end_frame": [2]})
    write_csv(frame, tmp_path / "out.csv")
    assert read_exclusions(tmp_path / "out.csv", [video(name)]).ranges == {name: ((1, 2),)}


def test_semicolons_of_a_spreadsheet_are_read(tmp_path):
    path = written(tmp_path, "video;start_frame;end_frame\na;1;2\n")
    assert read_exclusions(path, VIDEOS).ranges == {"a": ((1, 2),)}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected video,start_frame,end_frame, got an empty file"),
        ("video,start_frame\na,1\n", "expected video,start_frame,end_frame, got video,start_frame"),
        ("video,start_frame,end_frame\n", "expected a row per frame range, got none among 0 rows"),
        ("video,start_frame,end_frame,leave_out\na,1,2,\n", "expected rows with leave_out=yes, got none among 1 rows"),
        ("video,start_frame,end_frame,leave_out\na,1,2,maybe\n", "line 2: leave_out: expected yes, .* got 'maybe'"),
        (
            "video,start_frame,end_frame\nd,1,2\n",
            r"line 2: video: expected a training video \(a, b, dir/ü c\), got 'd'",
        ),
        (
            "video,start_frame,end_frame\na,1,2\na,2.5,3\n",
            "line 3: range of a: expected two whole .* got '2.5' and '3'",
        ),
        ("video,start_frame,end_frame\nb,1\n", "expected two whole frame numbers, got '1' and ''"),
        ("video,start_frame,end_frame\nb,1,51\n", "expected 0 <= start_frame < end_frame <= 50, got 1 and 51"),
        ("video,start_frame,end_frame\nb,0," + "9" * 400 + "\n", "two whole frame numbers"),
        ("video,start_frame,end_frame\n" + "b" * 140_000, "line 2: not CSV"),
        ("video,start_frame,end_frame\nb,-1,5\n", "got -1 and 5"),
        ("video,start_frame,end_frame\nb,5,5\n", "got 5 and 5"),
    ],
)
def test_what_cannot_be_left_out_is_refused_with_a_sentence(tmp_path, text, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_exclusions(written(tmp_path, text), VIDEOS)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_exclusions(tmp_path / "none.csv", VIDEOS)


def test_of_many_videos_a_few_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"\(v0, v1, v2, v3, v4 and 3 more\)"):
        read_exclusions(written(tmp_path, "video,start_frame,end_frame\nx,1,2\n"), [video(f"v{i}") for i in range(8)])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=4), st.sets(st.integers(0, 40)))
def test_kept_frames_lie_in_no_range(drawn, frames):
    flags = np.zeros(50, bool)
    for start, length in drawn:
        flags[start : start + length] = True
    edges = np.flatnonzero(np.diff(np.r_[0, flags, 0]))
    index = np.array(sorted(frames), np.int64)
    ranges = tuple(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    assert kept(index, ranges).tolist() == [not any(a <= f < b for a, b in ranges) for f in index]


def folds(videos: list[StoredVideo], left_out: Exclusions, count: int):
    settings = load_settings(overrides=[f"fusion.folds={count}"])
    return split_folds(videos, settings.fusion, 0, left_out)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("num_videos", [1, 2, 5])
def test_every_frame_that_is_left_is_fitted_on_or_held_out_and_no_other(count, num_videos):
    videos = [video(f"v{i}") for i in range(num_videos)]
    left_out = Exclusions({"v0": ((0, 10), (40, 60)), "v1": ((0, 100),)})
    wanted = {
        (v.video.name, f)
        for v in videos
        for f in range(100)
        if kept(np.array([f]), left_out.ranges_of(v.video.name))[0]
    }
    made = folds(videos, left_out, count)
    held = [(share.name, f) for fold in made for share in fold.heldout for f in share.frame_index]
    assert len(held) == len(set(held))
    for fold in made:
        sides = [{(s.name, f) for s in side for f in s.frame_index} for side in (fold.fitting, fold.heldout)]
        assert sides[0] | sides[1] == wanted
        assert not sides[0] & sides[1]
    if count > 1:
        assert set(held) == wanted
    names = {share.name for fold in made for share in fold.heldout}
    if num_videos == 5:
        assert len(made) == min(count, 4)
        assert "v1" not in names


def test_nothing_left_out_leaves_the_folds_as_they_were_without_the_option():
    cut = folds([video("a")], Exclusions(), 4)
    assert [fold.heldout[0].label for fold in cut] == ["a 0-25", "a 25-50", "a 50-75", "a 75-100"]
    order = np.random.default_rng(0).permutation(5)
    drawn = [
        [share.label for share in fold.heldout] for fold in folds([video(f"v{i}") for i in range(5)], Exclusions(), 2)
    ]
    assert drawn == [[f"v{i}" for i in sorted(order[start::2])] for start in range(2)]


def test_a_gap_cuts_a_share_in_pieces():
    (whole,) = [s for fold in folds([video("a"), video("b")], Exclusions({"a": ((30, 40), (90, 100))}), 2)
                for s in fold.heldout if s.name == "a"]  # fmt: skip
    assert [(piece.label, len(piece.frame_index)) for piece in whole.pieces()] == [("a 0-30", 30), ("a 40-90", 50)]
    one = folds([video("a")], Exclusions({"a": ((45, 55),)}), 2)
    assert [[p.label for s in fold.heldout for p in s.pieces()] for fold in one] == [["a 0-45"], ["a 55-100"]]


def test_with_everything_left_out_nothing_is_trained():
    with pytest.raises(FitError, match="got 2 with every frame excluded"):
        folds([video("a"), video("b")], Exclusions({"a": ((0, 100),), "b": ((0, 100),)}), 2)
