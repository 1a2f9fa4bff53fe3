"""Features of other programs that are hostile: a sentence, no memory, no object.

Relatives looked for: headers that claim rows, negative sizes or items of no size; bombs of zeros; objects, structures,
other versions of the format; headers nested deep or longer than any; archives that are encrypted, cut, or packed
otherwise; frames, boxes and tables beside the array with any of these; complex numbers; more numbers in a row than a
table has.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mulde.errors import MuldeError
from mulde.pipeline.extraction import feature_files
from mulde.pipeline.extraction.feature_files import read_features

FRAMES = np.arange(4)
VALUES = np.zeros((4, 2), np.float32)


def npy(shape: str = "(4, 2)", descr: str = "'<f4'", data: bytes = bytes(32), version: bytes = b"\x01\x00") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


HOSTILE = {
    "rows": npy("(10000000000000, 2)"),
    "one row more": npy("(5, 2)"),
    "product beyond 64 bits": npy(f"({2**40}, {2**40})"),
    "negative": npy("(-1, 2)"),
    "twice negative": npy("(-4, -2)"),
    "no number": npy("('4', 2)"),
    "huge digits": npy(f"({'9' * 5000}, 2)"),
    "items of no size": npy("(10000000000000, 2)", "'|V0'"),
    "text of no size": npy("(10000000000000, 2)", "'<U0'"),
    "objects": npy(descr="'|O'"),
    "structure": npy(descr="[('a', '<f4')]"),
    "deep": npy("(" * 400 + ")" * 400),
    "very deep": npy("(" * 9000 + ")" * 9000),
    "version 3": npy(version=b"\x03\x00"),
    "version 9": npy(version=b"\x09\x00"),
    "code": npy("(4, 2) if __import__('os') else 0"),
    "cut": npy()[:50],
    "empty": b"",
}


def archived(**members: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return target.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", ["npy", "frames", "npz", "frames in npz", "boxes in npz"])
def test_whatever_an_array_claims_it_is_a_sentence(tmp_path: Path, name: str, place: str) -> None:
    data, source = HOSTILE[name], tmp_path / ("f.npz" if "npz" in place else "f.npy")
    if place == "npy":
        source.write_bytes(data)
    elif place == "frames":
        np.save(source, VALUES)
        (tmp_path / "f.frames.npy").write_bytes(data)
    else:
        members = {"values": npy(), "frame_index": npy("(4,)", "'<i8'")}
        members[{"npz": "values", "frames in npz": "frame_index", "boxes in npz": "boxes"}[place]] = data
        source.write_bytes(archived(**members))
    with pytest.raises(MuldeError, match=r"f\.np[yz] cannot be read"):
        read_features(source, FRAMES)


def test_sound_ones_are_read(tmp_path: Path) -> None:
    (tmp_path / "f.npy").write_bytes(npy())
    (tmp_path / "f.npz").write_bytes(archived(values=npy(), frame_index=npy("(4,)", "'<i8'", FRAMES.tobytes())))
    for name in ("f.npy", "f.npz"):
        assert read_features(tmp_path / name, FRAMES).values.tolist() == VALUES.tolist()


def test_an_archive_that_unpacks_to_more_than_can_be_true_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_files, "_MAX_UNPACKED_BYTES", 0)
    zeros = npy("(4000, 1000)", data=bytes(4 * 4000 * 1000))
    (tmp_path / "f.npz").write_bytes(archived(values=zeros))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args, **options: pytest.fail("it was unpacked"))
    with pytest.raises(MuldeError, match="it claims to unpack to 16,000,"):
        read_features(tmp_path / "f.npz", FRAMES)


@pytest.mark.parametrize("how", ["cut", "encrypted", "method"])
def test_archives_that_cannot_be_unpacked(tmp_path: Path, how: str) -> None:
    data = bytearray(archived(values=npy()))
    directory = data.rindex(b"PK\x01\x02")
    if how == "cut":
        del data[len(data) // 2 :]
    elif how == "encrypted":
        data[6] |= 1
        data[directory + 8] |= 1
    else:
        data[8] = data[directory + 10] = 99
    (tmp_path / "f.npz").write_bytes(data)
    with pytest.raises(MuldeError, match="cannot be read"):
        read_features(tmp_path / "f.npz", FRAMES)


def test_boxes_that_are_no_numbers(tmp_path: Path) -> None:
    boxes = np.zeros((1, 4), np.complex64)
    np.savez(tmp_path / "f.npz", values=VALUES[:1], frame_index=[0], boxes=boxes)
    with pytest.raises(MuldeError, match=r"boxes of .*: expected \(N, 4\) numbers, got complex64"):
        read_features(tmp_path / "f.npz", FRAMES)


def test_more_numbers_in_a_row_than_a_table_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_files, "MAX_DIM", 1)
    np.save(tmp_path / "f.npy", VALUES)
    with pytest.raises(MuldeError, match=r"expected \(N, D\) numbers, got float32 of shape \(4, 2\)"):
        read_features(tmp_path / "f.npy", FRAMES)


@pytest.mark.parametrize("text", ["frame_index\n" + "9" * 9000, "frame_index,frame_index\n", 'frame_index\n"0', "\0"])
def test_tables_beside_the_array(tmp_path: Path, text: str) -> None:
    np.save(tmp_path / "f.npy", VALUES[:1])
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(MuldeError):
        read_features(tmp_path / "f.npy", FRAMES)


def test_a_pipe_beside_the_array_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", VALUES)
    os.mkfifo(tmp_path / "f.frames.npy")
    assert len(read_features(tmp_path / "f.npy", FRAMES)) == 4
