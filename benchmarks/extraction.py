"""Extraction against its bare models and against a plain loop; memory against the length of a video; every feature.

    .venv/bin/python benchmarks/extraction.py ucsd-ped2:ROOT --weights WEIGHTS [--only speed memory features]

WEIGHTS holds yolov8n_int8_openvino_model, yolov8n-pose_int8_openvino_model and mobilenet_v2_features.safetensors.

speed     extracts the data set (detector and motion; velocity, pose on crops, MobileNetV2 appearance) into an empty
          store and sets the wall time beside the sum of the bare model times: each model alone, on ready inputs, as
          many calls as the extraction made, with as many threads; once with a caller per core, once with all cores for
          each call, the faster one counts. Bare times are taken before and after the extraction and averaged. The plain
          loop does the same work on the same boxes frame by frame and crop by crop, with Ultralytics' own `predict`.
memory    peak memory of `mulde extract` on 60 minutes of video against 2 minutes of the same scene.
features  every feature alone: rows, frames per second, megabytes in the store, frame AUC of a density on it.

Figures go to standard output, and with --out to a JSON file. Nothing is asserted: a person reads them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.sources import open_source
from mulde.devices import choose_threads
from mulde.extractors.boxes import crop
from mulde.media import write_video
from mulde.pipeline.extraction.engine import extract
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.progress import Reporter
from mulde.records import Frames, Regions, UInt8
from mulde.settings_file import load_settings
from mulde.store.store import FeatureStore, regions_from_arrow

SAMPLE_FRAMES, LOOP_FRAMES = 96, 24
MINUTES = (2, 60)


def settings_of(weights: Path, extractors: Sequence[str], extra: Sequence[str] = ()) -> Settings:
    def path(name: str) -> str:
        return json.dumps(str(weights / name))

    return load_settings(
        overrides=[
            'regions.finders=["yolo", "motion"]',
            f"regions.yolo.weights={path('yolov8n_int8_openvino_model')}",
            f"features.pose.weights={path('yolov8n-pose_int8_openvino_model')}",
            f"features.backbone.weights={path('mobilenet_v2_features.safetensors')}",
            f"features.extractors={json.dumps(list(extractors))}",
            *extra,
        ]
    )


# ---------------------------------------------------------------------------------------------------------- speed


def speed(source: str, weights: Path, num_videos: int, repeat: int) -> dict[str, Any]:
    settings = settings_of(weights, ("velocity", "pose", "backbone"))
    footage = open_source(source)
    videos = list(footage.all)[:num_videos] if num_videos else list(footage.all)
    threads = choose_threads("cpu")
    sample = Sample.take(videos, settings)
    before = bare_ms(sample, settings, threads)
    walls = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            plan = ExtractionPlan(settings, "cpu")
            warm_up(plan, sample)
            start = time.perf_counter()
            done = extract(videos, plan, FeatureStore(Path(folder)), Reporter(quiet=True))
            walls.append(time.perf_counter() - start)
            assert not done.failures, done.failures
            calls = count_calls(done.done, settings)
    after = bare_ms(sample, settings, threads)
    bare = {name: (before[name] + after[name]) / 2 for name in before}
    bare_s = sum(bare[name] * calls[name] / 1000 for name in bare)
    loop_s = plain_loop_s(sample, settings) * calls["frames"]
    wall_s = float(np.median(walls))
    return {
        "threads": threads,
        "videos": len(videos),
        "calls": calls,
        "bare_ms_per_call": bare,
        "bare_ms_before": before,
        "bare_ms_after": after,
        "bare_s": bare_s,
        "extraction_s": wall_s,
        "extraction_runs_s": walls,
        "frames_per_s": calls["frames"] / wall_s,
        "overhead": wall_s / bare_s,
        "plain_loop_s": loop_s,
        "speedup_over_plain_loop": loop_s / wall_s,
    }


class Sample:
    """Frames of a few videos with their boxes, to measure on."""

    def __init__(self, frames: UInt8, regions: Regions) -> None:
        self.frames, self.regions = frames, regions

    @classmethod
    def take(cls, videos: Sequence[Video], settings: Settings) -> Sample:
        """The first frames of three videos, spread over the data set, with the boxes that the settings find."""
        from mulde.records import Window

        plan = ExtractionPlan(settings, "cpu", 1)
        assert plan.regions is not None
        pictures, found, count = [], [], 0
        for video in [videos[i] for i in np.linspace(0, len(videos) - 1, 3).astype(int)]:
            with plan.open(video) as reader:
                batch = next(iter(reader))
            n = min(len(batch), SAMPLE_FRAMES // 3)
            regions = plan.regions.find(Window(batch, 0, n))
            pictures.append(batch.images[:n])
            found.append(Regions(regions.box_xyxy, regions.frame_index + count, regions.confidence, regions.class_id))
            count += n
        merged = Regions(*(np.concatenate([getattr(r, f) for r in found]) for f in Regions.__dataclass_fields__))
        return cls(np.concatenate(pictures), merged)

    def crops(self) -> list[UInt8]:
        return [crop(self.frames[f], b) for f, b in zip(self.regions.frame_index, self.regions.box_xyxy, strict=True)]


def warm_up(plan: ExtractionPlan, sample: Sample) -> None:
    """Load every network, so that loading is not timed."""
    from mulde.records import Window

    frames = Frames(sample.frames[:2], np.arange(2), np.arange(2) / 10)
    window = Window(frames, 0, 2)
    assert plan.regions is not None
    regions = plan.regions.find(window)
    for extractor in plan.extractors:
        extractor.extract(window, regions)


def count_calls(done: Sequence[Any], settings: Settings) -> dict[str, int]:
    """How often the extraction called each model."""
    pose = settings.features.pose
    per_canvas, core = pose.columns * pose.rows, settings.video.batch_frames
    calls = {"frames": 0, "detector": 0, "flow": 0, "pose": 0, "appearance": 0, "boxes": 0}
    for stored in done:
        regions = regions_from_arrow(stored.store.read(stored.passports["regions"]))
        people = regions.frame_index[np.isin(regions.class_id, pose.class_ids)]
        calls["frames"] += stored.num_frames
        calls["detector"] += stored.num_frames
        calls["flow"] += len(np.unique(regions.frame_index))
        calls["pose"] += sum(-(-int(n) // per_canvas) for n in np.bincount(people // core) if n)
        calls["appearance"] += len(regions)
        calls["boxes"] += len(regions)
    return calls


def bare_ms(sample: Sample, settings: Settings, threads: int) -> dict[str, float]:
    """Milliseconds of each bare model call, by the faster of two ways to use the cores."""
    ways = [bare_models(sample, settings, threads, callers) for callers in dict.fromkeys((threads, 1))]
    return {name: min(way[name] for way in ways) for name in ways[0]}


def bare_models(sample: Sample, settings: Settings, threads: int, callers: int) -> dict[str, float]:
    """Each model on inputs that lie ready, with `callers` threads that call it and `threads` cores in all."""
    import cv2
    import openvino
    import torch

    cores = threads // callers

    def openvino_calls(folder: str) -> Callable[[], Callable[[int], None]]:
        core = openvino.Core()
        compiled = core.compile_model(
            core.read_model(next(Path(folder).glob("*.xml"))),
            "CPU",
            {"NUM_STREAMS": callers, "INFERENCE_NUM_THREADS": threads},
        )
        inputs = [canvas(image) for image in sample.frames[:16]]

        def caller() -> Callable[[int], None]:
            request = compiled.create_infer_request()
            return lambda i: request.infer({0: inputs[i % len(inputs)]}, share_inputs=True)

        return caller

    plan = ExtractionPlan(settings, "cpu", 1)
    network, expects, _ = next(e for e in plan.extractors if e.name == "backbone").network.loaded
    crops = sample.crops()
    batch = 16
    ready = [expects(crops[i : i + batch]) for i in range(0, len(crops) - batch, batch)][:8]

    def appearance() -> Callable[[int], None]:
        def call(i: int) -> None:
            with torch.inference_mode():
                network(ready[i % len(ready)])

        return call

    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in sample.frames]

    def flow() -> Callable[[int], None]:
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return lambda i: dis.calc(grey[i % (len(grey) - 1) + 1], grey[i % (len(grey) - 1)], None)

    y, p = settings.regions.yolo, settings.features.pose
    with cores_per_call(cores):
        return {
            "detector": timed_ms(openvino_calls(y.weights), 120, callers),
            "pose": timed_ms(openvino_calls(p.weights), 120, callers),
            "appearance": timed_ms(appearance, 16, callers) / batch,
            "flow": timed_ms(flow, 240, callers),
        }


@contextmanager
def cores_per_call(cores: int) -> Iterator[None]:
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(cores)
    cv2.setNumThreads(cores)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def canvas(image: UInt8) -> np.ndarray:
    import cv2

    square = cv2.resize(image, (640, 640))
    return np.ascontiguousarray(square.transpose(2, 0, 1)[None], np.float32) / 255


def timed_ms(make: Callable[[], Callable[[int], None]], num_calls: int, callers: int) -> float:
    """Wall milliseconds per call, `callers` threads calling at the same time."""
    calls = [make() for _ in range(callers)]
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(lambda call: [call(i) for i in range(3)], calls))
        start = time.perf_counter()
        list(pool.map(lambda call: [call(i) for i in range(num_calls // callers)], calls))
        return (time.perf_counter() - start) / (num_calls // callers * callers) * 1000


def plain_loop_s(sample: Sample, settings: Settings) -> float:
    """Seconds per frame of a loop that asks each model about one picture at a time."""
    import cv2
    import torch

    from mulde.extractors.motion import MotionRegions
    from mulde.extractors.velocity import orientation_histogram
    from mulde.extractors.yolo import import_ultralytics
    from mulde.records import Window

    yolo = import_ultralytics().YOLO
    detector = yolo(settings.regions.yolo.weights, task="detect")
    pose = yolo(settings.features.pose.weights, task="pose")
    network, expects, _ = next(
        e for e in ExtractionPlan(settings, "cpu", 1).extractors if e.name == "backbone"
    ).network.loaded
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    motion = MotionRegions()

    def one_frame(t: int) -> None:
        frame, previous = sample.frames[t], sample.frames[t - 1]
        detector.predict(frame[..., ::-1], conf=0.25, verbose=False)
        motion.find(Window(Frames(sample.frames[t - 1 : t + 1], np.arange(2), np.arange(2.0)), 1, 2), Regions.empty())
        flow = dis.calc(*(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (frame, previous)), None)
        for i in np.flatnonzero(sample.regions.frame_index == t):
            box = sample.regions.box_xyxy[i]
            x0, y0, x1, y1 = box.astype(int)
            orientation_histogram(flow[y0 : y1 + 1, x0 : x1 + 1], 8)
            if sample.regions.class_id[i] in settings.features.pose.class_ids:
                pose.predict(np.ascontiguousarray(crop(frame, box)[..., ::-1]), conf=0.01, verbose=False)
            with torch.inference_mode():
                network(expects([crop(frame, box)]))

    one_frame(1)
    frames = np.linspace(1, len(sample.frames) - 1, LOOP_FRAMES).astype(int)
    start = time.perf_counter()
    for t in frames:
        one_frame(int(t))
    return (time.perf_counter() - start) / len(frames)


# --------------------------------------------------------------------------------------------------------- memory


def memory() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        peaks = {minutes: peak_mib(Path(folder), minutes) for minutes in MINUTES}
    return {"peak_mib": peaks, "ratio": peaks[MINUTES[1]] / peaks[MINUTES[0]]}


def peak_mib(folder: Path, minutes: int) -> float:
    """Peak memory of `mulde extract` as a process of its own, in MiB."""
    video = folder / f"{minutes}.mp4"
    write_video(video, street(minutes * 60 * 25), Fraction(25))
    command = [sys.executable, "-m", "mulde.cli", "extract", str(video), "--store", str(folder / "store"), "-q"]
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    peak = float(done.stdout)
    print(f"{minutes} minutes: {peak:.0f} MiB, {time.perf_counter() - start:.0f} s", flush=True)
    return peak


def street(num_frames: int) -> Iterator[UInt8]:
    """Three textured squares that walk over a textured ground, 160 x 120."""
    rng = np.random.default_rng(0)
    ground = np.repeat(rng.integers(60, 100, (120, 160, 1)).astype(np.uint8), 3, axis=2)
    squares = rng.integers(150, 250, (3, 20, 20, 3)).astype(np.uint8)
    for t in range(num_frames):
        frame = ground.copy()
        for i, square in enumerate(squares):
            x = (20 + 37 * i + (i + 1) * t) % 140
            frame[20 + 30 * i : 40 + 30 * i, x : x + 20] = square
        yield frame


# ------------------------------------------------------------------------------------------------------- features


def variants(folder: Path) -> dict[str, tuple[str, list[str], int]]:
    """What to measure: name -> extractor, settings, number of videos (0 = all, with the AUC of a density on it).

    Networks whose weights are not at hand get random ones, made in `folder`: their AUC would mean nothing.
    """
    clip, video = (json.dumps(str(folder / name)) for name in ("clip.safetensors", "video.safetensors"))
    return {
        "velocity": ("velocity", [], 0),
        "velocity, 1 bin": ("velocity", ["features.velocity.bins=1"], 0),
        "velocity, 1 bin, box heights": (
            "velocity",
            ["features.velocity.bins=1", 'features.velocity.normalise="height"'],
            0,
        ),
        "velocity, averaged along tracks": (
            "velocity",
            ['tracks.tracker="bytetrack"', "tracks.average_frames=2"],
            0,
        ),
        "geometry": ("geometry", [], 0),
        "descriptor": ("descriptor", [], 0),
        "pose, crops": ("pose", [], 0),
        "pose, whole frames": ("pose", ['features.pose.mode="frame"'], 0),
        "backbone (MobileNetV2)": ("backbone", [], 0),
        "flow_histogram, 4 x 4": ("flow_histogram", ["features.flow_histogram.grid=4"], 0),
        "velocity, Farneback": ("velocity", ['features.flow.method="farneback"'], 0),
        "clip (ViT-S-32-alt, random)": (
            "clip",
            ['features.clip.model="ViT-S-32-alt"', f"features.clip.weights={clip}"],
            2,
        ),
        "frame_clip (ViT-S-32-alt, random)": (
            "frame_clip",
            ['features.clip.model="ViT-S-32-alt"', f"features.clip.weights={clip}"],
            2,
        ),
        "video (S3D, random)": ("video", ['features.video.model="s3d"', f"features.video.weights={video}"], 1),
    }


def random_weights(folder: Path) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file
    from torchvision import models

    torch.manual_seed(0)
    for name, network in (
        ("clip", open_clip.create_model("ViT-S-32-alt")),
        ("video", models.get_model("s3d", weights=None)),
    ):
        save_file({key: value.clone() for key, value in network.state_dict().items()}, folder / f"{name}.safetensors")


def features(source: str, weights: Path, wanted: Sequence[str]) -> list[dict[str, Any]]:
    footage, rows = open_source(source), []
    with tempfile.TemporaryDirectory() as folder:
        place = Session.open(Path(folder) / "store", "cpu", Reporter(quiet=True))
        random_weights(Path(folder))
        extract(footage.all, ExtractionPlan(settings_of(weights, ["geometry"]), "cpu"), place.store, place.reporter)
        for name, (extractor, extra, num_videos) in variants(Path(folder)).items():
            if wanted and not any(name.startswith(word) for word in wanted):
                continue
            settings = settings_of(weights, [extractor], extra)
            plan = ExtractionPlan(settings, "cpu")
            videos = list(footage.all)[:num_videos] if num_videos else list(footage.all)
            for file in place.store.root.rglob(f"{extractor}-*.parquet"):
                file.unlink()
            start = time.perf_counter()
            done = extract(videos, plan, place.store, place.reporter)
            seconds = time.perf_counter() - start
            assert not done.failures, done.failures
            rows.append(
                {
                    "feature": name,
                    "columns": done.done[0].features(extractor).dim,
                    "rows": sum(len(stored.features(extractor)) for stored in done.done),
                    "frames_per_s": sum(stored.num_frames for stored in done.done) / seconds,
                    "megabytes": sum(f.stat().st_size for f in place.store.root.rglob(f"{extractor}-*.parquet")) / 1e6,
                    **({} if num_videos else auc_alone(footage, settings, plan, place)),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def auc_alone(footage: Any, settings: Settings, plan: ExtractionPlan, place: Session) -> dict[str, float | None]:
    """Micro frame AUC of the default density, seed 0, on this feature alone."""
    from mulde.pipeline.evaluation.evaluate import evaluate
    from mulde.pipeline.evaluation.labels import read_labels
    from mulde.pipeline.scoring.frames import score_video
    from mulde.pipeline.training.fit import train

    train_split, test_split = (place.extract(footage.split(name), plan).done for name in ("train", "test"))
    with tempfile.TemporaryDirectory() as folder:
        bundle = train(train_split, settings, {}, seed=0, device="cpu", reporter=place.reporter, folder=Path(folder))
    scored = {stored.video.name: score_video(stored, bundle) for stored in test_split}
    evaluation = evaluate(scored, read_labels(footage.dataset, scored), footage.dataset, place.reporter)
    return {f"auc_{row.smoothing}": row.result.micro_auc for row in evaluation.rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=["speed", "memory", "features"], default=["speed", "memory"])
    parser.add_argument("--videos", type=int, default=0, help="only the first so many videos; 0 = all")
    parser.add_argument("--feature", action="append", default=[], help="only features that begin so; repeatable")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    if "speed" in args.only:
        figures["speed"] = speed(args.source, args.weights, args.videos, args.repeat)
    if "memory" in args.only:
        figures["memory"] = memory()
    if "features" in args.only:
        figures["features"] = features(args.source, args.weights, args.feature)
    text = json.dumps(figures, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
