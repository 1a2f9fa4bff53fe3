"""Disks and networks that fail, and files that change, while a video is read: an error each time, never fewer frames.

Relatives looked for: errors at the first byte, in the middle and at the end, while opening, measuring or decoding; of
containers that are read to the end, sought in, or probed from behind; of one image in a folder; memory that runs out;
seeks to places that a damaged file names, which are no error of the disk; files that shrink, grow, are written over
with the same size and time, replaced, replaced and put back, linked otherwise; images that come, go or change.
"""

from __future__ import annotations

import errno
import importlib
import os
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from mulde.errors import SourceError, VideoError
from mulde.media import Snapshot, content_hash, open_video
from mulde.media.container import DecodeDamage
from mulde.media.source_file import SourceFile

from .media_samples import encode, pictures, write_images

content_hash_module = importlib.import_module("mulde.media.content_hash")  # the package has a function of this name
ERRORS = ("EIO", "ENOMEM", "ESTALE", "ETIMEDOUT", "ENXIO", "EREMOTEIO", "EACCES", "EINVAL")


class FaultyFile(FileIO):
    """Fails from the read number `fails_at` on; reads are counted over all files."""

    fails_at = num_reads = 0
    error = errno.EIO

    def read(self, size: int = -1) -> bytes:
        kind = type(self)
        kind.num_reads += 1
        if kind.num_reads > kind.fails_at:
            raise OSError(kind.error, os.strerror(kind.error))
        return super().read(size)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> type[FaultyFile]:
    monkeypatch.setattr("mulde.media.source_file.FileIO", FaultyFile)
    monkeypatch.setattr("mulde.media.container._READ_BYTES", 512)
    FaultyFile.fails_at, FaultyFile.num_reads, FaultyFile.error = 10**9, 0, errno.EIO
    return FaultyFile


def read_whole(path: Path) -> list[int]:
    with open_video(path) as reader:
        return [index for batch in reader for index in batch.frame_index.tolist()]


@pytest.mark.parametrize("name", ERRORS)
def test_each_error_of_reading_fails_the_video_and_is_named(clip: Path, faulty: type[FaultyFile], name: str) -> None:
    faulty.fails_at, faulty.error = 9, getattr(errno, name)
    with pytest.raises(SourceError, match=f"clip.mp4 cannot be read: got {os.strerror(faulty.error)}"):
        read_whole(clip)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_wherever_the_error_comes_no_frame_goes_missing(tmp_path: Path, faulty: type[FaultyFile], name: str) -> None:
    path = encode(tmp_path / name, pictures(16), codec="mpeg4" if name == "a.avi" else "libx264")
    assert read_whole(path) == list(range(16))
    num_reads = faulty.num_reads
    assert num_reads > 5
    for fails_at in range(num_reads):
        faulty.fails_at, faulty.num_reads = fails_at, 0
        with pytest.raises(SourceError, match="Input/output error"):
            read_whole(path)
    faulty.num_reads, faulty.fails_at = 0, num_reads
    assert read_whole(path) == list(range(16))


def test_a_seek_that_no_file_has_a_place_for_is_damage_and_not_an_error_of_the_disk(clip: Path) -> None:
    with SourceFile(clip) as source:
        assert source.seek(-5) == -errno.EINVAL
        source.check()
        assert source.seek(3) == 3
        assert source.read(2) == clip.read_bytes()[3:5]


def test_a_lack_of_memory_says_nothing_about_the_file() -> None:
    with pytest.raises(MemoryError):
        DecodeDamage().add(OSError(errno.ENOMEM, "Cannot allocate memory"))


@pytest.mark.parametrize("which", [0, 2])
def test_an_image_that_the_disk_refuses_fails_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    folder = write_images(tmp_path / "frames", pictures(4), "{:03d}.png")
    opened = Path.open

    def refuses(self: Path, *args: object, **options: object) -> object:
        if self.name == f"{which:03d}.png":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", refuses)
    with pytest.raises(SourceError, match=f"{which:03d}.png cannot be read: got Stale file handle"):
        read_whole(folder)


