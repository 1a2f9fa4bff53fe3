"""Boxes of other programs for videos that are at hand, in place of the finders.

Relatives looked for: the same boxes by a finder and by import, in each form; frames of another size; other boxes under
the same name, and the same under another; damaged tables; models of boxes scored with others; rates that differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mulde import cli
from mulde.datasets.boxes.formats import GivenBoxes, changes_text
from mulde.datasets.boxes.writing import write_boxes
from mulde.media import content_hash
from mulde.pipeline.extraction.import_boxes import _in_frames
from mulde.pipeline.extraction.video import StoredVideo
from mulde.records import Regions
from mulde.store.imported import imported_boxes
from mulde.store.store import FeatureStore
from tests.pipeline.clips import clips, plan_of, run

FEATURES = 'features.extractors=["geometry", "velocity", "descriptor"]'
IMPORTED = ('regions.finders=["imported"]', 'regions.imported="theirs"')


@pytest.fixture
def mulde(tmp_path, capfd, monkeypatch):
    """Run the command line in a folder of its own: exit code, stdout, stderr in one line."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mulde", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(stop.value.code or 0), out, " ".join(err.split())

    return call


@pytest.fixture
def footage(tmp_path) -> Path:
    (tmp_path / "videos").mkdir()
    clips(tmp_path / "videos", 2)
    return tmp_path / "videos"


def found_by_motion(tmp_path: Path, *overrides: str) -> list[StoredVideo]:
    videos = clips(tmp_path / "videos", 2)
    return run(videos, plan_of(FEATURES, "tracks.tracker='bytetrack'", *overrides), tmp_path / "store").done


def write_mot(path: Path, stored: StoredVideo, first: int = 1, scale: float = 1) -> None:
    regions = stored.regions()
    track_id = stored.features("geometry").track_id
    lines = [
        ",".join([str(frame + first), str(track), *(f"{number:.9g}" for number in (x0, y0, x1 - x0, y1 - y0)), "1"])
        for frame, track, (x0, y0, x1, y1) in zip(
            regions.frame_index, track_id, regions.box_xyxy.astype(np.float64) * scale, strict=True
        )
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines))


def bring_in(mulde, *arguments: object) -> tuple[int, str, str]:
    return mulde("cache", "import", "videos", "--name", "theirs", "--boxes", "boxes", "--store", "store", *arguments)


def test_the_same_boxes_give_the_same_rows(tmp_path, mulde, footage):
    found = found_by_motion(tmp_path)
    write_mot(tmp_path / "boxes" / "clip0.txt", found[0])
    write_mot(tmp_path / "boxes" / "clip1.txt", found[1])
    code, _, err = bring_in(mulde, "--first-frame", 1)
    assert code == 0
    num_boxes = sum(len(stored.regions()) for stored in found)
    assert f"2 videos with {num_boxes} boxes, 2 of them with tracks; use them with --set" in err
    given = run(clips(footage, 2), plan_of(FEATURES, *IMPORTED, 'tracks.tracker="imported"'), tmp_path / "store")
    assert (given.computed, given.failures) == (2, [])
    for before, after in zip(found, given.done, strict=True):
        for name in ("geometry", "velocity", "descriptor"):
            theirs, ours = after.features(name), before.features(name)
            assert len(ours) > 10
            assert np.array_equal(theirs.frame_index, ours.frame_index)
            assert np.array_equal(theirs.box_xyxy, ours.box_xyxy)
            assert np.array_equal(theirs.track_id, ours.track_id)
            assert np.array_equal(theirs.values, ours.values)


def test_boxes_are_scaled_with_the_frames(tmp_path, mulde, footage):
    small = found_by_motion(tmp_path, "video.working_size_px=64")
    for stored in small:
        write_mot(tmp_path / "boxes" / f"{stored.video.name}.txt", stored, first=0, scale=2)
    code, _, _ = bring_in(mulde, "--first-frame", 0, "--set", "video.working_size_px=64")
    assert code == 0
    settings = (FEATURES, *IMPORTED, "video.working_size_px=64")
    given = run(clips(footage, 2), plan_of(*settings), tmp_path / "store")
    for before, after in zip(small, given.done, strict=True):
        assert np.array_equal(after.features("geometry").box_xyxy, before.features("geometry").box_xyxy)
        assert np.array_equal(after.features("velocity").values, before.features("velocity").values)
    full = run(clips(footage, 2), plan_of(FEATURES, *IMPORTED), tmp_path / "store")
    assert [failure.reason for failure in full.failures] == [
        f"no boxes 'theirs' of clip{i} in {tmp_path / 'store'}. Try: mulde cache import --boxes" for i in range(2)
    ]


def test_other_boxes_under_a_name_make_other_rows(tmp_path, mulde, footage):
    found = found_by_motion(tmp_path)[0]
    write_mot(tmp_path / "theirs.txt", found)
    arguments = ("cache", "import", "videos/clip0.mp4", "--name", "theirs", "--store", "store")
    assert mulde(*arguments, "--boxes", "theirs.txt", "--first-frame", 1)[0] == 0
    plan, video = plan_of(FEATURES, *IMPORTED), clips(footage, 1)
    assert run(video, plan, tmp_path / "store").computed == 1
    write_boxes(tmp_path / "five.parquet", found.regions().select(np.arange(5)), np.arange(5))
    code, _, err = mulde(*arguments, "--boxes", "five.parquet")
    assert code == 1
    assert "boxes 'theirs' of this video are in the store already. Try: --replace" in err
    assert mulde(*arguments, "--boxes", "five.parquet", "--replace")[0] == 0
    again = run(video, plan, tmp_path / "store")
    assert (again.computed, len(again.done[0].features("velocity"))) == (1, 5)
    assert again.done[0].features("geometry").track_id is None
    assert mulde(*arguments, "--boxes", "theirs.txt", "--first-frame", 1, "--replace")[0] == 0
    assert run(video, plan, tmp_path / "store").reused == 1  # the rows of the first file are there still


