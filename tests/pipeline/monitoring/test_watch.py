"""A watched folder: what is worked on when, with a clock and a worker of the test's own; then real videos and kills."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from mulde.datasets.base import Video
from mulde.errors import Failure, MuldeError, UsageError
from mulde.events import Event, Reason
from mulde.media import write_video
from mulde.pipeline.events.tables import read_events, write_event_rows, write_events
from mulde.pipeline.extraction.engine import Extraction
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.monitoring import ledger as watch_ledger
from mulde.pipeline.monitoring import watch, watcher
from mulde.pipeline.monitoring.ledger import Ledger, Scored, Stamp
from mulde.pipeline.monitoring.watcher import Watcher, WatchOptions
from mulde.pipeline.predictor import scorer
from mulde.pipeline.scoring.frames import read_scores
from mulde.pipeline.stages import run_train
from mulde.progress import Reporter
from mulde.settings_file import load_settings
from tests.conftest import moving_square
from tests.processes import Command

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX file names and signals")


class Desk:
    """A worker that notes what it was given: content that begins with `bad` fails."""

    def __init__(self) -> None:
        self.scored: list[tuple[str, bytes]] = []
        self.tried: list[tuple[float, str]] = []
        self.meanwhile: Callable[[str], None] = lambda name: None
        self.clock: Callable[[], float] = lambda: 0.0

    def extract(self, videos):
        extraction = Extraction()
        for video in videos:
            self.tried.append((self.clock(), video.name))
            content = video.path.read_bytes() if video.path.exists() else b"bad"
            self.meanwhile(video.name)
            if content.startswith(b"bad"):
                extraction.failures.append(Failure(video.name, f"{video.path}: no video"))
            else:
                extraction.done.append(SimpleNamespace(video=video, content=content))
        return extraction

    def score(self, stored):
        self.scored += [(one.video.name, one.content) for one in stored]
        return {
            one.video.name: Scored(hashlib.sha256(one.content).hexdigest(), len(one.content), 2, 0.25) for one in stored
        }

    def gather(self) -> None:
        pass

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.scored]


class Messages(Reporter):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say


class World:
    """A folder, a run folder and a clock that moves when the watcher sleeps; `plan` says what happens when."""

    def __init__(self, root: Path) -> None:
        self.folder, self.out = root / "in", root / "run"
        self.folder.mkdir()
        self.out.mkdir()
        self.desk, self.messages, self.now = Desk(), Messages(), 0.0
        self.desk.clock = lambda: self.now

    def put(self, path: str, content: bytes | str = b"", at: float = 1.0) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(file, (at, at))

    def watch(self, plan: dict[float, Callable[[], None]] | None = None, until_s: float = 100, **options):
        """Watch, on a clock that stands still while there is work; Ctrl-C comes `until_s` seconds later."""
        plan, start = dict(plan or {}), self.now

        def sleep(pause_s: float) -> None:
            self.now += pause_s
            for when in sorted(when for when in plan if start + when <= self.now):
                plan.pop(when)()
            if self.now >= start + until_s:
                raise KeyboardInterrupt

        wanted = WatchOptions(**{"every_s": 1, "settle_s": 3, "tries": 3, **options})
        table = self.out / watch_ledger.TABLE
        with Ledger.open(self.out) as ledger:
            watcher = Watcher(
                self.folder, ledger, self.desk, wanted, self.messages, table, clock=lambda: self.now, sleep=sleep
            )
            try:
                return watcher.watch()
            except KeyboardInterrupt:
                return None

    def entries(self) -> pd.DataFrame:
        return pd.read_csv(self.out / watch_ledger.TABLE)

    def states(self) -> dict[str, str]:
        table = self.entries()
        return dict(zip(table["path"], table["state"], strict=True))


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_an_empty_folder_is_done_at_once(world):
    outcome = world.watch(once=True)
    assert (outcome.done, outcome.failures, world.now) == (0, [], 0)
    assert len(world.entries()) == 0


def test_files_are_scored_once_oldest_first_and_not_again_after_a_restart(world):
    for age, path in enumerate(["late.mp4", "b/early.avi", "b/c/first.MKV"]):
        world.put(path, path, at=100 - age)
    assert world.watch(once=True).done == 3
    assert world.desk.scored == [
        ("b/c/first", b"b/c/first.MKV"), ("b/early", b"b/early.avi"), ("late", b"late.mp4")
    ]  # fmt: skip
    assert world.watch(once=True).done == 3
    assert world.watch() is None
    assert len(world.desk.scored) == 3
    table = world.entries()
    assert list(table["state"]) == ["done"] * 3
    assert list(table["num_frames"]) == [13, 11, 8]
    assert list(table["num_events"]) == [2] * 3
    assert list(table["lowest_p_value"]) == [0.25] * 3
    assert pd.to_datetime(table["scored_at"]).notna().all()


def test_a_file_is_left_until_it_has_not_changed_for_settle_s(world):
    world.put("grows.mp4", b"1")
    plan = {when: lambda n=n: world.put("grows.mp4", b"1" * n) for n, when in enumerate([2, 4, 6, 8], start=2)}
    plan[9] = lambda: world.put("grows.mp4", b"1" * 5, at=2)  # its time alone
    world.watch(plan)
    assert world.desk.scored == [("grows", b"1" * 5)]
    assert world.desk.tried == [(12, "grows")]


def test_files_that_arrive_while_others_are_worked_on(world):
    world.put("a.mp4")

    def more(name: str) -> None:
        if name == "a":
            world.put("b.mp4")

    world.desk.meanwhile = more
    world.watch()
    assert world.desk.names == ["a", "b"]


def test_a_file_that_fails_is_tried_with_growing_pauses_and_then_left_alone_until_it_changes(world):
    world.put("broken.mp4", b"bad")
    world.put("sound.mp4", b"good")
    world.watch()
    times = [when for when, name in world.desk.tried if name == "broken"]
    assert times == [3, 5, 9]
    assert world.desk.names == ["sound"]
    assert world.states() == {"broken.mp4": "failed", "sound.mp4": "done"}
    assert "no video" in world.entries().set_index("path").loc["broken.mp4", "reason"]
    assert any("left alone after 3 tries" in line for line in world.messages.lines)
    outcome = world.watch(once=True)
    assert (outcome.done, [failure.video for failure in outcome.failures]) == (1, ["broken"])
    assert len(world.desk.tried) == 4
    world.put("broken.mp4", b"mended")
    world.watch()
    assert world.desk.scored[-1] == ("broken", b"mended")
    assert list(world.entries()["state"]) == ["done", "done"]


def test_a_changed_file_has_all_its_tries_again(world):
    world.put("broken.mp4", b"bad")
    world.watch(until_s=6)
    assert world.entries()["tries"].item() == 2
    world.put("broken.mp4", b"bad too")
    world.watch()
    assert len(world.desk.tried) == 2 + 3
    assert world.entries()["tries"].item() == 3


def test_once_waits_for_the_tries(world):
    world.put("broken.mp4", b"bad")
    outcome = world.watch(once=True)
    assert (outcome.done, len(outcome.failures)) == (0, 1)
    assert len(world.desk.tried) == 3


def test_once_leaves_what_arrives_later_and_what_grows_for_ever(world):
    world.put("a.mp4")
    world.put("endless.mp4", b"0")
    plan = {float(n): lambda n=n: world.put("endless.mp4", b"0" * n) for n in range(1, 90)}
    plan[1.5] = lambda: world.put("later.mp4")
    outcome = world.watch(plan, once=True)
    assert outcome is not None
    assert (outcome.done, [failure.video for failure in outcome.failures]) == (1, ["endless.mp4"])
    assert world.desk.names == ["a"]
    assert world.now == 30


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_file_that_vanishes_while_it_is_worked_on(world, comes_back):
    world.put("ghost.mp4", b"bad" if comes_back else b"good")
    world.put("other.mp4")
    world.desk.meanwhile = lambda name: name == "ghost" and (world.folder / "ghost.mp4").unlink(missing_ok=True)
    world.watch()
    assert world.desk.names == ["other"]
    assert world.states() == {"ghost.mp4": "gone", "other.mp4": "done"}
    assert world.entries().set_index("path").loc["ghost.mp4", "tries"] == 0
    if comes_back:
        world.desk.meanwhile = lambda name: None
        world.put("ghost.mp4", b"here")
        world.watch()
        assert world.desk.scored[-1] == ("ghost", b"here")
        assert set(world.states().values()) == {"done"}


def test_a_file_that_is_removed_between_two_tries_or_two_runs_is_gone(world):
    world.put("broken.mp4", b"bad")
    world.put("away.mp4", b"bad")
    world.watch({5: lambda: (world.folder / "broken.mp4").unlink()}, until_s=6)
    assert world.states() == {"broken.mp4": "gone", "away.mp4": "waiting"}
    (world.folder / "away.mp4").unlink()
    assert world.watch(once=True).failures == []
    assert set(world.states().values()) == {"gone"}


def test_a_file_that_changes_while_it_is_worked_on_is_scored_with_its_last_content_alone(world):
    world.put("a.mp4", b"half")

    def change(name: str) -> None:
        if len(world.desk.tried) == 1:
            world.put("a.mp4", b"whole")

    world.desk.meanwhile = change
    world.watch()
    assert world.desk.scored == [("a", b"whole")]
    assert list(world.entries()["state"]) == ["done"]


def test_new_content_under_an_old_name_is_scored_again_and_the_old_entry_kept(world):
    world.put("a.mp4", b"monday")
    world.watch(once=True)
    world.put("a.mp4", b"tuesday")
    world.watch(once=True)
    assert world.desk.scored == [("a", b"monday"), ("a", b"tuesday")]
    table = world.entries()
    assert list(table["state"]) == ["replaced", "done"]
    assert list(table["video"]) == ["a", "a"]
    assert table["sha256"].nunique() == 2
    assert any("new content" in line for line in world.messages.lines)


def test_the_same_content_with_another_time_is_not_scored_again_but_under_another_name_it_is(world):
    world.put("a.mp4", b"same", at=1)
    world.watch(once=True)
    world.put("a.mp4", b"same", at=2)
    world.put("b.mp4", b"same")
    assert world.watch(once=True).done == 2
    assert world.desk.names == ["a", "b"]
    assert list(world.entries()["mtime_ns"]) == [2 * 10**9, 10**9]


def test_every_file_has_a_name_of_its_own_that_lasts(world):
    paths = ["a.mp4", "a.avi", "a.avi.mp4", "sub/a.mp4", "A.mov"]
    for age, path in enumerate(paths):
        world.put(path, path, at=age)
    world.watch(once=True)
    names = ["a", "a.avi", "a.avi.mp4", "sub/a", "A.mov"]
    assert world.desk.names == names
    (world.folder / "a.mp4").unlink()
    for path in paths[1:]:
        world.put(path, f"new {path}")
    world.watch(once=True)
    assert sorted(world.desk.names[5:]) == sorted(names[1:])


@posix
def test_names_in_two_forms_of_unicode_are_two_names(world):
    for age, name in enumerate(["caf\u00e9", "cafe\u0301"]):
        world.put(f"{name}.mp4", name, at=age)
    world.watch(once=True)
    assert world.desk.names == ["caf\u00e9", "caf\u00e9.mp4"]


@posix
def test_a_name_that_is_no_utf_8(world):
    (world.folder / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"x")
    assert world.watch(once=True).done == 1
    assert world.watch(once=True).done == 1
    assert world.desk.names == ["caf\\xe9"]


@posix
def test_what_is_no_complete_video_file_is_not_looked_at(world, tmp_path):
    for path in [".hidden.mp4", "a.mp4.part", "a.txt", "run/overlays/a.mp4", ".tmp/a.mp4", "kept/a.mp4"]:
        world.put(path)
    (world.folder / "loop").symlink_to(world.folder)
    (world.folder / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(world.folder / "pipe.mp4")
    (tmp_path / "elsewhere.mp4").write_bytes(b"linked")
    (world.folder / "link.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (world.folder / "run" / "run.json").write_text('{"mulde": "1.0"}')
    assert world.watch(once=True).done == 2
    assert sorted(world.desk.scored) == [("kept/a", b""), ("link", b"linked")]
    assert world.messages.lines[0] == (
        "left out: 1 dead link: dangling.mp4; 1 pipe, socket or device: pipe.mp4; 1 unfinished download: a.mp4.part; "
        "1 link back to a folder above: loop; 1 output of mulde: run; 1 file that holds no video: a.txt; "
        "2 hidden or system entries: .hidden.mp4, .tmp"
    )


def test_other_files_are_reported_once_for_each_kind_and_folder(world):
    world.put("a.mp4")
    plan: dict[float, Callable[[], None]] = {
        3: lambda: world.put("snap1.jpg"),
        5: lambda: world.put("snap2.jpg"),
        7: lambda: world.put("b.mp4.part"),
        9: lambda: world.put("front/c.gif"),
    }
    world.watch(plan, until_s=20)
    assert [line for line in world.messages.lines if line.startswith("left out")] == [
        "left out: 1 picture beside videos: snap1.jpg",
        "left out: 1 file of another kind, which can be named: front/c.gif",
    ]


def test_a_folder_of_frames_is_left_to_score(world):
    for i in range(3):
        world.put(f"frames/{i}.png")
    world.put("a.mp4")
    assert world.watch(once=True).done == 1
    assert world.messages.lines[0] == "left out: 1 folder of frames, which mulde score takes: frames"


def test_a_folder_that_cannot_be_read_is_named_and_looked_at_again(world, monkeypatch):
    world.put("closed/a.mp4")
    world.put("b.mp4")
    real, closed = os.scandir, [True]

    def scandir(path):
        if closed[0] and str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    outcome = world.watch(once=True)
    assert outcome.done == 1
    assert [failure.reason for failure in outcome.failures] == ["cannot be read"]
    assert sum("Permission denied" in line for line in world.messages.lines) == 1
    world.watch({5: lambda: closed.__setitem__(0, False)})
    assert world.desk.names == ["b", "closed/a"]


def test_a_drive_that_is_away_for_a_while_costs_no_file(world):
    world.put("a.mp4", b"bad")
    away = world.folder.with_name("away")
    world.watch({5: lambda: world.folder.rename(away), 20: lambda: away.rename(world.folder)})
    assert world.states() == {"a.mp4": "failed"}
    assert len(world.desk.tried) == 3
    assert not any("removed" in line for line in world.messages.lines)


def test_ctrl_c_puts_back_what_is_in_hand_and_keeps_what_is_done(world, monkeypatch):
    monkeypatch.setattr(watcher, "_BATCH_FILES", 1)
    world.put("a.mp4", at=1)
    world.put("b.mp4", at=2)

    def stop(name: str) -> None:
        if name == "b":
            raise KeyboardInterrupt

    world.desk.meanwhile = stop
    assert world.watch() is None
    assert world.states() == {"a.mp4": "done", "b.mp4": "waiting"}
    world.desk.meanwhile = lambda name: None
    world.messages.say = lambda text: stop("b")  # type: ignore[method-assign]  # just behind the ledger's note
    assert world.watch() is None
    assert world.states() == {"a.mp4": "done", "b.mp4": "done"}
    assert world.entries()["cut_short"].sum() == 0


def test_a_disk_that_is_full_ends_the_watching_and_blames_no_file(world):
    world.put("a.mp4")

    def full(name: str) -> None:
        raise MuldeError("the disk of the feature store is full")

    world.desk.meanwhile = full
    with pytest.raises(MuldeError, match="is full"):
        world.watch()
    assert world.states() == {"a.mp4": "waiting"}
    assert world.entries()["tries"].item() == 0


def test_a_file_that_kills_the_watcher_comes_last_and_is_given_up(world):
    world.put("deadly.mp4", b"deadly", at=1)
    world.put("sound.mp4", at=2)
    stamp = Stamp.of(world.folder / "deadly.mp4")
    for _ in range(2):
        with Ledger.open(world.out) as ledger:
            ledger.recover()
            ledger.take("deadly.mp4", stamp)  # and dies
    world.watch(once=True)
    assert world.desk.names == ["sound", "deadly"]
    world.put("deadly.mp4", b"deadlier", at=1)
    stamp = Stamp.of(world.folder / "deadly.mp4")
    for _ in range(watch_ledger.MAX_CUT_SHORT):
        with Ledger.open(world.out) as ledger:
            ledger.recover()
            ledger.take("deadly.mp4", stamp)
    outcome = world.watch(once=True)
    assert [failure.reason for failure in outcome.failures] == ["the watcher died 5 times while it worked on it"]
    assert world.desk.names == ["sound", "deadly"]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_each_file_ends_with_one_score_of_its_last_content(world, monkeypatch, seed):
    """Files are written, changed, moved and removed at random while the watcher dies at random."""
    chance = random.Random(seed)
    monkeypatch.setattr(Ledger, "put_back", lambda self, entry: None)  # nobody does, when a process is killed
    monkeypatch.setattr(watch_ledger, "MAX_CUT_SHORT", 1000)
    counter = iter(range(10**6))
    names = [f"{folder}{name}.{ending}" for folder in ("", "s/") for name in "ab" for ending in ("mp4", "avi")]

    def act() -> None:
        file = world.folder / chance.choice(names)
        kind = chance.choice(["write", "write", "append", "remove", "move", "touch"])
        if kind == "write":
            content = chance.choice(["bad ", "good ", "good "]) + str(next(counter))
            world.put(file.relative_to(world.folder).as_posix(), content, at=next(counter))
        elif file.exists() and kind == "append":
            file.write_bytes(file.read_bytes() + b"+")
            os.utime(file, (next(counter),) * 2)
        elif file.exists() and kind == "remove":
            file.unlink()
        elif file.exists() and kind == "touch":
            os.utime(file, (next(counter),) * 2)
        elif file.exists():
            file.replace(world.folder / chance.choice([n for n in names if "/" not in n]))

    def meanwhile(name: str) -> None:
        if chance.random() < 0.2:
            act()
        if chance.random() < 0.2:
            raise KeyboardInterrupt

    world.desk.meanwhile = meanwhile
    for _ in range(10):
        world.watch({when: act for when in sorted(chance.uniform(0, 30) for _ in range(20))}, until_s=30)
    world.desk.meanwhile = lambda name: None
    before_the_end = len(world.desk.scored)
    outcome = world.watch(once=True)
    present = {file.relative_to(world.folder).as_posix(): file.read_bytes() for file in world.folder.rglob("*.*")}
    table = world.entries()
    current = table[table["state"] != "replaced"].set_index("path")
    assert current.index.is_unique
    last = dict(world.desk.scored)
    for path, content in present.items():
        entry = current.loc[path]
        assert entry["state"] == ("failed" if content.startswith(b"bad") else "done"), path
        if entry["state"] == "done":
            assert last[entry["video"]] == content
    assert outcome.done + len(outcome.failures) == len(present)
    assert current["video"].is_unique
    assert before_the_end > 3
    done = table[table["state"].isin(["done", "replaced"])]
    assert len(done) <= len(world.desk.scored)
    assert world.watch(once=True).done == outcome.done


def test_a_ledger_of_another_folder_or_model_is_refused(world):
    with Ledger.open(world.out) as ledger:
        ledger.claim({"folder": "/a", "model": "m1"}, "another --out")
    with Ledger.open(world.out) as ledger:
        ledger.claim({"folder": "/a", "model": "m1"}, "another --out")
        with pytest.raises(UsageError, match=r"had another model: expected m1, got m2\. Try: another --out"):
            ledger.claim({"folder": "/a", "model": "m2"}, "another --out")
        ledger._db.execute("PRAGMA user_version = 7")
    with pytest.raises(MuldeError, match="expected version 1, got 7"), Ledger.open(world.out):
        pass


def test_small_files_share_a_batch(world, monkeypatch):
    monkeypatch.setattr(watcher, "_BATCH_BYTES", 10)
    monkeypatch.setattr(watcher, "_BATCH_FILES", 3)
    for age, size in enumerate([1, 2, 3, 4, 5, 6, 20, 1]):
        world.put(f"{age}.mp4", b"." * size, at=age)
    batches: list[list[str]] = []
    extract = world.desk.extract
    world.desk.extract = lambda videos: [batches.append([video.name for video in videos]), extract(videos)][1]
    world.watch(once=True)
    assert batches == [["0", "1", "2"], ["3", "4"], ["5"], ["6"], ["7"]]


def test_one_video_that_cannot_be_scored_costs_no_other():
    def score(stored, folder):
        if any(one.video.name == "b" for one in stored):
            raise ValueError("odd rows")
        track = SimpleNamespace(p_value=np.array([0.5, 0.2]))
        return {one.video.name: SimpleNamespace(track=track) for one in stored}, []

    messages = Messages()
    processor = watch._StoreProcessor(
        SimpleNamespace(score_part=score, look=lambda *_: None, draw=lambda *_, events: None),
        SimpleNamespace(reporter=messages),
        SimpleNamespace(root=Path("nowhere")),
    )
    passports = {"frames": SimpleNamespace(video_sha256="5a")}
    stored = [
        SimpleNamespace(video=Video(name, "all", Path(name)), passports=passports, num_frames=2) for name in "abc"
    ]
    scored = Scored("5a", 2, 0, 0.2)
    assert processor.score(stored) == {
        "a": scored,
        "b": Failure("b", messages.lines[0].removeprefix("b: ")),
        "c": scored,
    }
    assert len(messages.lines) == 1
    assert "b: " in messages.lines[0]
    assert "unexpected ValueError: odd rows" in messages.lines[0]


def test_one_of_ten_thousand_files_is_looked_up_without_reading_the_others(world):
    steps = Counter()
    with Ledger.open(world.out) as ledger:
        with ledger._db:
            ledger._db.executemany(
                "INSERT INTO files (path, video, state, size, mtime_ns) VALUES (?, ?, 'done', 1, 1)",
                ((f"{i}.mp4", str(i)) for i in range(10_000)),
            )
        ledger._db.set_progress_handler(lambda: steps.update(["hundreds"]), 100)
        assert ledger.unfinished() == {}
        ledger.take("new.mp4", Stamp(1, 1))
        assert ledger.find("new.mp4").video == "new"
        assert steps["hundreds"] < 20
        assert len(ledger.settled()) == 10_000
        assert steps["hundreds"] > 100


SETTLE_S, PIECES = 0.6, 3
QUICK = ['density.method="mixture"', 'features.extractors=["geometry"]', "fusion.folds=1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model of small squares."""
    root = tmp_path_factory.mktemp("model")
    for i in range(3):
        write_video(root / "train" / f"{i}.mp4", iter(moving_square(40, seed=i, speed_px=1 + i)), Fraction(25))
    settings = load_settings(overrides=QUICK)
    run_train([str(root / "train")], settings, root, 0, Session.open(root / "store", "cpu", Reporter(quiet=True)))
    return root / "model.safetensors"


