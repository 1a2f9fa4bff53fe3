"""A candidate fitted in one fold: the surprise of every frame of the videos that judge it there, kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mulde import __version__
from mulde.config import StreamDensitySettings
from mulde.density.base import Density
from mulde.density.estimator import MuldeDensity
from mulde.digests import fingerprint
from mulde.errors import FitError
from mulde.files import write_arrays
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.calibration import calibrate, frame_maximum, learn_frames
from mulde.pipeline.training.fit import build_stream_density
from mulde.pipeline.training.folds import Share
from mulde.records import FeatureTable, Float32, Float64, Int64

FOLDER = "scores"
MAX_ROWS, _MAX_HELDOUT = 20_000, 5_000


@dataclass(frozen=True, eq=False)
class Footage:
    """One fold: shares of normal video to fit on, shares that are held out, and clips with insertions into these.
    Compared by identity."""

    fitting: tuple[Share, ...]
    heldout: tuple[Share, ...]
    clips: tuple[StoredVideo, ...]

    @property
    def frame_index(self) -> list[Int64]:
        """Of the videos that judge: the held-out ones, then the clips."""
        return [share.frame_index for share in self.heldout] + [clip.frame_index for clip in self.clips]

    def with_videos(self, videos: Sequence[StoredVideo]) -> Footage:
        """The same shares and clips with features of another extraction."""
        by_path = {video.video.path: video for video in videos}
        return Footage(
            tuple(replace(share, stored=by_path[share.stored.video.path]) for share in self.fitting),
            tuple(replace(share, stored=by_path[share.stored.video.path]) for share in self.heldout),
            tuple(by_path[clip.video.path] for clip in self.clips),
        )

    def averaged(self, average_frames: int) -> Footage:
        """The same, with rows averaged along their tracks."""
        videos = [share.stored for share in (*self.fitting, *self.heldout)] + list(self.clips)
        return self.with_videos([replace(video, average_frames=average_frames) for video in videos])


Folds = tuple[Footage, ...]
"""All normal video, each of it held out once."""


@dataclass(frozen=True)
class Recipe:
    """One stream of a candidate: its density, whether only high values count."""

    stream: str
    density: StreamDensitySettings
    only_high: bool = False


class StreamRows:
    """The rows of one stream, read once for all of its candidates; (N, D) to fit on, thinned by a seeded draw.
    `trained` keeps densities by `training_of`."""

    def __init__(self, stream: str, footage: Footage, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.fitting = _thinned([share.rows(stream) for share in footage.fitting], MAX_ROWS, rng)
        heldout = [share.rows(stream) for share in footage.heldout]
        self.heldout = _thinned(heldout, _MAX_HELDOUT, rng)
        self.trained: dict[str, MuldeDensity] = {}
        self.judged = heldout + [clip.features(stream) for clip in footage.clips]


def _thinned(tables: Sequence[FeatureTable], most: int, rng: np.random.Generator) -> Float32:
    most_each = max(2 * most // len(tables), 500)  # so that memory is bounded, however many videos there are
    rows = np.concatenate([_drawn(table.values, most_each, rng) for table in tables])
    return _drawn(rows, most, rng)


def _drawn(rows: Float32, most: int, rng: np.random.Generator) -> Float32:
    if len(rows) <= most:
        return rows
    return np.ascontiguousarray(rows[np.sort(rng.permutation(len(rows))[:most])])


def score(recipe: Recipe, rows: StreamRows, footage: Footage, seed: int, device: str) -> list[Float64]:
    """The surprises (T,) of the frames of every judged video, on a scale learnt on the held-out ones.

    Raises FitError where there are no rows, or the density cannot learn from them.
    """
    if not len(rows.fitting) or not len(rows.heldout):
        raise FitError(f"no rows of {recipe.stream}", expected="objects in the fitting and in the held-out videos")
    density = _fitted(recipe, rows, seed, device)
    least = np.median(rows.fitting, axis=0) if recipe.only_high else None
    raw = [
        density.anomaly_score(table.values if least is None else np.maximum(table.values, least))
        for table in rows.judged
    ]
    num_heldout = len(footage.heldout)
    calibration = calibrate(recipe.stream, np.concatenate(raw[:num_heldout]))
    best = [
        frame_maximum(calibration(values), table.frame_index, frames, np.nan)
        for values, table, frames in zip(raw, rows.judged, footage.frame_index, strict=True)
    ]
    floor, surprise = learn_frames(best[:num_heldout], np.nan)  # some frame has a row
    return [surprise(np.where(np.isnan(frames), floor, frames)) for frames in best]


def training_of(recipe: Recipe, seed: int, device: str) -> str:
    """What candidates have in common that differ in the reading of one training alone."""
    density = build_stream_density(recipe.density, seed, device)
    reading = density.READING if isinstance(density, MuldeDensity) else frozenset[str]()
    return fingerprint([density.kind, {k: v for k, v in density.settings().items() if k not in reading}])


def _fitted(recipe: Recipe, rows: StreamRows, seed: int, device: str) -> Density:
    """The density of a recipe; one that only reads another training differently is not trained again."""
    density, key = build_stream_density(recipe.density, seed, device), training_of(recipe, seed, device)
    if not isinstance(density, MuldeDensity):
        return density.fit(rows.fitting, heldout=rows.heldout)
    if key not in rows.trained:
        rows.trained[key] = density.fit(rows.fitting, heldout=rows.heldout)
        return density
    options = {name: getattr(density.effective_options, name) for name in density.READING}
    return rows.trained[key].with_reading(rows.fitting, rows.heldout, **options)


class ScoreTables:
    """The scores of candidates below a folder, by what they were made from: a killed search does not fit them again."""

    def __init__(self, folder: Path, seed: int, device: str) -> None:
        self.folder, self._seed, self._device = folder, seed, device

    def path(self, recipe: Recipe, footage: Footage) -> Path:
        kinds = [recipe.stream, "regions", "tracks"]

        def made_from(video: StoredVideo) -> list[object]:
            keys = [(video.passports[kind].video_sha256, video.passports[kind].key) for kind in kinds
                    if kind in video.passports]  # fmt: skip
            return [keys, video.average_frames]

        key = fingerprint(
            {
                "mulde": __version__,
                "density": recipe.density.model_dump(mode="json"),
                "only_high": recipe.only_high,
                "shares": [
                    [[made_from(share.stored), share.first, share.last] for share in shares]
                    for shares in (footage.fitting, footage.heldout)
                ],
                "clips": [made_from(clip) for clip in footage.clips],
                "seed": self._seed,
                "device": self._device,
            }
        )
        return self.folder / f"{recipe.stream}-{key[:16]}.safetensors"

    def read(self, path: Path, footage: Footage) -> list[Float64] | None:
        """The scores of each judged video; None where there are none, or other ones."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not path.is_file():
            return None
        try:
            found = load_file(path)
        except (SafetensorError, OSError, ValueError):
            return None
        lengths = [len(frames) for frames in footage.frame_index]
        scores = [found.get(str(i)) for i in range(len(lengths))]
        for values, length in zip(scores, lengths, strict=True):
            if values is None or values.shape != (length,) or values.dtype != np.float64:
                return None
            if not np.isfinite(values).all():
                return None
        return [np.asarray(values, np.float64) for values in scores]

    def write(self, path: Path, scores: Sequence[Float64]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, {str(i): values for i, values in enumerate(scores)})
