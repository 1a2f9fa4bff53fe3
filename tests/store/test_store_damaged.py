"""Stores with anything in the places of their files: listed, verified, pruned and healed, no traceback and no hang.

Relatives looked for: bits and bytes flipped in footers and pages, files cut, emptied, swapped, of text, of other
programs; passports that lack keys or hold other types, deep, long or broken JSON, of a newer version; other columns,
types and missing values; rows that claim more memory than can be true; folders, pipes, links to nothing, to themselves,
to devices and to folders in place of tables, parts, locks, notes; files in place of folders; parts with odd names;
notes of a gigabyte; disks that do not deliver, stores that can only be read or are a file.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulde.datasets.base import Video
from mulde.errors import StoreError
from mulde.media import write_video
from mulde.pipeline.extraction.engine import Extraction
from mulde.store import table_file as store_file
from mulde.store.maintenance import GROUPINGS, Criteria, list_cache, prune, verify
from mulde.store.table_file import UnreadableError, read_footer, verified
from tests.conftest import moving_square
from tests.pipeline.clips import QUIET, clips, content, leftovers, plan_of, run

NUM_VIDEOS, NUM_MUTATED = 40, 200
DEEP = "[" * 500 + "]" * 500


def flip_in_footer(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[-8:-4], "little") + 8
    for _ in range(chance.choice([1, 1, 5])):
        data[-chance.randrange(1, length + 1)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def flip_in_pages(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data) - int.from_bytes(data[-8:-4], "little") - 8)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def change_a_key(path: Path, chance: random.Random) -> None:
    """As `sed -i 's/"video_sha256"/"video_shb256"/'`."""
    data = path.read_bytes()
    key = chance.choice([b'"video_sha256"', b'"kind"', b'"schema"', b'"decoder"', b"mulde.sha256", b"ARROW:schema"])
    path.write_bytes(data.replace(key, key[:-3] + b"zz" + key[-1:]))


def cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.choice([0, 3, 8, chance.randrange(path.stat().st_size)]))


def swap(path: Path, chance: random.Random) -> None:
    other = chance.choice([p for p in sorted(path.parents[1].glob("*/*.parquet")) if p != path and p.is_file()])
    shutil.copyfile(other, path)


def write_something_else(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.choice([b"text", b"{}", b"PAR1", b"PAR1" * 9, bytes(5000), chance.randbytes(5000)]))


def put_something_else(path: Path, chance: random.Random) -> None:
    kept = path.rename(path.with_name("kept"))
    how = chance.randrange(6)
    if how == 0:
        path.mkdir()
        (path / "inside").write_text("something")
    elif how == 1:
        os.mkfifo(path)
    else:
        path.symlink_to(["/dev/zero", "/nowhere", path.parent, path.name][how - 2])
    kept.unlink()


def rewrite_passport(path: Path, chance: random.Random) -> None:
    passport = read_footer(path).passport
    changed: list[object] = [
        {**passport, "schema": 2}, {**passport, "kind": 5}, {**passport, "video_sha256": None}, {**passport, "x": 1},
        {k: v for k, v in passport.items() if k != chance.choice(list(passport))}, [passport], None, 7, "passport",
        {**passport, "decoder": [1]}, {**passport, "kind": "../../x"},
    ]  # fmt: skip
    texts = [DEEP, "{", "", "\ud800".encode("utf-8", "surrogatepass"), "NaN", "1" * 6000, f'{{"kind": {DEEP}}}']
    texts += map(json.dumps, changed)
    rewrite(path, pq.read_table(path), chance.choice(texts))


def rewrite_rows(path: Path, chance: random.Random) -> None:
    table = pq.read_table(path)
    name = chance.choice(table.column_names)
    how = chance.randrange(6)
    if how == 0:
        table = table.rename_columns([f"x{one}" if one == name else one for one in table.column_names])
    elif how == 1:
        table = table.drop_columns([name])
    elif how == 2:
        table = table.append_column("more", pa.array([[1, 2]] * len(table)))
    elif how == 3:
        table = pa.concat_tables([table, table.slice(0, 1)])
    elif how == 4:
        nulls = pa.nulls(len(table), table.schema.field(name).type)
        table = table.set_column(table.column_names.index(name), name, nulls)
    else:
        table = table.set_column(table.column_names.index(name), name, pa.array(["text"] * len(table)))
    rewrite(path, table, json.dumps(read_footer(path).passport))


def rewrite(path: Path, table: pa.Table, passport: str | bytes) -> None:
    metadata = pq.read_metadata(path).metadata
    with pq.ParquetWriter(path, table.schema.remove_metadata()) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"mulde": passport, b"mulde.sha256": metadata[b"mulde.sha256"]})


MUTATIONS = (
    flip_in_footer, flip_in_footer, flip_in_pages, change_a_key, cut, swap, write_something_else, put_something_else,
    put_something_else, rewrite_passport, rewrite_passport, rewrite_rows,
)  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    """The same eight frames in files of 40 contents."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "first.mp4", iter(moving_square(8)), 25)
    whole, found = (folder / "first.mp4").read_bytes(), []
    for i in range(NUM_VIDEOS):
        path = folder / f"{i}.mp4"
        path.write_bytes(whole + b"\0\0\0\x0cfree" + i.to_bytes(4, "big"))
        found.append(Video(str(i), "all", path))
    return found