def write_ts(path: Path, images: np.ndarray) -> None:
    """A video of which a part can be decoded as well, into fewer frames."""
    import av

    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *images.shape[1:3], "yuv420p"
        for image in [*images, None]:
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(image, format="rgb24") if image is not None else None
            ):
                container.mux(packet)


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> list[tuple[bytes, int]]:
    """Some videos, each with its number of frames."""
    found = []
    for i in range(6):
        path = tmp_path_factory.mktemp("contents") / "a.ts"
        write_ts(path, moving_square(10 + i, seed=20 + i, size=20 if i else 44))
        found.append((path.read_bytes(), 10 + i))
    return found


class Writer(threading.Thread):
    """Drops files piece by piece, and notes for each the longest pause in it."""

    def __init__(self, files: dict[Path, bytes]) -> None:
        super().__init__()
        self.files, self.pauses_s = files, dict[Path, float]()

    def run(self) -> None:
        for path, content in self.files.items():
            step, last, self.pauses_s[path] = -(-len(content) // PIECES), time.monotonic(), 0.0
            with path.open("wb", buffering=0) as file:
                for start in range(0, len(content), step):
                    file.write(content[start : start + step])
                    self.pauses_s[path], last = max(self.pauses_s[path], time.monotonic() - last), time.monotonic()
                    time.sleep(0.03)


def without_figures() -> None:
    """The pictures of curves take most of the time and are not what is looked at."""
    scorer.plot_scores = lambda track, path, **options: None  # type: ignore[assignment]


def tables(run: Path) -> dict[str, int]:
    """When each finished score table was written."""
    folder = run / "scores"
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("[a-z]*.parquet")
    }


