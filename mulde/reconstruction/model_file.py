"""Fitted pixel models of one kind in one safetensors file, each with the footage that it has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulde.errors import BundleError, UsageError
from mulde.files import write_arrays
from mulde.reconstruction.pixel_model import PixelModel
from mulde.reconstruction.registry import MODELS, build_pixel_model

_KEY, _VERSION = "mulde.pixel-models", 1
_MAX_MODELS, _MAX_HEADER = 16, 100_000_000

Ranges = Mapping[str, tuple[tuple[int, int], ...]]
"""Half-open ranges of frames, by the SHA-256 of the content of their video."""


@dataclass(frozen=True)
class SeenModel:
    """A fitted model, and the frames that it has learnt from or that decided what it kept."""

    model: PixelModel
    seen: Ranges

    def has_seen(self, sha256: str, frame: int) -> bool:
        """Whether the frame is one of them."""
        return any(first <= frame < last for first, last in self.seen.get(sha256, ()))


def save_models(path: Path, models: Sequence[SeenModel], made_from: str) -> None:
    """Write models of one kind with the same options, whole or not at all. made_from: a digest of what they were made
    of."""
    first = models[0].model
    header = {
        "version": _VERSION,
        "kind": first.kind,
        "options": first.options.model_dump(),
        "made_from": made_from,
        "seen": [{sha256: [list(r) for r in ranges] for sha256, ranges in sorted(m.seen.items())} for m in models],
    }
    arrays = {f"{i}/{name}": array for i, m in enumerate(models) for name, array in m.model.arrays().items()}
    write_arrays(path, arrays, {_KEY: json.dumps(header, sort_keys=True)})


def made_from(path: Path) -> str | None:
    """What `save_models` was told of the models of a file; None where there are none."""
    return _said(path, "made_from")


def stored_kind(path: Path) -> str | None:
    """The kind of the models of a file, without reading them; None where there are none."""
    return _said(path, "kind")


def _said(path: Path, name: str) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})[_KEY])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError):
        return None
    said = header.get(name) if isinstance(header, dict) else None
    return said if isinstance(said, str) else None


def load_models(path: Path, device: str = "cpu") -> list[SeenModel]:
    """The models of a file. Raises UsageError for a file that is not one of `save_models`, or whose arrays are not
    those of its models, BundleError for a header that does not fit together."""
    from safetensors import SafetensorError, safe_open

    hint = "the file that mulde train wrote beside a model with this stream"
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(_KEY)
            arrays = {} if text is None else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise UsageError(f"weights {path}", expected="trained pixel models", got=error, hint=hint) from None
    if text is None or len(text) > _MAX_HEADER:
        raise UsageError(
            f"weights {path}", expected="trained pixel models", got="a safetensors file of another kind", hint=hint
        )
    kind, options, seen = _header(path, text)
    models = []
    for i, frames in enumerate(seen):
        model = build_pixel_model(kind, "paper", options, device=device)
        own = {name.removeprefix(f"{i}/"): array for name, array in arrays.items() if name.startswith(f"{i}/")}
        try:
            models.append(SeenModel(model.restore(own), frames))
        except BundleError as error:  # no video can be described by it
            hint = "a whole copy of the file, or mulde train with this version"
            raise UsageError(f"weights {path}: {error}", hint=hint) from None
    return models


def _header(path: Path, text: str) -> tuple[str, dict[str, Any], list[Ranges]]:
    what = f"weights {path}"
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise BundleError(what, expected="a header in JSON", got="another text") from None
    if not isinstance(header, dict) or type(header.get("version")) is not int or header["version"] != _VERSION:
        got = header.get("version") if isinstance(header, dict) else type(header).__name__
        raise BundleError(what, expected=f"version {_VERSION}", got=repr(got), hint="upgrade mulde, or train again")
    kind, options, seen = header.get("kind"), header.get("options"), header.get("seen")
    if not isinstance(kind, str) or kind not in MODELS or not isinstance(options, dict):
        raise BundleError(what, expected=f"a kind of {', '.join(MODELS)} with its options", got=repr(kind))
    if not isinstance(seen, list) or not 0 < len(seen) <= _MAX_MODELS:
        raise BundleError(what, expected=f"the frames that each of 1 to {_MAX_MODELS} models has seen", got="others")
    return kind, options, [_ranges(what, frames) for frames in seen]


def _ranges(what: str, frames: object) -> Ranges:
    if isinstance(frames, dict):
        pairs = {
            sha256: [tuple(r) if isinstance(r, list) else r for r in ranges]
            for sha256, ranges in frames.items()
            if isinstance(ranges, list)
        }
        if len(pairs) == len(frames) and all(_is_range(r) for ranges in pairs.values() for r in ranges):
            return {sha256: tuple(ranges) for sha256, ranges in pairs.items()}
    raise BundleError(what, expected="half-open ranges of frames by video", got="others")


def _is_range(found: object) -> bool:
    return (
        isinstance(found, tuple)
        and len(found) == 2
        and all(type(n) is int and n >= 0 for n in found)
        and found[0] < found[1]
    )
