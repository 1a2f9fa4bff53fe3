"""Networks and trackers of Ultralytics. The one file that imports ultralytics."""

from __future__ import annotations

import copy
import os
import shutil
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from mulde.devices import choose_threads
from mulde.digests import path_digest
from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import Fingerprint
from mulde.extractors.formats import FORMATS, check_format
from mulde.extractors.openvino_network import OpenVinoNetwork, quieten_openvino
from mulde.extractors.signals import signal_stack_kept
from mulde.records import Float32, UInt8

_FORMAT_NEEDS = {"_openvino_model": "openvino", ".onnx": "onnxruntime", ".engine": "tensorrt"}
"""Package that Ultralytics needs for a weights format, by the end of its file name."""

_MAX_OVERLAP = 0.7
"""Of two boxes of a class that overlap more than this (IoU), the less confident one goes; Ultralytics' own default."""


class YoloNetwork:
    """A detection or pose network of Ultralytics (.pt, ONNX, OpenVINO folder; TorchScript and TensorRT if trusted).

    `weights` is a path, or the name of official weights (as `yolov8n.pt`), which are then downloaded once. Several
    threads may use it at once: on a CPU each has a core of its own, `threads` in all. Loaded at the first picture,
    which raises UsageError for weights that are not there or cannot be loaded, MuldeError for a failed download.
    """

    def __init__(self, weights: str, *, task: str, image_size: int, device: str = "cpu", threads: int = 1) -> None:
        self.weights, self.task, self.image_size = weights, task, image_size
        self.device, self.threads = device, threads
        self.batch_size = 16 if device.startswith("cuda") and weights.endswith(".pt") else 1  # exports take one
        self._lock, self._of_thread = threading.Lock(), threading.local()
        self._network: Any = None
        self._compiled: Any = None

    def fingerprint(self) -> Fingerprint:
        return {"ultralytics": import_ultralytics().__version__, "weights_sha256": self._weights_sha256}

    @property
    def names(self) -> dict[int, str]:
        """The name of each class number."""
        return dict(self._loaded.names)

    @property
    def canvas_hw(self) -> tuple[int, int]:
        """Height and width of a picture that fills the network's input."""
        height, width = self._loaded.imgsz if self._is_static else (self.image_size, self.image_size)
        return int(height), int(width)

    def detect(
        self, images: Sequence[UInt8] | UInt8, *, confidence: float, classes: Sequence[int] | None = None
    ) -> list[Float32]:
        """The detections in each RGB image, all (H, W, 3) of one size, as Ultralytics' own `predict` makes them.

        A row holds x0, y0, x1, y1, confidence, class and, of a pose network, x, y and confidence of each key point, in
        pixels of the image.
        """
        import_ultralytics()
        import torchvision  # noqa: F401 - where it was imported, Ultralytics suppresses doubles with it
        from ultralytics.utils import nms, ops

        detections = []
        boxed_hw = self._letterbox(images[0]).shape if len(images) else ()
        for image, raw in zip(images, self.answers(map(self._letterbox, images)), strict=True):
            (rows,) = nms.non_max_suppression(
                raw[None],
                confidence,
                _MAX_OVERLAP,
                list(classes) if classes is not None else None,
                nc=len(self._loaded.names),
                end2end=self._is_end_to_end,
                max_time_img=float("inf"),  # else a busy machine finds less
            )
            ops.scale_boxes(boxed_hw, rows[:, :4], image.shape)
            points = rows[:, 6:].reshape(len(rows), (rows.shape[1] - 6) // 3, 3)  # of no rows as well
            ops.scale_coords(boxed_hw, points, image.shape)
            detections.append(rows.float().cpu().numpy())
        return detections

    def candidates(self, answer: Any) -> Float32:
        """Every candidate in a pose network's answer to a picture, whatever its confidence.

        (N, 5 + 3 K): x and y of its centre, width, height, confidence; x, y and confidence of K key points.
        """
        rows = answer.float().cpu().numpy()
        if not self._is_end_to_end:
            return np.asarray(rows.T)
        low, high = rows[:, :2], rows[:, 2:4]
        return np.concatenate([(low + high) / 2, high - low, rows[:, 4:5], rows[:, 6:]], axis=1)

    def answers(self, canvases: Iterable[UInt8]) -> Iterator[Any]:
        """The network's raw answer, a tensor, to each RGB picture (H, W, 3), all of one size that it accepts."""
        remaining = iter(canvases)
        while batch := list(islice(remaining, self.batch_size)):
            yield from self._answer(np.stack(batch))

    def _answer(self, canvases: UInt8) -> list[Any]:
        """Answers to pictures (n, H, W, 3), half of them at a time if the memory does not hold all."""
        import torch

        try:
            with torch.inference_mode():
                inputs = torch.from_numpy(canvases).to(self.device).permute(0, 3, 1, 2).float().div_(255)
                return list(self._forward(inputs))
        except torch.OutOfMemoryError:
            if len(canvases) == 1:
                raise
        half = len(canvases) // 2
        self.batch_size = min(self.batch_size, half)
        return self._answer(canvases[:half]) + self._answer(canvases[half:])

    def _forward(self, inputs: Any) -> Any:
        import torch

        network = self._loaded
        if self._compiled is not None:
            return torch.from_numpy(self._compiled(inputs.cpu().contiguous().numpy()))
        if network.format == "pt":
            answer = self._thread_copy(network)(inputs)
        else:
            with self._lock:
                answer = network(inputs)
        return answer[0] if isinstance(answer, list | tuple) else answer

    def _thread_copy(self, network: Any) -> Any:
        """A copy for this thread, which shares the weights: a head stores the anchors of the last input size."""
        if not hasattr(self._of_thread, "network"):
            weights = chain(network.model.parameters(), network.model.buffers())
            with self._lock:
                self._of_thread.network = copy.deepcopy(network, {id(tensor): tensor for tensor in weights})
        return self._of_thread.network

    def _letterbox(self, image: UInt8) -> UInt8:
        from ultralytics.data.augment import LetterBox

        box = LetterBox(self.canvas_hw, auto=not self._is_static, stride=self._loaded.stride)
        return np.ascontiguousarray(box(image=image))

    @property
    def _is_static(self) -> bool:
        """Whether the network takes pictures of one size only."""
        return self._loaded.format != "pt" and not getattr(self._loaded, "dynamic", False)

    @property
    def _is_end_to_end(self) -> bool:
        return bool(getattr(self._loaded, "end2end", False))

    @property
    def _what(self) -> str:
        return {"detect": "detector", "pose": "pose network"}[self.task]

    @cached_property
    def _path(self) -> Path:
        path = locate(self.weights, self._what)
        check_format(path, self._what)
        return path

    @cached_property
    def _weights_sha256(self) -> str:
        return path_digest(self._path)

    @property
    def _loaded(self) -> Any:
        if self._network is None:
            with self._lock:
                if self._network is None:
                    self._network = self._load()
        return self._network

    def _load(self) -> Any:
        _check_package(self._path.name, f"{self._what} weights {self._path} need")
        import_ultralytics()
        import torch
        from ultralytics.nn.autobackend import AutoBackend

        try:
            with signal_stack_kept():
                network = AutoBackend(str(self._path), device=torch.device(self.device), verbose=False).eval()
                if network.format == "openvino":
                    self._compiled = OpenVinoNetwork(self._path, self.threads)
        except Exception as error:  # Ultralytics raises many kinds for a file that it cannot read
            raise UsageError(
                f"{self._what} weights {self._path} cannot be loaded",
                expected=f"a {self._what} that Ultralytics reads ({', '.join(FORMATS)})",
                got=f"{type(error).__name__}: {error}",
            ) from error
        return network


EXPORTS = {"openvino": "_openvino_model", "onnx": ".onnx", "engine": ".engine"}
"""Formats that a network can be exported to, and the ends of their files' names."""


def export_network(source: Path, format_: str, folder: Path, *, device: str, **options: object) -> Path:
    """Write the network of a .pt file in another format below `folder`, and return its path.

    `options` are those of Ultralytics' export: imgsz, batch, half, int8, data. Raises UsageError for weights that are
    not .pt or a package that is missing, MuldeError when Ultralytics fails.
    """
    if source.suffix != ".pt":
        raise UsageError(f"weights {source}", expected="a .pt file to export from", got=source.name)
    _check_package(EXPORTS[format_], f"networks in the format {format_} need")
    for package, is_needed in {
        "onnx": format_ == "onnx",
        "nncf": format_ == "openvino" and options.get("int8"),
    }.items():
        if is_needed and not _importable(package):
            raise UsageError(f"this export needs the package {package!r}", hint=f"pip install {package}")
    ultralytics = import_ultralytics()
    copy = folder / source.name  # Ultralytics writes beside the weights
    shutil.copyfile(source, copy)
    wanted = {key: value for key, value in options.items() if value not in (None, False)}
    fetches = _online() if options.get("data") else nullcontext()
    try:
        with warnings.catch_warnings(), fetches:
            warnings.simplefilter("ignore")  # of libraries about themselves
            made = Path(ultralytics.YOLO(str(copy)).export(format=format_, device=device, verbose=False, **wanted))
    except Exception as error:
        raise MuldeError(f"{source} cannot be exported to {format_} ({type(error).__name__}: {error})") from error
    return made


def _check_package(name: str, who: str) -> None:
    for ending, package in _FORMAT_NEEDS.items():
        if name.endswith(ending) and not _importable(package):
            raise UsageError(
                f"{who} the package {package!r}, which is not installed",
                hint=f"pip install {package}, or another format",
            )


def _importable(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def import_ultralytics() -> Any:
    """Import Ultralytics so that it stays quiet: no banner, no usage reports, no check for a network connection, no
    packages installed by itself.

    Its settings file goes to our own cache folder: a user's own Ultralytics settings are neither read nor changed.
    """
    for name, value in {
        "YOLO_VERBOSE": "False",
        "YOLO_AUTOINSTALL": "False",
        "YOLO_OFFLINE": "True",
        "YOLO_CONFIG_DIR": str(_cache_folder()),
        "ULTRALYTICS_SAFE_LOAD": "1",
    }.items():
        os.environ.setdefault(name, value)
    quieten_openvino()
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    try:
        with _all_cores():
            import ultralytics
        from ultralytics.utils import events
    except ImportError as error:
        raise UsageError(
            "the detector needs the package 'ultralytics', which is not installed",
            hint="pip install ultralytics, or regions = motion, which needs no detector",
        ) from error
    events.events.enabled = False
    settings = ultralytics.settings
    if settings.get("sync") and _cache_folder() in settings.file.parents:
        settings.update(sync=False)  # writes the file
    dict.__setitem__(settings, "sync", False)
    return ultralytics


@contextmanager
def _all_cores() -> Iterator[None]:
    """Leave OMP_NUM_THREADS as it is: Ultralytics sets it to 1 when it is imported, which would be the number of cores
    of all that comes later, here and in processes that are started."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(choose_threads("cpu"))
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _online() -> Iterator[None]:
    """Let Ultralytics download within the block: only what was asked for by name."""
    before = os.environ.pop("YOLO_OFFLINE", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ["YOLO_OFFLINE"] = before


def tracker_class(name: str) -> Any:
    """Ultralytics' class of a tracker: bytetrack or botsort."""
    import_ultralytics()
    if not _importable("lap"):
        raise UsageError("tracking needs the package 'lap', which is not installed", hint="pip install lap")
    from ultralytics.trackers import BOTSORT, BYTETracker

    return {"bytetrack": BYTETracker, "botsort": BOTSORT}[name]


def official_names() -> frozenset[str]:
    """The names of weights that Ultralytics publishes, as `yolov8n.pt`."""
    import_ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    return frozenset(name for name in GITHUB_ASSETS_NAMES if name.endswith(".pt"))


def weights_folder() -> Path:
    """The folder of downloaded weights."""
    return _cache_folder() / "weights"


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mulde"


def locate(weights: str, what: str) -> Path:
    """The local file or folder of `weights`; an official name that is not on disk is downloaded to the cache."""
    path = Path(weights).expanduser()
    if path.exists():
        return path
    if weights not in official_names():
        raise UsageError(
            f"{what} weights {weights}",
            expected="an existing file or folder, or an official name such as yolov8n.pt",
            got="nothing there",
        )
    return fetch(weights, what)


def fetch(name: str, what: str) -> Path:
    """The path of official weights in the cache, downloaded once. Raises MuldeError for a failed download."""
    import_ultralytics()
    from ultralytics.utils.downloads import attempt_download_asset

    target = weights_folder() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _online():
            return Path(attempt_download_asset(target))
    except Exception as error:
        raise MuldeError(
            f"{what} weights {name} cannot be downloaded ({error})",
            hint="a path to weights that are on this machine, or regions = motion",
        ) from error