def done_videos(run: Path) -> set[str]:
    with Ledger.open(run) as ledger:
        return {row["video"] for row in ledger._rows("state = 'done'")}


@posix
@pytest.mark.parametrize(("num_files", "num_kills"), [(40, 2), pytest.param(200, 3, marks=pytest.mark.slow)])
def test_many_files_and_some_kills(model, contents, tmp_path, num_files, num_kills):
    """Each is scored once, with its whole content, and none is lost."""
    folder, run, chance = tmp_path / "in", tmp_path / "run", random.Random(11)
    frames = {f"{'abcd'[i % 4]}/f{i:03d}": contents[i % len(contents)][1] for i in range(num_files)}
    files = {folder / f"{name}.ts": contents[i % len(contents)][0] for i, name in enumerate(frames)}
    for name in "abcd":
        (folder / name).mkdir(parents=True)
    writers = [Writer(dict(list(files.items())[first::4])) for first in range(4)]
    command = ["watch-folder", folder, "--model", model, "--out", run, "--store", tmp_path / "store", "-q"]
    command += ["--device", "cpu", "--every-s", "0.1", "--settle-s", SETTLE_S]

    written: dict[str, int] = {}
    for number in range(num_kills):
        with Command(*command, before=without_figures) as process:
            if number == 0:
                for writer in writers:
                    writer.start()
            enough = len(tables(run)) + chance.randrange(num_files // 20, num_files // 4)
            while process.poll() is None and len(tables(run)) < enough:
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 0.1))
            assert process.poll() is None, process.ended()
        assert written.items() <= tables(run).items()  # what was done is not written again
        written = {name: when for name, when in tables(run).items() if name in done_videos(run)}
    assert 0 < len(written) < num_files, "the kills came too late to prove anything"
    for writer in writers:
        writer.join()
    with Command(*command, "--once", before=without_figures) as process:
        assert process.ended()[0] == 0

    table = pd.read_csv(run / "watched.csv")
    steady = {
        path.relative_to(folder).as_posix() for one in writers for path, s in one.pauses_s.items() if s < SETTLE_S / 2
    }
    replaced = table[table["state"] == "replaced"]
    assert not set(replaced["path"]) & steady
    table = table[table["state"] == "done"]
    assert sorted(table["path"]) == sorted(f"{name}.ts" for name in frames)
    assert table["cut_short"].max() <= num_kills
    assert table.set_index("video")["num_frames"].to_dict() == frames
    assert tables(run).keys() == frames.keys()
    assert written.items() <= tables(run).items()
    scores = read_scores(run / "scores")
    assert {name: len(one.track) for name, one in scores.items()} == frames
    for name, one in scores.items():
        twin = scores[f"{'abcd'[(i := int(name[3:]) % 6) % 4]}/f{i:03d}"]
        np.testing.assert_array_equal(one.track.smoothed, twin.track.smoothed)
    events = read_events(run)
    assert len({event.event_id for event in events}) == len(events) > 0
    assert dict(Counter(event.video for event in events)) == {
        video: count for video, count in zip(table["video"], table["num_events"], strict=True) if count
    }


