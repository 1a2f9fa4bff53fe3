"""200 damaged copies of small videos, read in processes of their own: a crash or a hang would end only that process."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .media_samples import claim_frames, encode, pictures, write_images

NUM_FILES = 200
FILES_PER_PROCESS = 50
NUM_FRAMES = 20
WAYS = ("cut", "flipped bits", "overwritten blocks", "changed start", "changed end")
# Python with the decoders, and whole videos, take less than half of that.
MAX_MEGABYTES = 400

# Reads each source whole and from frame 7 on; says in one line of JSON what came of it.
_READ_ALL = """
import json, logging, sys
from pathlib import Path
import numpy as np
from mulde.errors import MuldeError
from mulde.media import open_video

warnings = []
handler = logging.Handler()
handler.emit = lambda record: warnings.append(record.getMessage())
logging.getLogger("mulde").addHandler(handler)

def read(path, start_frame):
    with open_video(path, decoder=sys.argv[1], batch_size=4, start_frame=start_frame) as reader:
        rows = [(i, t, image.tobytes()) for b in reader for i, t, image in zip(b.frame_index, b.time_s, b.images)]
        return rows, reader.missing

for name in sys.argv[2:]:
    print(json.dumps({"starts": name}), flush=True)
    warnings.clear()
    try:
        rows, missing = read(Path(name), 0)
        warned = list(warnings)
        rest, _ = read(Path(name), 7)
        index, time_s = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
        gaps = set(range(index[-1])) - set(index.tolist())
        result = {
            "kind": "frames",
            "num": len(rows),
            "warned": bool(warned),
            "in_order": bool((np.diff(index) > 0).all() and (np.diff(time_s) >= 0).all()),
            "gaps_named": gaps == {i for r in missing for i in r if i < index[-1]} and (not missing or bool(warned)),
            "resumes": rest == rows[7:],
        }
    except MuldeError as error:
        result = {"kind": "refused", "sentence": str(error)}
    except BaseException as error:
        result = {"kind": f"{type(error).__name__}: {error}"}
    # Not ru_maxrss: that begins with the memory of the process that started this one.
    status = Path("/proc/self/status")  # of Linux
    lines = status.read_text().splitlines() if status.exists() else ["VmHWM 0 kB"]
    result["megabytes"] = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"name": name, **result}), flush=True)
