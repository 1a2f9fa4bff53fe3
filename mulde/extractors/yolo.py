"""Object boxes by an Ultralytics detector. The only file that imports ultralytics."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import Fingerprint, digest
from mulde.extractors.boxes import area, clip_boxes
from mulde.records import Float32, Regions, Window

_FORMAT_NEEDS = {"_openvino_model": "openvino", ".onnx": "onnxruntime", ".engine": "tensorrt"}
"""Package that Ultralytics needs for a weights format, by the end of its file name."""


class YoloRegions:
    """Boxes of a YOLO detector in any format that Ultralytics reads (.pt, ONNX, OpenVINO folder, TensorRT).

    `weights` is a path, or the name of official weights (as `yolov8n.pt`), which are then downloaded once.
    `classes` are COCO names or numbers of the weights; None keeps all.
    """

    before = 0

    def __init__(
        self,
        weights: str,
        *,
        confidence: float = 0.25,
        classes: tuple[str, ...] | None = None,
        image_size: int = 640,
        device: str = "cpu",
    ) -> None:
        self.weights, self.confidence, self.classes = weights, confidence, classes
        self.image_size, self.device = image_size, device

    def fingerprint(self) -> Fingerprint:
        return {
            "finder": "yolo",
            "ultralytics": _ultralytics().__version__,
            "weights_sha256": self._weights_digest,
            "confidence": self.confidence,
            "classes": sorted(self.classes) if self.classes is not None else None,
            "image_size": self.image_size,
        }

    def find(self, window: Window, known: Regions) -> Regions:
        del known  # a detector sees the whole frame whatever was found before
        core = slice(window.first, window.last)
        images = window.frames.images[core]
        found = [
            row
            for start in range(0, len(images), self._batch)
            for row in self._detect(images[start : start + self._batch])
        ]
        counts = [len(boxes) for boxes, _, _ in found]
        if not sum(counts):
            return Regions.empty()
        box_xyxy, confidence, class_id = (np.concatenate(column) for column in zip(*found, strict=True))
        regions_index = np.repeat(window.core_index, counts)
        box_xyxy = clip_boxes(box_xyxy, window.frames.size_hw)
        keep = area(box_xyxy) > 0
        return Regions(box_xyxy[keep], regions_index[keep], confidence[keep], class_id[keep])

    def _detect(self, images: Any) -> list[tuple[Float32, Float32, Any]]:
        bgr = [np.ascontiguousarray(image[..., ::-1]) for image in images]  # Ultralytics takes arrays as BGR
        results = self._model.predict(
            bgr,
            conf=self.confidence,
            classes=self._class_numbers,
            imgsz=self.image_size,
            device=self.device,
            verbose=False,
        )
        return [
            (
                r.boxes.xyxy.cpu().numpy().astype(np.float32),
                r.boxes.conf.cpu().numpy().astype(np.float32),
                r.boxes.cls.cpu().numpy().astype(np.int64),
            )
            for r in results
        ]

    @property
    def _batch(self) -> int:
        return 16 if self.device.startswith("cuda") and not self._path.is_dir() else 1

    @cached_property
    def _path(self) -> Path:
        return _locate(self.weights)

    @cached_property
    def _weights_digest(self) -> str:
        return digest(self._path)

    @cached_property
    def _class_numbers(self) -> list[int] | None:
        if self.classes is None:
            return None
        names: dict[int, str] = self._model.names
        numbers = {name: number for number, name in names.items()} | {str(n): n for n in names}
        unknown = [c for c in self.classes if c not in numbers]
        if unknown:
            raise UsageError(
                f"class {unknown[0]!r} of the detector",
                expected=f"one of {', '.join(names.values())}",
                hint="yolo.classes with names the weights know",
            )
        return [numbers[c] for c in self.classes]

    @cached_property
    def _model(self) -> Any:
        for ending, package in _FORMAT_NEEDS.items():
            if self._path.name.endswith(ending) and not _importable(package):
                raise UsageError(
                    f"detector weights {self._path} need the package {package!r}, which is not installed",
                    hint=f"pip install {package}, or weights in another format",
                )
        try:
            return _ultralytics().YOLO(str(self._path), task="detect")
        except Exception as error:  # Ultralytics raises many kinds for a file that it cannot read
            raise UsageError(
                f"detector weights {self._path} cannot be loaded",
                expected="a detector that Ultralytics reads (.pt, .onnx, OpenVINO folder, .engine)",
                got=f"{type(error).__name__}: {error}",
            ) from error


def _importable(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def _ultralytics() -> Any:
    """Import Ultralytics so that it stays quiet: no banner, no usage reports, no packages installed behind our back.

    Its settings file goes to our own cache folder: a user's own Ultralytics settings are neither read nor changed.
    """
    for name, value in {
        "YOLO_VERBOSE": "False",
        "YOLO_AUTOINSTALL": "False",
        "YOLO_CONFIG_DIR": str(_cache_folder()),
        "ULTRALYTICS_SAFE_LOAD": "1",
    }.items():
        os.environ.setdefault(name, value)
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    try:
        import ultralytics
        from ultralytics.utils import events
    except ImportError as error:
        raise UsageError(
            "the detector needs the package 'ultralytics', which is not installed",
            hint="pip install ultralytics, or regions = motion, which needs no detector",
        ) from error
    events.events.enabled = False
    return ultralytics


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mulde"


def _locate(weights: str) -> Path:
    """The local file or folder of `weights`; an official name that is not on disk is downloaded to the cache."""
    path = Path(weights).expanduser()
    if path.exists():
        return path
    _ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    if path.name != weights or weights not in GITHUB_ASSETS_NAMES:
        raise UsageError(
            f"detector weights {weights}",
            expected="an existing file or folder, or an official name such as yolov8n.pt",
            got="nothing there",
        )
    target = _cache_folder() / "weights" / weights
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        return Path(attempt_download_asset(target))
    except Exception as error:
        raise MuldeError(
            f"detector weights {weights} cannot be downloaded ({error})",
            hint="a path to weights that are on this machine, or regions = motion",
        ) from error