def test_the_command_scores_what_can_be_and_names_what_cannot(mulde, model, contents, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "sound.ts").write_bytes(contents[0][0])
    (folder / "broken.mp4").write_bytes(b"no video at all")
    (folder / "empty.avi").touch()
    command = ["watch-folder", folder, "--model", model, "--out", folder / "run", "--store", "s", "--once"]
    command += ["--every-s", 0.05, "--settle-s", 0, "--tries", 2]
    code, _, err = mulde(*command)
    assert code == 3
    assert "sound: " in err
    for name in ("broken", "empty"):
        assert f"{name}: try 1 of 2 failed, again in 0.1 s" in err
        assert f"{name}: left alone after 2 tries, until the file changes" in err
    run = folder / "run"
    (folder / "run" / "overlay.mp4").write_bytes(b"a video of ours is not scored")
    record = json.loads((run / "run.json").read_text())
    assert record["sources"] == [str(folder)]
    assert record["alarm"]["levels"]
    scores = (run / "scores" / "sound.parquet").stat().st_mtime_ns
    assert mulde(*command, "-q")[0] == 3
    assert (run / "scores" / "sound.parquet").stat().st_mtime_ns == scores
    assert json.loads((run / "run.json").read_text())["alarm"] == record["alarm"]
    assert set(pd.read_csv(run / "watched.csv")["path"]) == {"sound.ts", "broken.mp4", "empty.avi"}
    code, _, err = mulde(*command, "--set", "alarms.min_length_s=0.1")
    assert code == 2
    assert "had another alarm settings" in err


