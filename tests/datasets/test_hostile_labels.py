"""Label files that nobody should be able to stop us with: each gives labels of the right length, or a sentence.

Relatives looked for: every kind of label file (ranges, arrays, archives of arrays, MATLAB cells and numbers, boxes as
JSON and text, masks); bytes flipped, cut, put in; numbers of hundreds of digits, with huge exponents, complex, not
finite; sizes that a header claims and the file does not have; pickles, structs, cells of cells; pictures that unpack to
gigabytes, several pictures in one; other encodings, separators and line ends; pipes and links to devices.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mulde.datasets.base import Video
from mulde.datasets.folder.labels import ArrayLabels, CsvLabels
from mulde.datasets.folder.tracks import TrackLabels
from mulde.datasets.labels import mat_files
from mulde.datasets.labels.ground_truth import iter_masks
from mulde.datasets.labels.label_files import MatIntervals, NpzFlags
from mulde.datasets.labels.mask_files import MatMasks, NpyMasks
from mulde.datasets.labels.mat_files import read_mat
from mulde.datasets.labels.tracks import CornerTracks
from mulde.errors import LabelError, MuldeError

NUM_FRAMES = 6
VIDEO = Video("a1", "test", Path("a1"), Fraction(25))
FLAGS = np.array([0, 1, 1, 0, 0, 0], np.uint8)
CSV = "video,start_frame,end_frame\na1,1,3\n"
SECONDS = "video,start_s,end_s,frame_rate\na1,0.04,0.12,25\n"
TRACKS = {"a1": {"tracks": [{"id": 0, "interpolate": True, "boxes": [[1, 0, 0, 5, 5], [2, 1, 1, 6, 6]]}]}}


def mat(**variables: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(compressed: bool = True, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def cells(*values: np.ndarray) -> np.ndarray:
    found = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        found[0, i] = value
    return found


def picture(suffix: str, image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1].tobytes())


def claimed_npy(shape: str, descr: str = "'|u1'") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(6)


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that is as large as it claims: black, deflated."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    deflate = zlib.compressobj(9)
    rows = b"".join(deflate.compress(bytes(width + 1)) for _ in range(min(height, 100)))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows + deflate.flush()) + chunk(b"IEND", b"")


MASK = np.zeros((8, 10), np.uint8)
MASK[2, 3] = 255


def masks_of(path: Path) -> np.ndarray:
    (mask,) = iter_masks([path])
    return np.asarray(mask)


KINDS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "csv": ("labels.csv", CSV.encode(), lambda path: csv_flags(path)),
    "seconds": ("labels.csv", SECONDS.encode(), lambda path: csv_flags(path)),
    "npy": ("a1.npy", npy(FLAGS), lambda path: ArrayLabels(path.parent).track(VIDEO, NUM_FRAMES)),
    "npz": ("all.npz", npz(a1=FLAGS), lambda path: NpzFlags(path).track(VIDEO, NUM_FRAMES)),
    "mat": ("a1.mat", mat(gt=FLAGS[None]), lambda path: ArrayLabels(path.parent).track(VIDEO, NUM_FRAMES)),
    "mat cells": (
        "all.mat",
        mat(gt=cells(np.array([[2.0], [3.0]]))),
        lambda path: MatIntervals(path).track(VIDEO, NUM_FRAMES),
    ),
    "mat masks": (
        "1_label.mat",
        mat(volLabel=cells(*[MASK] * NUM_FRAMES)),
        lambda path: list(MatMasks(path.parent).masks(VIDEO)),
    ),
    "npy masks": (
        "a1.npy",
        npy(np.stack([MASK] * NUM_FRAMES)),
        lambda path: list(NpyMasks(path.parent).masks(VIDEO)),
    ),
    "tracks": ("tracks.json", json.dumps(TRACKS).encode(), lambda path: tracks(path)),
    "corners": ("a1.txt", b"0,1,0,0,5,5\n0,2,1,1,6,6\n", lambda path: CornerTracks(path.parent).regions(VIDEO)),
    "png": ("0.png", picture(".png", MASK), masks_of),
    "bmp": ("0.bmp", picture(".bmp", MASK), masks_of),
    "tif": ("0.tif", picture(".tif", MASK), masks_of),
}


def csv_flags(path: Path) -> np.ndarray:
    labels = CsvLabels(path)
    if labels.faults:
        raise labels.faults[0]
    return labels.track(VIDEO, NUM_FRAMES).anomalous


def tracks(path: Path) -> np.ndarray:
    labels = TrackLabels(path)
    if labels.faults:
        raise labels.faults[0]
    labels.regions(VIDEO)
    return labels.track(VIDEO, NUM_FRAMES).anomalous


def changed(data: bytes, rng: random.Random) -> bytes:
    kind, at = rng.random(), rng.randrange(len(data))
    if kind < 0.15:
        return data[:at]
    if kind < 0.3:
        put = rng.choice(
            [b"\0", b"\xff\xfe", b"9" * 400, b"e999999999", b"-", b"nan", b"\n", b"=", bytes(64), b"[" * 99]
        )
        return data[:at] + put + data[at:]
    flipped = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        flipped[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(flipped)


@pytest.mark.parametrize("case", range(104))
def test_a_changed_label_file_gives_labels_or_a_sentence(tmp_path, case):
    name, data, read = list(KINDS.values())[case % len(KINDS)]
    (tmp_path / name).write_bytes(changed(data, random.Random(case)))
    start = time.process_time()
    try:
        read(tmp_path / name)
    except MuldeError as error:
        sentence = str(error)
        assert 20 < len(sentence) < 1500
    assert time.process_time() - start < 5


@pytest.mark.parametrize(("name", "data", "read"), KINDS.values(), ids=KINDS)
def test_the_sound_files_are_read(tmp_path, name, data, read):
    (tmp_path / name).write_bytes(data)
    found = read(tmp_path / name)
    flags = getattr(found, "anomalous", found)
    if isinstance(flags, np.ndarray) and flags.shape == (NUM_FRAMES,):
        assert flags.tolist() == FLAGS.astype(bool).tolist()


def far(frame: str) -> bytes:
    """tracks.json with a box that far behind the others."""
    return json.dumps(TRACKS).replace("[2,", f"[{frame},").encode()


BOMBS: dict[str, tuple[str, str, bytes, str]] = {
    "exponent": ("seconds", "labels.csv", SECONDS.replace("0.04", "1e999999999").encode(), "numbers start_s and end_s"),
    "minus": ("csv", "labels.csv", CSV.replace("1,3", "-1,3").encode(), "got start_frame -1, end_frame 3"),
    "nan": ("seconds", "labels.csv", SECONDS.replace("0.04", "nan").encode(), "numbers start_s and end_s"),
    "digits": ("csv", "labels.csv", CSV.replace("1,3", "1," + "9" * 400).encode(), "expected whole numbers"),
    "long cell": ("csv", "labels.csv", CSV.replace("a1", "a" * 140_000).encode(), "not CSV"),
    "NUL": ("csv", "labels.csv", CSV.replace("a1", "a\0").encode(), "a NUL at character"),
    "latin-1": ("csv", "labels.csv", CSV.replace("a1", "\xe9").encode("latin-1"), "expected UTF-8"),
    "claimed rows": ("npy", "a1.npy", claimed_npy("(10000000000000,)"), "10,000,000,000,000 bytes of numbers claimed"),
    "negative rows": ("npy", "a1.npy", claimed_npy("(-6,)"), "a damaged file"),
    "claimed masks": ("npy masks", "a1.npy", claimed_npy("(1000000, 10000, 10000)"), "bytes of numbers claimed"),
    "objects": ("npy", "a1.npy", npy(np.array([None, 1, 2, 3, 4, 5])), "pickled objects, which are not opened"),
    "struct": ("npy", "a1.npy", npy(np.zeros(6, [("a", "u1")])), "expected numbers of shape (6,)"),
    "complex": ("npy", "a1.npy", npy(FLAGS * 1j), "got complex128 of shape (6,)"),
    "not finite": ("npy", "a1.npy", npy(np.array([0, 1, np.nan, 0, 0, 0])), "expected 0 or 1, got nan at frame 2"),
    "version": ("npy", "a1.npy", b"\x93NUMPY\x09\x00" + bytes(100), "a damaged file"),
    "zipped claim": ("npz", "all.npz", b"", "a damaged file"),
    "no zip": ("npz", "all.npz", b"PK\x03\x04", "got a damaged file"),
    "mat complex": ("mat", "a1.mat", mat(gt=FLAGS[None] * 1j), "expected real numbers, got complex128"),
    "mat text": ("mat", "a1.mat", mat(gt=np.array(["text"])), "expected one variable with numbers"),
    "mat cells of cells": ("mat cells", "all.mat", mat(gt=cells(cells(FLAGS))), "got cells of cells"),
    "mat struct": ("mat cells", "all.mat", mat(gt=np.zeros(1, [("a", "O")])), "got a struct"),
    "mat infinity": ("mat cells", "all.mat", mat(gt=cells(np.array([[1.0], [np.inf]]))), "whole numbers of shape (2"),
    "mat complex cells": ("mat cells", "all.mat", mat(gt=cells(np.array([[1j], [2]]))), "got complex128"),
    "mat 7.3": ("mat", "a1.mat", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(100), "is a MATLAB 7.3 file"),
    "mat empty": ("mat", "a1.mat", b"", "a damaged file"),
    "frame": ("tracks", "tracks.json", far("1000000000"), "at most 4,000,000 boxes"),
    "frame 1e300": ("tracks", "tracks.json", far(str(10**300)), "digits"),
    "deep": ("tracks", "tracks.json", b'{"a1": ' + b"[" * 100_000, "nested too deep"),
    "huge id": ("tracks", "tracks.json", json.dumps(TRACKS).replace(": 0", f": {2**62}").encode(), '"id": a whole'),
    "corner frame": ("corners", "a1.txt", b"0,1e300,0,0,5,5\n", "a1.txt line 1"),
    "corner infinity": ("corners", "a1.txt", b"0,1,0,0,inf,5\n", "a1.txt line 1"),
    "png bomb": ("png", "0.png", png_of(60_000, 60_000), "at most 100000000 pixels, got 60000 x 60000"),
    "jpg": ("png", "0.jpg", picture(".jpg", MASK), "a jpg, which smears edges"),
    "text": ("png", "0.png", b"no picture", "bytes of another kind"),
    "cut png": ("png", "0.png", picture(".png", np.tile(MASK, (40, 40)))[:150], "mask"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "data", "sentence"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_a_sentence(tmp_path, kind, name, data, sentence):
    if sentence == "a damaged file" and kind == "npz":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a1.npy", claimed_npy("(10000000000,)"))
        data = buffer.getvalue()
    (tmp_path / name).write_bytes(data)
    start = time.process_time()
    with pytest.raises(LabelError) as refused:
        KINDS[kind][2](tmp_path / name)
    assert sentence in str(refused.value)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + CSV.encode(),
        CSV.encode("utf-16"),
        CSV.replace("\n", "\r\n").encode(),
        CSV.replace(",", ";").encode(),
        CSV.replace(",", "\t").encode(),
        CSV.rstrip().encode(),
        CSV.replace("a1", '"a1"').replace(",end", ", end").encode(),
    ],
    ids=["byte order mark", "utf-16", "crlf", "semicolons", "tabs", "no last newline", "quotes and spaces"],
)
def test_ranges_of_other_programs_are_read(tmp_path, data):
    (tmp_path / "labels.csv").write_bytes(data)
    assert csv_flags(tmp_path / "labels.csv").tolist() == FLAGS.astype(bool).tolist()


@pytest.mark.parametrize("name", ["=cmd|x", "-1", "@a", "+b", "'=x"])
def test_a_video_whose_name_is_a_formula_has_its_labels_under_both_spellings(tmp_path, name):
    """As it is, and with the apostrophe under which our own tables have it."""
    video = Video(name, "test", Path(name), Fraction(25))
    for spelling in (f"'{name}", name) if not name.startswith("'") else (f"'{name}",):
        (tmp_path / "labels.csv").write_text(CSV.replace("a1", spelling))
        assert CsvLabels(tmp_path / "labels.csv").track(video, NUM_FRAMES).anomalous.sum() == 2


def test_one_changed_byte_that_crashes_scipy_costs_one_file_and_not_the_command(tmp_path):
    sound = mat(flags=np.array([[0, 1, 1]], np.uint8))
    assert len(sound) == 192
    for i, (at, value) in enumerate([(184, 0), (185, 6)]):
        (tmp_path / f"{i}.mat").write_bytes(sound[:at] + bytes([value]) + sound[at + 1 :])
        with pytest.raises(LabelError, match="expected a MATLAB file, got a damaged file"):
            read_mat(tmp_path / f"{i}.mat", "flags")
    (tmp_path / "sound.mat").write_bytes(sound)
    assert read_mat(tmp_path / "sound.mat", "flags").tolist() == [[0, 1, 1]]


def test_many_files_are_read_by_one_process(tmp_path, monkeypatch):
    started = []
    make = mat_files._Process
    monkeypatch.setattr(mat_files, "_Process", lambda: started.append(1) or make())
    mat_files._close_all()
    for i in range(21):
        (tmp_path / f"{i}_label.mat").write_bytes(mat(volLabel=cells(*[MASK * i] * NUM_FRAMES)))
        found = list(MatMasks(tmp_path).masks(Video(f"a{i}", "test", Path("a"))))
        assert [mask.sum() for mask in found] == [int(i > 0)] * NUM_FRAMES
    assert len(started) == 1


def test_a_file_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(mat_files, "TIMEOUT_S", 0)
    mat_files._close_all()
    (tmp_path / "a1.mat").write_bytes(mat(gt=FLAGS[None]))
    with pytest.raises(LabelError, match="got one that takes more than 0 s to read"):
        read_mat(tmp_path / "a1.mat", "gt")
    assert not mat_files._running


def meaning(path: Path, data: bytes) -> list[list[int]]:
    path.write_bytes(data)
    return np.argwhere(masks_of(path)).tolist()


def test_masks_mean_what_is_seen_whatever_their_form(tmp_path):
    at = [[2, 3]]
    assert meaning(tmp_path / "1.png", picture(".png", (MASK // 255).astype(np.uint16))) == at  # 1 of 65,535
    palette = Image.fromarray((MASK // 255).astype(np.uint8), "L").convert("P")
    palette.putdata((MASK // 255).ravel().tolist())
    palette.putpalette([0, 0, 0, 255, 0, 0])
    buffer = io.BytesIO()
    palette.save(buffer, "PNG")
    assert meaning(tmp_path / "2.png", buffer.getvalue()) == at
    alpha = np.dstack([MASK, MASK, MASK, np.full_like(MASK, 255)])  # opaque everywhere
    assert meaning(tmp_path / "3.png", picture(".png", alpha)) == at


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_mask_of_several_pictures_is_refused(tmp_path, suffix):
    frames = [Image.fromarray(MASK), Image.fromarray(255 - MASK)]
    frames[0].save(tmp_path / f"0.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(LabelError, match="holds several pictures: expected one, got 2"):
        masks_of(tmp_path / f"0.{suffix}")


@pytest.mark.parametrize("kind", ["csv", "npy", "npz", "mat", "tracks"])
def test_a_pipe_or_a_device_in_the_place_of_labels_is_not_waited_for(tmp_path, kind):
    name, _, read = KINDS[kind]
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        path = tmp_path / make.__name__.strip("<>") / name
        path.parent.mkdir()
        make(path)
        with suppress(LabelError):
            assert read(path) is None  # not among the label files at all
