"""Appearance of a box by a torchvision classification network without its classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mulde.errors import MuldeError, UsageError
from mulde.extractors.crops import CropEmbedding, Loaded, Preprocessing


def backbone_appearance(model: str = "mobilenet_v2", weights: str = "DEFAULT", *, device: str = "cpu") -> CropEmbedding:
    """What goes into the last linear layer of the network, per box (1280 numbers for mobilenet_v2).

    `weights` is a torchvision tag (as `DEFAULT`), downloaded once, or a local state dict (.safetensors, .pth) of the
    whole network or of its `features` part. Raises, at the first box, UsageError for an unknown model or tag or a
    file that does not fit, MuldeError for a failed download.
    """
    return CropEmbedding("backbone", model, weights, lambda: _load(model, weights, device), device=device)


def _load(model: str, weights: str, device: str) -> Loaded:
    from torchvision import models

    names = models.list_models(module=models)
    if model not in names:
        raise UsageError(f"torchvision model {model!r}", expected=f"one of {', '.join(names)}")
    path, tags = Path(weights).expanduser(), models.get_model_weights(model)
    if path.exists():
        network, tag = models.get_model(model, weights=None), tags.DEFAULT
        dim, head = _drop_head(network)
        _copy_state(network, path, head)
    elif weights in tags.__members__:
        tag = tags[weights]
        network = _download(model, tag)
        dim, _ = _drop_head(network)
    else:
        raise UsageError(
            f"torchvision weights {weights!r} for {model}",
            expected=f"an existing file or one of {', '.join(tags.__members__)}",
        )
    expects = tag.transforms()
    preprocessing = Preprocessing(int(expects.crop_size[0]), tuple(expects.mean), tuple(expects.std))
    return network.eval().to(device), preprocessing, dim


def _download(model: str, tag: Any) -> Any:
    from torchvision import models

    try:
        return models.get_model(model, weights=tag)
    except Exception as error:
        raise MuldeError(
            f"torchvision weights {tag.name} for {model} cannot be downloaded ({error})",
            hint="features.backbone.weights with the path of a local state dict",
        ) from error


def _drop_head(network: Any) -> tuple[int, str]:
    """Replace the last linear layer by nothing; its input width and its name."""
    from torch import nn

    name, last = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)][-1]
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return int(last.in_features), name


def _copy_state(network: Any, path: Path, head: str) -> None:
    """Copy a local state dict, of the whole network or of its `features`, into a network without its head."""
    state = _read_state(path)
    wanted = network.state_dict()
    if not set(state) & set(wanted):
        state = {f"features.{key}": value for key, value in state.items()}
    state = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted]
    wrong = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    for fault, keys in (("lacks", missing), ("has the unknown", unknown), ("has another shape of", wrong)):
        if keys:
            raise UsageError(
                f"weights {path} do not fit {type(network).__name__}",
                expected=f"{len(wanted)} entries",
                got=f"a file that {fault} {keys[0]} ({len(keys)} such entries)",
            )
    network.load_state_dict(state)


def _read_state(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(f"weights {path} cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(state, Mapping):
        raise UsageError(f"weights {path}", expected="a state dict", got=type(state).__name__)
    return state
