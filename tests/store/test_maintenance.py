"""The store from outside: listed, verified, pruned, exported, filled with what was made elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.errors import MuldeError, UsageError
from mulde.media import content_hash, write_video
from mulde.pipeline.extraction.export_features import plan_for
from mulde.pipeline.extraction.feature_files import read_features
from mulde.pipeline.extraction.plan import decoder_facts
from mulde.records import FeatureTable, Regions
from mulde.settings_file import load_settings
from mulde.store import catalogue
from mulde.store.imported import imported_passport
from mulde.store.maintenance import check_file, parse_age
from mulde.store.store import (
    FRAMES_SCHEMA,
    FeatureStore,
    Passport,
    features_from_arrow,
    features_to_arrow,
    frames_to_arrow,
    regions_to_arrow,
    tracks_to_arrow,
)
from tests.conftest import moving_square

DAY = 86_400
A, B, C = (hashlib.sha256(name).hexdigest() for name in (b"a", b"b", b"c"))


def features(num_rows: int = 5, dim: int = 3, *, boxes: bool = True, seed: int = 0) -> FeatureTable:
    rng = np.random.default_rng(seed)
    box = np.tile(np.array([1, 2, 3, 4], np.float32), (num_rows, 1)) if boxes else None
    return FeatureTable(rng.normal(size=(num_rows, dim)).astype(np.float32), np.arange(num_rows), box)


def put(store: FeatureStore, passport: Passport, table: FeatureTable | None = None, *, pieces: int = 1) -> Path:
    arrow = features_to_arrow(features() if table is None else table)
    with store.writer(passport, arrow.schema) as append:
        for i in range(pieces):
            append(arrow.slice(i * len(arrow) // pieces, (i + 1) * len(arrow) // pieces - i * len(arrow) // pieces))
    return store.path(passport)


def velocity(sha256: str, bins: int = 8) -> Passport:
    return Passport(
        "velocity", sha256, {"decoder": {"name": "pyav"}, "extractor": {"extractor": "velocity", "bins": bins}}
    )


def clip(sha256: str) -> Passport:
    return Passport("clip", sha256, {"decoder": {"name": "pyav"}, "extractor": {"extractor": "clip"}})


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    """Videos a and b of `ped`, c of `own`; velocity of all (a with two settings, 5 rows each), clip of a (7 rows)."""
    store = FeatureStore(tmp_path / "store")
    for sha256 in (A, B, C):
        put(store, velocity(sha256))
    put(store, velocity(A, bins=1))
    put(store, clip(A), features(7))
    for sha256, dataset, video in ((A, "ped", "a"), (B, "ped", "b"), (C, "own", "c")):
        catalogue.note(store.root, sha256, dataset=dataset, video=video, path=tmp_path / f"{video}.mp4")
    return store


def tables(store: FeatureStore) -> set[str]:
    return {p.relative_to(store.root).as_posix() for p in store.root.glob("*/*.parquet") if not p.name.startswith(".")}


def place(store: FeatureStore, passport: Passport) -> str:
    return store.path(passport).relative_to(store.root).as_posix()


def listed(mulde, store: FeatureStore, *args: object) -> pd.DataFrame:
    code, out, _ = mulde("cache", "ls", "--store", store.root, "--json", *args)
    assert code == 0
    return pd.DataFrame(json.loads(out))


# the catalogue


def test_what_is_noted_is_known_by_all_its_names(store, tmp_path):
    before = time.time()
    catalogue.note(store.root, A, dataset="other", video="again", path=tmp_path / "b.mp4")
    entry = catalogue.entries(store.root)[A[:16]]
    assert [(s.dataset, s.video) for s in entry.seen] == [("other", "again"), ("ped", "a")]
    assert before <= entry.last_used_s <= time.time()


def test_noting_the_same_again_changes_nothing_but_the_time_of_use(store, tmp_path):
    file = store.root / A[:16] / catalogue.VIDEO_FILE
    before = file.read_bytes()
    os.utime(file, (1000, 1000))
    catalogue.note(store.root, A, dataset="ped", video="a", path=tmp_path / "a.mp4")
    assert file.read_bytes() == before
    assert catalogue.entries(store.root)[A[:16]].last_used_s > 1000


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"seen": 3}', b'{"sha256": "x", "seen": [{}]}', b"\xff"])
def test_a_broken_note_is_no_error_and_the_video_goes_by_its_digest(mulde, store, tmp_path, data):
    (store.root / A[:16] / catalogue.VIDEO_FILE).write_bytes(data)
    assert A[:16] not in catalogue.entries(store.root)
    assert set(listed(mulde, store, "--by", "video").video) == {A[:16], "b", "c"}
    catalogue.note(store.root, A, dataset="ped", video="a", path=tmp_path / "a.mp4")
    assert set(listed(mulde, store, "--by", "video").video) == {"a", "b", "c"}


def test_many_writers_never_break_a_note(store, tmp_path):
    file, stop, broken = store.root / A[:16] / catalogue.VIDEO_FILE, threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                json.loads(file.read_text())
            except ValueError as error:
                broken.append(error)

    def write(who: int) -> None:
        for i in range(20):
            catalogue.note(store.root, A, dataset="ped", video=f"{who}-{i}", path=tmp_path / "a.mp4")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert not broken
    assert len(catalogue.entries(store.root)[A[:16]].seen) > 1
    assert not [p for p in file.parent.iterdir() if p.name.startswith(".")]


def test_a_store_that_cannot_be_written_to_is_not_the_callers_trouble(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    catalogue.note(tmp_path / "file", A, dataset="ped", video="a", path=tmp_path / "a.mp4")


# ls


def test_ls_tells_data_sets_extractors_and_settings_apart(mulde, store):
    rows = listed(mulde, store)
    said = rows[["dataset", "extractor", "settings", "num_videos", "num_files", "num_rows"]].to_numpy().tolist()
    assert said == [
        ["own", "velocity", "bins=8", 1, 1, 5],
        ["ped", "clip", "", 1, 1, 7],
        ["ped", "velocity", "bins=1", 1, 1, 5],
        ["ped", "velocity", "bins=8", 2, 2, 10],
    ]
    assert rows.size_bytes.sum() == sum((store.root / name).stat().st_size for name in tables(store))
    assert pd.to_datetime(rows.oldest).max() <= pd.to_datetime(rows.newest).min() + pd.Timedelta(minutes=1)


@pytest.mark.parametrize(
    ("by", "column", "said"),
    [
        ("dataset", "dataset", {"own": 1, "ped": 4}),
        ("extractor", "extractor", {"velocity": 1, "clip": 1}),
        ("video", "video", {"a": 3, "b": 1, "c": 1}),
        ("file", "extractor", {"velocity": 1, "clip": 1}),
    ],
)
def test_ls_by(mulde, store, by, column, said):
    rows = listed(mulde, store, "--by", by)
    assert rows.num_files.sum() == 5
    assert {name: rows[rows[column] == name].num_files.iloc[0] for name in rows[column]} == said


def test_ls_filters(mulde, store):
    assert listed(mulde, store, "--dataset", "own").num_files.sum() == 1
    assert listed(mulde, store, "--extractor", "clip").num_rows.tolist() == [7]
    assert listed(mulde, store, "--dataset", "own", "--extractor", "clip").empty


def test_ls_shows_what_is_unfinished_and_what_cannot_be_read(mulde, store):
    folder = store.root / A[:16]
    (folder / ".parts-velocity-0123456789abcdef").mkdir()
    (folder / ".parts-velocity-0123456789abcdef" / "0.parquet").write_bytes(b"x" * 100)
    (folder / ".clip-0123456789abcdef.parquet.host.1.abc").write_bytes(b"x" * 23)
    store.path(clip(A)).write_bytes(b"no parquet")
    rows = listed(mulde, store).set_index("extractor")
    assert rows.loc[catalogue.UNFINISHED, ["num_files", "size_bytes"]].tolist() == [2, 123]
    assert np.isnan(rows.loc["clip", "num_rows"])
    assert rows.loc["clip", "size_bytes"] == len(b"no parquet")


def test_ls_as_a_table(mulde, store):
    code, out, _ = mulde("cache", "ls", "--store", store.root)
    assert code == 0
    for word in ("ped", "own", "velocity", "bins=8", "bins=1", "5 files"):
        assert word in out


def test_ls_of_nothing(mulde, tmp_path):
    code, _, err = mulde("cache", "ls", "--store", "absent")
    assert code == 2
    assert "no feature store at absent" in err
    (tmp_path / "empty").mkdir()
    assert mulde("cache", "ls", "--store", "empty")[:2] == (0, "the store is empty\n")
    assert json.loads(mulde("cache", "ls", "--store", "empty", "--json")[1]) == []


def test_an_unknown_grouping_is_a_usage_error(mulde, store):
    code, _, err = mulde("cache", "ls", "--store", store.root, "--by", "size")
    assert code == 2
    assert "expected one of dataset, extractor, video, file, got size" in err


# verify


def test_verify_of_a_sound_store(mulde, store):
    code, out, _ = mulde("cache", "verify", "--store", store.root, "-q")
    assert (code, out) == (0, "5 files checked, 0 damaged\n")


@pytest.mark.parametrize("pieces", [1, 2, 7, 40])
def test_the_streamed_checksum_is_that_of_the_whole_table(tmp_path, pieces):
    path = put(FeatureStore(tmp_path), clip(A), features(40, 16), pieces=pieces)
    assert check_file(path).kind == "clip"
    assert check_file(put(FeatureStore(tmp_path), velocity(A), features(0))).kind == "velocity"


def test_flipped_bytes_are_found_and_only_that_file_goes(mulde, store):
    """A byte in the middle of the first column's data; another file is cut, a third lies under another's name."""
    flipped, cut, astray = store.path(velocity(A)), store.path(velocity(B)), store.path(clip(A))
    at = pq.read_metadata(flipped).row_group(0).column(0)
    where = at.dictionary_page_offset or at.data_page_offset
    data = bytearray(flipped.read_bytes())
    data[where + at.total_compressed_size - 3] ^= 0xFF
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-9])
    os.replace(astray, store.path(clip(C)))
    before = tables(store)
    code, out, err = mulde("cache", "verify", "--store", store.root, "-q")
    assert code == 1
    assert out == "5 files checked, 3 damaged\n"
    for path in (flipped, cut, store.path(clip(C))):
        assert f"{path} is damaged (" in err
    assert "belongs under another name" in err
    assert tables(store) == before
    code, out, _ = mulde("cache", "verify", "--store", store.root, "-q", "--delete")
    assert (code, out) == (1, "5 files checked, 3 damaged, 3 removed\n")
    assert tables(store) == {place(store, velocity(A, 1)), place(store, velocity(C))}
    assert mulde("cache", "verify", "--store", store.root, "-q")[0] == 0


def test_verify_sees_every_flipped_byte_that_reading_sees(tmp_path):
    store = FeatureStore(tmp_path)
    path = put(store, velocity(A), features(50, 4))
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 80):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        seen = [_fails(lambda: check_file(path)), _fails(lambda: store.read(velocity(A)))]
        assert seen[0] or not seen[1]


def _fails(read) -> bool:
    try:
        read()
    except Exception:
        return True
    return False


# prune


def test_prune_without_a_criterion_is_a_usage_error(mulde, store):
    code, _, err = mulde("cache", "prune", "--store", store.root, "--yes")
    assert code == 2
    assert "expected at least one of --dataset" in err
    assert len(tables(store)) == 5


@pytest.mark.parametrize("text", ["30", "d", "-1d", "3 months", "1e3d"])
def test_a_bad_age_is_a_usage_error(mulde, store, text):
    code, _, err = mulde("cache", "prune", "--store", store.root, f"--older-than={text}")
    assert code == 2
    assert "expected a number with s, m, h, d or w, such as 30d" in err


def test_ages():
    assert [parse_age(text, "") for text in ("30d", "1.5h", "2w", "10m", "5s", None)] == [
        30 * DAY, 5400, 14 * DAY, 600, 5, None,
    ]  # fmt: skip


def test_prune_lists_first_and_then_removes_just_that(mulde, store):
    before = tables(store)
    goes = {place(store, velocity(A)), place(store, velocity(A, 1)), place(store, velocity(B))}
    size = sum((store.root / name).stat().st_size for name in goes)
    args = ("cache", "prune", "--store", store.root, "--dataset", "ped", "--extractor", "velocity", "-q")
    code, out, _ = mulde(*args)
    assert code == 0
    assert f"3 files, {size / 1e6:.1f} MB would be removed. To remove them, add --yes." in out
    assert tables(store) == before
    code, out, _ = mulde(*args, "--yes")
    assert (code, out) == (0, f"removed 3 files, {size / 1e6:.1f} MB\n")
    assert tables(store) == before - goes
    assert not (store.root / B[:16]).exists()  # of b nothing is left, of a there is clip
    assert (store.root / A[:16] / catalogue.VIDEO_FILE).exists()
    assert mulde(*args, "--yes")[:2] == (0, "nothing to remove\n")


def _age(path: Path, days: float) -> None:
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment))


def test_older_than_goes_by_the_file_and_unused_for_by_the_video(mulde, store):
    for name in tables(store):
        _age(store.root / name, 10)
    _age(store.path(clip(A)), 40)
    _age(store.root / C[:16] / catalogue.VIDEO_FILE, 9)
    before = tables(store)
    args = ("cache", "prune", "--store", store.root, "--yes", "-q")
    assert "nothing to remove" in mulde(*args, "--older-than", "30d", "--extractor", "velocity")[1]
    mulde(*args, "--older-than", "30d")
    assert tables(store) == before - {place(store, clip(A))}
    mulde(*args, "--unused-for", "8d")  # a and b were noted just now
    assert tables(store) == before - {place(store, clip(A)), place(store, velocity(C))}


def test_prune_damaged(mulde, store):
    before = tables(store)
    store.path(clip(A)).write_bytes(b"no parquet")
    mulde("cache", "prune", "--store", store.root, "--damaged", "--extractor", "velocity", "--yes", "-q")
    assert tables(store) == before
    mulde("cache", "prune", "--store", store.root, "--damaged", "--yes", "-q")
    assert tables(store) == before - {place(store, clip(A))}


def test_prune_missing_videos(mulde, store, tmp_path):
    (tmp_path / "b.mp4").touch()
    (store.root / C[:16] / catalogue.VIDEO_FILE).unlink()  # nobody knows where c was
    mulde("cache", "prune", "--store", store.root, "--missing-videos", "--yes", "-q")
    assert tables(store) == {place(store, velocity(B)), place(store, velocity(C))}


def test_leftovers_go_unless_somebody_holds_the_lock(mulde, store):
    left = []
    for sha256 in (A, B):
        part = store.root / sha256[:16] / ".parts-clip-0123456789abcdef"
        part.mkdir()
        (part / "0.parquet").write_bytes(b"half")
        left.append(part)
    before = tables(store)
    args = ("cache", "prune", "--store", store.root, "--leftovers", "-q")
    with store.lock(A, lambda: None):
        code, out, _ = mulde(*args)
        assert code == 0
        assert "1 files, 0.0 MB would be removed" in out
        assert "1 files are kept because their videos are in use" in out
        mulde(*args, "--yes")
        assert [part.exists() for part in left] == [True, False]
    mulde(*args, "--yes")
    assert [part.exists() for part in left] == [False, False]
    assert tables(store) == before


def test_prune_touches_nothing_that_is_not_the_stores_own(mulde, store):
    foreign = [
        store.root / "README.txt",
        store.root / "velocity-0123456789abcdef.parquet",
        store.root / "backup" / "velocity-0123456789abcdef.parquet",
        store.root / B[:16] / "notes.txt",
        store.root / B[:16] / ".hidden",
        store.root / B[:16] / "velocity-old.parquet",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    mulde("cache", "prune", "--store", store.root, "--older-than", "0s", "--yes", "-q")
    mulde("cache", "prune", "--store", store.root, "--older-than", "0s", "--leftovers", "--yes", "-q")
    assert {p for p in store.root.rglob("*") if p.is_file()} >= set(foreign)
    assert tables(store) == {p.relative_to(store.root).as_posix() for p in foreign[2:] if p.suffix == ".parquet"}


def test_leftovers_and_damaged_exclude_each_other(mulde, store):
    assert mulde("cache", "prune", "--store", store.root, "--leftovers", "--damaged")[0] == 2


# export and import

SETTINGS = load_settings()


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for i in range(3):
        write_video(folder / f"v{i}.mp4", iter(moving_square(6, seed=i)), Fraction(25))
    return folder


def passports(path: Path, extractor: str = "geometry", settings: Settings = SETTINGS) -> dict[str, Passport]:
    plan, _ = plan_for(settings, extractor)
    with plan.open(Video(path.stem, "all", path)) as reader:
        return plan.passports(content_hash(path), decoder_facts(reader, settings.video))


def put_frames(store: FeatureStore, passport: Passport, num_frames: int) -> None:
    with store.writer(passport, FRAMES_SCHEMA) as append:
        append(frames_to_arrow(np.arange(num_frames), np.arange(num_frames) / 25))


def stored_features(videos: Path, store: FeatureStore, names: str = "012", dims: tuple[int, ...] = (3, 3, 3)) -> dict:
    """Hand-made geometry of some videos under the passports of the default settings."""
    made = {}
    for i in map(int, names):
        made[f"v{i}"] = features(4 + i, dims[i], seed=i)
        by_kind = passports(videos / f"v{i}.mp4")
        put(store, by_kind["geometry"], made[f"v{i}"])
        put_frames(store, by_kind["frames"], 6)
    return made


def test_export_to_parquet_is_the_stored_rows_one_video_after_the_other(mulde, videos, tmp_path):
    made = stored_features(videos, FeatureStore(tmp_path / "store"))
    code, _, _ = mulde(
        "cache", "export", videos, "--extractor", "geometry", "--out", "g.parquet", "--store", "store", "-q"
    )
    assert code == 0
    frame = pd.read_parquet("g.parquet")
    assert list(frame.columns) == ["video", "split", "frame_index", "x0", "y0", "x1", "y1", "values"]
    assert frame.video.tolist() == ["v0"] * 4 + ["v1"] * 5 + ["v2"] * 6
    assert frame.frame_index.tolist() == [*range(4), *range(5), *range(6)]
    assert np.array_equal(np.stack(frame["values"]), np.concatenate([t.values for t in made.values()]))
    assert pq.ParquetFile("g.parquet").num_row_groups == 3


def test_export_to_npy_maps_the_same_rows_and_writes_their_index_beside(mulde, videos, tmp_path):
    made = stored_features(videos, FeatureStore(tmp_path / "store"))
    assert (
        mulde("cache", "export", videos, "--extractor", "geometry", "--out", "g.npy", "--store", "store", "-q")[0] == 0
    )
    values = np.load("g.npy", mmap_mode="r", allow_pickle=False)
    assert values.dtype == np.float32
    assert np.array_equal(values, np.concatenate([t.values for t in made.values()]))
    index = pd.read_parquet("g.index.parquet")
    assert list(index.columns) == ["video", "split", "frame_index", "x0", "y0", "x1", "y1"]
    assert index.video.value_counts().to_dict() == {"v0": 4, "v1": 5, "v2": 6}
    assert {p.name for p in tmp_path.iterdir()} == {"store", "g.npy", "g.index.parquet"}


def test_export_carries_the_track_of_each_row(mulde, videos, tmp_path):
    store, video, table = FeatureStore(tmp_path / "store"), videos / "v0.mp4", features(6)
    settings = load_settings(overrides=["tracks.tracker=bytetrack"])
    by_kind = passports(video, "geometry", settings)
    put(store, by_kind["geometry"], table)
    put_frames(store, by_kind["frames"], 6)
    index, track_id = table.frame_index, np.array([4, -1, 4, 4, 5, 4])
    regions = Regions(table.box_xyxy, index, np.ones(6, np.float32), np.zeros(6, np.int64))
    for kind, arrow in (("regions", regions_to_arrow(regions)), ("tracks", tracks_to_arrow(index, track_id))):
        with store.writer(by_kind[kind], arrow.schema) as append:
            append(arrow)
    args = ("--extractor", "geometry", "--store", "store", "-q", "--set", "tracks.tracker=bytetrack")
    assert mulde("cache", "export", video, "--out", "g.parquet", *args)[0] == 0
    assert pd.read_parquet("g.parquet").track_id.tolist() == track_id.tolist()
    assert mulde("cache", "export", video, "--out", "g.npy", *args)[0] == 0
    assert pd.read_parquet("g.index.parquet").columns[-1] == "track_id"


@pytest.mark.parametrize("out", ["g.npy", "g.parquet"])
def test_export_of_no_rows(mulde, videos, tmp_path, out):
    store, video = FeatureStore(tmp_path / "store"), videos / "v0.mp4"
    put_frames(store, passports(video, "imported-none")["frames"], 6)
    put(store, imported_passport("none", content_hash(video)), features(0, 4, boxes=False))
    args = ("--extractor", "imported-none", "--out", out, "--store", "store", "-q")
    assert mulde("cache", "export", videos / "v0.mp4", *args)[0] == 0
    rows = np.load(out) if out.endswith("npy") else pd.read_parquet(out)
    assert len(rows) == 0


def test_export_names_what_is_missing_damaged_or_of_another_width(mulde, videos, tmp_path):
    store = FeatureStore(tmp_path / "store")
    made = stored_features(videos, store, "02", (3, 3, 5))
    args = ("cache", "export", videos, "--extractor", "geometry", "--out", "g.npy", "--store", "store", "-q")
    code, _, err = mulde(*args)
    assert code == 3
    assert "v1: no stored geometry" in err
    assert "Try: mulde extract" in err
    assert "expected rows of 3 numbers as in v0, got 5" in err
    assert np.array_equal(np.load("g.npy"), made["v0"].values)
    for path in store.root.rglob("geometry-*.parquet"):
        path.write_bytes(path.read_bytes()[:-5])
    Path("g.npy").unlink()
    code, _, err = mulde(*args)
    assert code == 1
    assert err.count("is damaged") == 4  # each said as it comes and in the summary
    assert not Path("g.npy").exists()


@pytest.mark.parametrize(("extractor", "out"), [("geometry", "g.csv"), ("nonsense", "g.npy")])
def test_export_refuses_what_it_does_not_know(mulde, videos, extractor, out):
    assert mulde("cache", "export", videos, "--extractor", extractor, "--out", out, "--store", "store")[0] == 2


def bring_in(mulde, videos: Path, *args: object) -> tuple[int, str, str]:
    return mulde("cache", "import", videos, "--name", "hiera", "--from", "made", "--store", "store", "-q", *args)


@pytest.fixture
def made(tmp_path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    return folder


def imported(videos: Path, video: str) -> FeatureTable:
    return features_from_arrow(
        FeatureStore(Path("store")).read(imported_passport("hiera", content_hash(videos / f"{video}.mp4")))
    )


def test_import_of_each_form(mulde, videos, made):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(n, 4)) for n in (6, 2, 3)]
    np.save(made / "v0.npy", values[0])  # one row per frame
    np.save(made / "v1.npy", values[1].astype(np.float16))
    np.save(made / "v1.frames.npy", [1, 4])
    np.save(made / "v2.npy", values[2])
    (made / "v2.csv").write_text("frame_index,x0,y0,x1,y1\n0,1,2,3,4\n5,1,2,3,4\n5,2,2,9,9\n")
    code, _, err = bring_in(mulde, videos)
    assert code == 0, err
    for video, expected, index in (
        ("v0", values[0], range(6)),
        ("v1", values[1], [1, 4]),
        ("v2", values[2], [0, 5, 5]),
    ):
        table = imported(videos, video)
        assert table.values == pytest.approx(expected, abs=2e-3)
        assert table.frame_index.tolist() == list(index)
    assert imported(videos, "v0").box_xyxy is None
    assert imported(videos, "v2").box_xyxy.tolist() == [[1, 2, 3, 4], [1, 2, 3, 4], [2, 2, 9, 9]]
    assert len(list(Path("store").glob("*/frames-*.parquet"))) == 3
    assert set(listed(mulde, FeatureStore(Path("store")), "--by", "video").video) == {"v0", "v1", "v2"}
    assert mulde("cache", "verify", "--store", "store", "-q")[0] == 0


def test_import_from_npz_says_where_it_came_from(mulde, videos, made):
    values, boxes = np.ones((2, 3), np.float32), np.array([[0, 0, 5, 5], [1, 1, 2, 2]])
    np.savez(made / "v0.npz", values=values, frame_index=[2, 2], boxes=boxes)
    assert bring_in(mulde, videos / "v0.mp4")[0] == 0
    assert np.array_equal(imported(videos, "v0").box_xyxy, boxes)
    path = FeatureStore(Path("store")).path(imported_passport("hiera", content_hash(videos / "v0.mp4")))
    digest = hashlib.sha256((made / "v0.npz").read_bytes()).hexdigest()
    assert pq.read_schema(path).metadata[b"mulde.source_sha256"].decode() == digest


def test_a_second_import_replaces_only_when_told_to(mulde, videos, made):
    np.save(made / "v0.npy", np.zeros((6, 2)))
    assert bring_in(mulde, videos / "v0.mp4")[0] == 0
    np.save(made / "v0.npy", np.ones((6, 3)))
    code, _, err = bring_in(mulde, videos / "v0.mp4")
    assert code == 1
    assert "in the store already. Try: --replace" in err
    assert imported(videos, "v0").values.max() == 0
    assert bring_in(mulde, videos / "v0.mp4", "--replace")[0] == 0
    assert imported(videos, "v0").values.tolist() == [[1, 1, 1]] * 6


def test_bad_features_are_named_and_the_others_go_on(mulde, videos, made):
    np.save(made / "v0.npy", np.zeros((6, 4)))
    np.save(made / "v2.npy", np.zeros((6, 5)))
    code, _, err = bring_in(mulde, videos)
    assert code == 3
    assert "v1: features of this video: expected made/v1.npy or v1.npz, got nothing" in err
    assert "expected rows of 4 numbers as for v0, got 5" in err
    assert len(list(Path("store").glob("*/imported-hiera-*.parquet"))) == 1


def test_what_is_imported_can_be_exported(mulde, videos, made):
    values = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    np.save(made / "v0.npy", values)
    bring_in(mulde, videos / "v0.mp4")
    args = ("--extractor", "imported-hiera", "--out", "h.npy", "--store", "store", "-q")
    assert mulde("cache", "export", videos / "v0.mp4", *args)[0] == 0
    assert np.array_equal(np.load("h.npy"), values)


@pytest.mark.parametrize("name", ["", "Hiera", "../x", "a b"])
def test_a_bad_name_is_a_usage_error(mulde, videos, made, name):
    code, _, err = mulde("cache", "import", videos, f"--name={name}", "--from", "made", "--store", "store")
    assert code == 2
    assert "setting features.imported.0: expected" in err


def test_import_from_no_folder_is_a_usage_error(mulde, videos):
    assert bring_in(mulde, videos)[0] == 2


FRAMES = np.array([0, 1, 2, 4])  # frame 3 could not be decoded
BOXES = np.array([[0, 0, 5, 5.0]])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"values": np.zeros((5, 2))}, "expected 4 rows, one per frame of the video, got 5"),
        ({"values": np.zeros(4)}, r"expected \(N, D\) numbers, got float64 of shape \(4,\)"),
        ({"values": np.zeros((4, 0))}, r"expected \(N, D\) numbers"),
        ({"values": np.full((4, 1), "x")}, r"expected \(N, D\) numbers"),
        ({"values": np.full((4, 1), np.nan)}, r"expected finite numbers, got nan in row 0 \(frame 0\)"),
        ({"values": np.full((4, 1), 1e300)}, "expected finite numbers, got inf"),
        (
            {"values": np.zeros((1, 1)), "frame_index": [3]},
            r"expected frames that the video has, 0 to 4, got 3 in row 0",
        ),
        ({"values": np.zeros((1, 1)), "frame_index": [-1]}, "got -1 in row 0"),
        ({"values": np.zeros((1, 1)), "frame_index": [5]}, "got 5 in row 0"),
        ({"values": np.zeros((2, 1)), "frame_index": [1]}, "expected 2 whole numbers, one per row"),
        ({"values": np.zeros((1, 1)), "frame_index": [1.0]}, "got float64"),
        ({"values": np.zeros((2, 1)), "frame_index": [2, 1]}, "strictly increasing values from 0 up, got 1 at row 1"),
        ({"values": np.zeros((2, 1)), "frame_index": [1, 1]}, "strictly increasing"),
        ({"values": np.zeros((2, 1)), "frame_index": [1, 1], "boxes": BOXES}, r"expected float32 of shape \(2, 4\)"),
        ({"frame_index": [1]}, "cannot be read"),
        ({"values": np.array([[None]])}, "cannot be read"),
    ],
)
def test_each_fault_has_its_sentence(tmp_path, data, sentence):
    np.savez(tmp_path / "f.npz", **data)
    with pytest.raises(MuldeError, match=sentence):
        read_features(tmp_path / "f.npz", FRAMES)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"text" * 100])
@pytest.mark.parametrize("name", ["f.npy", "f.npz"])
def test_files_that_are_no_arrays_have_a_sentence(tmp_path, data, name):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MuldeError, match="cannot be read"):
        read_features(tmp_path / name, FRAMES)


@pytest.mark.parametrize("csv", ["", "frame\n0\n", "frame_index,x0\n0,1\n"])
def test_a_csv_without_its_columns_has_a_sentence(tmp_path, csv):
    np.save(tmp_path / "f.npy", np.zeros((1, 1)))
    (tmp_path / "f.csv").write_text(csv)
    with pytest.raises(MuldeError, match="cannot be read"):
        read_features(tmp_path / "f.npy", FRAMES)


def test_two_indices_are_one_too_many(tmp_path):
    np.save(tmp_path / "f.npy", np.zeros((1, 1)))
    np.save(tmp_path / "f.frames.npy", [0])
    (tmp_path / "f.csv").write_text("frame_index\n0\n")
    with pytest.raises(MuldeError, match=r"both f\.frames\.npy and f\.csv"):
        read_features(tmp_path / "f.npy", FRAMES)


def test_frames_that_are_in_the_store_are_not_decoded_again(mulde, videos, made, monkeypatch):
    video = videos / "v0.mp4"
    put_frames(FeatureStore(Path("store")), passports(video, "imported-hiera")["frames"], 3)
    np.save(made / "v0.npy", np.zeros((3, 2)))
    assert bring_in(mulde, video)[0] == 0


def test_the_key_of_imported_features_is_their_name_and_video_alone():
    assert imported_passport("hiera", A).key == imported_passport("hiera", A).key
    assert len({imported_passport(n, s).key for n in ("hiera", "clip") for s in (A, B)}) == 4


def test_usage_errors_end_an_export_at_once(videos, tmp_path):
    from mulde.pipeline.extraction.export_features import run_export
    from mulde.progress import Reporter

    with pytest.raises(UsageError, match=r"expected a name that ends in \.npy or \.parquet"):
        run_export([str(videos)], SETTINGS, "geometry", Path("g.txt"), tmp_path, Reporter(quiet=True))


def test_threads_that_use_videos_of_one_content_keep_all_names(tmp_path):
    """Two videos at a time are worked on, and copies of a file have one content."""

    def use(first: int) -> None:
        for i in range(first, first + 20):
            catalogue.note(tmp_path, "ab" * 32, dataset="d", video=f"v{i}", path=tmp_path / f"v{i}.mp4")

    (tmp_path / "abababababababab").mkdir()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(0, 80, 20)))
    (entry,) = catalogue.entries(tmp_path).values()
    assert {seen.video for seen in entry.seen} == {f"v{i}" for i in range(80)}
