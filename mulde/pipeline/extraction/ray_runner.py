"""Many machines through Ray: an actor is a worker like any other, and gets one video at a time.

All nodes share the folders of the store and of the videos, under the same paths. When a node dies, other actors
continue its videos from their last parts.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.errors import MuldeError, UsageError, first_line, sentence
from mulde.nested import differences, with_values
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.worker import Attempt, RemoteWorker, WorkerConfig, died
from mulde.pipeline.model.world import World
from mulde.progress import Reporter
from mulde.store.store import FeatureStore

_MAX_TRIES = 3
_POLL_S = 0.5
_PATIENCE_S = 300.0
"""How long to wait while no actor works, because nodes may be starting."""
_CONNECT_S = 10.0
_OBJECTS_BYTES = 100 * 2**20
"""Memory for Ray's own objects on a cluster that is started here: features travel through files."""


@dataclass(frozen=True)
class _Setup:
    """What an actor needs; `made_by` is the fingerprint of the features that it should make, `mark` a file that lies in
    the store during this run, `needed` the paths that its node has to see."""

    settings: Settings
    device: str
    threads: int
    store: Path
    made_by: Mapping[str, Any]
    mark: Path
    needed: tuple[Path, ...]
    world: World | None = None


class _Actor:
    """A worker on some node of the cluster."""

    _worker: RemoteWorker

    def set_up(self, setup: _Setup) -> str:
        """Build the worker. Returns why this node cannot work; empty if it can."""
        if not setup.mark.exists():
            return f"{self._node()} does not see {setup.store}, expected a folder that all nodes share"
        if unseen := [path for path in setup.needed if not path.exists()]:
            return f"{self._node()} does not see {unseen[0]}"
        made_by = ExtractionPlan(setup.settings, setup.device, setup.threads).fingerprint()
        if name := next((key for key, _, _ in differences(setup.made_by, made_by)), None):
            return f"{self._node()} would make other features ({name} differs), expected the same packages everywhere"
        self._worker = RemoteWorker(
            setup.settings, setup.device, setup.threads, setup.store, lambda frames: None, setup.world
        )
        return ""

    def attempt(self, video: Video) -> Attempt:
        return self._worker.attempt(video)

    def _node(self) -> str:
        return f"node {_import_ray().util.get_node_ip_address()} ({socket.gethostname()})"


def run_on_ray(
    videos: Sequence[Video], plan: ExtractionPlan, store: FeatureStore, reporter: Reporter, workers_config: WorkerConfig
) -> Iterator[tuple[int, Attempt]]:
    """The number of each video and its attempt, in the order in which they finish.

    Raises UsageError without Ray, for an address where no cluster answers and for a cluster without room, and
    MuldeError if no node can work (any longer).
    """
    ray = _import_ray()
    videos = [replace(video, path=video.path.absolute()) for video in videos]
    with _cluster(ray, workers_config.address), _marked(store.root.absolute()) as mark:
        device = "cuda" if plan.device.startswith("cuda") else plan.device
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        num_workers, threads = choose_workers(nodes, device, plan.threads, workers_config.workers)
        num_workers = min(num_workers, len(videos))
        settings, weights = _absolute_weights(plan.settings)
        folders = [video.path.parent for video in videos if video.path.parent.exists()]
        needed = tuple(sorted({*weights, *folders}))
        setup = _Setup(settings, device, threads, mark.parent, plan.fingerprint(), mark, needed, plan.world)
        reporter.say(f"Ray: nodes: {len(nodes)}, workers: {num_workers} with {_share(device, threads)} each")
        team = _Team(ray, setup, reporter, num_workers)
        try:
            yield from _hand_out(videos, team)
        finally:
            team.dismiss()


