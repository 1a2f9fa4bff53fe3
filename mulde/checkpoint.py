"""Checkpoints of a training, so that a killed one goes on: one safetensors file, written whole."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from mulde.digests import arrays_digest
from mulde.files import write_bytes

_log = logging.getLogger(__name__)
_KEY = "mulde.checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its state, and the fingerprint of all that decides its course: settings, data, versions.

    A file of another fingerprint, or a damaged one, is not used: the training starts over and overwrites it.
    """

    path: Path
    fingerprint: str

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Arrays and facts of the last `save`, or None when there is nothing to go on from."""
        from safetensors import SafetensorError, safe_open

        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[_KEY])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            if not (isinstance(header, dict) and "fingerprint" in header and isinstance(header.get("facts"), dict)):
                raise ValueError("it has no fingerprint or no facts")
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            _log.warning("checkpoint %s cannot be read (%s): training starts over", self.path, error)
            return None
        if header["fingerprint"] != self.fingerprint:
            _log.warning("checkpoint %s is of other data or settings: training starts over", self.path)
            return None
        return tensors, header["facts"]

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Replace the file as a whole."""
        from safetensors.torch import save

        header = {"fingerprint": self.fingerprint, "facts": facts}
        content = save({key: value.contiguous() for key, value in tensors.items()}, {_KEY: json.dumps(header)})
        write_bytes(self.path, content)


def fingerprint(facts: Any, *arrays: NDArray[Any] | None) -> str:
    """Hex SHA-256 of JSON facts and of the contents, shapes and types of arrays."""
    labelled = [("none" if array is None else f"{array.dtype}{array.shape}", array) for array in arrays]
    return arrays_digest(json.dumps(facts, sort_keys=True), labelled)
