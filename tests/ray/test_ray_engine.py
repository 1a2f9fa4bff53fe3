"""Extraction on a Ray cluster of several nodes on this machine; takes minutes, so `make test` leaves it out."""

from __future__ import annotations

import dataclasses
import hashlib
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest

from mulde.datasets.base import Video
from mulde.errors import MuldeError, UsageError
from mulde.media import write_video
from mulde.pipeline.extraction import ray_runner as ray_engine
from mulde.pipeline.extraction.engine import extract
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.ray_runner import _absolute_weights, choose_workers
from mulde.pipeline.extraction.worker import WorkerConfig
from mulde.progress import Reporter
from mulde.settings_file import load_settings
from mulde.store.store import FeatureStore
from tests.conftest import moving_square

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")  # Ultralytics brings it

SETTINGS = ['features.extractors=["velocity", "descriptor"]', "video.batch_frames=7"]


class Cluster:
    """A head without cores and workers with one core each."""

    def __init__(self, num_nodes: int) -> None:
        from ray.cluster_utils import Cluster as Nodes

        memory = {"object_store_memory": 100 * 2**20}
        self.cluster = Nodes(True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
        self.address: str = self.cluster.address
        self.nodes = [self.cluster.add_node(num_cpus=1, **memory) for _ in range(num_nodes)]

    def processes(self, number: int) -> list:
        """All processes of a node: those that Ray started, and the workers below them."""
        started = [info.process.pid for infos in self.nodes[number].all_processes.values() for info in infos]
        roots = [psutil.Process(pid) for pid in started]
        return [*roots, *(child for root in roots for child in root.children(recursive=True))]

    def kill(self, number: int) -> None:
        """What a power cut does to a node."""
        for process in self.processes(number):
            process.send_signal(signal.SIGKILL)
        self.cluster.remove_node(self.nodes[number], allow_graceful=False)


@contextmanager
def running_cluster(num_nodes: int):
    cluster = Cluster(num_nodes)
    try:
        yield cluster
    finally:
        cluster.cluster.shutdown()


@pytest.fixture(autouse=True, scope="module")
def _rays_own_files():
    """In a folder that goes again. The paths of its sockets may have 107 bytes, which pytest's folders do not leave."""
    with (
        tempfile.TemporaryDirectory(prefix="mulde", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.fixture(scope="module")
def cluster():
    with running_cluster(2) as started:
        yield started


@pytest.fixture
def plan() -> ExtractionPlan:
    return ExtractionPlan(load_settings(overrides=SETTINGS), "cpu", threads=1)


class Heard(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def clips(folder: Path, count: int, num_frames: int = 60) -> list[Video]:
    folder.mkdir(exist_ok=True)
    videos = []
    for i in range(count):
        path, scene = folder / f"clip{i}.mp4", moving_square(60, seed=i)
        write_video(path, (scene[t % 60] for t in range(num_frames)), Fraction(25))
        videos.append(Video(f"clip{i}", "all", path))
    return videos


def content(store: Path) -> dict[str, str]:
    """Digest of every file below a store, hidden ones included."""
    files = [p for p in store.rglob("*") if p.is_file()]
    return {p.relative_to(store).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def locally(videos: list[Video], plan: ExtractionPlan, folder: Path) -> dict[str, str]:
    result = extract(videos, plan, FeatureStore(folder), Reporter(quiet=True))
    assert not result.failures
    return content(folder)


def test_the_result_is_that_of_the_local_engine_and_a_second_run_computes_nothing(cluster, plan, tmp_path, monkeypatch):
    videos = clips(tmp_path / "videos", 5)
    expected = locally(videos, plan, tmp_path / "local")
    monkeypatch.chdir(tmp_path)  # other nodes have other working directories
    relative = [dataclasses.replace(v, path=v.path.relative_to(tmp_path)) for v in videos]
    workers_config, store = WorkerConfig("ray", 0, cluster.address), FeatureStore(Path("store"))
    result = extract(relative, plan, store, Heard(), workers_config)
    assert not result.failures
    assert (result.computed, result.reused) == (5, 0)
    assert len(result.done[0].features("velocity")) > 50
    assert content(tmp_path / "store") == expected
    again = extract(relative, plan, store, Heard(), workers_config)
    assert (again.computed, again.reused) == (0, 5)
    assert not ray.is_initialized()


def test_one_bad_video_is_named_and_the_others_are_done(cluster, plan, tmp_path):
    videos = clips(tmp_path / "videos", 2)
    videos[1:1] = [Video("text", "all", tmp_path / "videos" / "text.mp4"), Video("gone", "all", Path("/no/such.mp4"))]
    videos[1].path.write_text("not a video")
    store, heard = FeatureStore(tmp_path / "store"), Heard()
    result = extract(videos, plan, store, heard, WorkerConfig("ray", 2, cluster.address))
    assert [done.video.name for done in result.done] == ["clip0", "clip1"]
    assert [failure.video for failure in result.failures] == ["text", "gone"]
    assert "text.mp4" in result.failures[0].reason
    assert "/no/such.mp4 cannot be read: got No such file" in result.failures[1].reason
    assert len(heard.warnings) == 2


def test_nodes_that_do_not_see_the_files_are_left_out_before_they_spoil_a_video(cluster, plan, tmp_path, monkeypatch):
    videos = clips(tmp_path / "videos", 2)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    @contextmanager
    def in_a_folder_that_is_not_shared(store: Path):
        yield elsewhere / "mark"

    monkeypatch.setattr(ray_engine, "_marked", in_a_folder_that_is_not_shared)
    heard = Heard()
    sentence = r"no node of the Ray cluster can work: node .* does not see .*elsewhere, expected a folder that all"
    with pytest.raises(MuldeError, match=sentence):
        extract(videos, plan, FeatureStore(tmp_path / "store"), heard, WorkerConfig("ray", 0, cluster.address))
    assert len(heard.warnings) == 2
    assert not list((tmp_path / "store").rglob("*.parquet"))


def test_nodes_that_would_make_other_features_are_left_out(cluster, plan, tmp_path, monkeypatch):
    made_by = plan.fingerprint()
    extractors = {**made_by["extractors"], "velocity": {**made_by["extractors"]["velocity"], "bins": 5}}
    monkeypatch.setattr(plan, "fingerprint", lambda: {**made_by, "extractors": extractors})
    videos, store = clips(tmp_path / "videos", 1), FeatureStore(tmp_path / "store")
    with pytest.raises(MuldeError, match=r"node .* would make other features \(extractors.velocity.bins differs\)"):
        extract(videos, plan, store, Heard(), WorkerConfig("ray", 0, cluster.address))


def test_workers_for_which_there_is_no_room_are_not_waited_for_for_good(cluster, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "_PATIENCE_S", 2)
    on_gpu = ExtractionPlan(plan.settings, "cpu", threads=1)
    on_gpu.device = "cuda"
    videos, store = clips(tmp_path / "videos", 1), FeatureStore(tmp_path / "store")
    with pytest.raises(UsageError, match="no room for a worker with 1 GPU"):
        extract(videos, on_gpu, store, Heard(), WorkerConfig("ray", 0, cluster.address))
    with pytest.raises(MuldeError, match=r"had room for a worker \(1 GPU\) in 2 s"):
        extract(videos, on_gpu, store, Heard(), WorkerConfig("ray", 1, cluster.address))


def test_a_node_that_dies_loses_only_the_video_it_was_on(plan, tmp_path):
    videos = clips(tmp_path / "videos", 4, num_frames=900)
    expected = locally(videos, plan, tmp_path / "local")
    root, heard = tmp_path / "store", Heard()
    finished: dict[Path, int] = {}
    unfinished: set[Path] = set()

    def kill_when_both_nodes_are_in_the_middle() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            num_parts = Counter(part.parents[1] for part in root.glob("*/.parts-frames-*/*.parquet"))
            done = list(root.glob("*/frames-*.parquet"))
            if done and len(num_parts) == 2 and max(num_parts.values()) < 12:  # of 17
                unfinished.update(num_parts)
                own = [p for folder in done for p in folder.parent.glob("*.parquet")]
                finished.update({path: path.stat().st_mtime_ns for path in own})
                return cluster.kill(0)
            time.sleep(0.01)

    with running_cluster(2) as cluster:
        killer = threading.Thread(target=kill_when_both_nodes_are_in_the_middle)
        killer.start()
        result = extract(videos, plan, FeatureStore(root), heard, WorkerConfig("ray", 0, cluster.address))
        killer.join()
    assert finished, "the kill came too late to prove anything"
    assert len(unfinished) == 2
    assert [("its worker was lost" in text) for text in heard.warnings] == [True]
    assert not result.failures
    assert (result.computed, result.reused) == (4, 0)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert content(root) == expected


def test_a_video_on_which_every_worker_dies_is_named(cluster, plan, tmp_path):
    videos, killed, is_over = clips(tmp_path / "videos", 1, num_frames=3000), set(), threading.Event()

    def kill_whoever_works() -> None:
        while not is_over.wait(0.2):
            for process in cluster.processes(0) + cluster.processes(1):
                if process.name().startswith("ray::_Actor.att"):
                    process.kill()
                    killed.add(process.pid)

    killer = threading.Thread(target=kill_whoever_works)
    killer.start()
    result = extract(videos, plan, FeatureStore(tmp_path / "store"), Heard(), WorkerConfig("ray", 0, cluster.address))
    is_over.set()
    killer.join()
    assert len(killed) == 3
    assert [failure.video for failure in result.failures] == ["clip0"]
    assert "clip0.mp4: the worker process died 3 times on it" in result.failures[0].reason


def test_a_cluster_of_its_own_is_started_and_ended(plan, tmp_path):
    videos, before = clips(tmp_path / "videos", 1), set(psutil.process_iter())
    result = extract(videos, plan, FeatureStore(tmp_path / "store"), Heard(), WorkerConfig("ray"))
    assert result.computed == 1
    left = [p for p in psutil.process_iter() if p not in before and p.status() != psutil.STATUS_ZOMBIE]
    assert not [p for p in left if any(name in p.name() for name in ("ray", "gcs_server"))]


def test_nobody_at_the_address_is_a_sentence(plan, tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"no Ray cluster answers at {nobody} .*refused.*ray start"):
            extract([], plan, FeatureStore(tmp_path), Heard(), WorkerConfig("ray", 0, nobody))
    with pytest.raises(UsageError, match="expected HOST:PORT, or auto, got 'somewhere'"):
        extract([], plan, FeatureStore(tmp_path), Heard(), WorkerConfig("ray", 0, "somewhere"))


def test_without_ray_the_package_is_named(plan, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'pip install "mulde\[ray\]"'):
        extract([], plan, FeatureStore(tmp_path), Heard(), WorkerConfig("ray"))


def test_weights_that_are_files_travel_with_their_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.pt").touch()
    settings, paths = _absolute_weights(load_settings(overrides=["features.pose.weights=own.pt"]))
    assert settings.features.pose.weights == str(tmp_path / "own.pt")
    assert settings.regions.yolo.weights == "yolov8n.pt"  # an official name, which each node looks up itself
    assert paths == [tmp_path / "own.pt"]


@pytest.mark.parametrize(
    ("nodes", "device", "most_threads", "wanted", "expected"),
    [
        ([{"CPU": 8}, {"CPU": 16}], "cpu", 4, 0, (6, 4)),
        ([{"CPU": 8}, {"CPU": 64}, {}], "cpu", 32, 0, (9, 8)),  # as many threads as the smaller node has cores
        ([{"CPU": 8}, {"CPU": 8}], "cpu", 8, 4, (4, 4)),
        ([{"CPU": 8}, {"CPU": 8}], "cpu", 8, 100, (100, 1)),  # the others wait for nodes to come
        ([{"CPU": 8}, {"CPU": 8}], "cpu", 8, 1, (1, 8)),
        ([{"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 4}, {"CPU": 4}], "cuda", 2, 0, (6, 2)),
        ([{"CPU": 8}], "cuda", 2, 3, (3, 2)),
    ],
)
def test_how_many_workers_and_threads(nodes, device, most_threads, wanted, expected):
    assert choose_workers(nodes, device, most_threads, wanted) == expected


def test_no_room_is_a_sentence():
    with pytest.raises(UsageError, match=r"no room for a worker with 1 GPU.*another --device, or --workers N"):
        choose_workers([{"CPU": 8}], "cuda", 2, 0)
    with pytest.raises(UsageError, match="no room for a worker with 1 CPU"):
        choose_workers([{}], "cpu", 1, 0)
