"""Files of boxes that other programs write, and folders of them as videos.

Relatives looked for: each form of file with the same boxes; frames from 0 and from 1, and one taken for the other;
boxes that leave the frame, have no area, are not finite or come twice; files that are cut, huge, deep, not text, or
name frames, images and categories that are not there.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulde.datasets import open_dataset
from mulde.datasets.boxes import formats, rows
from mulde.datasets.boxes.formats import changes_text, read_boxes
from mulde.datasets.boxes.writing import BoxesVideo, write_boxes, write_boxes_folder
from mulde.errors import RecordError, UsageError, VideoError
from mulde.records import BoxesAlone, Regions

FACTS = BoxesAlone((100, 200), 10, Fraction(25))
FROM_1 = BoxesAlone((100, 200), 10, Fraction(25), first_frame=1)
BOXES = [[10, 20, 30, 60], [50.5, 20, 80, 90.25], [11, 20, 31, 60]]  # corners
FRAMES, TRACKS, CONFIDENCES = [0, 0, 9], [4, 7, 4], [0.5, 1, 0.25]


def mot(first: int) -> str:
    lines = [
        f"{frame + first},{track},{x0},{y0},{x1 - x0},{y1 - y0},{sure},-1,-1,-1"
        for frame, track, (x0, y0, x1, y1), sure in zip(FRAMES, TRACKS, BOXES, CONFIDENCES, strict=True)
    ]
    return "\n".join(reversed(lines)) + "\n\n"  # in any order


def coco() -> dict:
    """By hand, as the annotation tools write it: images and categories with ids of their own."""
    return {
        "info": {"description": "boxes of one video"},
        "images": [
            {"id": 17, "file_name": "000000.jpg", "width": 200, "height": 100, "frame_id": 0, "video_id": 1},
            {"id": 18, "file_name": "000009.jpg", "width": 200, "height": 100, "frame_id": 9, "video_id": 1},
        ],
        "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 17, "category_id": 1, "bbox": [10, 20, 20, 40], "track_id": 4, "score": 0.5},
            {"id": 2, "image_id": 17, "category_id": 3, "bbox": [50.5, 20, 29.5, 70.25], "track_id": 7},
            {"id": 3, "image_id": 18, "category_id": 1, "bbox": [11, 20, 20, 40], "instance_id": 4, "score": 0.25},
        ],
    }


def saved(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def table(**columns: object) -> pa.Table:
    corners = {name: np.array(BOXES, np.float32)[:, i] for i, name in enumerate(("x0", "y0", "x1", "y1"))}
    return pa.table({"frame_index": FRAMES, **corners, **columns})


def check_the_boxes(given: formats.GivenBoxes, classes: list[int]) -> None:
    order = [0, 1, 2] if given.track_id[0] == 4 else [1, 0, 2]
    assert given.regions.box_xyxy.tolist() == [BOXES[i] for i in order]
    assert given.regions.frame_index.tolist() == FRAMES
    assert given.track_id.tolist() == [TRACKS[i] for i in order]
    assert given.regions.confidence.tolist() == [CONFIDENCES[i] for i in order]
    assert given.regions.class_id.tolist() == [classes[i] for i in order]
    assert given.changes == {"rows": 3}


@pytest.mark.parametrize(("first", "facts"), [(0, FACTS), (1, FROM_1)])
def test_mot_text_from_0_and_from_1(tmp_path, first, facts):
    check_the_boxes(read_boxes(saved(tmp_path, "a.txt", mot(first)), facts), [0, 0, 0])


def test_coco_json(tmp_path):
    check_the_boxes(read_boxes(saved(tmp_path, "a.json", coco()), FACTS), [0, 1, 0])


def test_coco_json_counts_by_the_ids_of_images_where_these_have_no_frame(tmp_path):
    data = coco()
    for image, number in zip(data["images"], (1, 10), strict=True):
        image["id"] = number
        del image["frame_id"]
    for annotation, number in zip(data["annotations"], (1, 1, 10), strict=True):
        annotation["image_id"] = number
    check_the_boxes(read_boxes(saved(tmp_path, "a.json", data), FROM_1), [0, 1, 0])


def test_a_list_of_detections(tmp_path):
    detections = [
        {"image_id": frame, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": sure}
        for frame, category, (x0, y0, x1, y1), sure in zip(FRAMES, (1, 3, 1), BOXES, CONFIDENCES, strict=True)
    ]
    given = read_boxes(saved(tmp_path, "a.json", detections), FACTS)
    assert given.regions.box_xyxy.tolist() == BOXES
    assert given.track_id.tolist() == [-1, -1, -1]
    assert given.regions.class_id.tolist() == [0, 2, 0]


def test_parquet_as_mulde_writes_boxes(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(table(confidence=np.float32(CONFIDENCES), class_id=[0, 2, 0], track_id=TRACKS), path)
    check_the_boxes(read_boxes(path, FACTS), [0, 2, 0])
    pq.write_table(table(anomaly_score=[1.0, 2.0, 3.0]), path)  # the boxes of a run
    given = read_boxes(path, FACTS)
    assert (given.track_id.tolist(), given.regions.confidence.tolist()) == ([-1] * 3, [1] * 3)


def test_what_is_written_is_read_to_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 90, (50, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 9, (50, 2))], axis=1).astype(np.float32)
    frames, track_id = np.sort(rng.integers(0, 10, 50)), np.arange(50)
    regions = Regions(boxes, frames, rng.random(50, np.float32), rng.integers(0, 80, 50))
    write_boxes(tmp_path / "a.parquet", regions, track_id)
    given = read_boxes(tmp_path / "a.parquet", FACTS)
    for name, values in vars(given.regions).items():
        assert np.array_equal(values, getattr(regions, name)), name
    assert np.array_equal(given.track_id, track_id)


def test_a_file_without_boxes(tmp_path):
    for path in (saved(tmp_path, "a.txt", ""), saved(tmp_path, "a.json", {"images": [], "annotations": []})):
        given = read_boxes(path, FACTS)
        assert (len(given.regions), given.track_id.shape) == (0, (0,))


def test_classes_of_mot16_count_from_1(tmp_path):
    given = read_boxes(saved(tmp_path, "a.txt", "0,1,10,10,5,5,1,1,0.9\n0,2,20,10,5,5,1,3,0.9\n"), FACTS)
    assert given.regions.class_id.tolist() == [0, 2]


def test_what_is_cut_and_left_out_is_counted(tmp_path):
    lines = [
        "0,1,-5,10,20,20,1",  # cut on the left
        "0,2,190,90,20,20,1",  # cut in the corner
        "0,3,0,0,200,100,1",  # just fits
        "0,4,200,10,20,20,1",  # outside
        "0,5,-30,10,20,20,1",  # outside
        "0,6,10,10,0,20,1",  # flat
        "0,7,10,10,20,-4,1",  # flat
        "0,8,nan,10,20,20,1",
        "0,9,10,inf,20,20,1",
        "0,10,10,10,20,20,nan",
        "1,1,10,10,20,20,0.5",
        "1,1,50,10,20,20,0.75",  # the surer one of its track
        "1,-1,10,10,20,20,-1",  # on no track, and of no stated confidence
        "1,-1,90,10,20,20,3",
    ]
    given = read_boxes(saved(tmp_path, "a.txt", "\n".join(lines)), FACTS)
    assert given.regions.box_xyxy.tolist() == [
        [0, 10, 15, 30], [190, 90, 200, 100], [0, 0, 200, 100],
        [50, 10, 70, 30], [10, 10, 30, 30], [90, 10, 110, 30],
    ]  # fmt: skip
    assert given.track_id.tolist() == [1, 2, 3, 1, -1, -1]
    assert given.regions.confidence.tolist() == [1, 1, 1, 0.75, 1, 1]
    assert changes_text([given.changes, {"rows": 1000, "cut": 1000}]) == (
        "of 1,014 boxes 1,002 cut at the edge of the frame; 2 outside of the frame, left out; "
        "2 without area, left out; 3 not finite, left out; "
        "1 of a track that has a surer box in the same frame, left out; "
        "1 with a confidence outside of 0 to 1, which is brought to its end"
    )
    assert changes_text([{"rows": 3}]) == ""


@pytest.mark.parametrize(
    ("text", "facts", "sentence"),
    [
        (
            mot(0),
            FROM_1,
            r"row 2: expected a whole number from 1 to 10, of 10 frames that count from 1, got 0 \(2 such",
        ),
        (
            mot(1),
            FACTS,
            "row 1: expected a whole number from 0 to 9, of 10 frames that count from 0, got 10. Try: first_",
        ),
        ("-1,1,5,5,5,5,1", FACTS, "got -1$"),
        ("10,1,5,5,5,5,1\n0,1,5,5,5,5,1", FACTS, "got 10$"),
        ("0.5,1,5,5,5,5,1", FACTS, "got 0.5$"),
        ("nan,1,5,5,5,5,1", FACTS, "got nan$"),
        ("1e300,1,5,5,5,5,1", FACTS, "got 1.0000000000000001e\\+300$"),
        ("0,1.5,5,5,5,5,1", FACTS, "track id of row 1: expected a whole number, got 1.5"),
        ("0,inf,5,5,5,5,1", FACTS, "track id of row 1: expected a whole number, got inf"),
        ("frame,id,left,top,width,height\n0,1,5,5,5,5", FACTS, "line 1: expected frame,id,left,.* got 'frame,id"),
        ("0,1,5,5,5,5,1\n\n0,2,5,5,five,5,1", FACTS, "line 3: expected .* got '0,2,5,5,five,5,1'"),
        ("0,1,5,5,5,5,1\n0,2,5,5", FACTS, "line 2: expected .* got '0,2,5,5'"),
        ("0 1 5 5 5 5 1", FACTS, "line 1: expected frame,id"),
        ("0,1,5,5,5", FACTS, "line 1: expected frame,id"),
        ("0,1,5,\0,5,5", FACTS, "is not text"),
    ],
)
def test_text_that_cannot_be_true_is_a_sentence(tmp_path, text, facts, sentence):
    with pytest.raises(VideoError, match=sentence):
        read_boxes(saved(tmp_path, "a.txt", text), facts)


def changed(**changes: object) -> dict:
    return {**coco(), **changes}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("[1, 2", "is not JSON"),
        ("[" * 5000, "nested too deep|is not JSON"),
        ("3", "or a list of detections, got something else"),
        ([1, 2], "or a list of detections, got something else"),
        ([{"image_id": 0, "bbox": [1, 2, 3]}], r"annotation 1: expected \"bbox\": .*, got \[1, 2, 3\]"),
        ([{"image_id": 0, "bbox": [1, 2, 3, "4"]}], "annotation 1: expected"),
        ([{"image_id": "0", "bbox": [1, 2, 3, 4]}], "annotation 1: expected \"image_id\": a number, got '0'"),
        ([{"image_id": True, "bbox": [1, 2, 3, 4]}], "annotation 1: expected"),
        ([{"image_id": 10**39, "bbox": [1, 2, 3, 4]}], "frame of row 1: expected"),
        ('[{"image_id": 0, "bbox": [1, 2, NaN, 4]}]', "NaN is no number"),
        (changed(images=None), "got no list of images"),
        (changed(annotations=None), "got something else"),
        (changed(annotations=[{"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4]}]), "the id of an image .* got 5"),
        (
            changed(annotations=[{"image_id": 17, "category_id": 9, "bbox": [1, 2, 3, 4]}]),
            "a category of the file, got 9",
        ),
        (changed(annotations=[{"image_id": 17, "bbox": [1, 2, 3, 4]}]), 'expected "category_id"'),
        (
            changed(images=[{"id": 1, "video_id": 1}, {"id": 2, "video_id": 2}]),
            "the images of one video, got those of 2",
        ),
        (changed(images=[{"id": 1}, {"id": 1}]), "image 2: expected an id of its own, got 1 once more"),
        (changed(images=[{"id": 1, "width": 640, "height": 360}]), "expected 200 x 100 pixels, got 640 x 360"),
    ],
)
def test_json_that_cannot_be_true_is_a_sentence(tmp_path, data, sentence):
    with pytest.raises(VideoError, match=sentence):
        read_boxes(saved(tmp_path, "a.json", data), FACTS)


def test_damaged_tables_are_sentences(tmp_path):
    path = tmp_path / "a.parquet"
    for content in (b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", mot(0).encode()):
        path.write_bytes(content)
        with pytest.raises(VideoError, match="cannot be read"):
            read_boxes(path, FACTS)
    pq.write_table(table().drop_columns(["y1"]), path)
    with pytest.raises(VideoError, match="a column y1"):
        read_boxes(path, FACTS)
    pq.write_table(table(class_id=["a", "b", "c"]), path)
    with pytest.raises(VideoError, match="class_id"):
        read_boxes(path, FACTS)


def test_too_many_boxes_are_refused_in_every_form(tmp_path, monkeypatch):
    pq.write_table(table(), tmp_path / "a.parquet")
    files = [saved(tmp_path, "a.txt", mot(0)), saved(tmp_path, "a.json", coco()), tmp_path / "a.parquet"]
    for module in (rows, formats, __import__("mulde.datasets.boxes.coco", fromlist=["coco"])):
        monkeypatch.setattr(module, "MAX_BOXES", 2)
    for path in files:
        with pytest.raises(VideoError, match="at most 2 boxes in a video"):
            read_boxes(path, FACTS)


def test_a_pipe_and_a_huge_file_are_refused_at_once(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.txt")
    os.truncate(saved(tmp_path, "b.txt", ""), 2**40)
    os.truncate(saved(tmp_path, "b.json", ""), 2**40)
    for name, sentence in (("a.txt", "got a pipe"), ("b.txt", "too large to read"), ("b.json", "too large to read")):
        with pytest.raises(VideoError, match=sentence):
            read_boxes(tmp_path / name, FACTS)


def test_another_kind_of_file(tmp_path):
    with pytest.raises(VideoError, match=r"expected a file of boxes, .txt or .json or .parquet, got .csv"):
        read_boxes(saved(tmp_path, "a.csv", mot(0)), FACTS)


HEADER = "video,width,height,frame_rate,frames,first_frame\n"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("", "header: expected a column video"),
        ("video,width,height,frame_rate,frames\ntrain/a,200,100,25,10\n", "header: expected a column first_frame"),
        (HEADER, "expected a line for each file of boxes, got none for train/a"),
        (HEADER + "train/a,200,100,25,10,\n", "first_frame: expected 0 or 1, .* got ''"),
        (HEADER + "train/a,200,100,25,10,2\n", "first_frame: expected 0 or 1"),
        (HEADER + "train/a,200,100,25,ten,1\n", "line 2: expected whole numbers of width"),
        (HEADER + "train/a,200,100,0,10,1\n", "line 2: frame rate: expected above 0"),
        (HEADER + "train/a,200,100,1/0,10,1\n", "line 2: expected whole numbers"),
        (HEADER + "train/a,0,100,25,10,1\n", "line 2: size of frames: expected 1 to 32,768 pixels a side, got 0 x 100"),
        (HEADER + "train/a,200,100,25,1000000000,1\n", "line 2: number of frames: expected 1 to 10,000,000"),
        (HEADER + "train/b,200,100,25,10,1\n", "line 2: video: expected a file of boxes .* as train/a, got 'train/b'"),
        (HEADER + 2 * "train/a,200,100,25,10,1\n", "line 3: video: .* which has a line already"),
    ],
)
def test_what_describes_the_videos_is_checked(tmp_path, table, sentence):
    (tmp_path / "train").mkdir()
    saved(tmp_path / "train", "a.txt", mot(1))
    saved(tmp_path, "videos.csv", table)
    with pytest.raises(UsageError, match=sentence):
        open_dataset("boxes", tmp_path)


def test_two_files_of_one_video_and_other_files(tmp_path):
    (tmp_path / "train").mkdir()
    saved(tmp_path / "train", "a.txt", mot(1))
    saved(tmp_path / "train", "clip.mp4", "")
    saved(tmp_path, "videos.csv", HEADER + "train/a,200,100,30000/1001,10,1\n")
    dataset = open_dataset("boxes", tmp_path)
    (video,) = dataset.videos("train")
    assert (video.name, video.frame_rate) == ("a", Fraction(30000, 1001))
    assert video.boxes == BoxesAlone((100, 200), 10, Fraction(30000, 1001), 1)
    assert [entry.name for entry in dataset.left_out] == ["train/clip.mp4"]
    saved(tmp_path / "train", "a.json", coco())
    with pytest.raises(UsageError, match=r"boxes of train/a: expected one file, got a\.json and a\.txt"):
        open_dataset("boxes", tmp_path)


def test_a_folder_that_a_program_wrote(tmp_path):
    regions = Regions(np.float32(BOXES), np.array(FRAMES), np.float32(CONFIDENCES), np.zeros(3, np.int64))
    videos = [
        BoxesVideo(split, name, regions, np.array(TRACKS), FACTS) for split, name in (("train", "a"), ("test", "cam/b"))
    ]
    dataset = open_dataset("boxes", write_boxes_folder(tmp_path / "made", videos, {"cam/b": [(2, 4), (6, 10)]}))
    for video in (*dataset.videos("train"), *dataset.videos("test")):
        check_the_boxes(read_boxes(video.path, video.boxes), [0, 0, 0])
    assert np.flatnonzero(dataset.labels(video, 10).anomalous).tolist() == [2, 3, 6, 7, 8, 9]
    with pytest.raises(RecordError, match="expected 9 frames, got 9"):
        BoxesVideo("test", "b", regions, np.array(TRACKS), BoxesAlone((100, 200), 9, Fraction(25)))
    with pytest.raises(RecordError, match="expected 3 numbers"):
        BoxesVideo("test", "b", regions, np.array([1]), FACTS)
