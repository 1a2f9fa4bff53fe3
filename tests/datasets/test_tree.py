"""What is footage below a folder, and what is left out and why.

Kinds, and the relatives that were looked for: pictures beside videos (one, many, above them, below them, masks, covers
among frames); names of systems (NAS, Windows, macOS, versioning, file systems); files that look like footage (suffixes,
downloads, archives, raw pictures); links (dead, in circles, to folders above, to what is there already, from outside);
what cannot be read (folders, links) or never ends (pipes, sockets); what mulde wrote (run, several seeds, store, demo,
toy, where --out named the folder of the footage); names (suffix alone, folder and file).
"""

from __future__ import annotations

import inspect
import os
import re
import socket
import sys
from pathlib import Path

import pytest

from mulde.datasets.left_out import LeftOut, Reason, as_record, in_words
from mulde.datasets.tree import find_videos, walk
from mulde.errors import UsageError
from mulde.filetypes import is_clutter, list_frames

R = Reason


def make(root: Path, *paths: str) -> Path:
    """Empty files; "a/" is an empty folder, "a -> b" a link, "a#9" stands for nine pictures in a."""
    for text in paths:
        name, _, target = text.partition(" -> ")
        if pictures := re.fullmatch("(.*)#([0-9]+)", name):
            make(root, *(f"./{pictures[1]}/{i:03d}.jpg" for i in range(int(pictures[2]))))
            continue
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if target:
            path.symlink_to(target)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    return root


def names(root: Path) -> list[str]:
    return [name for name, _ in walk(root).videos]


def reasons(root: Path) -> dict[str, Reason]:
    return {one.name: one.reason for one in walk(root).left_out}


