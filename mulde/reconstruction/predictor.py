"""Frame prediction with a deformation pyramid as a pixel model (DMAD-PDM, Liu et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from mulde.errors import UsageError
from mulde.reconstruction.frames import as_tensor, batches, error_maps
from mulde.reconstruction.losses import gradient_difference
from mulde.reconstruction.network_model import NetworkModel
from mulde.reconstruction.pixel_model import Clips
from mulde.reconstruction.positions import Places
from mulde.reconstruction.prediction import NUM_PAST, Prediction, PredictionNet
from mulde.reconstruction.warping import lengths
from mulde.records import Float32, UInt8
from mulde.section import Section

_BACKGROUND_FRAMES = 200
_GRID = 32


class PredictionOptions(Section):
    """Sizes of the network and of its training. The defaults are those of UCSD Ped2 in the paper."""

    side: int = Field(256, ge=64, le=1024, multiple_of=_GRID, description="height and width of a frame, pixels")
    width: int = Field(32, ge=1, le=256, description="channels of the first encoder block; three more double them")
    num_codes: int = Field(200, ge=1, le=10_000, description="prototypes in the memory")
    side_width: int = Field(32, ge=1, le=512, description="channels of each path around the memory")
    pyramid_width: int = Field(64, ge=1, le=512, description="channels of the deformation pyramid")
    coarse_px: float = Field(2.0, gt=0, le=64, description="largest coarse offset, pixels")
    fine_px: float = Field(3.0, gt=0, le=64, description="largest fine offset, pixels")
    crop_px: int = Field(
        0,
        ge=0,
        le=1024,
        multiple_of=_GRID,
        description="side of the crops that are trained on, pixels; 0: whole frames",
    )
    epochs: int = Field(60, ge=1, le=10_000, description="passes over the clips")
    max_steps: int = Field(0, ge=0, le=10_000_000, description="most training steps; 0: as many as the epochs take")
    batch_size: int = Field(8, ge=2, le=1024, description="clips in a training step")
    lr: float = Field(2e-4, gt=0, le=1, description="learning rate at the first step; it falls along a cosine")
    eval_every: int = Field(250, ge=1, description="steps between measurements of the loss on held-out clips")
    heldout_clips: int = Field(48, ge=1, le=10_000, description="held-out clips that are measured")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "float32", description="number format of the training; auto: bfloat16 where the processor computes with it"
    )


class PredictionModel(NetworkModel["_Net"]):
    """Foresees a frame from the four before it.

    Its maps: the mean absolute error of a pixel's colours (0 to 2) and the difference of image gradients, each of the
    network or of the frame before, whichever is nearer, and the lengths of the coarse and of the fine offset in pixels.
    What stays as it was needs no foresight: in another light than it learnt, a network draws a whole picture wrong, and
    its errors alone would say how a clip is lit before they say what happens in it. Training stops nowhere before its
    last step; the weights of the lowest squared error and gradient difference on held-out clips are kept.
    """

    kind = "pdm"
    MAPS = ("error", "gradient", "coarse", "fine")
    ROWS = ("error", "gradient")
    NUM_PAST = NUM_PAST
    OPTIONS = PredictionOptions

    def __init__(self, options: Any, *, seed: int = 0, device: str = "cpu", teacher: Any = None) -> None:
        if options.crop_px > options.side:
            raise UsageError("crop_px", expected=f"at most the side, {options.side}", got=options.crop_px)
        super().__init__(options, seed=seed, device=device, teacher=teacher)

    @property
    def _low_precision(self) -> bool:
        wanted = self.options.precision
        return wanted == "bfloat16" or (wanted == "auto" and computes_bfloat16(self.device))

    def _rates(self, num_steps: int) -> Mapping[str, Callable[[int], float]]:
        """As the authors' code: the background learns faster, less so from its fifth epoch of sixty."""
        return {"background": lambda step: 50.0 if step < num_steps / 12 else 20.0}

    def _course(self) -> list[Any]:
        return [self._low_precision]

    def _first_net(self, clips: Clips) -> _Net:
        return _Net(self.options, _median(clips), low_precision=self._low_precision)

    def _empty_net(self) -> _Net:
        return _Net(self.options, torch.zeros(3, self.side, self.side), low_precision=self._low_precision)

    @torch.no_grad()
    def _maps(self, clips: UInt8) -> Float32:
        net = self._fitted(self.net)
        maps = np.zeros((len(clips), len(self.MAPS), self.side, self.side), np.float32)
        for some in batches(len(clips), self.device):
            frames = as_tensor(clips[some], self.device)
            made, frame = net.predict(frames), frames[:, -1]
            offsets = [lengths(field) * self.side / 2 for field in made.deformation]
            stays = error_maps(frames[:, NUM_PAST - 1], frame)
            maps[some, :2] = np.minimum(error_maps(made.fine, frame), stays)
            maps[some, 2:] = torch.stack(offsets, dim=1).cpu().numpy()
        return maps