# a snapshot


@pytest.fixture
def trusted_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for files that were written long before."""
    monkeypatch.setattr(content_hash_module, "_COARSEST_CLOCK_NS", 0)


def wait_for_another_time(path: Path) -> None:
    """The clock of a file system moves on in steps."""
    probe = path.with_name(".probe")
    while probe.unlink(missing_ok=True) or probe.touch() or probe.stat().st_ctime_ns <= path.stat().st_ctime_ns:
        pass
    probe.unlink()


def overwrite(path: Path) -> None:
    """Another byte in the middle, with the size and the time of before."""
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(found.st_size // 2)
        byte = file.read(1)
        file.seek(found.st_size // 2)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def replace_and_put_back(path: Path) -> None:
    kept = path.rename(path.with_name("kept"))
    path.write_bytes(b"something else")
    kept.replace(path)


def link_elsewhere(path: Path) -> None:
    kept = path.rename(path.with_name("kept"))
    path.symlink_to(kept)


CHANGES = (overwrite, truncate, append, replace)


@pytest.mark.parametrize("change", [*CHANGES, replace_and_put_back, link_elsewhere, Path.unlink])
def test_a_change_of_a_file_is_seen_at_once(tmp_path: Path, trusted_times: None, change) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(range(256)))
    snapshot = Snapshot(path)
    snapshot.check()
    wait_for_another_time(path)
    change(path)
    with pytest.raises(SourceError, match=r"was changed while it was read|cannot be read"):
        snapshot.check()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_the_times_do_not_show_is_seen_when_all_is_read_again(
    tmp_path: Path, monkeypatch, change
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(range(256)))
    monkeypatch.setattr(Snapshot, "_compare", lambda *args: 0)  # a file system without times
    snapshot = Snapshot(path)
    change(path)
    snapshot.check()
    with pytest.raises(SourceError, match=r"a\.mp4 was changed while it was read\. Try: wait until it is complete"):
        snapshot.check_content()


def test_of_a_file_that_was_written_just_now_the_times_are_not_trusted(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(range(256)))
    snapshot = Snapshot(path)
    before = path.stat()
    overwrite(path)
    monkeypatch.setattr(Snapshot, "_compare", lambda *args: before.st_mtime_ns)  # a clock that stands still
    with pytest.raises(SourceError, match="was changed"):
        snapshot.check()


def remove_one(folder: Path) -> None:
    (folder / "002.png").unlink()


def add_one(folder: Path) -> None:
    (folder / "001b.png").write_bytes((folder / "001.png").read_bytes())


def rename_one(folder: Path) -> None:
    (folder / "003.png").rename(folder / "000b.png")


@pytest.mark.parametrize("change", [*CHANGES, remove_one, add_one, rename_one])
def test_a_change_of_a_folder_is_seen(tmp_path: Path, trusted_times: None, change) -> None:
    folder = write_images(tmp_path / "frames", pictures(4), "{:03d}.png")
    snapshot = Snapshot(folder)
    snapshot.check_content()
    wait_for_another_time(folder / "002.png")
    change(folder / "002.png" if change in CHANGES else folder)
    with pytest.raises(SourceError):
        snapshot.check_content()
    if change in CHANGES:
        with pytest.raises(SourceError, match=r"002\.png was changed"):
            snapshot.check(1, 3)
        snapshot.check(0, 2)


def test_what_changes_while_it_is_hashed_has_no_hash(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(np.arange(1000).tobytes())
    digest = content_hash_module.file_digest

    def slowly(file: Path) -> object:
        found = digest(file)
        append(file)
        return found

    monkeypatch.setattr(content_hash_module, "file_digest", slowly)
    with pytest.raises(VideoError, match="expected 8,000 bytes as at the start, got 8,004 bytes"):
        content_hash(path)
