"""Extraction of videos: rows, reuse, damage, and going on behind the last finished part."""

from __future__ import annotations

import errno
import shutil
import threading
from collections import Counter
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from mulde.datasets.base import Video
from mulde.errors import MuldeError
from mulde.media.pyav_reader import PyAVReader
from mulde.media.reader import Picture, ReadOptions, VideoReader
from mulde.pipeline.extraction import plan as planning
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.tables import Undecoded
from mulde.records import Window
from mulde.store.store import FeatureStore
from tests.conftest import moving_square
from tests.media.media_samples import encode, overwrite_packets
from tests.pipeline.clips import clips, content, leftovers, plan_of, run, stopped_at


@pytest.fixture
def plan() -> ExtractionPlan:
    return plan_of()


@pytest.fixture
def decoded(monkeypatch) -> Counter[str]:
    """How many pictures of each file were decoded."""
    count: Counter[str] = Counter()
    decode = PyAVReader._decode

    def counted(self: PyAVReader) -> Generator[Picture, None, None]:
        for picture in decode(self):
            count[self.path.name] += 1
            yield picture

    monkeypatch.setattr(PyAVReader, "_decode", counted)
    return count


def described_by(plan: ExtractionPlan) -> list[int]:
    """Fills up with the numbers of the frames that the plan describes."""
    frames: list[int] = []
    describe = plan.describe

    def noted(window: Window, *rest: object) -> object:
        frames.extend(window.core_index.tolist())
        return describe(window, *rest)

    plan.describe = noted
    return frames


def test_a_video_becomes_rows_for_the_object_in_it(tmp_path, plan):
    done = run(clips(tmp_path, 1), plan, tmp_path / "store").done[0]
    velocity = done.features("velocity")
    assert done.num_frames == 20
    assert done.time_s == pytest.approx(np.arange(20) / 25)
    assert set(velocity.frame_index) == set(range(1, 20))  # motion regions: none in the first frame
    assert velocity.values.argmax(axis=1).tolist() == [0] * len(velocity)  # to the right
    assert np.array_equal(done.features("descriptor").box_xyxy, velocity.box_xyxy)


def test_batch_size_changes_no_feature(tmp_path):
    results = [
        run(clips(tmp_path, 1), plan_of(f"video.batch_frames={size}"), tmp_path / str(size)).done[0]
        for size in (1, 3, 64)
    ]
    for name in ("velocity", "descriptor"):
        for other in results[1:]:
            assert np.array_equal(results[0].features(name).values, other.features(name).values)


def test_the_number_of_threads_changes_no_byte(tmp_path):
    videos = clips(tmp_path, 3, 70)
    for threads in (1, 2, 3):
        assert run(videos, plan_of(threads=threads), tmp_path / str(threads)).computed == 3
    assert len(content(tmp_path / "1")) == 3 * 5
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")


def test_a_second_run_computes_and_decodes_nothing(tmp_path, plan, decoded):
    videos, store = clips(tmp_path), tmp_path / "store"
    assert run(videos, plan, store).computed == 3
    before, times = content(store), {p: p.stat().st_mtime_ns for p in store.rglob("*.parquet")}
    decoded.clear()
    again = run(videos, plan, store)
    assert (again.computed, again.reused, decoded) == (0, 3, {})
    assert content(store) == before
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert leftovers(store) == []


def test_all_extractors_share_one_decode_and_one_search_for_regions(tmp_path, plan, decoded, monkeypatch):
    searched = []
    find = plan.regions.find
    monkeypatch.setattr(plan.regions, "find", lambda window: searched.extend(window.core_index) or find(window))
    run(clips(tmp_path, 2), plan, tmp_path / "store")
    assert decoded == {"clip0.mp4": 20, "clip1.mp4": 20}
    assert sorted(searched) == sorted([*range(20)] * 2)


