"""Dense optical flow, and the motion of a window's frames. The only file that knows how a flow is computed."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field

from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import Fingerprint, local_weights, weights_source
from mulde.extractors.known_networks import KnownNetwork, NetworkKind, torchvision_network
from mulde.records import Float32, Regions, UInt8, Window
from mulde.section import PathText, Section

Images = UInt8 | Sequence[UInt8]
"""RGB images of one size, each (H, W, 3)."""
Pairs = Sequence[tuple[int, int]]
"""Positions of a start and an end among images."""

_MIN_DIS_PX = 32
_MIN_RAFT_PX, _RAFT_MULTIPLE_PX = 128, 8
_FARNEBACK: dict[str, Any] = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5}
_FARNEBACK |= {"poly_sigma": 1.2, "flags": 0}


class FlowSettings(Section):
    method: Literal["dis", "farneback", "raft_small", "raft_large"] = Field("dis", description="dense optical flow")
    preset: Literal["ultrafast", "fast", "medium"] = Field("medium", description="preset of the DIS flow")
    weights: PathText = Field(
        "DEFAULT", min_length=1, description="of RAFT: torchvision weights tag, or path of a local state dict"
    )


class Flow(Protocol):
    """Displacement (H, W, 2) in pixels, x then y: what is at p in the start is at p + flow[p] in the end."""

    def fingerprint(self) -> Fingerprint: ...

    def __call__(self, start: UInt8, end: UInt8) -> Float32: ...

    def of_pairs(self, images: Images, pairs: Pairs) -> Iterator[Float32]:
        """The flow of each pair of images, in order."""
        ...


def build_flow(
    method: str, *, preset: str = "medium", weights: str = "DEFAULT", device: str = "cpu", batch_size: int = 8
) -> Flow:
    """The flow of a name. RAFT's weights are loaded at the first pair. Raises UsageError for an unknown name."""
    raft = partial(RaftFlow, method, weights, device=device, batch_size=batch_size)
    known: dict[str, Callable[[], Flow]] = {
        "dis": partial(DisFlow, preset),
        "farneback": FarnebackFlow,
        "raft_small": raft,
        "raft_large": raft,
    }
    if method not in known:
        raise UsageError(f"flow {method!r}", expected=f"one of {', '.join(known)}")
    return known[method]()


class _GreyFlow:
    """Common part of OpenCV's flows: each picture is converted to grey once, however many pairs it is in."""

    def __call__(self, start: UInt8, end: UInt8) -> Float32:
        return next(self.of_pairs([start, end], [(0, 1)]))

    def of_pairs(self, images: Images, pairs: Pairs) -> Iterator[Float32]:
        import cv2

        # A picture is the start of one pair and the end of another, `apart` pairs later.
        apart = max((abs(start - end) for start, end in pairs), default=0)
        grey = lru_cache(2 * apart + 1)(lambda i: cv2.cvtColor(np.ascontiguousarray(images[i]), cv2.COLOR_RGB2GRAY))
        for start, end in pairs:
            yield self._between(grey(start), grey(end))

    def _between(self, start: UInt8, end: UInt8) -> Float32:
        raise NotImplementedError


class DisFlow(_GreyFlow):
    """OpenCV's DIS flow (Kroeger et al., ECCV 2016) between two RGB images."""

    def __init__(self, preset: str = "medium") -> None:
        self.preset = preset
        self._of_thread = threading.local()  # OpenCV's object keeps its pyramids in itself

    def fingerprint(self) -> Fingerprint:
        import cv2

        return {"flow": "dis", "preset": self.preset, "opencv": cv2.__version__}

    def _between(self, start: UInt8, end: UInt8) -> Float32:
        import cv2

        if not hasattr(self._of_thread, "dis"):
            number = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{self.preset.upper()}")
            self._of_thread.dis = cv2.DISOpticalFlow.create(number)
        height, width = start.shape
        if min(start.shape) < _MIN_DIS_PX:  # DIS refuses pictures smaller than its patches
            below, right = (max(0, _MIN_DIS_PX - n) for n in start.shape)
            start, end = (cv2.copyMakeBorder(g, 0, below, 0, right, cv2.BORDER_REPLICATE) for g in (start, end))
        return np.asarray(self._of_thread.dis.calc(start, end, None)[:height, :width], np.float32)


