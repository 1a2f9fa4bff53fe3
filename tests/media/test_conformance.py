"""One suite over every kind of video that people have: what is in it comes out, or a sentence says why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from mulde.errors import MuldeError
from mulde.media import open_video

from .media_samples import (
    SIZE_HW,
    claim_frames,
    encode,
    encode_streams,
    overwrite_packets,
    pictures,
    restamp,
    rotate_mp4,
    write_images,
)

NUM = 12
NO_DECORD = {"decord": "decord cannot read"}
EVEN_S = [index / 25 for index in range(NUM)]


@dataclass(frozen=True)
class Case:
    """A file, and what must come out of it: upright pictures by frame index, their times, the warning if any.

    `spoilt` frames are delivered with holes in them. `refused` maps decoders that cannot read the file to the sentence.
    """

    path: Path
    images: Mapping[int, np.ndarray]
    time_s: list[float]
    error: float = 6.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    spoilt: frozenset[int] = frozenset()
    missing: tuple[range, ...] = ()
    warning: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)


def plain(path: Path, images: list[np.ndarray], **fields: Any) -> Case:
    return Case(path, dict(enumerate(images)), EVEN_S[: len(images)], **fields)


def coded(
    name: str, codec: str, pix_fmt: str = "yuv420p", size_hw: tuple[int, int] = SIZE_HW, **more: Any
) -> Callable[[Path], Case]:
    """A file of numbered pictures in one coding."""
    options, fields = more.pop("options", {}), more

    def build(folder: Path) -> Case:
        if codec not in av.codecs_available:
            pytest.skip(f"this build of PyAV has no encoder {codec}")
        images = pictures(NUM, size_hw)
        return plain(encode(folder / name, images, codec=codec, pix_fmt=pix_fmt, options=options), images, **fields)

    return build


def with_alpha(name: str, codec: str, pix_fmt: str, error: float) -> Callable[[Path], Case]:
    def build(folder: Path) -> Case:
        images = pictures(NUM)
        alpha = np.tile(np.linspace(0, 255, SIZE_HW[1]).astype(np.uint8), (SIZE_HW[0], 1))
        path = encode(folder / name, [np.dstack([one, alpha]) for one in images], codec=codec, pix_fmt=pix_fmt)
        return plain(path, images, error=error)

    return build


def rotated(folder: Path) -> Case:
    path = rotate_mp4(encode(folder / "plain.mp4", pictures(NUM)), folder / "turned.mp4", 90)
    return plain(path, [np.rot90(one, -1) for one in pictures(NUM)])


def rotated_and_shrunk(folder: Path) -> Case:
    images = pictures(NUM, (96, 128))
    path = rotate_mp4(encode(folder / "plain.mp4", images), folder / "turned.mp4", 270)
    return plain(path, [np.rot90(shrunk(one, (48, 64))) for one in images], settings={"working_size_px": 64})


def variable_rate(folder: Path) -> Case:
    pts_ms = [100, 140, 150, 300, 320, 700, 701, 900, 940, 950, 2000, 2040]
    path = encode(folder / "a.mkv", pictures(NUM), pts_ms=pts_ms)
    return Case(path, dict(enumerate(pictures(NUM))), [(pts - 100) / 1000 for pts in pts_ms])


def stamps(pts_ms: list[int], warning: str) -> Callable[[Path], Case]:
    """Stamps that no clock gives: the pictures come in the order in which they are coded, at even times."""

    def build(folder: Path) -> Case:
        whole = encode(folder / "whole.mkv", pictures(NUM), codec="mjpeg", pix_fmt="yuvj420p")
        return plain(restamp(whole, folder / "a.mkv", pts_ms), pictures(NUM), warning=warning, refused=NO_DECORD)

    return build


def two_recordings_in_one(folder: Path) -> Case:
    """The second one's clock starts anew."""
    coding = {"codec": "mpeg2video", "options": {"g": "1", "bf": "0", "qscale": "2"}}
    one = encode(folder / "one.ts", pictures(NUM)[:6], **coding)
    two = encode(folder / "two.ts", pictures(NUM)[6:], **coding)
    (folder / "both.ts").write_bytes(one.read_bytes() + two.read_bytes())
    return plain(folder / "both.ts", pictures(NUM), refused=NO_DECORD)


def claims(num_frames: int) -> Callable[[Path], Case]:
    def build(folder: Path) -> Case:
        whole = encode(folder / "whole.avi", pictures(NUM), codec="mjpeg", pix_fmt="yuvj420p")
        path = claim_frames(whole, folder / "a.avi", num_frames)
        warning = f"decoded {NUM} frames where the file promises {num_frames}; no frame between them is missing"
        refused = {"decord": f"its header claims {num_frames} frames"} if num_frames > 10**6 else {}
        return plain(path, pictures(NUM), warning=warning, refused=refused)

    return build