@pytest.fixture(scope="module")
def sound(videos: list[Video], tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("sound")
    assert run(videos, plan_of(), store).computed == NUM_VIDEOS
    assert len(content(store)) == NUM_MUTATED
    return store


def mutated(store: Path, seed: int) -> list[Path]:
    """Every table, after a mutation."""
    chance, paths = random.Random(seed), sorted(store.glob("*/[a-z]*.parquet"))
    for i, path in enumerate(chance.sample(paths, len(paths))):
        MUTATIONS[i % len(MUTATIONS)](path, chance)
    return paths


def holds(path: Path, original: Path) -> bool:
    """Whether a mutated table says the same as before."""
    return path.is_file() and pq.read_table(path).equals(pq.read_table(original))


def test_of_200_mutated_files_each_is_named_or_sound_and_extract_heals_them(
    videos: list[Video], sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    shutil.copytree(sound, store)
    paths = mutated(store, seed=5)
    for by in (None, *GROUPINGS):
        assert sum(row.num_files for row in list_cache(store, by=by)) == NUM_MUTATED
    found = verify(store, QUIET)
    named = {damage.file.path for damage in found.damaged}
    assert found.num_checked == NUM_MUTATED
    assert len(named) > 180
    assert all(holds(path, sound / path.relative_to(store)) for path in paths if path not in named)
    said = capsys.readouterr().err
    assert all(str(path) in said for path in named)
    assert len(prune(store, Criteria(damaged=True), QUIET).files) == len(named)

    healed = run(videos, plan_of(), store)
    assert (healed.failures, healed.computed) == ([], NUM_VIDEOS)
    assert verify(store, QUIET).damaged == []
    assert content(store).keys() == content(sound).keys()
    assert all(holds(path, sound / path.relative_to(store)) for path in paths)
    assert leftovers(store) == []


def test_of_200_mutated_files_verify_removes_what_it_names(sound: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(sound, store)
    paths = mutated(store, seed=6)
    found = verify(store, QUIET, delete=True)
    assert found.num_removed == len(found.damaged) > 180
    assert verify(store, QUIET).damaged == []
    left = [path for path in paths if os.path.lexists(path)]
    assert len(left) == NUM_MUTATED - len(found.damaged)
    assert all(holds(path, sound / path.relative_to(store)) for path in left)
    assert all(path.is_dir() for path in store.iterdir())


# what lies around the tables of one video


def a_file_for_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a file")


def a_pipe_for_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    os.mkfifo(folder)


def a_link_for_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("/nowhere")


def a_folder_for_the_lock(folder: Path) -> None:
    (folder / ".lock").unlink(missing_ok=True)
    (folder / ".lock" / "inside").mkdir(parents=True)


def a_pipe_for_the_lock(folder: Path) -> None:
    (folder / ".lock").unlink(missing_ok=True)
    os.mkfifo(folder / ".lock")


def a_device_for_the_note(folder: Path) -> None:
    (folder / "video.json").unlink()
    (folder / "video.json").symlink_to("/dev/zero")


def a_pipe_for_the_note(folder: Path) -> None:
    (folder / "video.json").unlink()
    os.mkfifo(folder / "video.json")


def a_huge_note(folder: Path) -> None:
    os.truncate(folder / "video.json", 2**30)


def a_deep_note(folder: Path) -> None:
    (folder / "video.json").write_text(f'{{"sha256": "x", "seen": {DEEP}}}')


def a_note_of_other_types(folder: Path) -> None:
    (folder / "video.json").write_text('{"sha256": 5, "seen": [{"dataset": [], "video": {}, "path": null}]}')


def a_note_with_a_nul(folder: Path) -> None:
    seen = {"dataset": "x", "video": "x", "path": "a\0b"}
    (folder / "video.json").write_text(json.dumps({"sha256": "x", "seen": [seen]}))


def parts_with_odd_names(folder: Path) -> None:
    parts = folder / next(folder.glob("geometry-*")).with_suffix("").name.replace("geometry", ".parts-geometry")
    for name in ("0x.parquet", "0.parquet", "000000000-000000000.parquet", "9-1.parquet", f"{'9' * 30}-1.parquet"):
        (parts / name).mkdir(parents=True)
    os.mkfifo(parts / "000000000-000000007.parquet")


def a_file_for_parts(folder: Path) -> None:
    name = next(folder.glob("geometry-*")).with_suffix("").name
    (folder / name.replace("geometry", ".parts-geometry")).write_text("a file")


AROUND: tuple[Callable[[Path], None], ...] = (
    a_file_for_the_folder, a_pipe_for_the_folder, a_link_for_the_folder, a_folder_for_the_lock, a_pipe_for_the_lock,
    a_device_for_the_note, a_pipe_for_the_note, a_huge_note, a_deep_note, a_note_of_other_types, a_note_with_a_nul,
    parts_with_odd_names, a_file_for_parts,
)  # fmt: skip


@pytest.mark.parametrize("change", AROUND)
def test_whatever_lies_around_the_tables_is_no_trouble(
    videos: list[Video], sound: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    store = tmp_path / "store"
    source = next(path for path in sound.iterdir() if str(videos[0].path) in (path / "video.json").read_text())
    shutil.copytree(source, store / source.name)
    before, folder = content(store), store / source.name
    next(folder.glob("geometry-*")).write_bytes(b"damaged, so that it is made again")
    change(folder)
    for by in (None, *GROUPINGS):
        list_cache(store, by=by)
    assert len(verify(store, QUIET).damaged) == 1
    prune(store, Criteria(older_than_s=0), QUIET)
    prune(store, Criteria(missing_videos=True), QUIET)
    prune(store, Criteria(leftovers=True), QUIET)
    assert run(videos[:1], plan_of(), store).failures == []
    assert content(store) == before
    assert leftovers(store) == []
    assert [row.video for row in list_cache(store, by="video")] == ["0"]


def test_what_is_in_the_place_of_a_folder_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "0123456789abcdef").write_text("a file")
    assert (
        verify(tmp_path, QUIET).damaged[0].reason
        == f"{tmp_path}/0123456789abcdef is damaged (expected the folder of a video)"
    )
    assert prune(tmp_path, Criteria(older_than_s=-1), QUIET, yes=True).files == []
    assert verify(tmp_path, QUIET, delete=True).num_removed == 1
    assert list(tmp_path.iterdir()) == []


# what a disk does not deliver, and what claims too much


def one_stored(folder: Path) -> tuple[list[Video], Path, Path]:
    videos, store = clips(folder, 1, 8), folder / "store"
    run(videos, plan_of('features.extractors=["flow_histogram"]'), store)
    return videos, store, next(store.glob("*/flow_histogram-*"))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOMEM])
def test_what_the_disk_does_not_deliver_is_named_and_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _, store, path = one_stored(tmp_path)

    def refuses(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetFile", refuses)
        found = verify(store, QUIET, delete=True)
    assert [damage.removable for damage in found.damaged] == [False, False]
    assert f"cannot be read ([Errno {number}] {os.strerror(number)})" in found.damaged[0].reason
    assert path.exists()
    assert verify(store, QUIET).damaged == []


def test_a_table_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    _, store, path = one_stored(tmp_path)
    passport = {**read_footer(path).passport, "schema": 2}
    newer = path.with_name(f"flow_histogram-{store_file.fingerprint(passport)[:16]}.parquet")
    shutil.copyfile(path, newer)
    rewrite(newer, pq.read_table(path), json.dumps(passport))
    found = verify(store, QUIET, delete=True)
    assert [(damage.file.path, damage.removable) for damage in found.damaged] == [(newer, False)]
    assert found.damaged[0].reason.endswith("was made by a newer version of mulde")


@pytest.mark.parametrize(
    ("limit", "expected"), [("_MAX_ROW_GROUP_BYTES", "in a row group"), ("_MAX_EXPANSION", "claim")]
)
def test_rows_that_claim_more_memory_than_can_be_true_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: str
) -> None:
    _, _, path = one_stored(tmp_path)
    dim = pq.read_schema(path).field("values").type.list_size
    zeros = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(20_000 * dim, np.float32)), dim)
    table = pa.table({"frame_index": np.arange(20_000), "values": zeros})
    rewrite(path, table, json.dumps(read_footer(path).passport))
    monkeypatch.setattr(store_file, "_MAX_ROW_GROUP_BYTES", 2**16 if limit == "_MAX_ROW_GROUP_BYTES" else 2**22)
    monkeypatch.setattr(store_file, "_MAX_EXPANSION", 0)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *args: pytest.fail("it was read"))
    if limit == "_MAX_EXPANSION":
        pieces = [table.slice(start, 1000) for start in range(0, 20_000, 1000)]
        metadata = pq.read_metadata(path).metadata
        with pq.ParquetWriter(path, table.schema) as writer:
            for piece in pieces * 10:
                writer.write_table(piece)
            writer.add_key_value_metadata({key: metadata[key] for key in (b"mulde", b"mulde.sha256")})
    with pytest.raises(StoreError, match=expected):
        list(verified(path))