def test_one_more_extractor_decodes_once_and_finds_no_regions_again(tmp_path, decoded, monkeypatch):
    store, videos = tmp_path / "store", clips(tmp_path)
    run(videos, plan_of('features.extractors=["velocity"]'), store)
    before = content(store)
    decoded.clear()
    more = plan_of()
    monkeypatch.setattr(more.regions, "find", lambda window: pytest.fail("regions are in the store"))
    assert run(videos, more, store).computed == 3
    assert decoded == {f"clip{i}.mp4": 20 for i in range(3)}
    assert before.items() < content(store).items()
    run(videos, plan_of(), tmp_path / "at once")
    assert content(store) == content(tmp_path / "at once")


def test_frame_features_alone_need_no_regions(tmp_path):
    store = tmp_path / "store"
    done = run(clips(tmp_path, 1), plan_of('features.extractors=["flow_histogram"]'), store).done[0]
    assert done.features("flow_histogram").frame_index.tolist() == list(range(20))
    assert {Path(name).name.partition("-")[0] for name in content(store)} == {"frames", "flow_histogram"}


def test_a_changed_setting_never_meets_old_features(tmp_path, plan):
    store, videos = tmp_path / "store", clips(tmp_path, 1)
    run(videos, plan, store)
    for override in (
        "features.velocity.bins=4",
        "regions.motion.threshold=20",
        "video.decoder=decord",
        "video.working_size_px=64",
        "video.stream=0",
    ):
        assert run(videos, plan_of(override), store).computed == 1
    assert run(videos, plan, store).computed == 0


def test_everything_works_on_the_smaller_picture(tmp_path):
    whole, small = (
        run(clips(tmp_path, 1), plan_of(*more), tmp_path / str(len(more))).done[0]
        for more in ([], ["video.working_size_px=64", "regions.min_area_px=25", "regions.motion.min_area_px=25"])
    )
    assert plan_of().fingerprint() != plan_of("video.working_size_px=64").fingerprint()
    boxes, large = small.features("geometry").box_xyxy, whole.features("geometry").box_xyxy
    assert (boxes.max(axis=0) <= [64, 48, 64, 48]).all()
    assert large[:, 3].max() > 48
    # the square is as far down in both pictures, give or take the pixels by which moving regions grow
    assert np.median(boxes[:, [1, 3]], axis=0) * 2 == pytest.approx(np.median(large[:, [1, 3]], axis=0), abs=5)


class Gappy(VideoReader):
    """Eleven pictures of the moving square; those in between could not be decoded."""

    decoder: ClassVar[str] = "pyav"
    decoder_version, size_hw, rate, num_frames_from_header = "a stub", (96, 128), Fraction(25), 40
    numbers = (0, 1, 2, 5, 6, 7, 20, 21, 22, 23, 39)

    def _decode(self) -> Generator[Picture, None, None]:
        images = moving_square(40)
        for i in self.numbers:
            yield Picture(i, i / 25, lambda i=i: images[i])


class Nothing(Gappy):
    numbers = ()


def read_by(monkeypatch: pytest.MonkeyPatch, reader: type[VideoReader]) -> None:
    monkeypatch.setattr(planning, "open_video", lambda path, **options: reader(path, ReadOptions()))


@pytest.mark.parametrize("size", [1, 4, 50])
def test_numbers_and_times_of_frames_stay_true_across_gaps(tmp_path, monkeypatch, size):
    read_by(monkeypatch, Gappy)
    store, plan = tmp_path / "store", plan_of(f"video.batch_frames={size}", "features.velocity.step=1")
    done = run(clips(tmp_path, 1), plan, store).done[0]
    assert done.frame_index.tolist() == list(Gappy.numbers)
    assert done.time_s == pytest.approx(np.array(Gappy.numbers) / 25)
    assert (done.num_frames, done.end_frame, done.missing) == (11, 40, [(3, 5), (8, 20), (24, 39)])
    for name in plan.streams:
        assert set(done.features(name).frame_index) == set(Gappy.numbers[1:])
    # the square starts at x = 10 and goes 2 pixels a frame: its box tells the number of the frame
    boxes = done.features("geometry")
    reach = {f: boxes.box_xyxy[boxes.frame_index == f, 2].max() for f in Gappy.numbers[1:]}
    for frame, right in reach.items():
        assert right == pytest.approx(10 + 20 + 2 * frame, abs=6)


