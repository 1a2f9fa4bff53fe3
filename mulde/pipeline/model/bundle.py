"""The model bundle: everything that scores a video, in one safetensors file. Nothing in it is ever unpickled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mulde import __version__
from mulde.config import Settings
from mulde.density.base import Density
from mulde.density.registry import density_from_state
from mulde.density.state import check_version, take
from mulde.errors import BundleError, UsageError
from mulde.evaluation.conformal import NormalVideo
from mulde.evaluation.smoothing import SMOOTHING_MODES, SmoothingMode, smooth
from mulde.extractors.class_names import shown
from mulde.extractors.registry import EXTRACTORS
from mulde.health.reference import HealthReference
from mulde.images import MAX_PIXELS
from mulde.names import printable
from mulde.nested import differences
from mulde.pipeline.model.bundle_file import (
    MAX_RATE,
    Header,
    StreamFacts,
    Tensors,
    damaged,
    read_bundle_file,
    typed_header,
    write_bundle_file,
)
from mulde.pipeline.model.calibration import Calibration, Surprise
from mulde.pipeline.model.health_state import health_from_state, health_state
from mulde.pipeline.model.training_record import TrainingRecord
from mulde.pipeline.model.weights import portable_settings, settings_for
from mulde.pipeline.model.world import World
from mulde.records import Float32, Float64

SCHEMA_VERSION = 4
_WITH_DIGEST = 3
_NORMAL, _SURPRISE, _LEAST, _HEALTH = ".normal", ".surprise", ".least", ".health"  # no stream or fold can be called so
_WRONG = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError, UsageError)
"""What numbers and names of the wrong kind raise where a typed check has not met them first."""
_ONLY_WARNED = frozenset({"opencv", "ultralytics", "precision", "boxes"})
"""What may differ between training and scoring: library versions, the format of numbers that a device has, and the name
of imported boxes."""


@dataclass(frozen=True)
class Stream:
    """One kind of feature: its densities, one for each fold of the training videos, and the width `dim` of its rows.

    calibration: of the row scores of all normal videos, each by the density that has not seen it; floor: the lowest
    calibrated score of a normal frame, given to frames without rows; surprise: None in bundles of schema 1, whose
    calibrated scores are added up as they are; least (D,): values that rows are raised to before they are scored, where
    only high ones count.
    """

    densities: tuple[Density, ...]
    calibration: Calibration
    dim: int
    floor: float
    surprise: Surprise | None
    least: Float32 | None = None

    def score_rows(self, values: Float32) -> Float64:
        """anomaly_score (N,) of rows (N, D): the mean over the densities, then its surprise."""
        if self.least is not None:
            values = np.maximum(values, self.least)
        calibrated = np.mean([self.calibration(d.anomaly_score(values)) for d in self.densities], axis=0)
        return calibrated if self.surprise is None else self.surprise(calibrated)

    @property
    def empty_score(self) -> float:
        """anomaly_score of a frame without rows."""
        return self.floor if self.surprise is None else float(self.surprise(np.array([self.floor]))[0])


@dataclass(frozen=True)
class Bundle:
    """A trained model. `made_from` is the fingerprint of the extraction; `training` says on what it was trained;
    `normal` holds the fused, unsmoothed frame scores of the held-out normal videos, by name (older bundles: none);
    `world` what it learnt of their footage (older bundles: None); `classes` what the detector calls what it finds, by
    number; `sha256` is the digest that the file carried, None where there was no file or an older one; `health` what
    the camera's picture is held against (None in older bundles, and where it was not wanted or could not be had)."""

    streams: Mapping[str, Stream]
    settings: Settings
    made_from: Mapping[str, Any]
    training: TrainingRecord
    normal: Mapping[str, NormalVideo] = field(default_factory=dict)
    world: World | None = None
    classes: Mapping[int, str] = field(default_factory=dict)
    sha256: str | None = None
    health: HealthReference | None = None

    @cached_property
    def smoothed_normal(self) -> dict[SmoothingMode, list[NormalVideo]]:
        """`normal`, smoothed as new video is, by the way of smoothing; made once, however many videos are scored."""
        sigma_s = self.settings.fusion.smoothing_s
        return {
            mode: [NormalVideo(smooth(v.scores, sigma_s * v.rate, mode), v.rate) for v in self.normal.values()]
            for mode in SMOOTHING_MODES
        }

    def with_settings(self, changes: Sequence[str], folder: Path | None = None) -> Bundle:
        """The same model with other settings (KEY=VALUE) for scoring, wherever they are read, and with weights where
        the user has them; folder: that of the model, where its networks may lie. Raises UsageError, by name, for one
        that scoring cannot change, and for weights that nobody named."""
        return replace(self, settings=settings_for(self.made_from, self.settings, changes, folder))

    def save(self, path: Path) -> str:
        """Write the file; its digest. Of weights it holds names and digests, no paths, and nothing of `run`."""
        tensors: Tensors = {}
        streams: dict[str, Any] = {}
        for name, stream in self.streams.items():
            metas = []
            for i, density in enumerate(stream.densities):
                arrays, meta = density.state()
                tensors |= {f"{name}/{i}/{key}": np.ascontiguousarray(value) for key, value in arrays.items()}
                metas.append(meta)
            streams[name] = {
                "densities": metas,
                "calibration": stream.calibration.as_dict(),
                "dim": stream.dim,
                "floor": stream.floor,
            }
            if stream.surprise is not None:
                points = {"score": stream.surprise.score, "neg_log_p": stream.surprise.neg_log_p}
                tensors |= {f"{name}/{_SURPRISE}/{key}": value for key, value in points.items()}
                streams[name]["slope"] = stream.surprise.slope
            if stream.least is not None:
                tensors[f"{name}/{_LEAST}"] = stream.least
        for i, video in enumerate(self.normal.values()):
            tensors[f"{_NORMAL}/{i}"] = np.ascontiguousarray(video.scores)
        health = None
        if self.health is not None:
            arrays, health = health_state(self.health)
            tensors |= {f"{_HEALTH}/{key}": np.ascontiguousarray(value) for key, value in arrays.items()}
        header = {
            "schema": SCHEMA_VERSION,
            "mulde": __version__,
            "settings": portable_settings(self.settings).model_dump(mode="json"),
            "made_from": self.made_from,
            "training": self.training.as_json(),
            "streams": streams,
            "normal": [{"video": name, "rate": video.rate} for name, video in self.normal.items()],
            "world": None if self.world is None else self.world.model_dump(mode="json"),
            "health": health,
            "classes": {str(number): name for number, name in self.classes.items()},
        }
        return write_bundle_file(path, header, tensors)


