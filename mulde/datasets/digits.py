"""Handwritten digits: the four IDX files of MNIST or of a set in its form, or the small set of scikit-learn."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.errors import FileError, LabelError
from mulde.files import read_bytes
from mulde.records import UInt8

SIDE = 28
"""Height and width of the images in IDX files, in pixels."""
_MAX_IMAGES = 250_000
_UBYTE, _HEADER_BYTES = 0x08, 4
_SMALL_TEST_SHARE = 0.3
_SMALL_LARGEST = 16  # grey value of scikit-learn's digits


@dataclass(frozen=True)
class Digits:
    """Grey images (N, H, W), 0 = paper, 255 = ink, and which digit each shows, (N,), 0 to 9."""

    images: UInt8
    labels: UInt8

    def those(self, digits: tuple[int, ...]) -> UInt8:
        """The images (n, H, W) of these digits, in order."""
        return self.images[np.isin(self.labels, digits)]


@dataclass(frozen=True)
class DigitSet:
    """Digits to learn from and to test with; `name` says where they are from."""

    name: str
    train: Digits
    test: Digits


def read_digits(folder: Path) -> DigitSet:
    """The four files of MNIST in a folder: train- and t10k-, images-idx3-ubyte and labels-idx1-ubyte.

    A dot may stand before "idx", and .gz behind the name. Raises FileError for a file that is not there or damaged, and
    LabelError for labels that do not fit the images or are no digits.
    """
    return DigitSet(f"the IDX files of {folder}", *(_read_part(folder, part) for part in ("train", "t10k")))


def small_digits(seed: int) -> DigitSet:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, enlarged to 28 x 28; 30 % of them, drawn by `seed`, to test with.

    Each pixel becomes 3 x 3, interpolated, with 2 pixels of paper around the digit.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.stack([_enlarge(image.reshape(8, 8)) for image in images])
    order = np.random.default_rng(seed).permutation(len(labels))
    num_test = round(_SMALL_TEST_SHARE * len(labels))
    parts = (Digits(images[rows], labels[rows].astype(np.uint8)) for rows in (order[num_test:], order[:num_test]))
    return DigitSet("scikit-learn's 1,797 digits", *parts)


def _enlarge(image: np.ndarray) -> UInt8:
    import cv2

    grey = (image * (255 / _SMALL_LARGEST)).astype(np.float32)
    enlarged = cv2.resize(grey, (SIDE - 4, SIDE - 4), interpolation=cv2.INTER_LINEAR)
    return np.pad(np.rint(enlarged).astype(np.uint8), 2)


def _read_part(folder: Path, part: str) -> Digits:
    images_path = _find(folder, part + "-images{}idx3-ubyte")
    labels_path = _find(folder, part + "-labels{}idx1-ubyte")
    images, labels = _read_idx(images_path, (SIDE, SIDE)), _read_idx(labels_path, ())
    if len(images) != len(labels):
        raise LabelError(
            f"{labels_path} does not fit {images_path}",
            expected=f"{len(images):,} labels, one per image",
            got=f"{len(labels):,}",
        )
    if len(labels) and labels.max() > 9:
        raise LabelError(f"{labels_path} has no labels of digits", expected="0 to 9", got=int(labels.max()))
    return Digits(images, labels)


def _find(folder: Path, form: str) -> Path:
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing"
        raise FileError(f"{folder}", expected="a folder with the four IDX files of MNIST", got=got)
    names = [form.format(mark) + end for mark in "-." for end in ("", ".gz")]
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        raise FileError(
            f"{folder} lacks digits",
            expected=f"{names[0]} (or {names[1]})",
            got="no such file",
            hint="name the folder that holds the four IDX files of MNIST itself",
        )
    return found


def _read_idx(path: Path, shape: tuple[int, ...]) -> UInt8:
    """An IDX file of bytes: (N, *shape)."""
    header_bytes = _HEADER_BYTES * (2 + len(shape))
    item_bytes = int(np.prod(shape, dtype=np.int64))
    most = header_bytes + _MAX_IMAGES * item_bytes
    content = read_bytes(path, max_bytes=most, error=FileError)
    if path.suffix == ".gz":
        content = _unpack(path, content, most)
    header = np.frombuffer(content[: len(content) // 4 * 4][:header_bytes], ">u4").tolist()
    if len(header) < 2 + len(shape) or header[0] != _UBYTE << 8 | 1 + len(shape) or header[2:] != list(shape):
        form = " x ".join(map(str, shape)) + " pixels" if shape else "labels"
        raise FileError(f"{path} is no IDX file of {form}", expected="a header that says so", got=content[:16].hex(" "))
    if len(content) != header_bytes + header[1] * item_bytes:
        raise FileError(
            f"{path} is damaged",
            expected=f"{header_bytes + header[1] * item_bytes:,} bytes, as its header says",
            got=f"{len(content):,}",
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(-1, *shape)


def _unpack(path: Path, content: bytes, most: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path} cannot be unpacked ({error})") from None
    if len(unpacked) > most:
        raise FileError(f"{path} is too large to read", expected=f"at most {most:,} bytes unpacked")
    return unpacked
