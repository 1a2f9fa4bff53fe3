"""Many videos: worker processes, those that die, several runs on one store, Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mulde.datasets.base import Video
from mulde.errors import UsageError
from mulde.extractors.registry import EXTRACTORS
from mulde.media import content_hash
from mulde.pipeline.extraction import engine
from mulde.pipeline.extraction.engine import worker_devices
from mulde.pipeline.extraction.worker import WorkerConfig
from mulde.store.store import FeatureStore
from tests.pipeline.clips import QUIET, clips, content, leftovers, plan_of, run
from tests.processes import CONTEXT, Command

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
TWO = WorkerConfig(workers=2)


def wait_until(what: Callable[[], object], most_s: float = 300) -> None:
    deadline = time.monotonic() + most_s
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def folder(store: Path, video: Video) -> Path:
    return store / content_hash(video.path)[:16]


def command_line(videos: list[Video], store: Path, *more: str) -> Command:
    settings = ["--device", "cpu", "--set", "video.batch_frames=7"]
    return Command("extract", *[v.path for v in videos], "--store", store, *settings, *more)


@pytest.fixture
def quick_workers(monkeypatch):
    """Workers that need no imports."""
    monkeypatch.setattr(engine.multiprocessing, "get_context", lambda method: CONTEXT)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_worker_processes_fill_the_store_as_one_process_does(tmp_path, capsys):
    videos = clips(tmp_path, 3, 70)
    run(videos, plan_of(), tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for video in videos[1:]:
        shutil.rmtree(folder(tmp_path / "two", video))
    victim = next(folder(tmp_path / "two", videos[0]).glob("velocity-*"))
    victim.write_bytes(victim.read_bytes()[:-20])
    result = run(videos, plan_of(), tmp_path / "two", TWO)
    assert [d.video.name for d in result.done] == ["clip0", "clip1", "clip2"]
    assert (result.computed, result.failures) == (3, [])
    assert "is damaged" in capsys.readouterr().err  # said by the worker, shown by the parent
    assert content(tmp_path / "two") == content(tmp_path / "one")
    assert leftovers(tmp_path / "two") == []


def test_a_worker_that_dies_is_replaced_and_its_video_tried_once_more(tmp_path, monkeypatch, quick_workers):
    videos, store, deaths = clips(tmp_path, 4, 80), tmp_path / "store", {"clip0": 1, "clip1": 99}
    submit = engine._Slot.submit

    def kill(slot: engine._Slot, video: Video) -> None:
        wait_until(lambda: slot._executor._processes and (folder(store, video) / ".lock").exists())
        os.kill(next(iter(slot._executor._processes)), signal.SIGKILL)

    def submit_and_kill(slot: engine._Slot, video: Video) -> object:
        future = submit(slot, video)
        if deaths.get(video.name):
            deaths[video.name] -= 1
            threading.Thread(target=kill, args=(slot, video)).start()
        return future

    monkeypatch.setattr(engine._Slot, "submit", submit_and_kill)
    result = run(videos, plan_of(), store, TWO)
    assert [d.video.name for d in result.done] == ["clip0", "clip2", "clip3"]
    assert [(f.video, "the worker process died 2 times on it" in f.reason) for f in result.failures] == [
        ("clip1", True)
    ]
    monkeypatch.undo()
    run(videos, plan_of(), store)
    run(videos, plan_of(), tmp_path / "undisturbed")
    assert content(store) == content(tmp_path / "undisturbed")


def test_a_worker_that_died_while_it_had_nothing_to_do_is_replaced(tmp_path, quick_workers):
    video, plan = clips(tmp_path, 1)[0], plan_of()
    slot = engine._Slot((plan.settings, "cpu", 1, tmp_path / "store", None))
    try:
        assert slot.submit(video).result(60).extracted.computed
        assert slot.new_frames() == 20
        (process,) = slot._executor._processes.values()
        process.kill()
        wait_until(lambda: slot._executor._broken)
        assert not slot.submit(video).result(60).extracted.computed
    finally:
        slot.close()


def test_workers_end_when_their_parent_was_killed(tmp_path):
    store = tmp_path / "store"
    with command_line(clips(tmp_path, 4, 200), store, "--workers", "2", "-q") as parent:
        wait_until(lambda: len(list(store.glob("*/.lock"))) == 2)
        workers = children(parent.pid)
        assert len(workers) >= 2
        parent.kill()
    wait_until(lambda: not any(map(running, workers)))


def test_two_processes_on_one_store_compute_each_video_once(tmp_path):
    videos, store = clips(tmp_path, 4, 50), tmp_path / "store"
    with command_line(videos, store) as one, command_line(videos[::-1], store) as other:
        codes, said = zip(one.ended(), other.ended(), strict=True)
    assert codes == (0, 0)
    computed = [int(text.partition(" videos computed")[0].split()[-1]) for text in said]
    assert sum(computed) == 4
    run(videos, plan_of(), tmp_path / "undisturbed")
    assert content(store) == content(tmp_path / "undisturbed")
    assert leftovers(store) == []


def test_who_waits_for_another_process_says_so_and_then_finds_it_done(tmp_path):
    video, store, plan = clips(tmp_path, 1)[0], FeatureStore(tmp_path / "store"), plan_of()
    lock = store.lock(content_hash(video.path), lambda: pytest.fail("nobody has it"))

    class LetsGo(engine.Reporter):
        def say(self, text: str) -> None:
            said.append(text)
            if "waiting" in text:
                lock.__exit__(None, None, None)

    said: list[str] = []
    lock.__enter__()
    assert engine.extract([video], plan, store, LetsGo(quiet=True)).computed == 1
    assert said[0] == "clip0: another process is working on it, waiting"


def test_ctrl_c_ends_with_130_and_keeps_what_is_done(tmp_path):
    store = tmp_path / "store"
    with command_line(clips(tmp_path, 6, 60), store, "-q") as process:
        wait_until(lambda: list(store.glob("*/frames-*.parquet")))
        process.send_signal(signal.SIGINT)
        code, err = process.ended()
    assert code == 130
    assert "what is finished is kept" in err
    assert "Traceback" not in err
    assert all("/.parts-" in name for name in leftovers(store))


def test_ctrl_c_on_a_group_with_workers_ends_all_of_them(tmp_path):
    store = tmp_path / "store"
    with command_line(clips(tmp_path, 4, 200), store, "-q", "--workers", "2") as process:
        wait_until(lambda: len(list(store.glob("*/.lock"))) == 2)
        workers = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        code, err = process.ended()
    assert code == 130
    assert "what is finished is kept" in err
    assert "Traceback" not in err
    wait_until(lambda: not any(map(running, workers)))


def test_ctrl_c_ends_one_that_waits_for_another_process(tmp_path):
    video, store = clips(tmp_path, 1)[0], FeatureStore(tmp_path / "store")
    with store.lock(content_hash(video.path), lambda: None), command_line([video], store.root) as process:
        assert "another process is working on it" in process.said.readline()
        process.send_signal(signal.SIGINT)
        assert process.ended()[0] == 130


@pytest.mark.parametrize("workers_config", [WorkerConfig(), TWO])
def test_settings_that_fit_no_video_stop_all(tmp_path, workers_config, quick_workers):
    plan = plan_of('regions.finders=["yolo"]', "regions.yolo.weights=nowhere/a.pt")
    with pytest.raises(UsageError, match=r"detector weights nowhere/a\.pt"):
        run(clips(tmp_path, 6), plan, tmp_path / "store", workers_config)
    assert content(tmp_path / "store") == {}


def test_what_a_model_or_decoder_raises_stops_its_video_alone(tmp_path, monkeypatch):
    plan, failed = plan_of(), []
    find = plan.regions.find

    def fails_once(window: object) -> object:
        if not failed:
            failed.append(window)
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return find(window)

    monkeypatch.setattr(plan.regions, "find", fails_once)
    result = run(clips(tmp_path, 3), plan, tmp_path / "store")
    assert len(result.done) == 2
    assert "mat1 and mat2 shapes cannot be multiplied" in result.failures[0].reason


def test_no_videos_are_no_work(tmp_path):
    result = engine.extract([], plan_of(), FeatureStore(tmp_path / "store"), QUIET, TWO)
    assert (result.done, result.failures, result.computed) == ([], [], 0)


def test_workers_take_the_gpus_in_turn(monkeypatch):
    monkeypatch.setattr(engine, "_num_gpus", lambda device: 3 if device == "cuda" else 1)
    assert worker_devices("cuda", 5) == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert worker_devices("cuda:1", 2) == ["cuda:1", "cuda:1"]
    assert worker_devices("cpu", 2) == ["cpu", "cpu"]


def test_a_crew_that_cannot_be_is_a_sentence():
    assert WorkerConfig.from_options("local", 3, None) == WorkerConfig(workers=3)
    assert WorkerConfig.from_options("ray", 0, "auto").address == "auto"
    with pytest.raises(UsageError, match="engine 'rai': expected local or ray"):
        WorkerConfig.from_options("rai", 0, None)
    with pytest.raises(UsageError, match="expected --engine ray beside it, got --engine local"):
        WorkerConfig.from_options("local", 0, "10.0.0.1:6379")


def test_a_worker_without_the_extractor_says_so(tmp_path, monkeypatch, quick_workers):
    monkeypatch.setitem(EXTRACTORS, "own", replace(EXTRACTORS["geometry"], name="own", section="own"))
    with pytest.raises(UsageError, match=r"extractor 'own': expected one of velocity.*at the top level of the script"):
        run(clips(tmp_path, 2), plan_of('features.extractors=["own"]'), tmp_path / "store", TWO)