def test_a_damaged_table_of_boxes_is_a_sentence(tmp_path, mulde, footage):
    write_mot(tmp_path / "boxes" / "clip0.txt", found_by_motion(tmp_path)[0])
    write_mot(tmp_path / "boxes" / "clip1.txt", found_by_motion(tmp_path)[1])
    assert bring_in(mulde, "--first-frame", 1)[0] == 0
    video = clips(footage, 1)
    table = FeatureStore(tmp_path / "store").path(imported_boxes("theirs", content_hash(video[0].path))["regions"])
    whole = table.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 1
    for content in (whole[:-20], bytes(flipped)):
        table.write_bytes(content)
        (failure,) = run(video, plan_of(FEATURES, *IMPORTED), tmp_path / "store").failures
        assert "theirs" in failure.reason or "damaged" in failure.reason
    code, _, err = bring_in(mulde, "--first-frame", 1)
    assert (code, err.count("are in the store already")) == (3, 2)  # of the other video, and in the summary
    assert run(video, plan_of(FEATURES, *IMPORTED), tmp_path / "store").failures == []


def test_boxes_in_frames_that_cannot_be_decoded_are_left_out(tmp_path):
    boxes = np.array([[0, 0, 5, 5]] * 3, np.float32)
    regions = Regions(boxes, np.array([1, 2, 4]), np.ones(3, np.float32), np.zeros(3, np.int64))
    given = _in_frames(GivenBoxes(regions, np.arange(3), {"rows": 3}), np.array([0, 1, 3, 4]), 0.5)
    assert given.regions.frame_index.tolist() == [1, 4]
    assert given.regions.box_xyxy.tolist() == [[0, 0, 2.5, 2.5]] * 2
    assert given.track_id.tolist() == [0, 2]
    assert changes_text([given.changes]) == "of 3 boxes 1 in frames that cannot be decoded, left out"


def test_a_model_of_imported_boxes_asks_for_such(tmp_path, mulde, footage):
    for stored in found_by_motion(tmp_path):
        write_mot(tmp_path / "boxes" / f"{stored.video.name}.txt", stored)
    assert bring_in(mulde, "--first-frame", 1)[0] == 0
    train = [f"--set={change}" for change in (*IMPORTED, 'features.extractors=["geometry"]', "fusion.folds=1")]
    train += ['--set=density.method="neighbours"', "--store", "store"]
    assert mulde("train", "videos", "--out", "run", *train)[0] == 0
    score = ("score", "videos", "--model", "run/model.safetensors", "--store", "store", "--out")
    code, _, err = mulde(*score, "a", '--set=regions.finders=["motion"]')
    assert code == 2
    assert "setting regions.finders cannot be changed for scoring" in err
    code, _, err = mulde(*score, "b", "--set=regions.imported=others")
    assert code == 1
    assert "regions.finders[0].boxes: trained with theirs, now others; scores may shift slightly" in err
    assert "no boxes 'others' of clip0" in err
    assert mulde(*score, "s")[0] == 0
    regions = pd.read_parquet("s/regions/clip0.parquet")
    assert len(regions) == len(Path("boxes/clip0.txt").read_text().splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--boxes", "boxes"], 2, "clip0.txt: expected --first-frame 0 or 1, the number that it gives to the first"),
        (["--boxes", "boxes", "--first-frame", "2"], 2, "less than or equal to 1"),
        (["--boxes", "boxes", "--from", "boxes"], 2, "expected --from with features or --boxes with boxes, got both"),
        ([], 2, "expected --from with features or --boxes with boxes, got neither"),
        (["--from", "boxes", "--first-frame", "1"], 2, "--first-frame has no effect: expected --boxes beside it"),
        (["--boxes", "gone"], 2, "--boxes gone: expected a folder with <video>.txt or .json or .parquet"),
        (["--boxes", "boxes/clip0.txt", "--first-frame", "1"], 2, "expected a folder, for 2 videos, got a file"),
        (
            ["--boxes", "boxes", "--first-frame", "0"],
            1,
            "frame of row 1: expected a whole number from 0 to 19",
        ),
        (["--boxes", "boxes", "--first-frame", "1"], 3, "clip1.txt or clip1.json or clip1.parquet, got nothing"),
        (["--boxes", "boxes", "--first-frame", "1", "--name", "A b"], 2, "setting regions.imported"),
        (["--boxes", "boxes", "--first-frame", "1", "--set", "regions.imported=x"], 2, "has no effect on mulde cache"),
    ],
)
def test_what_cannot_be_imported_is_a_sentence(tmp_path, mulde, footage, arguments, code, sentence):
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "clip0.txt").write_text("20,1,5,5,10,10,1\n")
    ended, _, err = mulde("cache", "import", "videos", "--name", "theirs", "--store", "store", *arguments)
    assert ended == code
    assert sentence in err