def hole(name: str, codec: str, numbers: list[int], spoilt: set[int], **coding: Any) -> Callable[[Path], Case]:
    """Some packets are overwritten: their frames are missing, the others keep numbers and times."""

    def build(folder: Path) -> Case:
        path = overwrite_packets(encode(folder / name, pictures(NUM), codec=codec, **coding), numbers, b"\xff")
        there = [index for index in range(NUM) if index not in numbers]
        return Case(
            path,
            {index: pictures(NUM)[index] for index in there},
            [index / 25 for index in there],
            spoilt=frozenset(spoilt),
            missing=(range(numbers[0], numbers[-1] + 1),),
            warning=f"{numbers[0]}-{numbers[-1]} are missing",
            refused=NO_DECORD,
        )

    return build


def hidden_picture(folder: Path) -> Case:
    """VP8 has packets whose picture is only there to predict others from; a bit of their first byte says so."""
    path = encode(folder / "a.webm", pictures(NUM), codec="libvpx", options={"g": "1"})
    with av.open(str(path)) as file:
        coded = [bytes(packet) for packet in file.demux(video=0) if packet.size][5]
    path.write_bytes(path.read_bytes().replace(coded, bytes([coded[0] & ~0x10]) + coded[1:]))
    shown = [index for index in range(NUM) if index != 5]
    images = {at: pictures(NUM)[index] for at, index in enumerate(shown)}
    return Case(path, images, [index / 25 for index in shown])


def grey(folder: Path) -> Case:
    images = [np.repeat(one[..., :1], 3, axis=2) for one in pictures(NUM)]
    return plain(encode(folder / "a.mkv", images, pix_fmt="gray", color_range=2), images)


def large(folder: Path) -> Case:
    """4K, worked on at 96 pixels."""
    images = [cv2.resize(one, (3840, 2160), interpolation=cv2.INTER_NEAREST) for one in pictures(3)]
    path = encode(folder / "a.mp4", images, options={"preset": "ultrafast"})
    return plain(path, [shrunk(one, (54, 96)) for one in images], settings={"working_size_px": 96})


def streams(number: int | str, refused: Mapping[str, str]) -> Callable[[Path], Case]:
    def build(folder: Path) -> Case:
        both = [pictures(NUM, (96, 128)), pictures(NUM)[::-1]]  # libav takes the larger one for the main one
        path = encode_streams(folder / "a.mkv", both)
        images = both[0 if number == "auto" else int(number)]
        return plain(path, images, settings={"stream": number}, refused=refused)

    return build


def folder_of(images: list[np.ndarray], pattern: str = "{:03d}.png", **fields: Any) -> Callable[[Path], Case]:
    def build(folder: Path) -> Case:
        rgb = [np.dstack([one] * 3) if one.ndim == 2 else one for one in images]
        return plain(write_images(folder / "frames", images, pattern), rgb, **fields)

    return build


def folder_with_alpha(folder: Path) -> Case:
    images = pictures(3)
    frames = write_images(folder / "frames", images)
    for file, image in zip(sorted(frames.iterdir()), images, strict=True):
        assert cv2.imwrite(str(file), np.dstack([image[..., ::-1], image[..., :1]]))
    return plain(frames, images, error=0)


def folder_with_a_hole(folder: Path) -> Case:
    frames = write_images(folder / "frames", pictures(NUM))
    (frames / "005.png").write_bytes(b"")
    there = [index for index in range(NUM) if index != 5]
    return Case(
        frames,
        {index: pictures(NUM)[index] for index in there},
        [index / 25 for index in there],
        missing=(range(5, 6),),
        warning=r"1 of 12 images cannot be read, frame 5 is missing: 005\.png",
    )


def large_folder(folder: Path) -> Case:
    images = pictures(3, (480, 640))
    frames = write_images(folder / "frames", images)
    return plain(frames, [shrunk(one, (96, 128)) for one in images], settings={"working_size_px": 128})


def shrunk(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA)