def load_bundle(path: Path, device: str = "cpu") -> Bundle:
    """Read a bundle. Raises BundleError for a file that is missing, damaged, changed, or of a newer schema version.

    Nothing but this file is opened: the settings name weights by plain names, whatever the file says.
    """
    raw, tensors, sha256 = read_bundle_file(path)
    written_by = f"model bundle {path}, written by mulde {str(raw.get('mulde'))[:100]}"
    schema = check_version(f"{written_by}, schema version", raw.get("schema"), SCHEMA_VERSION)
    try:
        if schema >= _WITH_DIGEST and sha256 is None:
            raise ValueError("it lacks its digest")
        header = typed_header(path, raw if schema > 1 else _from_schema_1(raw))
        _check_extractors(header.settings)
        settings = portable_settings(Settings.model_validate(header.settings))
        _check_names(header, settings, tensors, schema)
        streams = {}
        for name, facts in header.streams.items():
            arrays = _below(name, tensors)
            if schema == 1:
                arrays = {f"0/{key}": value for key, value in arrays.items()}
            streams[name] = _stream(facts, arrays, device, is_raised=name in settings.only_high)
        normal = {
            video.video: NormalVideo(take(tensors, f"{_NORMAL}/{i}", np.float64, (None,)), video.rate)
            for i, video in enumerate(header.normal)
        }
        classes = {int(number): shown(name) for number, name in header.classes.items()}
        health = None if header.health is None else health_from_state(header.health, _below(_HEALTH, tensors))
        return Bundle(
            streams, settings, header.made_from, header.training, normal, header.world, classes, sha256, health
        )
    except BundleError as error:
        if str(path) in error.problem:
            raise
        raise BundleError(
            f"model bundle {path}, {error.problem}", expected=error.expected, got=error.got, hint=error.hint
        ) from None
    except _WRONG as error:
        raise damaged(path, error) from None