def test_missing_frames_are_on_record_and_said_on_every_use(tmp_path, plan, capsys):
    """In the middle and at the end, where gaps cannot show them; not of a video that is whole."""
    holed = encode(tmp_path / "holed.mp4", list(moving_square(20)), codec="mpeg4", options={"g": "1"})
    overwrite_packets(holed, [5, 6, 18, 19])
    videos = [Video("holed", "all", holed), *clips(tmp_path, 1)]
    for num_computed in (2, 0):
        result = run(videos, plan, tmp_path / "store")
        assert result.computed == num_computed
        assert [stored.missing for stored in result.done] == [[(5, 7), (18, 20)], []]
        said = [line for line in capsys.readouterr().err.splitlines() if "could not be decoded" in line]
        assert said == ["holed: frames 5-6 and 18-19 could not be decoded"]


def test_of_tables_of_version_0_1_the_gaps_are_what_is_missing(tmp_path, plan, capsys):
    """They have no record, and stay as they are."""
    holed = encode(tmp_path / "holed.mp4", list(moving_square(20)), codec="mpeg4", options={"g": "1"})
    overwrite_packets(holed, [5, 6, 18, 19])
    run([Video("holed", "all", holed)], plan, tmp_path / "store")
    path = next(tmp_path.glob("store/*/frames-*"))
    table, metadata = pq.read_table(path), pq.read_metadata(path).metadata
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({key: metadata[key] for key in (b"mulde", b"mulde.sha256")})
    result = run([Video("holed", "all", holed)], plan, tmp_path / "store")
    assert (result.reused, result.done[0].missing) == (1, [(5, 7)])


class Unnumbered(Gappy):
    numbers = tuple(range(12))

    def _decode(self) -> Generator[Picture, None, None]:
        yield from super()._decode()
        self.num_unplaced = 3


def test_damaged_places_without_numbers_are_counted(tmp_path, plan, monkeypatch, capsys):
    read_by(monkeypatch, Unnumbered)
    for _ in range(2):
        done = run(clips(tmp_path, 1), plan, tmp_path / "store").done[0]
        assert (done.num_frames, done.missing, done.undecoded) == (12, [], Undecoded((), 3))
        assert "clip0: 3 damaged places, of which the frames have no numbers" in capsys.readouterr().err


def test_regions_from_the_store_meet_their_frames_across_gaps(tmp_path, monkeypatch):
    read_by(monkeypatch, Gappy)
    videos = clips(tmp_path, 1)
    # Stored in row groups of 8 frames, met by windows of 3.
    run(videos, plan_of("video.batch_frames=1", 'features.extractors=["velocity"]'), tmp_path / "store")
    done = [run(videos, plan_of("video.batch_frames=3"), tmp_path / name).done[0] for name in ("store", "at once")]
    for name in ("velocity", "geometry", "descriptor"):
        assert np.array_equal(done[0].features(name).values, done[1].features(name).values)
        assert np.array_equal(done[0].features(name).frame_index, done[1].features(name).frame_index)


def test_a_video_without_a_frame_is_a_sentence(tmp_path, plan, monkeypatch):
    read_by(monkeypatch, Nothing)
    failures = run(clips(tmp_path, 1), plan, tmp_path / "store").failures
    assert [f.video for f in failures] == ["clip0"]
    assert failures[0].reason == f"no frame of {tmp_path / 'clip0.mp4'} could be decoded"
    assert content(tmp_path / "store") == {}
    assert leftovers(tmp_path / "store") == []


