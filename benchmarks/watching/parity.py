"""A camera that is watched and recorded at the same time: the recording, scored as a file, against what was live."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.watching.figures import Figure, Result
from benchmarks.watching.steady import Cameras
from benchmarks.watching.watcher import ROOT
from mulde.evaluation.smoothing import causal_length
from mulde.media import open_video
from mulde.pipeline.live.alerts import alert_id
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.model.loading import load_model

MOST_DIFFERENT = 1e-6


@dataclass(frozen=True)
class Pair:
    """A frame that both have: UTC when it was live, its scores there and in the file, smoothed and not."""

    utc_ms: int
    live: tuple[float, float]
    file: tuple[float, float]


def measure(watching: Cameras, num_frames: int) -> Result:
    """Watch the first camera until so many of its frames were scored, and record it by stream copy from the same
    connection; then `mulde score --causal` of the recording. Both look at every frame."""
    name = next(iter(watching.files))
    watching = replace(watching, files={name: watching.files[name]}, record=True)
    with watching.watched() as (watcher, _):
        watcher.wait_for_all(num_frames)
        watcher.end()
        live = watcher.seen().of(name)
    recording = min((watcher.recorded / name).glob("*.mp4"))
    session = {score["number"]: score for score in live if score["session"] == live[0]["session"]}
    settings = load_model(watching.model).bundle.settings
    run = _scored(recording, watching)
    track = pd.read_parquet(next((run / "scores").rglob("*.parquet")))
    shift = first_place(session, pictures_of(recording))
    utc_ms = {number + shift: score["utc_ms"] for number, score in session.items()}
    looks_back = int(np.ceil(causal_length(settings.fusion.smoothing_s * watching.fps))) + 1
    pairs = compared(session, track, shift, looks_back)
    # An event begins where the one before it may no longer go on: what both saw up to there decides.
    gap_frames = int(np.ceil(settings.alarms.merge_gap_s * watching.fps))
    comparable = {pair.utc_ms for pair in compared(session, track, shift, looks_back + gap_frames + 1)}
    in_file = {utc_ms.get(frame) for frame in pd.read_parquet(run / "events.parquet")["start_frame"]} & comparable
    with AlertLedger.read(watcher.run) as ledger:
        raised = {stored.alert.id: stored.alert.start for stored in ledger.alerts() if stored.alert.kind == "unusual"}
    ids = {alert_id(name, start) for start in in_file if start is not None}
    live_ids = {identity for identity, start in raised.items() if start in comparable}
    figures = (
        Figure("frames compared", len(pairs), max(num_frames // 20, 1), "at least"),
        Figure("largest difference, smoothed", _largest(pairs, 0), MOST_DIFFERENT),
        Figure("largest difference, not smoothed", _largest(pairs, 1), MOST_DIFFERENT),
        Figure("alerts that both raise", len(ids & live_ids)),
        Figure("alerts that one of them raises", len(ids ^ live_ids), 0),
    )
    return Result("parity", figures, {"frames live": len(session), "frames recorded": len(track)})


def _scored(recording: Path, watching: Cameras) -> Path:
    """The run folder of `mulde score`."""
    out = watching.folder / "scored"
    rate = watching.false_alarms_per_hour
    words = ["--causal", "--quiet", "--device", "cpu", *(["--false-alarms-per-hour", f"{rate:g}"] if rate else [])]
    where = ["--model", str(watching.model), "--out", str(out), "--store", str(watching.folder / "store")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "mulde", "score", str(recording), *where, *words], check=True, env=environment
    )
    return out


def pictures_of(path: Path) -> list[str]:
    """What `spied` writes of a picture, of each of a file."""
    with open_video(path) as reader:
        return [
            hashlib.blake2b(np.ascontiguousarray(image), digest_size=8).hexdigest()
            for batch in reader
            for image in batch.images
        ]


def first_place(session: Mapping[int, Mapping[str, Any]], pictures: Sequence[str]) -> int:
    """Where the picture with number 0 of a session stands in its recording: pictures of both are bit-identical. Raises
    RuntimeError where no place fits all of them."""
    for shift in range(-len(session), len(pictures)):
        places = [(number + shift, score["picture"]) for number, score in session.items()]
        inside = [(index, picture) for index, picture in places if 0 <= index < len(pictures)]
        if 2 * len(inside) > len(session) and all(pictures[index] == picture for index, picture in inside):
            return shift
    raise RuntimeError(f"{len(session)} pictures of a camera are not those of its recording, which has {len(pictures)}")


def compared(session: Mapping[int, Mapping[str, Any]], track: pd.DataFrame, shift: int, looks_back: int) -> list[Pair]:
    """The frames that both scored with all of the frames before them that their score depends on."""
    in_file = {int(row.frame_index): (row.smoothed, row.fused) for row in track.itertuples()}
    pairs = []
    for number, score in session.items():
        behind = range(number - looks_back, number + 1)
        if all(before in session and before + shift in in_file for before in behind):
            pairs.append(Pair(score["utc_ms"], (score["score"], score["fused"]), in_file[number + shift]))
    return pairs


def _largest(pairs: Sequence[Pair], which: int) -> float:
    return max((abs(pair.live[which] - pair.file[which]) for pair in pairs), default=float("nan"))
