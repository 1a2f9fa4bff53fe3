"""Video encoders of the package transformers (V-JEPA 2, VideoMAE). The only file that imports transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image

from mulde.errors import MuldeError, UsageError, first_line
from mulde.extractors.base import local_weights
from mulde.extractors.hub import quieten_hub
from mulde.extractors.networks import INTERPOLATIONS, Loaded, Preprocessing, ready
from mulde.files import read_json

Pooling = Literal["mean", "centre"]
_FILES = ("config.json", "*preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
_PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")
_MAX_SIDE, _MAX_FRAMES = 4096, 256


class _Kind(NamedTuple):
    """How a kind of encoder is built and called: its class, side and frames in its configuration with their defaults,
    whether it takes any number of frames, and its tokens (n, N, D), in the order of time, for clips (n, T, 3, S, S)."""

    network: str
    size: tuple[str, int]
    frames: tuple[str, int]
    takes_any: bool
    tokens: Callable[[Any, torch.Tensor], torch.Tensor]


_KINDS: Mapping[str, _Kind] = {
    "vjepa2": _Kind(
        "VJEPA2Model",
        ("crop_size", 256),
        ("frames_per_clip", 64),
        True,
        lambda network, clips: network(pixel_values_videos=clips, skip_predictor=True).last_hidden_state,
    ),
    "videomae": _Kind(
        "VideoMAEModel",
        ("image_size", 224),
        ("num_frames", 16),
        False,
        lambda network, clips: network(pixel_values=clips).last_hidden_state,
    ),
}


def configured_frames(folder: Path) -> int:
    """The number of frames that the network in a folder was trained with. Raises UsageError."""
    return _facts(folder)[2]


def load_transformers(model: str, weights: str, device: str, *, frames: int, pooling: Pooling) -> Loaded:
    """An encoder from the hub or from a local folder without its head, ready to run.

    A folder holds config.json, preprocessor_config.json (or video_preprocessor_config.json) and .safetensors; code in
    it is never run. A row is the mean of the tokens that the encoder gives for a clip, or of those at its `centre`,
    where the frame is that the clip was made for.
    Raises UsageError for a missing package, and for a folder, a number of frames or weights that do not fit,
    MuldeError for a failed download.
    """
    folder = local_folder(weights) or _download(model, weights)
    kind, size_px, trained, tubelet = _facts(folder)
    if frames % tubelet or (frames != trained and not kind.takes_any):
        raise UsageError(
            f"features.video.frames of {model}",
            expected=f"a multiple of {tubelet}" if kind.takes_any else trained,
            got=frames,
        )
    network = ready(_network(folder, kind).float(), device)
    centre = frames // 2 // tubelet

    def run(clips: torch.Tensor) -> torch.Tensor:
        tokens = kind.tokens(network, clips.transpose(1, 2).contiguous())
        if pooling == "centre":
            tokens = tokens.reshape(len(tokens), frames // tubelet, -1, tokens.shape[-1])[:, centre]
        return tokens.mean(1)

    return run, _expects(folder, size_px, frames), int(network.config.hidden_size)


def local_folder(weights: str) -> Path | None:
    """The folder that `weights` names, if any."""
    path = local_weights(weights)
    return path if path is not None and path.is_dir() else None


def _library() -> Any:
    quieten_hub()
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            f"this video network needs the package transformers, which cannot be imported ({error})",
            hint='pip install "mulde[transformers]"',
        ) from error
    return transformers


def _download(model: str, weights: str) -> Path:
    if weights != "DEFAULT":
        raise UsageError(
            f"weights {weights!r} of {model}",
            expected="DEFAULT, or a folder with config.json, preprocessor_config.json and .safetensors",
        )
    _library()
    import huggingface_hub

    name, _, revision = model.partition("@")
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision or None, allow_patterns=list(_FILES)))
    except Exception as error:  # connection, repository and file errors have no common class
        raise MuldeError(
            f"video network {model} cannot be had ({type(error).__name__}: {first_line(error)})",
            hint="connect to a network and run this again, or features.video.weights with the folder of a local copy",
        ) from error


def _facts(folder: Path) -> tuple[_Kind, int, int, int]:
    """What the configuration in a folder says: kind, side in pixels, frames as trained, frames per token."""
    config = read_json(folder / "config.json")
    config = config if isinstance(config, Mapping) else {}
    kind = _KINDS.get(str(config.get("model_type")))
    if kind is None:
        raise UsageError(
            f"network in {folder}", expected=f"a model_type of {', '.join(_KINDS)}", got=config.get("model_type")
        )
    values = []
    bounds = ((*kind.size, _MAX_SIDE), (*kind.frames, _MAX_FRAMES), ("tubelet_size", 2, _MAX_FRAMES))
    for key, default, most in bounds:
        value = config.get(key, default)
        if type(value) is not int or not 1 <= value <= most:
            raise UsageError(f"{key} in {folder / 'config.json'}", expected=f"a whole number, 1 to {most}", got=value)
        values.append(value)
    size, frames, tubelet = values
    return kind, size, frames, tubelet


def _expects(folder: Path, size_px: int, frames: int) -> Preprocessing:
    """What the encoder's own processor does to a frame, but for its crop."""
    path = next((path for name in _PROCESSORS if (path := folder / name).is_file()), None)
    if path is None:
        raise UsageError(f"network in {folder}", expected=f"{' or '.join(_PROCESSORS)} beside it")
    said = read_json(path)
    said = said if isinstance(said, Mapping) else {}
    mean, std = (_three(said, key, path) for key in ("image_mean", "image_std"))
    resample = said.get("resample", 2)
    known = {item.value: item.name.lower() for item in Image.Resampling}
    interpolation = known.get(resample) if type(resample) is int else None
    if interpolation not in INTERPOLATIONS:
        raise UsageError(f"resample in {path}", expected=f"one of {sorted(known)}", got=resample)
    return Preprocessing(size_px, mean, std, frames, interpolation=interpolation)


def _three(said: Mapping[str, Any], key: str, path: Path) -> tuple[float, ...]:
    value = said.get(key)
    numbers = value if isinstance(value, list) and all(isinstance(number, int | float) for number in value) else []
    if len(numbers) != 3 or not all(0 <= number <= 1 for number in numbers) or (key == "image_std" and 0 in numbers):
        raise UsageError(f"{key} in {path}", expected="three numbers from 0 to 1", got=value)
    return tuple(map(float, numbers))


def _network(folder: Path, kind: _Kind) -> Any:
    library = _library()
    if not any(folder.glob("*.safetensors")):
        raise UsageError(f"network in {folder}", expected="weights as .safetensors; nothing is unpickled")
    try:
        with _quiet(library.logging):
            network, loading = getattr(library, kind.network).from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:  # transformers raises many kinds for files that do not fit
        raise UsageError(
            f"network in {folder} cannot be loaded",
            expected=f"a configuration and the weights of a {kind.network}",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
        ) from error
    if missing := sorted(loading["missing_keys"]):
        raise UsageError(
            f"weights in {folder} do not fit",
            expected=f"every weight of a {kind.network}",
            got=f"files that lack {missing[0]} ({len(missing)} such entries)",
        )
    return network


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """No bar, and no warnings: what is missing is an error here, what is left over belongs to the head."""
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
