"""Running a network of OpenVINO. The one file that imports openvino."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from mulde.extractors.formats import openvino_pair
from mulde.records import Float32

_FIRST_CALL = threading.Lock()


class OpenVinoNetwork:
    """An OpenVINO network of one input and its first output, for `threads` callers with a core each.

    On 2 cores two such callers are 1.4 times as fast as one with both. Several threads may call it at once.
    `options` are OpenVINO's own.
    """

    def __init__(self, path: Path, threads: int, **options: object) -> None:
        quieten_openvino()
        import openvino

        with _FIRST_CALL:
            # Its table of number formats is made at the first use, under a lock that is taken while Python's own is
            # held: two threads that get there at the same time deadlock.
            openvino.Type.f32.to_dtype()
        xml, weights = openvino_pair(path)
        core = openvino.Core()
        self._of_thread = threading.local()
        self.model = core.read_model(xml, weights)
        of_threads = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
        self._compiled = core.compile_model(self.model, "CPU", {**of_threads, **options})

    def __call__(self, inputs: Any) -> Float32:
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        return np.array(self._of_thread.request.infer({0: inputs}, share_inputs=True)[0])


def quieten_openvino() -> None:
    """OpenVINO reports each import of its converter, unless this package, which it does not need, is missing."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