def test_the_same_content_elsewhere_is_recognised(tmp_path, plan):
    store = tmp_path / "store"
    run(clips(tmp_path, 1), plan, store)
    moved = (tmp_path / "clip0.mp4").rename(tmp_path / "renamed.mp4")
    assert run([Video("renamed", "all", moved)], plan, store).reused == 1


def test_the_same_content_twice_in_one_run_is_computed_once(tmp_path, plan):
    first = clips(tmp_path, 1)[0]
    copy = Video("copy", "all", Path(shutil.copyfile(first.path, tmp_path / "copy.mp4")))
    frames = described_by(plan)
    result = run([first, copy], plan, tmp_path / "store")
    assert [d.video.name for d in result.done] == ["clip0", "copy"]
    assert (result.computed, result.reused) == (1, 1)
    assert sorted(frames) == list(range(20))


@pytest.mark.parametrize("kind", ["frames", "regions", "velocity"])
def test_a_damaged_file_is_said_and_made_again(tmp_path, plan, capsys, kind):
    store, videos = tmp_path / "store", clips(tmp_path, 1)
    run(videos, plan, store)
    before = content(store)
    victim = next(store.glob(f"*/{kind}-*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-20])
    assert run(videos, plan, store).computed == 1
    assert "is damaged" in capsys.readouterr().err
    assert content(store) == before
    assert leftovers(store) == []


def test_one_bad_video_is_named_and_the_others_are_done(tmp_path, plan):
    videos = clips(tmp_path)
    (tmp_path / "text.mp4").write_text("not a video")
    videos.insert(1, Video("text", "all", tmp_path / "text.mp4"))
    result = run(videos, plan, tmp_path / "store")
    assert [d.video.name for d in result.done] == ["clip0", "clip1", "clip2"]
    assert [f.video for f in result.failures] == ["text"]
    assert "text.mp4" in result.failures[0].reason


def test_a_full_disk_is_a_sentence_and_finished_videos_stay(tmp_path, plan, monkeypatch):
    store, videos = tmp_path / "store", clips(tmp_path)
    run(videos[:1], plan, store)
    before = content(store)
    monkeypatch.setattr(plan.regions, "find", _disk_full)
    with pytest.raises(MuldeError, match=r"disk of the feature store .* is full.*finished videos are kept"):
        run(videos, plan, store)
    assert content(store) == before


def _disk_full(window: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# A part is 8 windows; with windows of 4 frames the parts of these 70 frames end at 32, 64 and 70.
LONG, IN_FOURS = 70, "video.batch_frames=4"


@pytest.fixture
def undisturbed(tmp_path) -> dict[str, str]:
    run(clips(tmp_path, 1, LONG), plan_of(IN_FOURS), tmp_path / "undisturbed")
    return content(tmp_path / "undisturbed")


@pytest.mark.parametrize(("stop", "goes_on_at"), [(3, 0), (31, 0), (45, 32), (69, 64)])
def test_a_stopped_video_goes_on_behind_its_last_part(tmp_path, undisturbed, stop, goes_on_at):
    videos, store = clips(tmp_path, 1, LONG), tmp_path / "store"
    assert run(videos, stopped_at(plan_of(IN_FOURS), stop), store).failures
    assert content(store) == {}
    again = plan_of(IN_FOURS)
    frames = described_by(again)
    assert run(videos, again, store).computed == 1
    assert sorted(frames) == list(range(goes_on_at, LONG))
    assert content(store) == undisturbed
    assert leftovers(store) == []


def keep_part(source: Path, share: float) -> None:
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * share)])


