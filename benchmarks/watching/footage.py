"""Footage for cameras: encoded as cameras send it, looped without encoding it again, with the model of its scene."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from mulde.datasets.synthetic.plan import KINDS, Stage, plan_walkers
from mulde.datasets.synthetic.plaza import background
from mulde.datasets.synthetic.render import render
from mulde.datasets.synthetic.world import MIN_VISIBLE_PX
from mulde.records import UInt8

# No frames that refer to later ones, no delay in the encoder.
_X264 = {"preset": "veryfast", "tune": "zerolatency", "bf": "0", "crf": "23"}
KEY_FRAME_S = 2.0
SIZE_HW = (240, 360)
_SEED = 7


@dataclass(frozen=True)
class Anomaly:
    """What is drawn into a clip, and when it is seen: seconds since the clip's first frame."""

    kind: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Footage:
    """A scene: clips of normal life to learn, and clips of which each is played as a camera."""

    normal: tuple[Path, ...]
    cameras: tuple[Path, ...]
    fps: Fraction


def write_as_camera(path: Path, frames: Iterable[UInt8], fps: Fraction) -> int:
    """Encode RGB frames (H, W, 3) as cameras do: a key frame every two seconds, nothing out of order; their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    with av.open(str(unfinished), "w", format="mp4") as container:
        stream, count = None, 0
        for image in frames:
            if stream is None:
                stream = _encoder(container, fps, image.shape[:2])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            count += 1
        if stream is not None:
            container.mux(stream.encode())
    unfinished.replace(path)
    return count


def _encoder(container: Any, fps: Fraction, size_hw: tuple[int, int]) -> Any:
    stream = container.add_stream("libx264", rate=fps, options=_X264)
    stream.height, stream.width = size_hw
    stream.pix_fmt = "yuv420p"
    stream.codec_context.gop_size = round(KEY_FRAME_S * fps)
    return stream


def decoded(path: Path) -> Iterator[UInt8]:
    """The frames of a file, RGB (H, W, 3)."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def loop(source: Path, path: Path, seconds: float) -> Path:
    """A file that holds `source` over and over, for at least so long, by copying its packets."""
    with av.open(str(source)) as once, av.open(str(path), "w", format="mp4") as container:
        template = once.streams.video[0]
        stream = container.add_stream_from_template(template)
        packets = [packet for packet in once.demux(template) if packet.size]
        step = packets[1].dts - packets[0].dts
        length, base = step * len(packets), template.time_base
        for turn in range(max(1, int(np.ceil(seconds / float(length * base))))):
            once.seek(0)
            for packet in once.demux(template):
                if packet.size:
                    packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                    packet.stream = stream
                    container.mux(packet)
    return path


class Scene:
    """The synthetic plaza at a rate of its own, with anomalies where they are wanted."""

    def __init__(self, fps: Fraction, seed: int = _SEED, size_hw: tuple[int, int] = SIZE_HW) -> None:
        self.fps, self.seed, self.size_hw = fps, seed, size_hw
        self._empty = background(size_hw, np.random.default_rng(seed))

    def write(
        self, path: Path, seconds: float, number: int, anomalies: Sequence[tuple[str, float]] = (), size: float = 1.0
    ) -> list[Anomaly]:
        """Write clip `number` with these kinds of anomalies, each entering at so many seconds and so many times as
        large as in life; when they are seen."""
        stage = Stage(self.size_hw, float(self.fps), round(seconds * self.fps))
        rng = np.random.default_rng([self.seed, number])
        actors = plan_walkers(stage, rng)
        spans: list[Anomaly] = []
        for kind, start_s in anomalies:
            actor = KINDS[kind](stage, rng)
            first, tallness = round(start_s * self.fps), size * actor.tallness
            actors.append(replace(actor, first_frame=first, tallness=tallness, anomalous=True))
        seen = np.zeros(stage.num_frames, np.bool_)

        def frames() -> Iterator[UInt8]:
            for index, (image, mask) in enumerate(render(stage, self._empty, actors, rng)):
                seen[index] = np.count_nonzero(mask) >= MIN_VISIBLE_PX
                yield image

        write_as_camera(path, frames(), self.fps)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]])))
        for first, end in edges.reshape(-1, 2):
            start_s = float(first / self.fps)
            kind = min(anomalies, key=lambda anomaly: abs(anomaly[1] - start_s))[0]
            spans.append(Anomaly(kind, start_s, float((end - 1) / self.fps)))
        return spans


def synthetic_footage(
    work: Path,
    num_cameras: int,
    *,
    fps: Fraction = Fraction(10),
    normal_clips: int = 10,
    normal_s: float = 20.0,
    camera_s: float = 60.0,
) -> Footage:
    """Plazas with an anomaly every 10 s, made where they are not in `work` yet."""
    scene = Scene(fps)
    normal = [work / "normal" / f"{n:02d}-{fps}fps-{normal_s:g}s.mp4" for n in range(normal_clips)]
    cameras = [work / "cameras" / f"{n:02d}-{fps}fps-{camera_s:g}s.mp4" for n in range(num_cameras)]
    for number, path in enumerate(normal):
        if not path.exists():
            scene.write(path, normal_s, number)
    for number, path in enumerate(cameras):
        if not path.exists():
            kinds = np.random.default_rng([_SEED, number]).permutation(list(KINDS)).tolist()
            starts = np.arange(2.0, camera_s, 10.0).tolist()
            drawn = [(kinds[n % len(kinds)], start_s) for n, start_s in enumerate(starts)]
            scene.write(path, camera_s, 1000 + number, drawn)
    return Footage(tuple(normal), tuple(cameras), fps)


def given_footage(root: Path, work: Path, num_cameras: int) -> Footage:
    """A folder with Train and Test (Ped2): its test clips, encoded as cameras send them, in turns."""
    normal, test = (sorted((root / name).glob("*.mp4")) for name in ("Train", "Test"))
    if not (normal and test):
        raise SystemExit(f"{root}: no Train/*.mp4 and Test/*.mp4 there")
    cameras = []
    for path in [test[n % len(test)] for n in range(num_cameras)]:
        cameras.append(work / "cameras" / path.name)
        with av.open(str(path)) as container:
            fps = container.streams.video[0].average_rate
        if not cameras[-1].exists():
            write_as_camera(cameras[-1], decoded(path), fps)
    return Footage(tuple(normal), tuple(cameras), Fraction(fps))


def trained(clips: Sequence[Path], work: Path, settings: Sequence[str]) -> Path:
    """The model of `mulde train` on these clips, trained where `work` has none of the same clips and settings."""
    words = [word for setting in settings for word in ("--set", setting)]
    key = hashlib.sha256(json.dumps([list(map(str, clips)), list(settings)]).encode()).hexdigest()[:12]
    model = work / "models" / key / "model.safetensors"
    if not model.exists():
        where = ["--out", str(model.parent), "--store", str(work / "store"), "--device", "cpu", "--quiet"]
        subprocess.run([sys.executable, "-m", "mulde", "train", *map(str, clips), *where, *words], check=True)
    return model


def settings_of(fps: float, detector: Path | None = None, extra: Sequence[str] = ()) -> list[str]:
    """The default settings but for the rate at which frames are looked at, and a detector of objects."""
    found = [f"video.analysis_fps={fps:g}"]
    if detector is not None:
        found += ['regions.finders=["yolo", "motion"]', f"regions.yolo.weights={json.dumps(str(detector))}"]
    return [*found, *extra]