def choose_workers(nodes: Sequence[Mapping[str, float]], device: str, max_threads: int, wanted: int) -> tuple[int, int]:
    """The number of actors, and of threads of each, on nodes with these resources (`CPU`, `GPU`).

    Each actor has a GPU, or threads on cores of its own: at most `max_threads`, and no more than the smallest node has
    cores. `wanted` is the number of actors (0: fill the cluster); to fit them all in, they get fewer threads, and those
    that still do not fit wait for room. Raises UsageError if there is no room and no number is wanted.
    """
    if device == "cuda":
        threads, room = max_threads, sum(int(node.get("GPU", 0)) for node in nodes)
    else:
        cores = [int(node.get("CPU", 0)) for node in nodes]
        threads = min([max_threads, *filter(None, cores)])
        while wanted and threads > 1 and sum(n // threads for n in cores) < wanted:
            threads -= 1
        room = sum(n // threads for n in cores)
    if not (wanted or room):
        raise UsageError(
            f"the Ray cluster has no room for a worker with {_share(device, threads)}",
            hint="another --device, or --workers N to wait for nodes to join",
        )
    return wanted or room, threads


def _share(device: str, threads: int) -> str:
    return "1 GPU" if device == "cuda" else f"{threads} CPU"


class _Team:
    """The actors of a run: those that are starting, and those that wait for a video."""

    def __init__(self, ray: Any, setup: _Setup, reporter: Reporter, num_workers: int) -> None:
        self.ray, self.reporter = ray, reporter
        self.setup = setup
        needs = {"num_gpus": 1, "num_cpus": 0} if setup.device == "cuda" else {"num_cpus": setup.threads}
        self._kind = ray.remote(**needs, scheduling_strategy="SPREAD")(_Actor)
        self._setup = ray.put(setup)
        self._actors: list[Any] = []
        self._spare = _MAX_TRIES * num_workers  # replacements of actors that die before they work
        self.coming: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self._problem, self._last_work_s = "", time.monotonic()
        for _ in range(num_workers):
            self.ask()

    def ask(self) -> None:
        """Request another actor; it starts when a node has room for it."""
        actor = self._kind.remote()
        self._actors.append(actor)
        self.coming[actor.set_up.remote(self._setup)] = actor

    def take_in(self, answer: Any) -> None:
        """Take in a requested actor, unless it died or its node cannot work."""
        actor = self.coming.pop(answer)
        try:
            problem = self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:
            problem = f"a node cannot work: {type(error.cause).__name__}: {error.cause}"
        except self.ray.exceptions.RayError as error:
            problem = f"a worker did not start: {first_line(error)}"
            if self._spare:
                self._spare -= 1
                self.ask()
        if problem:
            self._problem = problem
            self.reporter.warn(problem)
            self.let_go(actor)
        else:
            self.idle.append(actor)

    def let_go(self, actor: Any) -> None:
        self._actors.remove(actor)
        self.ray.kill(actor)

    def dismiss(self) -> None:
        for actor in list(self._actors):
            self.let_go(actor)

    def check(self, is_working: bool) -> None:
        """Raises MuldeError if no actor works and none can be expected (any longer)."""
        now_s = time.monotonic()
        if is_working or self.idle:
            self._last_work_s = now_s
        elif not self.coming:
            raise MuldeError(f"no node of the Ray cluster can work: {self._problem}")
        elif now_s - self._last_work_s > _PATIENCE_S:
            share = _share(self.setup.device, self.setup.threads)
            raise MuldeError(
                f"no node of the Ray cluster had room for a worker ({share}) in {_PATIENCE_S:g} s",
                hint="`ray status` shows its nodes; finished work is kept, and the same command continues from there",
            )


def _hand_out(videos: Sequence[Video], team: _Team) -> Iterator[tuple[int, Attempt]]:
    waiting, tries = deque(range(len(videos))), Counter[int]()
    running: dict[Any, tuple[Any, int]] = {}
    errors = team.ray.exceptions
    while waiting or running:
        while team.idle and waiting:
            actor, i = team.idle.pop(), waiting.popleft()
            tries[i] += 1
            running[actor.attempt.remote(videos[i])] = (actor, i)
        team.check(bool(running))
        finished, _ = team.ray.wait([*running, *team.coming], timeout=_POLL_S)
        for answer in finished:
            if answer in team.coming:
                team.take_in(answer)
                continue
            actor, i = running.pop(answer)
            try:
                attempt = team.ray.get(answer)
            except errors.RayTaskError as error:
                attempt = Attempt(error=sentence(error.cause, videos[i].path))
            except errors.RayError as error:
                team.let_go(actor)
                team.ask()
                if tries[i] < _MAX_TRIES:
                    lost = f"its worker was lost ({type(error).__name__}), another one takes it"
                    team.reporter.warn(f"{videos[i].name}: {lost}")
                    waiting.append(i)
                else:
                    yield i, Attempt(error=died(videos[i], tries[i]))
                continue
            team.idle.append(actor)
            yield i, attempt


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """The cluster at an address, or one on this machine for the duration of the block."""
    if ray.is_initialized():  # by the calling program, which also shuts it down
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        options = {"include_dashboard": False, "object_store_memory": _OBJECTS_BYTES}
    else:
        _check_answers(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, first_line(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises UsageError if nothing listens at HOST:PORT. Ray would wait for minutes and then end the process."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        raise UsageError("address of the Ray cluster", expected="HOST:PORT, or auto", got=repr(address))
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, reason: str) -> UsageError:
    return UsageError(
        f"no Ray cluster answers at {address} ({reason})",
        hint="`ray start --head` on one machine, `ray start --address HOST:6379` on the others and on this one",
    )


@contextmanager
def _marked(store: Path) -> Iterator[Path]:
    """A file in the store by which a node knows that it sees the same folder."""
    store.mkdir(parents=True, exist_ok=True)
    mark = store / f".ray-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def _absolute_weights(settings: Settings) -> tuple[Settings, list[Path]]:
    """The settings with local weight files as absolute paths, and these paths."""
    paths: list[Path] = []

    def resolved(name: str, value: Any) -> Any:
        if name == "weights" and (path := Path(value).expanduser()).exists():
            paths.append(path.absolute())
            return str(path.absolute())
        return value

    return Settings.model_validate(with_values(settings.model_dump(mode="json"), resolved)), paths


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray needs the package ray", hint='pip install "mulde[ray]"') from None
    return ray