QUICK_VP9 = {"deadline": "realtime", "cpu-used": "8"}
QUIET_X265 = {"preset": "ultrafast", "x265-params": "log-level=none"}
FILES: dict[str, Callable[[Path], Case]] = {
    "H.264": coded("a.mp4", "libx264"),
    "HEVC": coded("a.mp4", "libx265", options=QUIET_X265),
    "AV1": coded("a.mp4", "libsvtav1", options={"preset": "12"}, refused=NO_DECORD),
    "VP9": coded("a.webm", "libvpx-vp9", options=QUICK_VP9),
    "VP8": coded("a.webm", "libvpx"),
    "VP8 with a hidden picture": hidden_picture,
    "MPEG-4": coded("a.avi", "mpeg4"),
    "MJPEG": coded("a.avi", "mjpeg", "yuvj420p"),
    "10-bit H.264": coded("a.mp4", "libx264", "yuv420p10le"),
    "10-bit HEVC": coded("a.mkv", "libx265", "yuv420p10le", options=QUIET_X265),
    "full range": coded("a.mp4", "libx264", "yuvj420p"),
    "rotated": rotated,
    "rotated and shrunk": rotated_and_shrunk,
    "variable frame rate": variable_rate,
    "equal stamps": stamps([0, 40, 40, 40, 160, 200, 240, 280, 280, 360, 400, 440], ""),
    "a clock set back": stamps([*range(2000, 2240, 40), *range(0, 240, 40)], "end at 0.5 s where"),
    "two recordings in one": two_recordings_in_one,
    "header claims more": claims(1000),
    "header claims a billion": claims(10**9),
    "hole in MJPEG": hole("a.avi", "mjpeg", [4, 5, 6], set(), pix_fmt="yuvj420p"),
    "hole in H.264": hole(
        "a.mp4", "libx264", [4, 5], set(), options={"g": "6", "bf": "0", "x264-params": "scenecut=0"}
    ),
    "hole at the start": hole("a.mp4", "libx264", [0, 1], set(), options={"g": "2", "bf": "0"}),
    "grey": grey,
    "odd sizes in 4:4:4": coded("a.mp4", "libx264", "yuv444p", (47, 63)),
    "odd sizes in 4:2:0": coded("a.webm", "libvpx-vp9", size_hw=(47, 63), options=QUICK_VP9),
    "odd sizes of JPEG": coded("a.avi", "mjpeg", "yuvj420p", (47, 63)),
    "alpha in VP9": with_alpha("a.webm", "libvpx-vp9", "yuva420p", 6),
    "alpha in PNG": with_alpha("a.mov", "png", "rgba", 0),
    "alpha in QuickTime animation": with_alpha("a.mov", "qtrle", "argb", 0),
    "alpha in FFV1": with_alpha("a.mkv", "ffv1", "bgra", 0),
    "4K": large,
    "several streams": streams("auto", {}),
    "first of several streams": streams(0, {}),
    "second of several streams": streams(1, {"decord": "reads the main stream of .*, 0, and no other: got stream 1"}),
}
FOLDERS: dict[str, Callable[[Path], Case]] = {
    "folder": folder_of(pictures(NUM), error=0),
    "grey folder": folder_of([one[..., 0] for one in pictures(NUM)], error=0),
    "folder with odd sizes": folder_of(pictures(NUM, (47, 63)), "{:03d}.jpg"),
    "folder with alpha": folder_with_alpha,
    "folder with a hole": folder_with_a_hole,
    "large folder": large_folder,
}
RUNS = [(kind, decoder) for kind in FILES for decoder in ("pyav", "decord")] + [(kind, "pyav") for kind in FOLDERS]


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    @cache
    def build(kind: str) -> Case:
        return (FILES | FOLDERS)[kind](tmp_path_factory.mktemp("kind"))

    return build


@pytest.mark.parametrize(("kind", "decoder"), RUNS)
def test_kind(case_of: Callable[[str], Case], kind: str, decoder: str, caplog: pytest.LogCaptureFixture) -> None:
    case = case_of(kind)
    if decoder in case.refused:
        with pytest.raises(MuldeError, match=rf"{case.refused[decoder]}.*(Try: .*'pyav')"):
            list(open_video(case.path, decoder=decoder, **case.settings))
        return
    with open_video(case.path, decoder=decoder, batch_size=5, **case.settings) as reader:
        batches = list(reader)
    index, time_s, images = (
        np.concatenate([getattr(batch, name) for batch in batches]) for name in ("frame_index", "time_s", "images")
    )
    assert index.tolist() == list(case.images)
    np.testing.assert_allclose(time_s, case.time_s, atol=1e-3)
    assert images.shape[1:3] == reader.size_hw == next(iter(case.images.values())).shape[:2]
    errors = {at: np.abs(image.astype(int) - case.images[at]).mean() for at, image in zip(index, images, strict=True)}
    assert {at: error for at, error in errors.items() if error > case.error and at not in case.spoilt} == {}
    assert (np.diff(index) > 0).all()
    assert (np.diff(time_s) >= 0).all()
    assert tuple(reader.missing) == case.missing
    assert reader.num_frames_decoded == len(index)
    assert len(caplog.messages) == (case.warning != "")
    assert re.search(case.warning, caplog.text)
