"""Dense optical flow. The only file that knows how a flow is computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mulde.records import Float32, UInt8

DIS_PRESETS = ("ultrafast", "fast", "medium")


class DisFlow:
    """OpenCV's DIS flow (Kroeger et al., ECCV 2016) between two RGB images."""

    def __init__(self, preset: str = "medium") -> None:
        self.preset = preset
        self._dis: Any = None

    def fingerprint(self) -> dict[str, object]:
        import cv2

        return {"flow": "dis", "preset": self.preset, "opencv": cv2.__version__}

    def __call__(self, start: UInt8, end: UInt8) -> Float32:
        """Displacement (H, W, 2) in pixels, x then y: what is at p in `start` is at p + flow[p] in `end`."""
        import cv2

        if self._dis is None:
            number = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{self.preset.upper()}")
            self._dis = cv2.DISOpticalFlow.create(number)
        grey = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (start, end)]
        if min(grey[0].shape) < _SMALLEST_PX:  # DIS refuses pictures smaller than its patches
            pad = [max(0, _SMALLEST_PX - n) for n in grey[0].shape]
            grey = [cv2.copyMakeBorder(g, 0, pad[0], 0, pad[1], cv2.BORDER_REPLICATE) for g in grey]
        height, width = start.shape[:2]
        return np.asarray(self._dis.calc(grey[0], grey[1], None)[:height, :width], np.float32)


_SMALLEST_PX = 32
