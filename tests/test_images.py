"""Images: what is read, and what ends in a sentence before it takes memory.

Relatives looked for: each format that OpenCV decodes by its first bytes, under any name; 8 and 16 bits; sizes in the
header beyond all memory and just above the limit; two headers that contradict each other; small files that unpack to
gigabytes; formats of OpenCV that no header of ours limits; cut and mutated files; files that cannot be read.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from mulde.errors import ImageError, VideoError
from mulde.images import MAX_PIXELS, read_image, resized, shrunk, shrunk_size
from mulde.media import open_video

BOMB_SIDE = 33_000  # 1.09e9 pixels, as 8-bit grey in 31 KB would be 1 GB and as colour 3 GB


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, bits: int = 8) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))


def png(*headers: bytes, rows: bytes = b"\0" * 4000) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(headers) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(width: int, height: int, order: str = "<") -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width * height % 2**32)]
    fields = b""
    for tag, kind, count, value in tags:
        packed = struct.pack(order + ("I" if kind == 4 else "HH"), *([value] if kind == 4 else [value, 0]))
        fields += struct.pack(order + "HHI", tag, kind, count) + packed
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", 8) + struct.pack(order + "H", len(tags)) + fields + struct.pack("I", 0)


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024, 0, 0, 54 + 1024) + info + b"\0" * 2000


def jpeg(width: int, height: int) -> bytes:
    content = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


HUGE = {
    "8-bit.png": png(header(BOMB_SIDE, BOMB_SIDE)),
    "16-bit.png": png(header(BOMB_SIDE, BOMB_SIDE, 16)),
    "largest.png": png(header(2**31 - 1, 2**31 - 1)),
    "wide.png": png(header(MAX_PIXELS + 1, 1)),
    "one.jpg": jpeg(65_500, 65_500),
    "one.bmp": bmp(BOMB_SIDE, BOMB_SIDE),
    "little.tif": tiff(BOMB_SIDE, BOMB_SIDE),
    "big.tif": tiff(BOMB_SIDE, BOMB_SIDE, ">"),
    "called.bmp": png(header(BOMB_SIDE, BOMB_SIDE)),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_size_beyond_the_limit_is_said_before_it_is_decoded(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(HUGE[name])
    monkeypatch.setattr(cv2, "imdecode", lambda *args: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=rf"{name} is too large: expected at most {MAX_PIXELS} pixels, got \d+ x \d+"):
        read_image(tmp_path / name)
    with pytest.raises(VideoError, match="is too large: expected at most"):
        open_video(tmp_path / name)


def test_a_folder_of_bombs_ends_in_a_sentence_within_little_memory(tmp_path: Path) -> None:
    """Two files of 31 KB that are black pictures of 1.09e9 pixels."""
    row, packed = b"\0" * (BOMB_SIDE + 1), zlib.compressobj(9)
    rows = b"".join([*(packed.compress(row * 100) for _ in range(BOMB_SIDE // 100)), packed.flush()])
    content = b"\x89PNG\r\n\x1a\n" + header(BOMB_SIDE, BOMB_SIDE) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(content)
    program = (
        "import resource, sys; from pathlib import Path; from mulde.errors import VideoError; import cv2\n"
        "from mulde.media import open_video\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: list(open_video(Path(sys.argv[1])))\n"
        "except VideoError as error: print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    sentence, megabytes = done.stdout.splitlines()
    assert "1.png is too large" in sentence
    assert int(megabytes) < 200


@pytest.mark.parametrize(
    ("name", "content"),
    {
        "two-headers.png": png(header(10, 10), header(BOMB_SIDE, BOMB_SIDE)),
        "late-header.png": png(chunk(b"tEXt", b"a\0b"), header(BOMB_SIDE, BOMB_SIDE)),
        "no-size.tif": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
        "portable.png": b"P5 33000 33000 255\n" + b"\0" * 100,
        "radiance.png": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 33000 +X 33000\n",
        "sun.png": b"\x59\xa6\x6a\x95" + struct.pack(">7I", 33000, 33000, 8, 0, 1, 0, 0),
        "text.png": b"not an image",
        "empty.png": b"",
        "zero.png": png(header(0, 0)),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_is_an_image_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=rf"{name} (is not a readable image|cannot be decoded|is too large)"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp", "gif"])
def test_a_format_is_known_by_its_content(tmp_path: Path, suffix: str) -> None:
    image = np.full((20, 30, 3), 255, np.uint8)
    content = cv2.imencode(f".{suffix}", image)[1].tobytes()
    (tmp_path / "called.png").write_bytes(content)
    np.testing.assert_allclose(read_image(tmp_path / "called.png", "bgr"), image, atol=3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_mutated_images_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(5)
    whole = cv2.imencode(f".{suffix}", rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))[1]
    for _ in range(150):
        content = whole.copy()
        content[rng.integers(0, min(len(content), 400), rng.integers(1, 4))] = rng.integers(0, 256)
        (tmp_path / "one").write_bytes(content.tobytes()[: rng.integers(8, 2 * len(content))])
        with suppress(ImageError):
            assert read_image(tmp_path / "one").size <= MAX_PIXELS * 3


def test_depth_and_channels(tmp_path: Path) -> None:
    deep = np.array([[0, 1], [256, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), deep)
    assert read_image(tmp_path / "deep.png", "bgr").shape == (2, 2, 3)
    assert read_image(tmp_path / "deep.png", "grey", keep_depth=False).tolist() == [[0, 0], [1, 255]]


def test_a_file_that_the_disk_refuses_keeps_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"1\.png cannot be read: got No such file or directory") as caught:
        read_image(tmp_path / "1.png")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("size_hw", "longer_px", "expected"),
    [
        ((48, 64), 0, (48, 64)), ((48, 64), 64, (48, 64)), ((48, 64), 65, (48, 64)), ((48, 64), 32, (24, 32)),
        ((64, 48), 32, (32, 24)), ((18, 322), 100, (6, 100)), ((2160, 3840), 640, (360, 640)), ((1, 1000), 10, (1, 10)),
    ],
)  # fmt: skip
def test_shrunk_size(size_hw: tuple[int, int], longer_px: int, expected: tuple[int, int]) -> None:
    assert shrunk_size(size_hw, longer_px) == expected


def test_a_picture_shrinks_by_averaging_and_is_itself_where_it_fits() -> None:
    image = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    mean = image.reshape(2, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk(image, 4) - mean).max() <= 0.5
    assert shrunk(image, 8) is image
    assert resized(image, (4, 8)) is image
    assert resized(image[..., 0], (8, 16)).shape == (8, 16)