@pytest.mark.parametrize(("kind", "share"), [("frames", 0), ("regions", 0.5), ("velocity", 0.99)])
def test_a_damaged_part_is_made_again(tmp_path, undisturbed, kind, share):
    videos, store = clips(tmp_path, 1, LONG), tmp_path / "store"
    run(videos, stopped_at(plan_of(IN_FOURS), 69), store)
    keep_part(next(store.glob(f"*/.parts-{kind}-*/000000032-*.parquet")), share)
    again = plan_of(IN_FOURS)
    frames = described_by(again)
    assert run(videos, again, store).computed == 1
    assert sorted(frames) == list(range(32, LONG))
    assert content(store) == undisturbed


def test_a_missing_part_is_made_again(tmp_path, undisturbed):
    videos, store = clips(tmp_path, 1, LONG), tmp_path / "store"
    run(videos, stopped_at(plan_of(IN_FOURS), 69), store)
    next(store.glob("*/.parts-geometry-*/000000000-*.parquet")).unlink()
    assert run(videos, plan_of(IN_FOURS), store).computed == 1
    assert content(store) == undisturbed


@pytest.mark.parametrize("size", [3, 8, 50])
def test_other_batches_after_a_stop_end_in_the_same_rows(tmp_path, undisturbed, size):
    videos, store = clips(tmp_path, 1, LONG), tmp_path / "store"
    run(videos, stopped_at(plan_of(IN_FOURS), 45), store)
    other = plan_of(f"video.batch_frames={size}")
    done = run(videos, other, store).done[0]
    expected = run(videos, plan_of(IN_FOURS), tmp_path / "undisturbed").done[0]
    assert np.array_equal(done.frame_index, expected.frame_index)
    for name in other.streams:
        assert np.array_equal(done.features(name).values, expected.features(name).values)
        assert np.array_equal(done.features(name).frame_index, expected.features(name).frame_index)
        assert np.array_equal(done.features(name).box_xyxy, expected.features(name).box_xyxy)
    assert leftovers(store) == []


def test_one_more_extractor_after_a_stop_starts_anew(tmp_path, undisturbed):
    videos, store = clips(tmp_path, 1, LONG), tmp_path / "store"
    run(videos, stopped_at(plan_of(IN_FOURS, 'features.extractors=["velocity"]'), 45), store)
    assert run(videos, plan_of(IN_FOURS), store).computed == 1
    assert content(store) == undisturbed


@pytest.mark.parametrize("joined", [0, 2, 4])
def test_stopped_while_parts_are_joined_nothing_whole_is_computed_again(tmp_path, undisturbed, monkeypatch, joined):
    videos, store = clips(tmp_path, 1, LONG), tmp_path / "store"
    join, count = FeatureStore.join_parts, [0]

    def breaks_off(self: FeatureStore, *what: object) -> None:
        if count[0] == joined:
            raise RuntimeError("the power went off")
        count[0] += 1
        join(self, *what)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "join_parts", breaks_off)
        assert run(videos, plan_of(IN_FOURS), store).failures
    assert len(content(store)) == joined
    again = plan_of(IN_FOURS)
    frames = described_by(again)
    assert run(videos, again, store).computed == 1
    assert set(frames) <= set(range(64, LONG))
    assert content(store) == undisturbed
    assert leftovers(store) == []


def test_parts_that_outlived_their_table_go_with_the_next_run(tmp_path, undisturbed, monkeypatch):
    videos, store = clips(tmp_path, 1, LONG), tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *args, **options: None)  # killed before
        run(videos, plan_of(IN_FOURS), store)
    assert leftovers(store)
    assert run(videos, plan_of(IN_FOURS), store).reused == 1
    assert leftovers(store) == []
    assert content(store) == undisturbed


def test_two_videos_are_worked_on_at_a_time(tmp_path, plan, monkeypatch):
    from mulde.pipeline.extraction import worker

    both, extract_video = threading.Barrier(2, timeout=300), worker.extract_video

    def met(*args: object) -> object:
        both.wait()
        return extract_video(*args)

    monkeypatch.setattr(worker, "extract_video", met)
    assert run(clips(tmp_path, 4), plan, tmp_path / "store").computed == 4