@pytest.mark.parametrize(
    ("paths", "videos", "left_out"),
    [
        ([], [], {"root": R.EMPTY}),
        (["a.mp4", "b/c.avi"], ["a", "b/c"], {}),
        (["a2.mp4", "a10.mp4"], ["a2", "a10"], {}),
        # pictures
        (["a.mp4", "folder.jpg"], ["a"], {"folder.jpg": R.PICTURE}),
        (["cam/a.mp4", "folder.jpg"], ["cam/a"], {"folder.jpg": R.PICTURE}),
        (["cam/day/a.mp4", "cam/t001.jpg"], ["cam/day/a"], {"cam/t001.jpg": R.PICTURE}),
        (["#12", "a.mp4"], ["a"], {f"{i:03d}.jpg": R.PICTURE for i in range(12)}),
        (["b#3", "a.mp4"], ["a", "b"], {}),
        (["#3"], ["root"], {}),
        (["one.png"], ["root"], {}),
        (["cover.png", "clip1#3", "clip2#2"], ["clip1", "clip2"], {"cover.png": R.PICTURE}),
        (["#3", "thumbs#3"], ["root"], {"thumbs": R.FRAMES_BELOW}),
        (["c#5", "c/small/deep#2"], ["c"], {"c/small/deep": R.FRAMES_BELOW}),
        (["t#2", "t_gt#2", "v.mp4", "v_mask#2", "_gt#2", "w_gt#2"], ["_gt", "t", "v", "w_gt"],
         {"t_gt": R.MASKS, "v_mask": R.MASKS}),
        (["c#20", "c/folder.jpg"], ["c"], {"c/folder.jpg": R.NO_FRAME}),
        (["c#5", "c/folder.jpg"], ["c"], {}),
        (["c#3", "c/000.png", "c/001.png", "c/002.png"], ["c"],
         {"c/000.jpg": R.NO_FRAME, "c/001.jpg": R.NO_FRAME, "c/002.jpg": R.NO_FRAME}),
        (["c#3", "c/001.PNG", "c/002.png"], ["c"], {"c/001.PNG": R.NO_FRAME, "c/002.png": R.NO_FRAME}),
        (["c#3", "c/003.jpeg", "c/002.png"], ["c"], {}),
        # names
        (["a.mp4", "a.avi", "a/1.jpg", "b.MP4"], ["a", "a.avi", "a.mp4", "b"], {}),
        (["a.mp4", "a.avi", "a.avi.mp4", "a.avi.mp4.mkv", "a.mp4.avi"],
         ["a.avi", "a.avi.mp4", "a.avi.mp4.mkv", "a.mp4", "a.mp4.avi"], {}),
        (["a.b.mp4", "a.c.mp4", ".mp4"], ["a.b", "a.c"], {".mp4": R.CLUTTER}),
        # kinds of files
        (["a.mts", "b.M2TS", "c.dav", "d.h264", "e.webp"], ["a", "b", "c", "d"], {"e.webp": R.PICTURE}),
        (["a.gif", "b", "c.heic", "d.braw"], [], dict.fromkeys(["a.gif", "b", "c.heic", "d.braw"], R.OTHER_KIND)),
        (["a.mp4.part", "b.zip", "c.txt", "d.json"], [],
         {"a.mp4.part": R.UNFINISHED, "b.zip": R.ARCHIVE, "c.txt": R.DOCUMENT, "d.json": R.DOCUMENT}),
        # links
        (["day1/a.mp4", "latest -> day1"], ["day1/a"], {"latest": R.TWICE}),
        (["a.mp4", "A.mp4 -> a.mp4"], ["a"], {"A.mp4": R.TWICE}),
        (["z/a.mp4", "b.mp4 -> z/a.mp4", "cover.jpg"], ["z/a"], {"b.mp4": R.TWICE, "cover.jpg": R.PICTURE}),
        (["a.mp4", "up -> .", "x/up -> ..", "x/far -> ../.."], ["a"],
         {"up": R.LOOP, "x/up": R.LOOP, "x/far": R.LOOP}),
        (["gone.mp4 -> nowhere", "gone -> nowhere", "round.mp4 -> round.mp4"], [],
         {"gone.mp4": R.DEAD_LINK, "gone": R.DEAD_LINK, "round.mp4": R.DEAD_LINK}),
        (["a/v.mp4", "b/x -> ../a", "b/y -> ../c", "c/z -> ../b", "c/w.mp4"], ["a/v", "c/w"],
         {"b/x": R.TWICE, "b/y": R.TWICE, "c/z": R.TWICE}),
        (["x/1.jpg -> ../y/1.jpg", "y/1.jpg"], ["x", "y"], {}),
        # what mulde wrote
        (["a.mp4", "store/0123456789abcdef/video.json", "store/0123456789abcdef/x.mp4"], ["a"], {"store": R.OURS}),
        (["0123456789abcdef/x.mp4"], ["0123456789abcdef/x"], {}),
    ],
)  # fmt: skip
def test_what_is_footage_and_what_is_not(tmp_path, paths, videos, left_out):
    root = make(tmp_path / "root", *paths, *([] if paths else ["x/"]))
    if not paths:
        (root / "x").rmdir()
    assert names(root) == videos
    assert reasons(root) == left_out


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir", "#recycle", "#snapshot", ".snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found",
        "__MACOSX", ".Trash-1000", ".AppleDouble", ".@__thumb", "@Recycle", ".git", ".svn", "~snapshot", "@tmp",
    ],
)  # fmt: skip
def test_folders_of_systems_are_not_looked_into(tmp_path, name):
    root = make(tmp_path, "a.mp4", f"{name}/b.mp4", f"{name}/t001.mp4/SYNOVIDEO_VIDEO_SCREENSHOT.jpg")
    assert names(root) == ["a"]
    assert reasons(root) == {name: Reason.CLUTTER}


def test_clutter_by_name():
    for name in [
        "Thumbs.db",
        "THUMBS.DB",
        "desktop.ini",
        "._a.mp4",
        ".DS_Store",
        "~$plan.xlsx",
        "UCSDped2.m~",
        "Icon\r",
    ]:
        assert is_clutter(name), name
    for name in ["a.mp4", "@front", "#1.mp4", "$5.mp4", "found", "recycled", "Train"]:
        assert not is_clutter(name), name


def test_a_picture_without_a_number_is_no_frame_beside_ten_that_have_one(tmp_path):
    make(tmp_path, "#10", "poster.jpg")
    assert [path.name for path in list_frames(tmp_path)] == [f"{i:03d}.jpg" for i in range(10)]


def test_links_from_outside_are_followed_once(tmp_path):
    make(tmp_path / "disk", "day/a.mp4", "b.mp4", "again -> .")
    root = make(tmp_path / "root", f"x -> {tmp_path / 'disk'}", f"y -> {tmp_path / 'disk' / 'day'}", "b.mp4 -> x/b.mp4")
    assert names(root) == ["b", "x/day/a"]
    assert reasons(root) == {"x/b.mp4": Reason.TWICE, "y": Reason.TWICE, "x/again": Reason.LOOP}