def computes_bfloat16(device: str) -> bool:
    """Whether the processor multiplies bfloat16 itself; others take longer with it than with float32."""
    if torch.device(device).type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def _median(clips: Clips) -> Tensor:
    """The background (3, side, side) from -1 to 1: the median of frames spread over the clips, pixel by pixel."""
    numbers = np.unique(np.linspace(0, len(clips) - 1, min(_BACKGROUND_FRAMES, len(clips))).round().astype(int))
    frames = np.stack([clips[int(number)][-1] for number in numbers])
    return as_tensor(np.median(frames, axis=0).astype(np.float32), "cpu")


class _Net(PredictionNet):
    """The network as the training loop takes it."""

    def __init__(self, options: PredictionOptions, background: Tensor, *, low_precision: bool) -> None:
        super().__init__(
            background,
            width=options.width,
            num_codes=options.num_codes,
            side_width=options.side_width,
            pyramid_width=options.pyramid_width,
            max_px=(options.coarse_px, options.fine_px),
        )
        self.crop_px = options.crop_px or options.side
        self.low_precision = low_precision
        self._last: Prediction | None = None

    def predict(self, frames: Tensor, places: Places | None = None) -> Prediction:
        """Of clips (N, 5, 3, H, W) from -1 to 1, of which the last frame is not looked at."""
        made: Prediction = self(frames[:, :NUM_PAST].flatten(1, 2), places)
        return made

    def training_loss(self, clips: Tensor, generator: torch.Generator) -> Tensor:
        clips, places = _crop(clips, self.crop_px, generator)
        device = self.background.device
        frames = as_tensor(clips, str(device))
        with torch.autocast(device.type, torch.bfloat16, enabled=self.low_precision):
            made = self._last = self.predict(frames, places)
            return self.loss(made, frames[:, -1])

    def after_step(self, generator: torch.Generator) -> None:
        if self._last is not None:
            self.memory.renew(self._last.features.detach().float(), self._last.recall.nearest, generator)
        self._last = None

    def heldout_loss(self, clips: Tensor) -> Tensor:
        frames = as_tensor(clips, str(self.background.device))
        made, frame = self.predict(frames), frames[:, -1]
        return functional.mse_loss(made.fine, frame) + gradient_difference(made.fine, frame)

    def parameter_groups(self) -> Mapping[str, list[torch.nn.Parameter]]:
        others = [value for name, value in self.named_parameters() if name != "background"]
        return {"background": [self.background], "others": others}


def _crop(clips: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Places | None]:
    """A square out of each of the clips (N, T, S, S, 3), at a corner that is drawn; whole clips have no places."""
    whole = clips.shape[2]
    if side >= whole:
        return clips, None
    corners = _STEP * torch.randint((whole - side) // _STEP + 1, (len(clips), 2), generator=generator)
    squares = [
        clip[:, top : top + side, left : left + side] for clip, (top, left) in zip(clips, corners.tolist(), strict=True)
    ]
    return torch.stack(squares), Places(corners / whole, side / whole)


_STEP = 8
"""Corners of crops lie on whole cells of the smallest feature map."""