class FarnebackFlow(_GreyFlow):
    """OpenCV's Farneback flow (SCIA 2003) between two RGB images, three levels, windows of 15 pixels."""

    def fingerprint(self) -> Fingerprint:
        import cv2

        return {"flow": "farneback", "opencv": cv2.__version__, **_FARNEBACK}

    def _between(self, start: UInt8, end: UInt8) -> Float32:
        import cv2

        return np.asarray(cv2.calcOpticalFlowFarneback(start, end, None, **_FARNEBACK), np.float32)


class RaftFlow:
    """torchvision's RAFT (Teed & Deng, ECCV 2020), raft_small or raft_large; the last of its 12 refinements.

    `weights` is a torchvision tag (as `DEFAULT`), downloaded once, or a local state dict (.safetensors, .pth).
    An accelerator gets up to `batch_size` pairs at once, and half of that after it ran out of memory; a CPU gets one
    at a time, because larger batches are no faster there. Raises, at the first pair, UsageError for an unknown tag or
    a file that does not fit, MuldeError for a failed download.
    """

    def __init__(
        self, model: str = "raft_small", weights: str = "DEFAULT", *, device: str = "cpu", batch_size: int = 8
    ) -> None:
        self.model, self.weights, self.device = model, weights, device
        self.batch_size = 1 if device == "cpu" else batch_size
        self._lock = threading.Lock()  # torchvision's network keeps the correlations of the current pair in itself

    def fingerprint(self) -> Fingerprint:
        return {"flow": self.model, **self._source}

    @cached_property
    def _source(self) -> Fingerprint:
        return weights_source(self.weights)

    @cached_property
    def _network(self) -> Any:
        return _load_raft(self.model, self.weights).eval().to(self.device)

    def __call__(self, start: UInt8, end: UInt8) -> Float32:
        return next(self.of_pairs([start, end], [(0, 1)]))

    def of_pairs(self, images: Images, pairs: Pairs) -> Iterator[Float32]:
        import torch

        done = 0
        while done < len(pairs):
            batch = pairs[done : done + self.batch_size]
            try:
                with self._lock:
                    flows = self._of_batch(*(np.stack([images[pair[end]] for pair in batch]) for end in (0, 1)))
            except RuntimeError as error:
                if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
                    raise
                if len(batch) == 1:
                    raise _no_room(self.model, images[0].shape) from error
                self.batch_size = max(1, len(batch) // 2)
            else:
                yield from flows
                done += len(batch)

    def _of_batch(self, start: UInt8, end: UInt8) -> Float32:
        """Flows (n, H, W, 2) of n pairs (n, H, W, 3)."""
        import torch
        from torch.nn.functional import pad
        from torchvision import models

        expected = models.get_model_weights(self.model).DEFAULT.transforms()  # to -1..1
        pictures = (torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2) for batch in (start, end))
        height, width = start.shape[1:3]
        top, bottom = _raft_border(height)
        left, right = _raft_border(width)
        with torch.inference_mode():
            sides = (pad(x, (left, right, top, bottom), mode="replicate") for x in expected(*pictures))
            flow: torch.Tensor = self._network(*sides)[-1]  # (n, 2, H + top + bottom, W + left + right)
            inside = flow[:, :, top : top + height, left : left + width].permute(0, 2, 3, 1)
            return np.ascontiguousarray(inside.float().cpu().numpy())