def _check_extractors(settings: Mapping[str, Any]) -> None:
    """Raises BundleError for an extractor that this process does not know, as one of the program that trained it."""
    features = settings.get("features")
    names = features.get("extractors") if isinstance(features, Mapping) else None
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and name not in EXTRACTORS:
            raise BundleError(
                f"its extractor {printable(name)[:100]!r}",
                expected=f"one of {', '.join(EXTRACTORS)}",
                hint="for an extractor of your own, call register_extractor before the model is loaded",
            )


def _check_names(header: Header, settings: Settings, tensors: Tensors, schema: int) -> None:
    """Raises ValueError unless the streams are those of the settings and each tensor belongs to something."""
    wanted = {*settings.features.extractors, *settings.features.imported}
    if wanted != header.streams.keys() and not (schema == 1 and wanted < header.streams.keys()):
        raise ValueError(f"streams {sorted(header.streams)}, those of the settings are {sorted(wanted)}")
    if len({video.video for video in header.normal}) != len(header.normal):
        raise ValueError("two normal videos of one name")
    if missing := [i for i in range(len(header.normal)) if f"{_NORMAL}/{i}" not in tensors]:
        raise ValueError(f"no scores of normal video {missing[0]}")
    sizes, rates = (header.world.sizes, header.world.rates) if header.world else ((), ())
    if any(math.prod(size.size_hw) > MAX_PIXELS for size in sizes) or any(size.rate > MAX_RATE for size in rates):
        raise ValueError("footage of a size or rate that no video has")
    known = tuple(f"{name}/" for name in (*header.streams, _NORMAL, *([_HEALTH] if header.health else [])))
    if strays := [name for name in tensors if not name.startswith(known)]:
        raise ValueError(f"a tensor of nothing, {strays[0][:100]!r}")


def _stream(facts: StreamFacts, arrays: Tensors, device: str, *, is_raised: bool) -> Stream:
    densities = tuple(
        density_from_state(_below(str(i), arrays), meta, device=device) for i, meta in enumerate(facts.densities)
    )
    if widths := {d.n_features_in_ for d in densities} - {facts.dim}:
        raise BundleError("a density", expected=f"rows of {facts.dim} numbers", got=f"{widths.pop()}")
    surprise = None
    if facts.slope is not None:
        score, neg_log_p = (take(arrays, f"{_SURPRISE}/{key}", np.float64, (None,)) for key in ("score", "neg_log_p"))
        surprise = Surprise(score, neg_log_p, facts.slope)
    if (_LEAST in arrays) != is_raised or (surprise is None and _below(_SURPRISE, arrays)):
        raise BundleError("a stream", expected="the tensors that its settings ask for", got="others")
    least = take(arrays, _LEAST, np.float32, (facts.dim,)) if is_raised else None
    calibration = Calibration(facts.calibration.low, facts.calibration.high)
    return Stream(densities, calibration, facts.dim, facts.floor, surprise, least)


def _below(name: str, tensors: Tensors) -> Tensors:
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def _from_schema_1(header: Mapping[str, Any]) -> dict[str, Any]:
    """One density per stream, whose calibration held the floor; streams were added up on the calibrated scale."""
    streams = {}
    for name, stream in header["streams"].items():
        calibration = dict(stream["calibration"])
        floor = calibration.pop("floor")
        facts = {"densities": [stream["density"]], "calibration": calibration, "dim": stream["dim"], "floor": floor}
        streams[name] = facts
    return {**header, "streams": streams}


def check_extraction(bundle: Bundle, now: Mapping[str, Any]) -> list[str]:
    """Compare what the model was trained on with the extraction at hand.

    Raises BundleError naming the first setting that differs; returns a sentence for each library version or number
    format that does, which can shift features slightly.
    """
    warnings = []
    for name, trained, current in differences(bundle.made_from, now, into_lists=True):
        if name.rsplit(".", 1)[-1] in _ONLY_WARNED:
            warnings.append(f"{name}: trained with {trained}, now {current}; scores may shift slightly")
        else:
            raise BundleError(
                f"the model was trained on other features: {name}",
                expected=f"{trained} as in training",
                got=current,
                hint="leave that setting out, so that the model's own is used, or train again",
            )
    return warnings