def test_pipes_and_sockets_are_not_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "run.json")
    make(tmp_path, "link.mp4 -> pipe.mp4", "null.mp4 -> /dev/null", "a.mp4")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("sock.mp4")
        assert names(tmp_path) == ["a"]
    special = ["link.mp4", "null.mp4", "pipe.mp4", "run.json", "sock.mp4"]
    assert reasons(tmp_path) == dict.fromkeys(special, Reason.SPECIAL)


def test_a_folder_that_cannot_be_read_stops_nothing(tmp_path, monkeypatch):
    root = make(tmp_path / "root", "a.mp4", "secret/b.mp4", "z/c.mp4")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = walk(root)
    assert [name for name, _ in found.videos] == ["a", "z/c"]
    assert [(one.name, one.detail) for one in found.unreadable] == [("secret", "Permission denied")]
    with pytest.raises(UsageError, match="secret: expected a folder that can be read, got Permission denied"):
        find_videos(root)


def test_a_folder_that_is_gone_is_unreadable_and_one_that_goes_meanwhile_is_nothing(tmp_path, monkeypatch):
    assert [one.reason for one in walk(tmp_path / "gone").left_out] == [Reason.UNREADABLE]
    root = make(tmp_path / "root", "a/b.mp4", "c/")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("c"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert walk(root).left_out == []


def test_folders_may_be_nested_more_deeply_than_python_calls(tmp_path):
    make(tmp_path, f"{'d/' * 200}a.mp4")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert [path.name for _, path in walk(tmp_path).videos] == ["a.mp4"]
    finally:
        sys.setrecursionlimit(limit)


def run_folder(root: Path, *paths: str) -> None:
    make(root, *paths)
    (root / "run.json").write_text('{\n  "mulde": "1.0.0",\n  "command": []\n}')


def test_a_run_folder_is_no_footage_wherever_it_lies(tmp_path):
    root = make(tmp_path / "root", "a.mp4")
    run_folder(root / "runs" / "model", "audit.png", "model.safetensors", "overlays/a.mp4", "thumbnails/a/000001.jpg")
    run_folder(root / "runs" / "seeds" / "seed-0", "figures/a.png")
    assert names(root) == ["a"]
    assert reasons(root) == {"runs/model": Reason.OURS, "runs/seeds/seed-0": Reason.OURS}
    assert names(root / "runs" / "model") == []
    assert names(root / "runs" / "model" / "overlays") == ["a"]  # a person who names it means it


def test_a_run_in_the_folder_of_the_footage_does_not_hide_it(tmp_path):
    make(tmp_path, "a.mp4")
    run_folder(tmp_path, "overlays/a.mp4", "timeline.png", "scores/a.csv", "inserted/000-fast/00000.png")
    assert names(tmp_path) == ["a"]
    (tmp_path / "run.json").write_text('{"player": "somebody"}')
    assert names(tmp_path) == ["a", "inserted/000-fast", "overlays/a"]  # the run.json of another program


def test_demo_and_toy_are_no_footage(tmp_path):
    make(tmp_path, "demo/world/train/t1.mp4", "toy/auc.png", "toy/tensorboard/x", "a.mp4")
    (tmp_path / "demo" / "world" / "world.json").write_text('{"seed": 0, "generator": 2}')
    (tmp_path / "toy" / "toy.json").write_text('{"versions": {"mulde": "1.0.0"}}')
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "demo" / "world") == ["train/t1"]
    assert names(tmp_path / "toy") == []


def test_one_line_says_it_all_what_matters_first():
    left_out = [LeftOut(Path(f"/d/{i}.jpg"), f"{i}.jpg", Reason.PICTURE) for i in range(21)]
    left_out += [LeftOut(Path("/d/x"), "x", Reason.UNREADABLE, "Permission denied")]
    left_out += [LeftOut(Path("/d/.git"), ".git", Reason.CLUTTER)]
    assert in_words(left_out) == (
        "left out: 1 folder that cannot be read: x (Permission denied); 21 pictures beside videos: "
        f"{', '.join(f'{i}.jpg' for i in range(20))}, ...; "
        "1 hidden or system entry: .git"
    )
    assert in_words([]) == ""
    assert as_record(left_out, limit=1)["picture"] == {"count": 21, "paths": ["/d/0.jpg"]}