def _raft_border(size_px: int) -> tuple[int, int]:
    """Pixels to add before and after a side, so that it suits RAFT: a multiple of 8, at least 128."""
    missing = max(_MIN_RAFT_PX, -(-size_px // _RAFT_MULTIPLE_PX) * _RAFT_MULTIPLE_PX) - size_px
    return missing // 2, missing - missing // 2


def _no_room(model: str, shape: tuple[int, ...]) -> MuldeError:
    return MuldeError(
        f"no memory for {model} on frames of {shape[1]} x {shape[0]} pixels",
        hint="a smaller video.working_size_px, or features.flow.method=dis",
    )


def _load_raft(model: str, weights: str) -> Any:
    from torchvision import models

    tags, path = models.get_model_weights(model), local_weights(weights)
    if path is not None:
        return _from_file(models.get_model(model, weights=None), path, model)
    if weights not in tags.__members__:
        raise UsageError(
            f"weights {weights!r} of {model}", expected=f"an existing file or one of {', '.join(tags.__members__)}"
        )
    try:
        return models.get_model(model, weights=tags[weights], progress=False)
    except Exception as error:  # hub and network failures have no common class
        raise MuldeError(
            f"weights {weights} of {model} cannot be downloaded ({error})",
            hint="features.flow.weights with the path of a local state dict",
        ) from error


def _from_file(network: Any, path: Path, model: str) -> Any:
    from mulde.extractors.pretrained import read_state

    state = read_state(path)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(
            f"weights {path} do not fit {model}",
            expected=f"a state dict of {len(network.state_dict())} entries",
            got=f"one of {len(state)}: {str(error).splitlines()[1].strip().split(',')[0]}",
        ) from error
    return network


class MotionReader(Protocol):
    """Makes numbers of the motion seen over `step` frames."""

    step: int

    def read(self, motion: Float32, window: Window, regions: Regions, row: int) -> Float32:
        """The values of this reader for frame `row` of the window, from its motion (H, W, 2)."""
        ...


class _Waiting(threading.local):
    """Values of the frames of one window that readers have made and not yet asked for; each thread has its own."""

    def __init__(self) -> None:
        self._window: Callable[[], object] = lambda: None
        self._regions: Callable[[], object] = lambda: None
        self._values: dict[tuple[MotionReader, int], Float32] = {}

    def values(self, window: Window, regions: Regions) -> dict[tuple[MotionReader, int], Float32]:
        """The values for these very objects, by reader and row. New objects start empty and forget all others."""
        if self._window() is not window or self._regions() is not regions:
            self._window, self._regions, self._values = weakref.ref(window), weakref.ref(regions), {}
        return self._values


class SharedMotion:
    """The motion of each frame, computed once for all its readers.

    Readers run one after another over a whole window, and its fields of motion may be too large to keep. So when the
    first reader asks for a window, every other reader with the same step reads each field at once; its values wait
    until it asks with the same `Window` and `Regions` objects in the same thread, and are forgotten when the thread
    comes with others. The values of a reader do not depend on the other readers.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._readers: list[MotionReader] = []
        self._waiting = _Waiting()

    def add(self, reader: MotionReader) -> None:
        self._readers.append(reader)

    def ask(self, reader: MotionReader, window: Window, regions: Regions, rows: Sequence[int]) -> list[Float32]:
        """The values of `reader` for each of `rows` of the window."""
        waiting = self._waiting.values(window, regions)
        missing = [row for row in rows if (reader, row) not in waiting]
        sharing = [known for known in self._readers if known.step == reader.step]
        for row, motion in zip(missing, self._motion(window, missing, reader.step), strict=True):
            for known in sharing:
                waiting[known, row] = known.read(motion, window, regions, row)
        return [waiting.pop((reader, row)) for row in rows]

    def _motion(self, window: Window, rows: Sequence[int], step: int) -> Iterator[Float32]:
        """Motion (H, W, 2) at the pixels of each frame in `rows`, in pixels per frame, x then y.

        It is the displacement since `step` frames ago; the first `step` frames, which have no past, use that of the
        next `step` frames. Zero if the video is too short. Lost frames in between count as frames.
        """
        images, index = window.frames.images, window.frames.frame_index
        ends = [row - step if row >= step else row + step for row in rows]
        flows = self.flow.of_pairs(images, [(a, b) for a, b in zip(rows, ends, strict=True) if b < len(images)])
        for a, b in zip(rows, ends, strict=True):
            if b < len(images):
                yield next(flows) / np.float32(index[b] - index[a])
            else:
                yield np.zeros((*window.frames.size_hw, 2), np.float32)


def _known_flows() -> Iterator[KnownNetwork]:
    setting = "features.flow.method"
    for name in ("dis", "farneback"):
        yield KnownNetwork("flow", name, f'{setting}="{name}"', None, 0, "no weights", "opencv")
    for name in ("raft_small", "raft_large"):
        yield from torchvision_network("flow", name, setting, None)


FLOWS = NetworkKind("flow", _known_flows)