def test_large_tables_are_written_in_groups_that_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_file, "_ROW_GROUP_BYTES", 2**8)
    _, _, path = one_stored(tmp_path)
    assert pq.ParquetFile(path).num_row_groups > 1
    assert sum(len(table) for table in verified(path)) == 8


# stores that are no folder, or cannot be written to


def test_a_store_that_is_a_file_is_a_sentence(mulde, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    video = clips(tmp_path, 1, 8)[0].path
    code, _, err = mulde("extract", video, "--store", "store", "--device", "cpu")
    assert code == 2
    assert "error: the feature store store: expected a folder, got a file. Try: choose another --store" in err
    assert mulde("cache", "verify", "--store", "store")[0] == 2


def extracted_while(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> tuple[Extraction, Path]:
    """Of two videos, one in the store, while the store can only be read."""
    videos, store = clips(folder, 2, 8), folder / "store"
    run(videos[:1], plan_of(), store)

    def refuses(self: Path, *args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", refuses)
    return run(videos, plan_of(), store), store


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_of_a_store_that_can_only_be_read_what_is_there_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    result, store = extracted_while(monkeypatch, tmp_path, number)
    assert [stored.video.name for stored in result.done] == ["clip0"]
    assert f"cannot be written: {os.strerror(number)}" in result.failures[0].reason
    assert str(store) in result.failures[0].reason


def test_unreadable_is_a_kind_of_store_error() -> None:
    assert issubclass(UnreadableError, StoreError)
