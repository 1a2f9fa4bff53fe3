"""Frame folders: order, depth, sizes, what is refused."""

from __future__ import annotations

import struct
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from mulde.errors import UsageError, VideoError
from mulde.media import open_video

from .media_samples import SIZE_HW, index_of, picture, pictures, write_images


def read(folder: Path, **settings: object) -> np.ndarray:
    with open_video(folder, **settings) as reader:
        return np.concatenate([batch.images for batch in reader])


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "tif", "tiff", "jpg", "jpeg"])
def test_every_format(tmp_path: Path, suffix: str) -> None:
    images = read(write_images(tmp_path / "f", pictures(4), "{:03d}." + suffix))
    error = np.abs(images.astype(int) - np.stack(pictures(4)))
    assert error.max() == 0 if "jp" not in suffix else error.mean() < 4


def test_natural_order_and_hidden_files(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for index, name in enumerate(["img1.png", "img002.png", "img3.PNG", "img10.png", "img200.png"]):
        cv2.imwrite(str(folder / name), picture(index)[..., ::-1])
    (folder / ".hidden.png").write_bytes(b"no image")
    (folder / "._img1.png").write_bytes(b"what another system leaves behind")
    (folder / "notes.txt").write_text("no frame")
    (folder / "sub.png").mkdir()
    assert [index_of(image) for image in read(folder)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_grey_is_three_equal_channels(tmp_path: Path, suffix: str) -> None:
    grey = np.arange(48 * 64, dtype=np.uint32).reshape(SIZE_HW).astype(np.uint8)
    images = read(write_images(tmp_path / "f", [grey], "{}." + suffix))
    np.testing.assert_array_equal(images[0], np.repeat(grey[..., None], 3, axis=2))


def test_alpha_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    cv2.imwrite(str(tmp_path / "f" / "1.png"), np.dstack([picture(3)[..., ::-1], np.zeros(SIZE_HW, np.uint8)]))
    np.testing.assert_array_equal(read(tmp_path / "f")[0], picture(3))


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint16, "png"), (np.uint16, "tif"), (np.float32, "tif")])
def test_other_depths_are_refused_by_name(tmp_path: Path, dtype: type, suffix: str) -> None:
    folder = write_images(tmp_path / "f", pictures(2), "{:03d}.png")
    cv2.imwrite(str(folder / f"002.{suffix}"), np.zeros(SIZE_HW, dtype))
    with pytest.raises(VideoError, match=rf"002\.{suffix} .*expected 8-bit grey or colour, got {np.dtype(dtype).name}"):
        read(folder)


def test_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "f", [*pictures(3), picture(3, (50, 60))])
    sentence = r"003\.png has another size .*expected 48 x 64 .* as in 000\.png, got 50 x 60"
    with open_video(folder, batch_size=2) as reader:
        running = iter(reader)
        assert len(next(running)) == 2
        with pytest.raises(VideoError, match=sentence):
            next(running)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.95])
def test_unreadable_images_are_left_out_by_name(
    tmp_path: Path, suffix: str, share: float, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_images(tmp_path / "f", pictures(5), "{:03d}." + suffix)
    for name in (f"001.{suffix}", f"004.{suffix}"):
        _cut(folder / name, share)
    with open_video(folder) as reader:
        (batch,) = reader
    assert [index_of(image) for image in batch.images] == batch.frame_index.tolist() == [0, 2, 3]
    assert batch.time_s.tolist() == [0.0, 2 / 25, 3 / 25]
    assert reader.missing == [range(1, 2), range(4, 5)]
    sentence = f"2 of 5 images cannot be read, frames 1 and 4 are missing: 001.{suffix}, 004.{suffix}"
    assert caplog.messages == [f"{folder}: {sentence}"]
    assert capfd.readouterr() == ("", "")


def test_a_first_image_that_is_unreadable_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "f", pictures(3))
    _cut(folder / "000.png", 0.6)
    size = (folder / "000.png").stat().st_size
    with pytest.raises(VideoError, match=rf"000\.png is not a readable image: got {size} bytes"):
        open_video(folder)


def test_an_image_that_claims_a_size_beyond_all_memory_is_left_out(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "f", pictures(3))
    content = bytearray((folder / "001.png").read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (folder / "001.png").write_bytes(content)
    with open_video(folder) as reader:
        assert [index for batch in reader for index in batch.frame_index] == [0, 2]


def _cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_exif_orientation_is_honoured_like_a_video_s_rotation(tmp_path: Path) -> None:
    ok, plain = cv2.imencode(".jpg", picture(9)[..., ::-1])
    assert ok
    tiff = b"MM\0\x2a\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)  # orientation 6: turn clockwise
    exif = b"Exif\0\0" + tiff
    (tmp_path / "f").mkdir()
    content = plain.tobytes()
    marked = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    (tmp_path / "f" / "1.jpg").write_bytes(marked)
    upright = cv2.imdecode(plain, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(read(tmp_path / "f")[0], np.rot90(upright, -1))


def test_the_rate_is_a_setting(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "f", pictures(5))
    with open_video(folder, frame_rate=Fraction(30000, 1001)) as reader:
        assert reader.rate == Fraction(30000, 1001)
        (batch,) = reader
    assert batch.time_s.tolist() == pytest.approx([index * 1001 / 30000 for index in range(5)], abs=1e-12)


def test_opencv_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_images(tmp_path / "f", pictures(1))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match="OpenCV, which is not installed"):
        open_video(folder)
