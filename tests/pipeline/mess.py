"""A folder with every kind of mess at once: `python -m tests.pipeline.mess DIR` makes it, to try commands on.

It holds short videos under names that trouble terminals, tables and disks, files that only look like videos, and all
that lies about beside footage. Links, pipes and odd bytes need a POSIX file system.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import chdir
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from mulde.media import write_video
from tests.conftest import moving_square

NUM_FRAMES = 8
LOCKED = "locked"
"""A folder that nobody else may read; root may, so tests let its listing fail."""


@dataclass
class Mess:
    """What is what: videos by the name that their scores have, with their number of frames; names of videos that
    cannot be read; paths below the root of what is no video."""

    root: Path
    videos: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)

    @property
    def num_kinds(self) -> int:
        return len(self.videos) + len(self.broken) + len(self.left_out)


def write_mess(root: Path) -> Mess:
    """Make the folder `root`, which must not be there yet."""
    root.mkdir(parents=True)
    mess = Mess(root)
    clip = root.parent / f".{root.name}.mp4"
    write_video(clip, iter(moving_square(NUM_FRAMES)), Fraction(25))
    content = clip.read_bytes()
    clip.unlink()
    _odd_names(mess, content)
    _frames(mess)
    _broken(mess, content)
    _pictures(mess)
    _systems(mess, content)
    _other_files(mess)
    _links_and_pipes(mess, content)
    _output_of_mulde(mess, content)
    (root / "empty").mkdir()
    _put(root / LOCKED / "inside.mp4", content)
    (root / LOCKED).chmod(0)
    mess.left_out |= {"empty", LOCKED}
    return mess


def _odd_names(mess: Mess, content: bytes) -> None:
    """Names of videos that are sound."""
    stems = [
        "plain", "movie [x264]", "[bold]y[", "z].x", "\N{MOVIE CAMERA} front", "\u05de\u05e6\u05dc\u05de\u05d4",
        "\u202egnp.exe", "line\nbreak", "\x1b[31mred", " spaces  ", "-dash", "=cmd|x", "n" * 251, "a:b*c?d",
        os.fsdecode(b"caf\xe9"), "~home", "site/cam 1/2024-01-01T00:00:00",
    ]  # fmt: skip
    for stem in stems:
        _put(mess.root / f"{stem}.mp4", content)
        mess.videos[stem] = NUM_FRAMES
    others = {
        "LOUD.MP4": "LOUD", "same.mp4": "same.mp4", "same.avi": "same.avi", "Cam.mp4": "Cam", "cam.mp4": "cam (2)",
        "cafe\u0301.mp4": "cafe\u0301", "caf\u00e9.mp4": "caf\u00e9 (2)", "camcorder.MTS": "camcorder",
        "recorder.dav": "recorder",
    }  # fmt: skip
    for name, video in others.items():
        _put(mess.root / name, content)
        mess.videos[video] = NUM_FRAMES


def _frames(mess: Mess) -> None:
    """A folder of frames with a cover and masks beside it."""
    for folder in ("shots", "shots_gt"):
        for i, image in enumerate(moving_square(12, seed=1)):
            _write_image(mess.root / folder / f"{i:03d}.png", image)
    _write_image(mess.root / "shots" / "cover.png", np.zeros((9, 9, 3), np.uint8))
    _put(mess.root / "shots" / "Thumbs.db", b"")
    mess.videos["shots"] = 12
    mess.left_out |= {"shots_gt", "shots/cover.png", "shots/Thumbs.db"}


def _broken(mess: Mess, content: bytes) -> None:
    """Files that look like videos until they are opened."""
    files = {
        "zero.mp4": b"", "text.mp4": b"no video at all\n" * 99, "cut.mp4": content[:500], "zeros.mkv": bytes(4096),
        "page.webm": b"<!DOCTYPE html><title>404</title>", "list.ts": b"ffconcat version 1.0\nfile plain.mp4\n",
    }  # fmt: skip
    for name, data in files.items():
        _put(mess.root / name, data)
        mess.broken.add(Path(name).stem)
    for i, size in enumerate([(40, 50), (40, 60)]):
        _write_image(mess.root / "two sizes" / f"{i}.png", np.zeros((*size, 3), np.uint8))
    mess.broken.add("two sizes")


def _pictures(mess: Mess) -> None:
    for name in ("folder.jpg", "site/t001.webp"):
        _write_image(mess.root / name, np.zeros((9, 9, 3), np.uint8))
        mess.left_out.add(name)


def _systems(mess: Mess, content: bytes) -> None:
    """What NAS, Windows, macOS and version control leave behind."""
    folders = [
        "@eaDir", "#recycle", "#snapshot", ".snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found",
        "__MACOSX", ".Trash-1000", ".git",
    ]  # fmt: skip
    for name in folders:
        _put(mess.root / name / "inside.mp4", content)
    files = ["._plain.mp4", ".DS_Store", "Thumbs.db", "desktop.ini", "~$list.xlsx", ".hidden.mp4"]
    for name in files:
        _put(mess.root / name, content)
    mess.left_out |= {*folders, *files}


def _other_files(mess: Mess) -> None:
    for name in ("notes.txt", "labels.xml", "loop.gif", "clip", "x.braw", "old.zip", "new.mp4.part", "x.crdownload"):
        _put(mess.root / name, b"x")
        mess.left_out.add(name)


def _links_and_pipes(mess: Mess, content: bytes) -> None:
    root = mess.root
    _put(root.parent / f"{root.name} elsewhere" / "far.mp4", content)
    links = {
        "latest": "site", "alias.mp4": "plain.mp4", "dead.mp4": "nowhere.mp4", "round.mp4": "round.mp4", "up": "..",
        "site/again": "..", "null.mp4": "/dev/null",
    }  # fmt: skip
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "linked.mp4").symlink_to(root.parent / f"{root.name} elsewhere" / "far.mp4")
    mess.videos["linked"] = NUM_FRAMES
    os.mkfifo(root / "pipe.mp4")
    with chdir(root), socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.mp4")
    mess.left_out |= {*links, "pipe.mp4", "socket.mp4"}


def _output_of_mulde(mess: Mess, content: bytes) -> None:
    root = mess.root
    _put(root / "runs" / "model" / "run.json", b'{\n  "mulde": "1.0.0"\n}\n')
    _put(root / "runs" / "model" / "overlays" / "plain.mp4", content)
    _write_image(root / "runs" / "model" / "audit.png", np.zeros((9, 9, 3), np.uint8))
    _put(root / "mulde-features" / "0123456789abcdef" / "video.json", b"{}")
    mess.left_out |= {"runs/model", "mulde-features"}


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_image(path: Path, image: np.ndarray) -> None:
    _put(path, cv2.imencode(path.suffix, image)[1].tobytes())


if __name__ == "__main__":
    made = write_mess(Path(sys.argv[1]))
    sys.stdout.write(f"{made.root}: {made.num_kinds} entries, {len(made.videos)} of them videos\n")
