"""Training curves for TensorBoard. The only file that imports torch.utils.tensorboard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from mulde.density.rows import TrainingProgress
from mulde.reconstruction.pixel_model import PixelProgress

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class TrainingLog:
    """Writes training progress and pictures as event files into `folder`; `log.log` is a `Progress`.

    A later log in the same folder hides what an earlier one wrote from its own first step on: a training that starts
    again replaces the curve, one that continues from a checkpoint extends it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._step = 0
        self._heldout: tuple[object, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def log(self, progress: TrainingProgress) -> None:
        """One point on every curve, at the current step; on the held-out curves when their values have changed."""
        self._step = progress.step
        self._add("loss/dsm", progress.loss_dsm)
        self._add("loss/reg", progress.loss_reg)
        self._add("loss/total", progress.loss_dsm + progress.loss_reg)
        self._add("gradient/largest", progress.largest_gradient)
        self._add("lr", progress.lr)
        heldout = (progress.heldout_loss, progress.heldout_bands)
        if progress.heldout_loss is None or heldout == self._heldout:
            return
        self._heldout = heldout
        self._add("heldout/dsm", progress.heldout_loss)
        for number, loss in enumerate(progress.heldout_bands, start=1):
            self._add(f"heldout/dsm_band_{number}", loss)  # from low to high noise

    def log_network(self, progress: PixelProgress) -> None:
        """Likewise, of the training of a pixel model."""
        self._step = progress.step
        self._add("loss/total", progress.loss)
        if progress.heldout_loss is not None:
            self._add("heldout/lowest", progress.heldout_loss)

    def figure(self, tag: str, path: Path) -> None:
        """A picture file, at the step of the last progress."""
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._open().add_image(tag, pixels, self._step, dataformats="HWC")

    def _add(self, tag: str, value: float) -> None:
        self._open().add_scalar(tag, value, self._step)

    def _open(self) -> SummaryWriter:
        """The writer, made when the first step is known: from this step on it replaces what earlier files hold."""
        from torch.utils.tensorboard.writer import SummaryWriter

        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder), purge_step=self._step)
        return self._writer
