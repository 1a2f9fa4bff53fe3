"""The model bundle: everything that scores a video, in one safetensors file. Nothing in it is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mulde import __version__
from mulde.config import Settings
from mulde.density.base import Density
from mulde.density.registry import density_from_state
from mulde.density.state import check_version
from mulde.errors import BundleError, UsageError
from mulde.evaluation.conformal import NormalVideo
from mulde.evaluation.smoothing import SMOOTHING_MODES, SmoothingMode, smooth
from mulde.files import whole_file
from mulde.pipeline.fusion import Calibration, Surprise
from mulde.pipeline.setting_uses import scoring_settings
from mulde.pipeline.world import World
from mulde.records import Float32, Float64

SCHEMA_VERSION = 2
_NORMAL, _SURPRISE, _LEAST = ".normal", ".surprise", ".least"  # no stream or fold can be called so
_ONLY_WARNED = frozenset({"opencv", "ultralytics", "precision"})
"""What may differ between training and scoring: library versions, and the format of numbers that a device has."""


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
    `world` what it learnt of their footage (older bundles: None)."""

    streams: Mapping[str, Stream]
    settings: Settings
    made_from: Mapping[str, Any]
    training: Mapping[str, Any]
    normal: Mapping[str, NormalVideo] = field(default_factory=dict)
    world: World | None = None

    @cached_property
    def smoothed_normal(self) -> dict[SmoothingMode, list[NormalVideo]]:
        """`normal`, smoothed as new video is, by the way of smoothing; made once, however many videos are scored."""
        sigma_s = self.settings.fusion.smoothing_s
        return {
            mode: [NormalVideo(smooth(v.scores, sigma_s * v.rate, mode), v.rate) for v in self.normal.values()]
            for mode in SMOOTHING_MODES
        }

    def with_settings(self, changes: Sequence[str]) -> Bundle:
        """The same model with other settings (KEY=VALUE) for scoring, wherever they are read. Raises UsageError, by
        name, for one that scoring cannot change."""
        return replace(self, settings=scoring_settings(self.settings, changes))

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        tensors: dict[str, Any] = {}
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
        header = {
            "schema": SCHEMA_VERSION,
            "mulde": __version__,
            "settings": self.settings.model_dump(mode="json"),
            "made_from": self.made_from,
            "training": self.training,
            "streams": streams,
            "normal": [{"video": name, "rate": video.rate} for name, video in self.normal.items()],
            "world": None if self.world is None else self.world.model_dump(mode="json"),
        }
        with whole_file(path) as partial:
            save_file(tensors, partial, metadata={"mulde": json.dumps(header)})


def load_bundle(path: Path, device: str = "cpu") -> Bundle:
    """Read a bundle. Raises BundleError for a file that is missing, damaged, or of a newer schema version."""
    header, tensors = _read(path)
    written_by = f"model bundle {path}, written by mulde {header.get('mulde')}"
    check_version(f"{written_by}, schema version", header.get("schema"), SCHEMA_VERSION)
    try:
        streams = {}
        for name, stream in header["streams"].items():
            own = _below(name, tensors)
            if header["schema"] == 1:
                own = {f"0/{key}": value for key, value in own.items()}
                stream = _from_schema_1(stream)
            densities = tuple(
                density_from_state(_below(str(i), own), meta, device=device)
                for i, meta in enumerate(stream["densities"])
            )
            points = _below(_SURPRISE, own)
            surprise = Surprise(points["score"], points["neg_log_p"], float(stream["slope"])) if points else None
            streams[name] = Stream(
                densities,
                Calibration(**stream["calibration"]),
                int(stream["dim"]),
                float(stream["floor"]),
                surprise,
                own.get(_LEAST),
            )
        settings = Settings.model_validate(header["settings"])
        normal = {
            one["video"]: NormalVideo(np.asarray(tensors[f"{_NORMAL}/{i}"], np.float64), float(one["rate"]))
            for i, one in enumerate(header.get("normal", []))
        }
        known = header.get("world")
        world = None if known is None else World.model_validate(known)
        return Bundle(streams, settings, header["made_from"], header["training"], normal, world)
    except (AttributeError, KeyError, TypeError, ValueError, UsageError) as error:
        raise _damaged(path, error) from None


def _below(name: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def _from_schema_1(stream: Mapping[str, Any]) -> dict[str, Any]:
    """One density per stream, whose calibration held the floor; streams were added up on the calibrated scale."""
    calibration = dict(stream["calibration"])
    floor = calibration.pop("floor")
    return {
        "densities": [stream["density"]],
        "calibration": calibration,
        "dim": stream["dim"],
        "floor": floor,
    }


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BundleError(f"model bundle {path}", expected="a file written by `mulde train`", got="nothing there")
    try:
        with safe_open(path, framework="np") as file:
            header = dict(json.loads((file.metadata() or {})["mulde"]))
            return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> BundleError:
    reason = " ".join(str(error).split())  # some libraries write several lines
    return BundleError(
        f"model bundle {path} cannot be read ({type(error).__name__}: {reason})",
        expected="a whole file written by `mulde train`",
        hint="copy it again, or train again",
    )


def check_extraction(bundle: Bundle, now: Mapping[str, Any]) -> list[str]:
    """Compare what the model was trained on with the extraction at hand.

    Raises BundleError naming the first setting that differs; returns a sentence for each library version or number
    format that does, which can shift features slightly.
    """
    warnings = []
    for name, trained, current in _differences(bundle.made_from, now):
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


def _differences(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted(a.keys() | b.keys()):
            yield from _differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, f"{prefix}[{i}]")
    elif a != b:
        yield prefix, a, b