def test_old_events_cost_a_new_file_nothing(mulde, model, contents, tmp_path, monkeypatch):
    """Neither are they made from what is stored, nor written again one by one."""
    made = []
    folder = tmp_path / "in"
    folder.mkdir()
    for i, (content, _) in enumerate(contents[1:4]):
        (folder / f"{i}.ts").write_bytes(content)
    monkeypatch.setattr(scorer, "plot_scores", lambda *args, **options: None)
    for num_old in (1, 300):
        run = tmp_path / str(num_old)
        times_s = [0.1 * i for i in range(num_old)]
        why = Reason("geometry", "", {"geometry": 1.0})
        old = [Event("old", 9 * i, 9 * i + 5, s, s + 0.2, 9 * i, s, 1.0, 0.5, why) for i, s in enumerate(times_s)]
        write_event_rows({}, run)
        write_events(old, run)
        with monkeypatch.context() as patch:
            count = Counter()
            patch.setattr(Event, "__post_init__", lambda self, count=count: count.update(["made"]))
            command = ["watch-folder", folder, "--model", model, "--out", run, "--store", "s", "--once", "-q"]
            assert mulde(*command, "--every-s", 0.05, "--settle-s", 0)[0] == 0
        made.append(count["made"])
        found = read_events(run)
        assert [event for event in found if event.video == "old"] == old
        assert len(found) > num_old
        assert len(pd.read_csv(run / "events.csv")) == len(pd.read_parquet(run / "events.parquet")) == len(found)
    assert made[0] == made[1] > 0