"""


def read_all(decoder: str, paths: list[Path]) -> list[dict[str, Any]]:
    """What came of each file; a process that dies or hangs is the result of the file it was at."""
    results, left = [], [str(path) for path in paths]
    while left:
        now = left[:FILES_PER_PROCESS]
        with subprocess.Popen(
            [sys.executable, "-c", _READ_ALL, decoder, *now], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                output, _ = process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
        lines = [json.loads(line) for line in output.splitlines()]
        results += (done := [line for line in lines if "name" in line])
        if process.returncode:
            at = lines[-1].get("starts", "the end") if lines else "the start"
            results.append({"name": at, "kind": f"process ended with {process.returncode}", "megabytes": 0})
            done.append(results[-1])
        left = left[max(1, len(done)) :]
    return results


def sources(folder: Path) -> list[Path]:
    folder.mkdir()
    grain = np.random.default_rng(0).integers(-20, 20, (48, 64, 3))
    images = [
        np.clip(one + np.roll(grain, at, 1), 0, 255).astype(np.uint8) for at, one in enumerate(pictures(NUM_FRAMES))
    ]
    return [
        encode(folder / "a.mp4", images, container={"movflags": "faststart"}, options={"g": "8"}),
        encode(folder / "a.mkv", images, options={"g": "8"}),
        encode(folder / "a.avi", images, codec="mpeg4"),
        encode(folder / "a.webm", images, codec="libvpx-vp9", options={"deadline": "realtime", "g": "8"}),
        encode(folder / "a.ts", images, options={"g": "8"}),
        write_images(folder / "frames", images, "{:03d}.jpg"),
    ]  # fmt: skip


def damage(content: bytes, chance: random.Random, way: str) -> bytes:
    """A copy with one of the WAYS of damage; the last two change single bytes within 1500 of the start or end."""
    changed = bytearray(content)
    if way == "cut":
        return content[: chance.randrange(len(content))]
    if way == "flipped bits":
        for _ in range(chance.randrange(1, 40)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    elif way == "overwritten blocks":
        for _ in range(chance.randrange(1, 4)):
            start = chance.randrange(len(changed))
            block = changed[start : start + chance.randrange(1, 1500)]
            filling = [bytes(len(block)), b"\xff" * len(block), chance.randbytes(len(block))]
            changed[start : start + len(block)] = chance.choice(filling)
    else:
        reach = min(1500, len(changed))
        for _ in range(chance.randrange(1, 8)):
            at = chance.randrange(reach)
            changed[at if way == "changed start" else -1 - at] = chance.randrange(256)
    return bytes(changed)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("damaged")
    chance, whole, copies = random.Random(7), sources(folder / "whole"), []
    for number in range(NUM_FILES):
        source, way = whole[number % len(whole)], number // len(whole) % len(WAYS)
        copy = folder / f"{number:03d} {WAYS[way]}{source.suffix}"
        if source.is_dir():
            shutil.copytree(source, copy)
            files = chance.sample(sorted(copy.iterdir()), 4)
        else:
            files = [shutil.copyfile(source, copy)]
        for file in files:
            file.write_bytes(damage(file.read_bytes(), chance, WAYS[way]))
        copies.append(copy)
    return copies


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_each_damaged_file_gives_frames_or_a_sentence(damaged: list[Path], decoder: str) -> None:
    results = read_all(decoder, damaged)
    assert [result["name"] for result in results] == [str(path) for path in damaged]
    assert [result for result in results if result["kind"] not in ("frames", "refused")] == []
    read = [result for result in results if result["kind"] == "frames"]
    assert [result for result in read if not (result["num"] and result["in_order"] and result["gaps_named"])] == []
    cut = [result for result in read if result["name"].endswith(("cut.mp4", "cut.avi", "cut"))]  # they say how many
    assert [result for result in cut if result["num"] < NUM_FRAMES and not result["warned"]] == []
    if decoder == "pyav":  # decord's threads do not decode a damaged picture the same way twice
        assert [result for result in read if not result["resumes"]] == []
    assert [result for result in results if result["kind"] == "refused" and len(result["sentence"]) < 30] == []
    assert max(result["megabytes"] for result in results) < MAX_MEGABYTES
    assert min(Counter(result["kind"] for result in results).values()) > 20  # both happen


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_headers_that_lie_about_sizes_take_no_memory(tmp_path: Path, decoder: str) -> None:
    motion = encode(tmp_path / "whole.avi", pictures(8), codec="mjpeg", pix_fmt="yuvj420p")
    claim_frames(motion, tmp_path / "frames.avi", 10**9)
    animation = encode(tmp_path / "whole.mov", pictures(8), codec="qtrle", pix_fmt="rgb24")
    content = bytearray(animation.read_bytes())
    at = content.index(b"rle ", content.index(b"stsd")) + 28  # the size in the sample description
    content[at : at + 4] = struct.pack(">HH", 15_000, 15_000)
    (tmp_path / "size.mov").write_bytes(content)
    (tmp_path / "size.avi").write_bytes(_with_large_jpegs(motion.read_bytes()))
    folder = write_images(tmp_path / "folder", pictures(8), "{:03d}.jpg")
    (folder / "003.jpg").write_bytes(_with_large_jpegs((folder / "003.jpg").read_bytes()))
    names = ["frames.avi", "size.mov", "size.avi", "folder"]
    results = read_all(decoder, [tmp_path / name for name in names])
    assert {result["kind"] for result in results} <= {"frames", "refused"}
    assert [result["kind"] for result in results][3] == "frames"
    assert "at most 100000000 pixels, not 15000 x 15000" in results[1]["sentence"]
    assert max(result["megabytes"] for result in results) < MAX_MEGABYTES


def _with_large_jpegs(content: bytes, side: int = 15_000) -> bytes:
    """The frame headers of all JPEGs inside, changed to claim a square picture."""
    changed = bytearray(content)
    at = changed.find(b"\xff\xc0\x00\x11\x08")
    while at >= 0:
        changed[at + 5 : at + 9] = struct.pack(">HH", side, side)
        at = changed.find(b"\xff\xc0\x00\x11\x08", at + 9)
    assert changed != content
    return bytes(changed)
