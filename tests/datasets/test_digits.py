"""Handwritten digits in IDX files, as MNIST has them, and those of scikit-learn.

Relatives looked for: packed files, names with a dot, a missing file, another magic number, another size, a file that is
cut off or too long, packed data that is damaged or unpacks without end, labels that are too few or no digits.
"""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mulde.datasets import digits
from mulde.datasets.digits import read_digits, small_digits
from mulde.errors import FileError, LabelError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(array):
    """The bytes of an IDX file of bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def written(tmp_path):
    """A folder with all four files, and what they hold by name."""
    generator, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 30), ("t10k", 12)):
        arrays[f"{part}-images-idx3-ubyte"] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = generator.integers(0, 10, count, dtype=np.uint8)
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(idx(array))
    return tmp_path, arrays


def same(found, arrays):
    for part, digits_ in (("train", found.train), ("t10k", found.test)):
        np.testing.assert_array_equal(digits_.images, arrays[f"{part}-images-idx3-ubyte"])
        np.testing.assert_array_equal(digits_.labels, arrays[f"{part}-labels-idx1-ubyte"])
    return True


def test_what_is_written_is_read(written):
    folder, arrays = written
    assert same(read_digits(folder), arrays)
    assert read_digits(folder).name == f"the IDX files of {folder}"


def test_packed_files_and_names_with_a_dot_are_read(written):
    folder, arrays = written
    for name in list(arrays):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert same(read_digits(folder), arrays)
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    assert same(read_digits(folder), arrays)


def test_digits_are_chosen_in_order(written):
    folder, arrays = written
    train = read_digits(folder).train
    images, labels = arrays[IMAGES], arrays[LABELS]
    expected = [image for image, label in zip(images, labels, strict=True) if label in (1, 7)]
    np.testing.assert_array_equal(train.those((1, 7)), expected)
    assert train.those(()).shape == (0, 28, 28)


def test_a_missing_file_is_named(written):
    folder, _ = written
    (folder / LABELS).unlink()
    with pytest.raises(
        FileError, match=rf"lacks digits: expected {LABELS} \(or {LABELS}\.gz\), got no such file. Try: "
    ):
        read_digits(folder)
    with pytest.raises(FileError, match="nowhere: expected a folder with the four IDX files of MNIST, got nothing"):
        read_digits(folder / "nowhere")
    with pytest.raises(FileError, match="expected a folder with the four IDX files of MNIST, got a file"):
        read_digits(folder / IMAGES)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (IMAGES, b"", "is no IDX file of 28 x 28 pixels"),
        (IMAGES, b"\0\0\x08", "is no IDX file of 28 x 28 pixels"),
        (IMAGES, idx(np.zeros((2, 32, 32), np.uint8)), "is no IDX file of 28 x 28 pixels"),
        (IMAGES, idx(np.zeros(30, np.uint8)), "is no IDX file of 28 x 28 pixels"),
        (IMAGES, b"\0\0\x0d\3" + idx(np.zeros((30, 28, 28), np.uint8))[4:], "is no IDX file of 28 x 28 pixels"),
        (IMAGES, idx(np.zeros((30, 28, 28), np.uint8))[:-1], "is damaged: expected 23,536 bytes, .*, got 23,535"),
        (IMAGES, idx(np.zeros((30, 28, 28), np.uint8)) + b"\0", "is damaged: expected 23,536 bytes, .*, got 23,537"),
        (LABELS, idx(np.zeros((30, 1), np.uint8)), "is no IDX file of labels"),
        (LABELS, idx(np.zeros(29, np.uint8)), "does not fit .*: expected 30 labels, one per image, got 29"),
        (LABELS, idx(np.full(30, 10, np.uint8)), "has no labels of digits: expected 0 to 9, got 10"),
    ],
)
def test_damaged_files_are_refused_by_name(written, name, content, says):
    folder, _ = written
    (folder / name).write_bytes(content)
    with pytest.raises((FileError, LabelError), match=f"{name} {says}"):
        read_digits(folder)


@pytest.mark.parametrize("damage", ["cut", "foreign", "bits"])
def test_damaged_packed_files_are_refused_by_name(written, damage):
    folder, _ = written
    content = bytearray(gzip.compress((folder / IMAGES).read_bytes()))
    if damage == "bits":
        content[40:60] = bytes(20)
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes({"cut": content[:100], "foreign": b"nothing", "bits": content}[damage])
    with pytest.raises(FileError, match=rf"{IMAGES}\.gz cannot be unpacked"):
        read_digits(folder)


def test_what_unpacks_without_end_is_not_unpacked(written, monkeypatch):
    folder, _ = written
    monkeypatch.setattr(digits, "_MAX_IMAGES", 40)
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(bytes(1_000_000)))
    with pytest.raises(FileError, match=rf"{IMAGES}\.gz is too large to read: expected at most 31,376 bytes unpacked"):
        read_digits(folder)


def test_the_small_digits_are_those_of_scikit_learn():
    found = small_digits(seed=0)
    assert (len(found.train.labels), len(found.test.labels)) == (1258, 539)
    _, labels = load_digits(return_X_y=True)
    both = np.concatenate([found.train.labels, found.test.labels])
    np.testing.assert_array_equal(np.bincount(both), np.bincount(labels))
    images, _ = load_digits(return_X_y=True)
    # The mean of 3 x 3 pixels is near the pixel that they were made of.
    everything = np.concatenate([found.train.images, found.test.images])
    assert everything.shape == (1797, 28, 28)
    assert not everything[:, [0, 1, -2, -1]].any()
    shrunk = everything[:, 2:-2, 2:-2].reshape(1797, 8, 3, 8, 3).mean(axis=(2, 4)) / 255 * 16
    for image, label in zip(shrunk[:20], both, strict=False):
        distances = np.square(images - image.ravel()).mean(axis=1)
        assert distances.min() < 4
        assert labels[distances.argmin()] == label


def test_the_seed_decides_which_digits_are_held_back():
    first, again, other = (small_digits(seed).test.labels for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