def test_a_second_watcher_of_a_run_folder_is_refused(mulde, model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / watch.LOCK_FILE):
        code, _, err = mulde("watch-folder", "in", "--model", model, "--out", "run", "--store", "s")
    assert code == 2
    assert "another process watches into run" in err


@pytest.mark.parametrize(
    ("folder", "out", "sentence"),
    [
        ("nowhere", "run", "watched folder nowhere: expected a folder, got none"),
        ("file", "run", "watched folder file: expected a folder, got a file"),
        ("in", "in", "--out in: expected a folder other than the watched one"),
        ("in", "scored", "scored holds another run: without a run.json. Try: another --out"),
        ("in", "run", "missing.safetensors"),
        ("in", "mangled", "watched.sqlite: file is not a database"),
    ],
)
def test_bad_arguments(mulde, tmp_path, model, folder, out, sentence):
    (tmp_path / "file").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "scored" / "scores").mkdir(parents=True)
    (tmp_path / "mangled").mkdir()
    (tmp_path / "mangled" / "watched.sqlite").write_bytes(b"no ledger" * 1000)
    name = tmp_path / "missing.safetensors" if "missing" in sentence else model
    code, _, err = mulde("watch-folder", folder, "--model", name, "--out", out, "--store", "s", "--once")
    assert code in (1, 2)
    assert sentence in err


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_command_at_once(mulde, model, tmp_path, number):
    (tmp_path / "in").mkdir()

    def kill() -> None:
        while not (tmp_path / "run" / watch_ledger.TABLE).exists():
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=kill)
    thread.start()
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = mulde("watch-folder", "in", "--model", model, "--out", "run", "--store", "s", "--every-s", 3600)
    thread.join()
    assert code == 128 + number
    assert "Run the same command again to continue." in err
    assert signal.getsignal(signal.SIGTERM) is before
