"""The file of a model bundle: JSON and tensors under one digest, read within bounds and checked by type.

A bundle may come from anybody. Its digest says that nothing changed on the way; whoever made it can make the digest as
well, so everything is checked by type, shape and value too, whatever the digest says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mulde.digests import arrays_digest
from mulde.errors import BundleError
from mulde.files import parse_json, write_arrays
from mulde.pipeline.model.health_state import HealthFacts
from mulde.pipeline.model.training_record import TrainingRecord
from mulde.pipeline.model.world import World
from mulde.typed import Number, Positive

Tensors = dict[str, NDArray[Any]]

_JSON, _SHA256 = "mulde", "sha256"
_MAX_INDEX_BYTES, _MAX_JSON, _MAX_VALUES, _MAX_TENSORS = 2**25, 2**24, 10**6, 100_000
_MAX_TEXT = 10_000  # characters of one string
MAX_RATE = 10_000.0  # frames per second

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=200)]
Text = Annotated[str, Field(max_length=_MAX_TEXT)]
ClassName = Annotated[str, Field(max_length=100)]


class _Facts(BaseModel):
    """Numbers are numbers, not text, and finite; what a newer version adds is not looked at."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class CalibrationFacts(_Facts):
    low: Number
    high: Number


class StreamFacts(_Facts):
    densities: list[dict[str, Any]] = Field(min_length=1, max_length=100)
    calibration: CalibrationFacts
    dim: int = Field(ge=1, le=1_000_000)
    floor: Number
    slope: Positive | None = None


class NormalFacts(_Facts):
    video: Text
    rate: float = Field(gt=0, le=MAX_RATE)


class Header(_Facts):
    """The JSON of a bundle, but for its schema."""

    mulde: str = Field(max_length=100)
    settings: dict[str, Any]
    made_from: dict[str, Any]
    training: TrainingRecord
    streams: dict[Name, StreamFacts] = Field(min_length=1, max_length=1000)
    normal: list[NormalFacts] = []
    world: World | None = None
    health: HealthFacts | None = None
    classes: dict[Annotated[str, Field(pattern=r"^[0-9]{1,4}$")], ClassName] = {}


def write_bundle_file(path: Path, header: Mapping[str, Any], tensors: Tensors) -> str:
    """Write it whole or not at all; its digest."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False)  # streams are added up in their order
    sha256 = digest_of(text, tensors)
    write_arrays(path, tensors, {_JSON: text, _SHA256: sha256})
    return sha256


def read_bundle_file(path: Path) -> tuple[dict[str, Any], Tensors, str | None]:
    """The JSON, the tensors and the digest (older files: None), which was compared.

    Raises BundleError for a file that is missing, damaged, changed or out of bounds.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BundleError(f"model bundle {path}", expected="a file written by `mulde train`", got="nothing there")
    try:
        _check_index(path)
        with safe_open(path, framework="np") as file:
            metadata, names = dict(file.metadata() or {}), list(file.keys())
            num_values = sum(map(metadata[_JSON].count, "[{,"))
            if len(names) > _MAX_TENSORS or len(metadata[_JSON]) > _MAX_JSON or num_values > _MAX_VALUES:
                raise ValueError(f"{len(names):,} tensors and {num_values:,} values are more than a model has")
            header = parse_json(metadata[_JSON], f"model bundle {path}", error=BundleError)
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise damaged(path, error) from None
    if not isinstance(header, dict) or (fault := _long_text(header)):
        raise damaged(path, ValueError("its JSON is no table" if not isinstance(header, dict) else fault))
    sha256 = metadata.get(_SHA256)
    if sha256 is not None and sha256 != digest_of(metadata[_JSON], tensors):
        raise BundleError(
            f"model bundle {path} was changed: its content does not have the digest that it carries",
            hint="copy it again, or train again",
        )
    return header, tensors, sha256


def digest_of(text: str, tensors: Tensors) -> str:
    """Hex SHA-256 of the JSON as it is written and, by name, of the type, shape and bytes of each tensor."""
    by_name = sorted(tensors.items())
    return arrays_digest(text, ((json.dumps([name, str(array.dtype), array.shape]), array) for name, array in by_name))


def typed_header(path: Path, header: Mapping[str, Any]) -> Header:
    """Raises BundleError that names the first entry at fault."""
    try:
        return Header.model_validate(dict(header))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        raise damaged(path, ValueError(f"{where}: {first['msg']}")) from None


def damaged(path: Path, error: Exception) -> BundleError:
    reason = " ".join(str(error).split())[:500]  # some libraries write several lines
    return BundleError(
        f"model bundle {path} cannot be read ({type(error).__name__}: {reason})",
        expected="a whole file written by `mulde train`",
        hint="copy it again, or train again",
    )


def _check_index(path: Path) -> None:
    """Raises ValueError where the index of the tensors is larger than the file or than any bundle's."""
    with path.open("rb") as file:
        num_bytes = int.from_bytes(file.read(8), "little")
    size = path.stat().st_size
    if size < 8:
        raise ValueError(f"a file of {size} bytes")
    most = min(_MAX_INDEX_BYTES, size - 8)
    if num_bytes > most:
        raise ValueError(f"an index of {num_bytes:,} bytes, at most {most:,} can be")


def _long_text(data: object) -> str:
    """What is said of the first string that is too long, else nothing."""
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            return f"text of {len(value):,} characters, at most {_MAX_TEXT:,} can be"
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
    return ""
